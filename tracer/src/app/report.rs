//! Makes a page or a ticket's text of a trace; never a conclusion of its own, and never half a file.

use std::{fs::Permissions, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};

use super::{print, replay::recorded_thresholds, traces::Traces};
use crate::{
    analysis::{Engine, SeriesRecorder},
    cli::{ReportArgs, ReportFormat, exit},
    model::Input,
    sink::{Provenance, html, markdown},
};

/// Writes the report; gives the code to end with.
pub(super) fn report(args: &ReportArgs) -> Result<u8> {
    let mut traces = Traces::open(&args.trace)?;
    let mut engine = Engine::new(args.thresholds.over(recorded_thresholds(&traces)));
    let mut recorder = SeriesRecorder::default();
    for input in traces.by_ref() {
        engine.apply(&input);
        recorder.observe(&engine, &input);
        if let Input::Tick(_) = input {
            // Nobody looks anything up, nor reads updates; they must not pile up.
            engine.take_lookups();
            engine.take_verdict_updates();
        }
    }
    let report = engine.report();
    let files = args.trace.files.iter();
    let provenance = Provenance {
        files: files.map(|file| file.display().to_string()).collect(),
        notes: traces.notes(),
    };
    let text = match args.format() {
        ReportFormat::Html => html::render(&report, &recorder.series(&engine), &provenance),
        ReportFormat::Markdown => markdown::render(&report, &provenance),
    };
    match args.file() {
        None => print(&text)?,
        Some(file) => {
            write(file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        }
    }
    Ok(traces.end(exit::CLEAN))
}

/// Writes a file as a whole: who looks at it meanwhile finds the old one, and so does everybody
/// where the disk is full.
fn write(file: &Path, text: &str) -> Result<()> {
    if file.exists() && !file.is_file() {
        // A device or a pipe is written to, not replaced.
        std::fs::write(file, text)?;
        return Ok(());
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut whole = tempfile::Builder::new()
        .prefix(".tracer-report-")
        // As any new file: what the user's mask leaves of it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    whole.write_all(text.as_bytes())?;
    whole.persist(file)?;
    Ok(())
}
