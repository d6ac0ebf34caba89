//! The shape of a test, and how its expectations are told; never what they are.

use std::fmt::{Debug, Display};

use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    resets,
    run::{Run, blame_kernel, is_kernel_to_blame, make_anew},
};

/// How often a test is tried whose run the kernel itself has spoiled: it skipped hooks, or reset a
/// connection. A kernel does both by chance, the more the slower the machine is. tracer counts the former,
/// and can do nothing about either.
const TRIES: u32 = 5;

/// A test.
pub struct Test {
    /// Its name, the part of the suite first.
    pub name: &'static str,
    /// What the kernel must have for it, where that is not every kernel.
    pub needs: Option<fn() -> bool>,
    /// The test.
    pub check: fn() -> Result<(), Failed>,
}

impl Test {
    /// A test for every kernel.
    pub const fn new(name: &'static str, check: fn() -> Result<(), Failed>) -> Self {
        Self {
            name,
            needs: None,
            check,
        }
    }
}

/// Runs a test; where it fails and the kernel is to blame, once more in runs made anew.
pub fn try_again(check: fn() -> Result<(), Failed>) -> Result<(), Failed> {
    for _ in 1..TRIES {
        let resets = resets::count()?;
        let result = check();
        let is_to_blame = is_kernel_to_blame() || resets::count()? > resets;
        if result.is_ok() || !is_to_blame {
            return result;
        }
        // No test is said to have failed by this, and one that often needs it is to be found.
        if let Err(failed) = &result {
            let unmet = failed.message().and_then(|unmet| unmet.lines().next());
            eprintln!("tried again: {}", unmet.unwrap_or_default());
        }
        make_anew();
    }
    check()
}

/// A field; those of an inner object or array by a path with dots. Null where there is none.
fn member<'v>(object: &'v Value, field: &str) -> &'v Value {
    let pointer = format!("/{}", field.replace('.', "/"));
    object.pointer(&pointer).unwrap_or(&Value::Null)
}

/// Expectations of one run; all are looked at, and those not met are told with the whole output.
pub struct Checks<'a> {
    run: &'a Run,
    unmet: Vec<String>,
}

impl<'a> Checks<'a> {
    pub fn of(run: &'a Run) -> Self {
        Self {
            run,
            unmet: Vec::new(),
        }
    }

    /// A field is exactly this.
    pub fn is(&mut self, object: &Value, field: &str, wanted: impl Into<Value>) {
        let wanted = wanted.into();
        let got = member(object, field);
        if *got != wanted {
            self.unmet
                .push(format!("{field} is {got}, not {wanted}, in {object}"));
        }
    }

    /// A verdict's count is exactly this; where the kernel skipped hooks, and the verdict says that
    /// its numbers are lower bounds, it is one that comes close.
    pub fn counts(&mut self, verdict: &Value, field: &str, wanted: u64) {
        if self.run.skipped_hooks() && verdict["lossy"] == true {
            let wanted = wanted as f64;
            self.lies(verdict, field, wanted * 0.8, wanted);
        } else {
            self.is(verdict, field, wanted);
        }
    }

    /// So many events were counted, each of which runs one hook, but for those that the kernel skipped.
    pub fn but_for_skipped(&mut self, what: impl Display, got: u64, wanted: u64) {
        let skipped = self.run.the("stats")["kernel_skipped"].as_u64();
        let least = wanted.saturating_sub(skipped.unwrap_or_default());
        if !(least..=wanted).contains(&got) {
            self.unmet
                .push(format!("{what}: {got}, not {least} to {wanted}"));
        }
    }

    /// A number lies within bounds, both included.
    pub fn lies(&mut self, object: &Value, field: &str, least: f64, most: f64) {
        let got = member(object, field);
        if !got
            .as_f64()
            .is_some_and(|got| (least..=most).contains(&got))
        {
            self.unmet.push(format!(
                "{field} is {got}, not {least} to {most}, in {object}"
            ));
        }
    }

    /// Two things are the same.
    pub fn same<T: PartialEq + Debug>(&mut self, what: impl Display, got: &T, wanted: &T) {
        if got != wanted {
            self.unmet.push(format!("{what}: {got:?}, not {wanted:?}"));
        }
    }

    /// Something holds.
    pub fn that(&mut self, what: impl Display, holds: bool) {
        if !holds {
            self.unmet.push(format!("not so: {what}"));
        }
    }

    /// There is such a thing; JSON's null stands for one that is missing.
    pub fn some<'v>(&mut self, what: impl Display, found: Option<&'v Value>) -> &'v Value {
        found.unwrap_or_else(|| {
            self.unmet.push(format!("there is no {what}"));
            &Value::Null
        })
    }

    /// Nothing was lost, but for runs that the kernel itself skipped: where it may preempt a hook,
    /// as 7.x does, it skips the same hook of another task on that CPU. These are told, and few.
    pub fn nothing_lost(&mut self) {
        let stats = self.run.the("stats");
        let skipped = stats["kernel_skipped"].as_u64().unwrap_or(u64::MAX);
        self.is(stats, "lost", skipped);
        let seen: u64 = stats["events"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(kind, _)| self.run.counter(kind, "seen"))
            .sum();
        // The slower the machine, the more hooks are caught in the middle by its clock.
        let few = skipped <= seen / 10;
        self.that(
            format_args!("few of {seen} runs were skipped: {skipped}"),
            few,
        );
        self.is(self.run.the("end"), "lost", skipped);
        self.is(self.run.the("end"), "complete", skipped == 0);
    }

    /// The verdict.
    pub fn end(self) -> Result<(), Failed> {
        if self.unmet.is_empty() {
            return Ok(());
        }
        if self.run.skipped_hooks() {
            blame_kernel();
        }
        let unmet = self.unmet.join("\n");
        Err(format!("{unmet}\n\nAll that was printed:\n{}", self.run.log).into())
    }
}
