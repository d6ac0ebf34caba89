//! Metrics and health of a watch: counts beside the engine, and answers from a thread of its own, so that
//! no client holds up the watch or makes it grow; never counts anything by itself.

mod server;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::sync::watch;

use super::{action, otlp};
use crate::{
    analysis::{Engine, TotalsRecorder, report::Verdict, totals::Detail, totals::Totals},
    host::own,
    model::{Input, Session},
    sink::metrics::Own,
};

/// Attaching may take so long on a slow machine; whoever asks for its health meanwhile is told that all is
/// well.
const BEGIN_MAX: Duration = Duration::from_mins(2);

/// The watch turns twice a second; so long without a turn, it hangs.
const TURN_MAX: Duration = Duration::from_secs(10);

/// Where metrics are served, and in which detail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exports {
    pub(super) at: SocketAddr,
    pub(super) detail: Detail,
}

/// What the watch and the thread that answers share.
struct Shared {
    begun: Instant,
    /// Until when the watch is taken to turn, in milliseconds after its begin.
    alive_until_ms: AtomicU64,
    is_ready: AtomicBool,
    /// Whether somebody waits for new numbers.
    is_asked: AtomicBool,
}

impl Shared {
    fn new() -> Self {
        let shared = Self {
            begun: Instant::now(),
            alive_until_ms: AtomicU64::new(0),
            is_ready: AtomicBool::new(false),
            is_asked: AtomicBool::new(false),
        };
        shared.lives_for(BEGIN_MAX);
        shared
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lives_for(&self, time: Duration) {
        let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let until = self.now_ms().saturating_add(time_ms);
        self.alive_until_ms.store(until, Ordering::Relaxed);
    }

    fn is_alive(&self) -> bool {
        self.now_ms() <= self.alive_until_ms.load(Ordering::Relaxed)
    }
}

/// What counts beside the engine, where it is there.
#[derive(Default)]
pub(super) struct Others {
    /// What became of commands.
    pub(super) commands: Option<Arc<action::Counts>>,
    /// What became of deliveries to a collector.
    pub(super) deliveries: Option<Arc<otlp::Counts>>,
}

/// The numbers of one moment.
struct Numbers {
    totals: Totals,
    own: Own,
}

/// The counting side.
pub(super) struct Exporter {
    recorder: TotalsRecorder,
    own: Own,
    others: Others,
    shared: Arc<Shared>,
    #[cfg(test)]
    at: SocketAddr,
    numbers: watch::Sender<Option<Arc<Numbers>>>,
}

impl Exporter {
    /// Listens, and answers from now on that the watch is not ready. The thread that answers does `first`
    /// what it is given.
    pub(super) fn listen(
        exports: Exports,
        ring_bytes: u32,
        others: Others,
        first: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new());
        let (numbers, told) = watch::channel(None);
        let at =
            server::start(exports.at, Arc::clone(&shared), told, first).with_context(|| {
                format!(
                    "cannot serve metrics at {}: give another address by --metrics, or off",
                    exports.at
                )
            })?;
        log::info!("metrics and health are served at {at}");
        Ok(Self {
            recorder: TotalsRecorder::new(exports.detail),
            own: Own {
                ring_bytes: ring_bytes.into(),
                ..Own::default()
            },
            others,
            shared,
            #[cfg(test)]
            at,
            numbers,
        })
    }

    /// Every hook is attached, and the watch begins.
    pub(super) fn begin(&mut self, session: &Session) {
        self.own.version.clone_from(&session.version);
        self.own.kernel.clone_from(&session.kernel);
        self.own.hooks.clone_from(&session.hooks);
        self.shared.lives_for(TURN_MAX);
        self.shared.is_ready.store(true, Ordering::Relaxed);
    }

    /// Takes in one input that the engine was told just before.
    pub(super) fn observe(&mut self, engine: &Engine, input: &Input) {
        self.recorder.observe(engine, input);
    }

    /// Takes in verdicts that were made or have changed.
    pub(super) fn verdicts(&mut self, verdicts: &[Verdict]) {
        self.recorder.verdicts(verdicts);
    }

    /// The watch has turned: gives the numbers of now to whoever asked.
    pub(super) fn turn(&mut self, engine: &Engine) {
        self.shared.lives_for(TURN_MAX);
        if !self.shared.is_asked.swap(false, Ordering::Relaxed) {
            return;
        }
        let deliveries = self.others.deliveries.as_ref().map(|counts| counts.all());
        let numbers = Numbers {
            totals: self.recorder.totals(engine),
            own: Own {
                cpu_seconds: own::cpu_seconds(),
                resident_bytes: own::resident_bytes(),
                commands: self.others.commands.as_ref().map(|counts| counts.all()),
                deliveries: deliveries.unwrap_or_default(),
                ..self.own.clone()
            },
        };
        self.numbers.send_replace(Some(Arc::new(numbers)));
    }
}
