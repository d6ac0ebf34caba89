//! What is said of a recording while it goes on, when it ends, and when it is read again; never what
//! it tells.

use std::path::Path;

use super::{
    clock::{compact, date_and_time},
    escape::Escaped,
    sentence,
    units::{counted, size, span},
};
use crate::{
    analysis::{Report, report::Verdict},
    model::{Nanos, Session},
};

/// How far a recording is, in one short line.
#[must_use]
pub fn progress(report: &Report) -> String {
    let streamed = report.losses.over_kinds(|events| events.streamed);
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

/// Why a dump was made: a verdict's name and its process.
#[must_use]
pub fn reason(session: &Session, verdict: &Verdict) -> String {
    format!(
        "{} of {} since {} UTC",
        verdict.finding.name(),
        sentence::who(&verdict.who),
        date_and_time(session, verdict.first_seen),
    )
}

/// The name of a dump that is begun at a moment, sorted by time among others.
#[must_use]
pub fn dump_name(session: &Session, at: Nanos) -> String {
    format!("tracer-{}.arrows", compact(session, at))
}

/// What became of all dumps of a flight recorder.
#[must_use]
pub fn dumps(written: &[impl AsRef<Path>], joined: u64, held_back: u64, failed: u64) -> String {
    let mut text = match written {
        [] => "No dump was written".to_owned(),
        [one] => format!("One dump was written: {}", path(one.as_ref())),
        [first, .., last] => format!(
            "{} dumps were written, from {} to {}",
            written.len(),
            path(first.as_ref()),
            path(last.as_ref())
        ),
    };
    for (count, noun, what) in [
        (joined, "verdict", "joined one that was being written"),
        (
            held_back,
            "verdict",
            "made none because the last one was too recent",
        ),
        (failed, "dump", "failed"),
    ] {
        if count > 0 {
            text += "; ";
            text += &counted(count, noun);
            text += " ";
            text += what;
        }
    }
    text + "."
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
