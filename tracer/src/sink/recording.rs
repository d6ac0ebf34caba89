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

/// Whether a file's name is one that [`dump_name`] gives.
#[must_use]
pub fn is_dump_name(name: &str) -> bool {
    let time = name
        .strip_prefix("tracer-")
        .and_then(|rest| rest.strip_suffix(".arrows"));
    time.is_some_and(|time| {
        // Each digit stands for any.
        let shape = time
            .bytes()
            .map(|b| if b.is_ascii_digit() { b'0' } else { b });
        shape.eq(b"00000000T000000.000Z".iter().copied())
    })
}

/// The name of the files that outlive a tracer which is killed: no other begins at the same time and has the
/// same pid.
#[must_use]
pub fn spill_name(session: &Session, pid: u32) -> String {
    format!("{}-{pid}", compact(session, session.start))
}

/// Why a dump was made of such files, which were last written at a moment.
#[must_use]
pub fn killed(session: &Session, at: Nanos) -> String {
    format!(
        "tracer itself was killed, or its host went down, after {} UTC",
        date_and_time(session, at)
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dumps_are_known_by_their_names() {
        let name = dump_name(&Session::default(), Nanos::from_secs(7));
        assert!(is_dump_name(&name), "{name}");
        for other in [
            "tracer-incident.arrows",
            "tracer-20261121T140307.123Z.arrows.gz",
            "tracer-20261121T140307.123Z.0001.arrows",
            "day.arrows",
        ] {
            assert!(!is_dump_name(other), "{other}");
        }
    }
}
