//! The words of what shows a trace in another way than a report does: its events, its rows, and what
//! differs between two; never what is done about them.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tracer_common::EventKind;

use super::{Format, TraceArgs};

/// What `tracer events` is to print.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Which trace.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// What to print: aligned columns, or one JSON object a line (see docs/fields.md)
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Only events of these kinds, such as `tcp_connect,tcp_state`; `tcp`, `fd` and `process` stand for
    /// all of theirs
    #[arg(
        long = "kind", value_name = "KIND", value_delimiter = ',', value_parser = kinds,
        conflicts_with = "lives"
    )]
    pub kinds: Vec<Kinds>,
    /// One line for each connection that ended, as tcplife has them, instead of events
    #[arg(long)]
    pub lives: bool,
}

impl EventsArgs {
    /// The wanted kinds of events; empty for all.
    #[must_use]
    pub fn wanted_kinds(&self) -> Vec<EventKind> {
        Kinds::all(&self.kinds)
    }
}

/// Some kinds of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(Vec<EventKind>);

impl Kinds {
    /// The kinds of several words.
    pub(super) fn all(words: &[Self]) -> Vec<EventKind> {
        words.iter().flat_map(|kinds| kinds.0.clone()).collect()
    }
}

/// Reads a kind, or the word that stands for several.
pub(super) fn kinds(word: &str) -> Result<Kinds, String> {
    let is_of = |kind: &EventKind| {
        kind.name() == word
            || kind.name().split('_').next() == Some(word)
            || (word == "process" && *kind == EventKind::Exit)
    };
    let kinds: Vec<_> = EventKind::ALL.into_iter().filter(is_of).collect();
    if kinds.is_empty() {
        let names = EventKind::ALL.map(EventKind::name).join(", ");
        return Err(format!(
            "the kinds are {names}, and tcp, fd and process for all of theirs"
        ));
    }
    Ok(Kinds(kinds))
}

/// What `tracer export` is to write.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Which trace.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// Which format [default: by the name of the output]
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<ExportAs>,
    /// Where it goes; `-` is standard output, for jsonl and csv
    #[arg(short, long, value_name = "OUT")]
    pub output: PathBuf,
}

impl ExportArgs {
    /// The format: as asked for, or by the name of the output. Says what is wrong where there is none.
    pub fn chosen_format(&self) -> Result<ExportAs, String> {
        let by_name = || match self.output.extension()?.to_str()? {
            "parquet" => Some(ExportAs::Parquet),
            "jsonl" | "ndjson" => Some(ExportAs::Jsonl),
            "csv" => Some(ExportAs::Csv),
            _ => None,
        };
        let format = self.format.or_else(by_name).ok_or_else(|| {
            "the name of the output tells no format: give --format parquet, jsonl or csv".to_owned()
        })?;
        if self.is_to_stdout() && format == ExportAs::Parquet {
            return Err("Parquet cannot be written to a pipe: give -o a file".to_owned());
        }
        Ok(format)
    }

    /// Whether it goes to standard output.
    #[must_use]
    pub fn is_to_stdout(&self) -> bool {
        self.output.as_os_str() == "-"
    }
}

/// A format that other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportAs {
    /// Apache Parquet, compressed.
    Parquet,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values, with a line of names.
    Csv,
}

/// What `tracer diff` is to compare.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The earlier trace
    #[arg(value_name = "BEFORE")]
    pub before: PathBuf,
    /// The later trace
    #[arg(value_name = "AFTER")]
    pub after: PathBuf,
    /// Only connections with this port on either side; repeat it or separate by commas
    #[arg(
        long = "port", value_name = "PORT", value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub ports: Vec<u16>,
    /// What to print: what changed by more than chance, or all as one JSON object a line (see
    /// docs/fields.md)
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// End with exit code 4 if a trace is cut or damaged, instead of with a warning only
    #[arg(long)]
    pub strict: bool,
}

impl DiffArgs {
    /// One of the two as what is opened.
    #[must_use]
    pub fn trace(&self, path: &std::path::Path) -> TraceArgs {
        TraceArgs {
            files: vec![path.to_owned()],
            ports: self.ports.clone(),
            pids: Vec::new(),
            from: None,
            to: None,
            strict: self.strict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_families() {
        let read = |word: &str| kinds(word).map(|kinds| kinds.0);
        assert_eq!(read("fd_install"), Ok(vec![EventKind::FdInstall]));
        assert_eq!(read("tcp").map(|kinds| kinds.len()), Ok(6));
        assert_eq!(read("fd").map(|kinds| kinds.len()), Ok(4));
        assert_eq!(
            read("process"),
            Ok(vec![EventKind::Process, EventKind::Exit])
        );
        assert!(read("udp").unwrap_err().contains("tcp_connect, "));
    }

    #[test]
    fn the_format_of_an_export_is_known_by_its_name() {
        let args = |output: &str, format| ExportArgs {
            trace: TraceArgs {
                files: Vec::new(),
                ports: Vec::new(),
                pids: Vec::new(),
                from: None,
                to: None,
                strict: false,
            },
            format,
            output: output.into(),
        };
        assert_eq!(
            args("a.parquet", None).chosen_format(),
            Ok(ExportAs::Parquet)
        );
        assert_eq!(args("a.b.csv", None).chosen_format(), Ok(ExportAs::Csv));
        let asked = args("a.csv", Some(ExportAs::Jsonl));
        assert_eq!(asked.chosen_format(), Ok(ExportAs::Jsonl));
        assert!(args("out", None).chosen_format().is_err());
        assert!(args("-", None).chosen_format().is_err());
        let pipe = args("-", Some(ExportAs::Parquet));
        assert!(pipe.chosen_format().unwrap_err().contains("a pipe"));
    }
}
