//! The words of `tracer report`; never what is done about them.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{ThresholdArgs, TraceArgs};

/// How `tracer report` is to tell of a trace.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Which trace.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Write to this file, which is replaced as a whole or not at all; - is standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
    /// What to write [default: by the file's name, and else html]
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<ReportFormat>,
    /// When it speaks up.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
}

impl ReportArgs {
    /// The file to write; `None` is standard output.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        Some(self.output.as_path()).filter(|path| *path != Path::new("-"))
    }

    /// What to write.
    #[must_use]
    pub fn format(&self) -> ReportFormat {
        let is_markdown = self
            .output
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("md"));
        self.format.unwrap_or(if is_markdown {
            ReportFormat::Markdown
        } else {
            ReportFormat::Html
        })
    }
}

/// For whom a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One page that loads nothing, to attach to an incident.
    Html,
    /// Text to paste into a ticket.
    Markdown,
}
