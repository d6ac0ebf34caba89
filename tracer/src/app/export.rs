//! Writes the rows of a trace for other programs, whole or not at all; never changes what they say.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

use super::traces::Traces;
use crate::{
    cli::{ExportArgs, ExportAs, exit},
    model::Input,
    trace::{ExportFormat, Exporter, Head},
};

/// How many inputs pass before the counter on the terminal moves.
const SHOWN_EACH: u64 = 65_536;

/// Writes the rows; gives the code to end with.
pub(super) fn export(args: &ExportArgs) -> Result<u8> {
    let format = match args.chosen_format() {
        Ok(ExportAs::Parquet) => ExportFormat::Parquet,
        Ok(ExportAs::Jsonl) => ExportFormat::Jsonl,
        Ok(ExportAs::Csv) => ExportFormat::Csv,
        Err(wrong) => {
            eprintln!("error: {wrong}");
            return Ok(exit::CANNOT_TRACE);
        }
    };
    let mut traces = Traces::open(&args.trace)?;
    if args.is_to_stdout() {
        let is_closed = Arc::new(AtomicBool::new(false));
        let pipe = Pipe {
            is_closed: Arc::clone(&is_closed),
        };
        let written = write(format, &mut traces, BufWriter::new(pipe));
        let written = written.and_then(|(mut out, _)| Ok(out.flush()?));
        // The writers make texts of errors, and this is none.
        if !is_closed.load(Ordering::Relaxed) {
            written?;
        }
    } else {
        let unfinished = Unfinished::create(&args.output)?;
        let out = BufWriter::new(unfinished.file()?);
        let (out, rows) = write(format, &mut traces, out)
            .with_context(|| format!("cannot write {}", args.output.display()))?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        unfinished.finish()?;
        eprintln!("{rows} rows in {}", args.output.display());
    }
    Ok(traces.end(exit::CLEAN))
}

/// Writes all inputs; gives back where to, and how many rows they were.
fn write<W: Write + Send>(format: ExportFormat, traces: &mut Traces, out: W) -> Result<(W, u64)> {
    // Hidden where standard error is no terminal.
    let style =
        ProgressStyle::with_template("{spinner} {human_pos} inputs in {elapsed}, {per_sec}")
            .context("the progress line is not understood")?;
    let progress = ProgressBar::new_spinner()
        .with_style(style)
        .with_finish(ProgressFinish::AndClear);
    let mut head = traces.head().clone();
    let mut exporter = None;
    let mut out = Some(out);
    for (number, input) in (0_u64..).zip(traces.by_ref()) {
        if let Input::Session(session) = &input {
            // The selection of what is written, not of all that was traced.
            head.session = (**session).clone();
        }
        let exporter = begin(&mut exporter, format, &head, &mut out)?;
        exporter.push(&input)?;
        if number % SHOWN_EACH == 0 {
            progress.set_position(number);
        }
    }
    begin(&mut exporter, format, &head, &mut out)?;
    drop(progress);
    let exporter = exporter.context("nothing was begun")?;
    Ok(exporter.finish()?)
}

/// Begins to write once the session is known, which comes first.
fn begin<'a, W: Write + Send>(
    exporter: &'a mut Option<Exporter<W>>,
    format: ExportFormat,
    head: &Head,
    out: &mut Option<W>,
) -> Result<&'a mut Exporter<W>> {
    if let Some(out) = out.take() {
        *exporter = Some(Exporter::new(format, head, out)?);
    }
    exporter.as_mut().context("nothing was begun")
}

/// Standard output, and whether its reader has seen enough.
struct Pipe {
    is_closed: Arc<AtomicBool>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A lock cannot go to another thread, which the writers insist on.
        io::stdout().write(bytes).inspect_err(|error| {
            if error.kind() == io::ErrorKind::BrokenPipe {
                self.is_closed.store(true, Ordering::Relaxed);
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}

/// A file beside the one that is asked for, which takes its name once it is whole, and is removed if
/// it never is.
struct Unfinished {
    path: PathBuf,
    wanted: PathBuf,
}

impl Unfinished {
    fn create(wanted: &Path) -> Result<Self> {
        let mut name = wanted
            .file_name()
            .with_context(|| format!("{} names no file", wanted.display()))?
            .to_owned();
        name.push(".partial");
        Ok(Self {
            path: wanted.with_file_name(name),
            wanted: wanted.to_owned(),
        })
    }

    fn file(&self) -> Result<File> {
        File::create(&self.path).with_context(|| format!("cannot create {}", self.path.display()))
    }

    fn finish(self) -> Result<()> {
        std::fs::rename(&self.path, &self.wanted)
            .with_context(|| format!("cannot rename to {}", self.wanted.display()))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Not there any more where it was finished.
        let _ = std::fs::remove_file(&self.path);
    }
}
