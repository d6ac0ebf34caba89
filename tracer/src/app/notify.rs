//! Tells a service manager how the watch is, where one has started it; never anything about what is
//! watched.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// What listens to a service's state, systemd for one.
pub(super) struct Notifier {
    /// How long it waits for a sign of life, if it does.
    patience: Option<Duration>,
    last_sign: Instant,
}

impl Notifier {
    /// Every hook is attached, and the watch begins.
    pub(super) fn ready() -> Self {
        tell(NotifyState::Ready);
        Self {
            patience: sd_notify::watchdog_enabled(),
            last_sign: Instant::now(),
        }
    }

    /// The watch has turned.
    pub(super) fn turn(&mut self) {
        // Twice within its time, as sd_watchdog_enabled(3) advises.
        let is_due = |patience: Duration| self.last_sign.elapsed() >= patience / 2;
        if self.patience.is_some_and(is_due) {
            tell(NotifyState::Watchdog);
            self.last_sign = Instant::now();
        }
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        tell(NotifyState::Stopping);
    }
}

/// Without a service manager nobody listens, and that is no error.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::debug!("the service manager cannot be told: {error}");
    }
}
