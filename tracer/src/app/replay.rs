//! Shows a trace as the live watch would have: the same engine, the same output; never a conclusion
//! of its own.

use anyhow::Result;
use tokio::time::{Instant, sleep_until};

use super::{output::Output, stop::Stop, traces::Traces};
use crate::{
    analysis::{Engine, Report, Thresholds, report::Verdict},
    cli::{ReplayArgs, Speed, exit, nanos},
    model::{Input, Nanos, Session},
    sink::Look,
};

/// Replays a trace; gives the code to end with.
pub(super) fn replay(args: &ReplayArgs, look: Look) -> Result<u8> {
    let mut traces = Traces::open(&args.trace)?;
    let thresholds = args.thresholds.over(recorded_thresholds(&traces));
    // As fast as it goes there is nothing to look at but the end.
    let is_shown = args.speed != Speed::Max;
    let mut output = Output::start(args.view.format, look, is_shown)?;
    let report = super::runtime()?.block_on(show(args, thresholds, &mut traces, &mut output))?;
    output.end(&report)?;
    let code = if args.fail_on_verdict && !report.verdicts.is_empty() {
        exit::VERDICT
    } else {
        exit::CLEAN
    };
    Ok(traces.end(code))
}

/// The thresholds of the recording; of one that does not tell them, the defaults.
pub(super) fn recorded_thresholds(traces: &Traces) -> Thresholds {
    serde_json::from_value(traces.head().thresholds.clone()).unwrap_or_default()
}

async fn show(
    args: &ReplayArgs,
    thresholds: Thresholds,
    traces: &mut Traces,
    output: &mut Output,
) -> Result<Report> {
    let mut stop = Stop::new()?;
    let mut engine = Engine::new(thresholds);
    let mut session = Session::default();
    let mut pace = None;
    let mut shown: Option<Nanos> = None;
    let wanted = |verdict: &Verdict| {
        args.verdicts.is_empty()
            || (args.verdicts.iter()).any(|name| name == verdict.finding.name())
    };
    for input in traces.by_ref() {
        engine.apply(&input);
        match input {
            Input::Session(told) => {
                session = *told;
                output.begin(&session)?;
            }
            Input::Tick(now) => {
                // As the live watch does, so that its numbers of updates are these.
                engine.take_lookups();
                let mut verdicts = engine.take_verdict_updates();
                verdicts.retain(wanted);
                output.verdicts(&session, &verdicts)?;
                let pace = pace.get_or_insert_with(|| Pace::new(args.speed, now));
                tokio::select! {
                    biased;
                    () = stop.wait() => break,
                    () = pace.wait_for(now) => {}
                }
                let due = shown.is_none_or(|shown| now.since(shown) >= nanos(args.view.interval));
                if output.refreshes() && due {
                    shown = Some(now);
                    output.refresh(&report(&engine, wanted))?;
                }
            }
            _ => {}
        }
    }
    let mut verdicts = engine.take_last_verdict_updates();
    verdicts.retain(wanted);
    output.verdicts(&session, &verdicts)?;
    Ok(report(&engine, wanted))
}

fn report(engine: &Engine, wanted: impl FnMut(&Verdict) -> bool) -> Report {
    let mut report = engine.report();
    report.verdicts.retain(wanted);
    report
}

/// Keeps a replay as fast as was asked for.
struct Pace {
    speed: Speed,
    begun: Instant,
    first: Nanos,
}

impl Pace {
    fn new(speed: Speed, first: Nanos) -> Self {
        Self {
            speed,
            begun: Instant::now(),
            first,
        }
    }

    async fn wait_for(&self, now: Nanos) {
        if let Some(time) = self.speed.time_for(now.since(self.first)) {
            sleep_until(self.begun + time).await;
        }
    }
}
