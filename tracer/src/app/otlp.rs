//! Delivers verdicts, and on request events, to an OpenTelemetry collector from a thread of its own, within
//! bounds of number and time; never holds up the watch, and never makes it fail.

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
    time::{sleep, timeout, timeout_at},
};
use tracer_common::EventKind;

use super::http::Server;
use crate::{
    analysis::{Engine, report::Verdict},
    model::{Input, Session},
    sink::otlp::{self, LogRecord},
};

/// Verdicts that may wait for a collector that does not answer; each has some kilobytes.
const VERDICTS_WAITING_MAX: usize = 1024;

/// Events that may, some 2 kB each. They have a queue of their own: however many come, no verdict is lost by it.
const EVENTS_WAITING_MAX: usize = 4096;

/// Records in one request.
const BATCH_MAX: usize = 512;

/// How long events are gathered for one request. A collector on this host makes events by each request, which
/// must not make the next one at once.
const EVENTS_GATHERED: Duration = Duration::from_secs(1);

/// One request may take so long, as the specification has it (`OTEL_EXPORTER_OTLP_TIMEOUT`).
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// A collector that is being started again is back by then; what it was not told until then is given up.
const TRY_TIME: Duration = Duration::from_mins(5);

/// Between two tries: first, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// At the end of the watch the last ones have so long.
const LAST_TIME: Duration = Duration::from_secs(3);

/// What is delivered, and where.
#[derive(Clone)]
pub(super) struct Deliveries {
    collector: Server,
    /// Kinds of events that are wanted.
    events: Vec<EventKind>,
    counts: Arc<Counts>,
}

impl Deliveries {
    pub(super) fn new(collector: Server, events: Vec<EventKind>) -> Self {
        Self {
            collector,
            events,
            counts: Arc::default(),
        }
    }

    /// What became of records so far, now and later.
    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

/// What became of all records.
#[derive(Debug, Default)]
pub(super) struct Counts {
    verdicts: Outcomes,
    events: Outcomes,
}

/// What became of the records of one sort.
#[derive(Debug, Default)]
struct Outcomes {
    delivered: AtomicU64,
    rejected: AtomicU64,
    given_up: AtomicU64,
    queue_full: AtomicU64,
    queued: AtomicU64,
}

impl Counts {
    /// Each sort of record, outcome and number, by the names in metrics.
    pub(super) fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [("verdict", &self.verdicts), ("event", &self.events)]
            .into_iter()
            .flat_map(|(record, outcomes)| {
                [
                    (record, "delivered", of(&outcomes.delivered)),
                    (record, "rejected", of(&outcomes.rejected)),
                    (record, "given_up", of(&outcomes.given_up)),
                    (record, "queue_full", of(&outcomes.queue_full)),
                ]
            })
            .collect()
    }
}

/// The watch's end of the deliveries.
pub(super) struct Delivery {
    to: Deliveries,
    session: Session,
    verdicts: mpsc::Sender<LogRecord>,
    events: mpsc::Sender<LogRecord>,
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
        let (verdicts, verdicts_queue) = mpsc::channel(VERDICTS_WAITING_MAX);
        let (events, events_queue) = mpsc::channel(EVENTS_WAITING_MAX);
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
                        () = sender.run(verdicts_queue, events_queue) => {}
                        () = last_moments(stopped) => {}
                    }
                });
                // A name that is being looked up is not waited for.
                runtime.shutdown_background();
            })?;
        Ok(Self {
            to,
            session: session.clone(),
            verdicts,
            events,
            stop,
            thread,
        })
    }

    /// Verdicts were made or have changed: those that are new or over are told.
    pub(super) fn verdicts(&self, verdicts: &[Verdict]) {
        let told = verdicts
            .iter()
            .filter(|verdict| verdict.update == 0 || !verdict.ongoing);
        for verdict in told {
            let record = || otlp::verdict(&self.session, verdict);
            queue(&self.verdicts, &self.to.counts.verdicts, record);
        }
    }

    /// The engine was told of this just before; an event is told where its kind is wanted.
    pub(super) fn observe(&self, engine: &Engine, input: &Input) {
        if let Input::Event(event) = input
            && self.to.events.contains(&event.body.kind())
        {
            let record = || otlp::event(&self.session, event, engine.name(event.pid));
            queue(&self.events, &self.to.counts.events, record);
        }
    }

    /// Gives the last ones a moment, and says what did not arrive.
    pub(super) fn finish(self) {
        drop((self.verdicts, self.events));
        // It may have ended.
        let _ = self.stop.send(());
        if self.thread.join().is_err() {
            log::error!("the thread that tells the collector had ended early");
        }
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { verdicts, events } = &*self.to.counts;
        for (outcomes, what) in [(verdicts, "verdicts"), (events, "events")] {
            let made = of(&outcomes.queued) + of(&outcomes.queue_full);
            let lost = made.saturating_sub(of(&outcomes.delivered));
            if lost > 0 {
                let authority = self.to.collector.authority();
                log::warn!("{lost} of {made} {what} did not reach the collector at {authority}");
            }
        }
    }
}

