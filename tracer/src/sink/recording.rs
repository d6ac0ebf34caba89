//! What is said of a recording while it goes on, when it ends, and when it is read again; never what
//! it tells.

use std::path::Path;

use super::{
    clock::date_and_time,
    escape::Escaped,
    units::{counted, size, span},
};
use crate::{
    analysis::Report,
    model::{Nanos, Session},
};

/// How far a recording is, in one short line.
#[must_use]
pub fn progress(report: &Report) -> String {
    let streamed = (report.losses.by_kind.iter())
        .map(|events| events.streamed)
        .sum();
    format!(
        "Recording for {}: {}, {}, {} lost. Ctrl-C ends it.",
        span(report.at.since(report.session.start)),
        counted(streamed, "event"),
        counted(report.verdicts.len() as u64, "verdict"),
        report.losses.total(),
    )
}

/// What was recorded.
#[must_use]
pub fn recorded(files: &[impl AsRef<Path>], removed: u64, inputs: u64, bytes: u64) -> String {
    let what = format!("{}, {}", counted(inputs, "input"), size(bytes as f64));
    match files {
        [] => format!("Recorded {what}."),
        [file] => {
            let file = path(file.as_ref());
            format!("Recorded {what}: `tracer replay {file}` shows them.")
        }
        [first, .., last] => {
            let older = match removed {
                0 => String::new(),
                older => format!("; {} removed", counted(older, "older file")),
            };
            format!(
                "Recorded {what}, in {} files from {} to {}{older}: `tracer replay` with all of them \
                 shows them as one.",
                files.len(),
                path(first.as_ref()),
                path(last.as_ref()),
            )
        }
    }
}

/// What was found by the end of a recording.
#[must_use]
pub fn found(report: &Report) -> String {
    format!(
        "It has {} and lost {}.",
        counted(report.verdicts.len() as u64, "verdict"),
        counted(report.losses.total(), "event"),
    )
}

/// Where a trace lacks something.
#[must_use]
pub fn gap(session: &Session, file: &Path, at: Nanos, why: &str) -> String {
    format!(
        "{}: the trace lacks what came after {} UTC: {why}",
        path(file),
        date_and_time(session, at),
    )
}

fn path(path: &Path) -> String {
    Escaped(&path.to_string_lossy()).to_string()
}
