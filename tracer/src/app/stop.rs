//! What ends a watch or a replay: Ctrl-C, a request to terminate, or the time; never how it ends.

use std::{future::pending, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{self, Instant},
};

/// What ends a watch.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    deadline: Option<Instant>,
}

impl Stop {
    /// Listens for signals.
    pub(super) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            deadline: None,
        })
    }

    /// Stops after this time at the latest, if there is one, beginning now.
    pub(super) fn within(mut self, duration: Option<Duration>) -> Self {
        self.deadline = duration.map(|duration| Instant::now() + duration);
        self
    }

    /// Returns when it is time to stop.
    pub(super) async fn wait(&mut self) {
        let deadline = self.deadline;
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = async move {
                match deadline {
                    Some(deadline) => time::sleep_until(deadline).await,
                    None => pending().await,
                }
            } => {}
        }
    }
}
