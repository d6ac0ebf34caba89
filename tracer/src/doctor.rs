//! Tells whether this machine can be traced, what is missing, and what that costs; never changes
//! anything on it.

mod checks;
mod facts;

use std::{borrow::Cow, fmt::Write as _};

use serde::Serialize;

use facts::Facts;

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is there.
    Yes,
    /// It is not.
    No,
    /// It cannot be told, most often without root.
    Unknown,
}

impl Verdict {
    /// The word in the first column.
    const fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "?",
        }
    }
}

/// One thing that tracing depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is looked for.
    pub name: &'static str,
    /// Whether it is there.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What is lost without it.
    pub cost_if_absent: Cow<'static, str>,
    /// What can be done; empty where nothing can or need be.
    pub remedy: &'static str,
    /// Whether nothing works without it.
    pub essential: bool,
}

/// Makes every check on this machine. Works without root, where some verdicts are
/// [`Verdict::Unknown`]. Takes some tens of milliseconds.
#[must_use]
pub fn run() -> Vec<Check> {
    checks::judge(&Facts::gather())
}

/// Why tracing cannot work here and what to do, for a person to read; `None` where nothing essential
/// is known to be missing.
#[must_use]
pub fn obstacles(checks: &[Check]) -> Option<String> {
    let mut text = String::new();
    for check in checks {
        if check.essential && check.verdict == Verdict::No {
            push(&mut text, "\n  ", &[check.name, ": ", &check.detail, "."]);
            if !check.remedy.is_empty() {
                push(&mut text, "\n    ", &[check.remedy, "."]);
            }
        }
    }
    if text.is_empty() {
        return None;
    }
    Some(format!(
        "tracer cannot trace on this machine:{text}\n`tracer doctor` lists all checks."
    ))
}

/// The checks as plain lines: the verdict, the name, what was found, and for what is not there what
/// that costs and what to do.
#[must_use]
pub fn render(checks: &[Check]) -> String {
    let width = checks
        .iter()
        .map(|check| check.name.chars().count())
        .max()
        .unwrap_or_default();
    let mut text = String::new();
    for check in checks {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<3}  {:<width$}  {}",
            check.verdict.name(),
            check.name,
            check.detail
        );
        if check.verdict == Verdict::Yes {
            continue;
        }
        let indent = format!("{:<1$}", "", width + 7);
        push(
            &mut text,
            &indent,
            &["without: ", &check.cost_if_absent, "\n"],
        );
        if !check.remedy.is_empty() {
            push(&mut text, &indent, &["remedy: ", check.remedy, "\n"]);
        }
    }
    text.push_str(match obstacles(checks) {
        Some(_) => "\nTracing cannot work here.\n",
        None if checks
            .iter()
            .any(|check| check.essential && check.verdict == Verdict::Unknown) =>
        {
            "\nTracing may work here; some checks could not be made.\n"
        }
        None => "\nTracing can work here.\n",
    });
    text
}

fn push(text: &mut String, indent: &str, parts: &[&str]) {
    text.push_str(indent);
    text.extend(parts.iter().copied());
}

#[cfg(test)]
#[path = "doctor/tests.rs"]
mod tests;
