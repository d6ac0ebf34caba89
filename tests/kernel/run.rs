//! All that one run of tracer printed, and how it ended; never judges it.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{programs::Log, resets};

/// One run of tracer that has ended.
pub struct Run {
    /// Its standard output, by lines.
    pub text: Vec<String>,
    /// Those that are JSON objects.
    lines: Vec<Value>,
    /// Its exit code, where no signal ended it.
    pub code: Option<i32>,
    /// All that was printed, by it and by the workloads.
    pub log: LogText,
}

/// All that was printed.
pub struct LogText(Log);

impl fmt::Display for LogText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text())
    }
}

impl Run {
    pub fn new(text: Vec<String>, code: Option<i32>, log: Log) -> Self {
        let lines = text
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        Self {
            text,
            lines,
            code,
            log: LogText(log),
        }
    }

    /// The lines of one type, in order.
    pub fn of_type(&self, wanted: &str) -> impl Iterator<Item = &Value> {
        self.lines.iter().filter(move |line| line["type"] == wanted)
    }

    /// The only line of a type; null where there is none.
    pub fn the(&self, wanted: &str) -> &Value {
        self.of_type(wanted).last().unwrap_or(&Value::Null)
    }

    /// Each verdict as it was told last, by its id.
    pub fn verdicts(&self) -> Vec<&Value> {
        let last: BTreeMap<_, _> = self
            .of_type("verdict")
            .filter_map(|verdict| Some((verdict["id"].as_u64()?, verdict)))
            .collect();
        last.into_values().collect()
    }

    /// The verdict of this name about this process.
    pub fn verdict(&self, name: &str, pid: u32) -> Option<&Value> {
        self.verdicts()
            .into_iter()
            .find(|found| found["verdict"] == name && found["pid"] == pid)
    }

    /// A process's totals.
    pub fn process(&self, pid: u32) -> Option<&Value> {
        self.of_type("process")
            .find(|process| process["pid"] == pid)
    }

    /// One counter of one kind of event.
    pub fn counter(&self, kind: &str, counter: &str) -> u64 {
        self.the("stats")["events"][kind][counter]
            .as_u64()
            .unwrap_or_default()
    }

    /// Whether the kernel skipped a hook, as it does where a hook is preempted by another task's.
    pub fn skipped_hooks(&self) -> bool {
        self.the("stats")["kernel_skipped"] != 0
    }

    /// The kinds of events whose outcomes do not add up to what was seen.
    pub fn unbalanced(&self) -> Vec<String> {
        let Some(kinds) = self.the("stats")["events"].as_object() else {
            return vec!["no kind was told".to_owned()];
        };
        let outcomes = [
            "streamed",
            "counted_only",
            "filtered",
            "ring_full",
            "map_full",
            "read_failed",
        ];
        kinds
            .iter()
            .filter(|(kind, _)| {
                let sum: u64 = outcomes
                    .iter()
                    .map(|outcome| self.counter(kind, outcome))
                    .sum();
                sum != self.counter(kind, "seen")
            })
            .map(|(kind, counters)| format!("{kind}: {counters}"))
            .collect()
    }
}

/// Counts up where the runs made so far are to be made anew.
static ROUND: AtomicU32 = AtomicU32::new(0);

/// Whether the test that runs looked at something that the kernel has spoiled.
static KERNEL_IS_TO_BLAME: AtomicBool = AtomicBool::new(false);

/// Says that the test that runs fails, or may fail, by a fault of the kernel.
pub fn blame_kernel() {
    KERNEL_IS_TO_BLAME.store(true, Ordering::Relaxed);
}

/// Whether that was said since it was last asked.
pub fn is_kernel_to_blame() -> bool {
    KERNEL_IS_TO_BLAME.swap(false, Ordering::Relaxed)
}

/// Has each [`Shared`] run made anew when it is next asked for.
pub fn make_anew() {
    ROUND.fetch_add(1, Ordering::Relaxed);
}

/// A run with what its tests must know besides, made when the first of them asks for it.
pub struct Shared<T: 'static> {
    last: Mutex<Option<Made<T>>>,
    make: fn(&Log) -> Result<T>,
}

/// A run that was made. One that was made anew is never freed: tests may still look at it, and there are
/// few.
struct Made<T: 'static> {
    round: u32,
    run: &'static Result<T, String>,
    /// Whether the kernel reset connections meanwhile.
    has_resets: bool,
}

impl<T> Shared<T> {
    pub const fn new(make: fn(&Log) -> Result<T>) -> Self {
        Self {
            last: Mutex::new(None),
            make,
        }
    }

    pub fn get(&self) -> Result<&'static T, Failed> {
        let round = ROUND.load(Ordering::Relaxed);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let made = match last.take() {
            Some(made) if made.round == round => made,
            _ => self.make(round)?,
        };
        if made.has_resets {
            blame_kernel();
        }
        let run = made.run;
        *last = Some(made);
        run.as_ref().map_err(Failed::from)
    }

    fn make(&self, round: u32) -> Result<Made<T>> {
        let resets = resets::count()?;
        let log = Log::default();
        let run = (self.make)(&log)
            .map_err(|error| format!("{error:#}\n\nAll that was printed:\n{}", log.text()));
        Ok(Made {
            round,
            run: Box::leak(Box::new(run)),
            has_resets: resets::count()? > resets,
        })
    }
}
