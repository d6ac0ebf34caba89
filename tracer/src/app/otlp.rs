//! Delivers verdicts to an OpenTelemetry collector from a thread of its own, within bounds of number and
//! time; never holds up the watch, and never makes it fail.

#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use bytes::Bytes;
use hyper::StatusCode;
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::http::Server;
use crate::{
    analysis::report::Verdict,
    model::Session,
    sink::otlp::{self, LogRecord},
};

/// Records that may wait for a collector that does not answer; one has some kilobytes.
const WAITING_MAX: usize = 1024;

/// Records in one request.
const BATCH_MAX: usize = 128;

/// One request may take so long, as the specification has it (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// A collector that is being started again is back by then; what it was not told until then is given up.
const TRY_TIME: Duration = Duration::from_mins(5);

/// Between two tries: first, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// At the end of the watch the last ones have so long.
const LAST_TIME: Duration = Duration::from_secs(3);

/// Where verdicts are delivered.
#[derive(Clone)]
pub(super) struct Deliveries {
    collector: Server,
    counts: Arc<Counts>,
}

impl Deliveries {
    pub(super) fn new(collector: Server) -> Self {
        Self {
            collector,
            counts: Arc::default(),
        }
    }

    /// What became of records so far, now and later.
    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

/// What became of the records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    queued: AtomicU64,
    delivered: AtomicU64,
    rejected: AtomicU64,
    given_up: AtomicU64,
    queue_full: AtomicU64,
}

impl Counts {
    /// Each outcome and its number, by the names in metrics.
    pub(super) fn all(&self) -> [(&'static str, u64); 4] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("delivered", of(&self.delivered)),
            ("rejected", of(&self.rejected)),
            ("given_up", of(&self.given_up)),
            ("queue_full", of(&self.queue_full)),
        ]
    }
}

/// The watch's end of the deliveries.
pub(super) struct Delivery {
    to: Deliveries,
    records: mpsc::Sender<LogRecord>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Delivery {
    /// Starts the thread, which does `first` what it is given.
    pub(super) fn start(
        to: Deliveries,
        session: &Session,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (records, queue) = mpsc::channel(WAITING_MAX);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let sender = Sender {
            to: to.clone(),
            session: session.clone(),
            is_failing: false,
        };
        let thread = thread::Builder::new()
            .name("tracer-otlp".to_owned())
            .spawn(move || {
                first();
                runtime.block_on(async {
                    tokio::select! {
                        () = sender.run(queue) => {}
                        () = last_moments(stopped) => {}
                    }
                });
                // A name that is being looked up is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            to,
            records,
            stop,
            thread,
        })
    }

    /// Verdicts were made or have changed: those that are new or over are told.
    pub(super) fn verdicts(&self, session: &Session, verdicts: &[Verdict]) {
        for verdict in verdicts {
            if verdict.update > 0 && verdict.ongoing {
                continue;
            }
            let count = match self.records.try_send(otlp::record(session, verdict)) {
                Ok(()) => &self.to.counts.queued,
                Err(_) => &self.to.counts.queue_full,
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives the last ones a moment, and says what did not arrive.
    pub(super) fn finish(self) {
        drop(self.records);
        // It may have ended.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            log::error!("the thread that tells the collector had ended early");
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts {
            queued,
            delivered,
            queue_full,
            ..
        } = &*self.to.counts;
        let made = of(queued) + of(queue_full);
        let lost = made.saturating_sub(of(delivered));
        if lost > 0 {
            let authority = self.to.collector.authority();
            log::warn!("{lost} of {made} records did not reach the collector at {authority}");
        }
    }
}

/// Returns some time after the watch has ended.
async fn last_moments(stopped: oneshot::Receiver<()>) {
    // Whether it is said or the other end is gone, the watch has ended.
    let _ = stopped.await;
    sleep(LAST_TIME).await;
}

/// The thread's end.
struct Sender {
    to: Deliveries,
    session: Session,
    /// Whether that was said already.
    is_failing: bool,
}

/// What a try came to that was no success.
enum Failure {
    /// The same may succeed later; the collector may have said when.
    Later(anyhow::Error, Option<Duration>),
    /// It never will.
    Never(anyhow::Error),
}

impl Sender {
    async fn run(mut self, mut queue: mpsc::Receiver<LogRecord>) {
        while let Some(first) = queue.recv().await {
            let mut batch = vec![first];
            while batch.len() < BATCH_MAX
                && let Ok(next) = queue.try_recv()
            {
                batch.push(next);
            }
            self.deliver(batch).await;
        }
    }

    async fn deliver(&mut self, batch: Vec<LogRecord>) {
        let count = batch.len() as u64;
        let body = Bytes::from(otlp::request(&self.session, batch));
        let begun = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let tried = timeout(REQUEST_TIME, self.post(body.clone())).await;
            let failure = match tried {
                Ok(Ok(answer)) => return self.delivered(count, &answer),
                Ok(Err(failure)) => failure,
                Err(late) => Failure::Later(late.into(), None),
            };
            match failure {
                Failure::Later(error, wait) if begun.elapsed() < TRY_TIME => {
                    self.say(&error);
                    sleep(wait.map_or(pause, |wait| wait.clamp(pause, PAUSE_MAX))).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Failure::Later(error, _) => {
                    self.say(&error);
                    self.to.counts.given_up.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Failure::Never(error) => {
                    self.say(&error);
                    self.to.counts.rejected.fetch_add(count, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn delivered(&mut self, count: u64, answer: &[u8]) {
        let (rejected, why) = otlp::rejected(answer);
        let rejected = rejected.min(count);
        if rejected > 0 {
            // Escaped, as it may hold anything.
            log::warn!("the collector rejected {rejected} of {count} records: {why:?}");
        }
        let Counts {
            delivered: taken,
            rejected: refused,
            ..
        } = &*self.to.counts;
        taken.fetch_add(count - rejected, Ordering::Relaxed);
        refused.fetch_add(rejected, Ordering::Relaxed);
        if std::mem::take(&mut self.is_failing) {
            log::warn!("the collector takes verdicts again");
        }
    }

    /// Says once that the collector fails, until it takes something again.
    fn say(&mut self, error: &anyhow::Error) {
        let authority = self.to.collector.authority();
        if self.is_failing {
            log::debug!("the collector at {authority} is not told of verdicts: {error:#}");
        } else {
            log::warn!("the collector at {authority} is not told of verdicts: {error:#}");
        }
        self.is_failing = true;
    }

    async fn post(&self, body: Bytes) -> Result<Bytes, Failure> {
        let server = &self.to.collector;
        let answer = server.post("application/x-protobuf", body).await;
        let answer = answer.map_err(|error| Failure::Later(error, None))?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        let error = anyhow!("it answers {}", answer.status);
        Err(if is_for_now(answer.status) {
            Failure::Later(error, answer.retry_after)
        } else {
            Failure::Never(error)
        })
    }
}

/// Those after which the specification has a client try again.
fn is_for_now(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