/// Queues a record, which is made only where there is room for it.
fn queue(
    records: &mpsc::Sender<LogRecord>,
    outcomes: &Outcomes,
    record: impl FnOnce() -> LogRecord,
) {
    let count = match records.try_reserve() {
        Ok(place) => {
            place.send(record());
            &outcomes.queued
        }
        Err(_) => &outcomes.queue_full,
    };
    count.fetch_add(1, Ordering::Relaxed);
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
    async fn run(
        mut self,
        mut verdicts: mpsc::Receiver<LogRecord>,
        mut events: mpsc::Receiver<LogRecord>,
    ) {
        loop {
            tokio::select! {
                // However many events there are.
                biased;
                Some(first) = verdicts.recv() => {
                    let mut batch = vec![first];
                    while batch.len() < BATCH_MAX
                        && let Ok(next) = verdicts.try_recv()
                    {
                        batch.push(next);
                    }
                    self.deliver(batch, |counts| &counts.verdicts).await;
                }
                Some(first) = events.recv() => {
                    let batch = gather(first, &mut events).await;
                    self.deliver(batch, |counts| &counts.events).await;
                }
                else => return,
            }
        }
    }

    /// Delivers records, whose outcome counts among these.
    async fn deliver(&mut self, batch: Vec<LogRecord>, among: fn(&Counts) -> &Outcomes) {
        let count = batch.len() as u64;
        let body = Bytes::from(otlp::request(&self.session, batch));
        let begun = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let tried = timeout(REQUEST_TIME, self.post(body.clone())).await;
            let failure = match tried {
                Ok(Ok(answer)) => return self.delivered(count, &answer, among),
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
                    let outcomes = among(&self.to.counts);
                    outcomes.given_up.fetch_add(count, Ordering::Relaxed);
                    return;
                }
                Failure::Never(error) => {
                    self.say(&error);
                    let outcomes = among(&self.to.counts);
                    outcomes.rejected.fetch_add(count, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn delivered(&mut self, count: u64, answer: &[u8], among: fn(&Counts) -> &Outcomes) {
        let (rejected, why) = otlp::rejected(answer);
        let rejected = rejected.min(count);
        if rejected > 0 {
            // Escaped, as it may hold anything.
            log::warn!("the collector rejected {rejected} of {count} records: {why:?}");
        }
        let outcomes = among(&self.to.counts);
        let taken = count - rejected;
        outcomes.delivered.fetch_add(taken, Ordering::Relaxed);
        outcomes.rejected.fetch_add(rejected, Ordering::Relaxed);
        if std::mem::take(&mut self.is_failing) {
            log::warn!("the collector takes records again");
        }
    }

    /// Says once that the collector fails, until it takes something again.
    fn say(&mut self, error: &anyhow::Error) {
        let authority = self.to.collector.authority();
        if self.is_failing {
            log::debug!("the collector at {authority} takes no records: {error:#}");
        } else {
            log::warn!("the collector at {authority} takes no records: {error:#}");
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

/// The events of some time, or as many as a request has.
async fn gather(first: LogRecord, events: &mut mpsc::Receiver<LogRecord>) -> Vec<LogRecord> {
    let mut batch = vec![first];
    let until = Instant::now() + EVENTS_GATHERED;
    while batch.len() < BATCH_MAX
        && let Ok(Some(next)) = timeout_at(until.into(), events.recv()).await
    {
        batch.push(next);
    }
    batch
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
