//! Where a watch's findings go: the terminal, a pipe, or JSON lines; never how they look.

use std::io::{self, IsTerminal as _, Write as _};

use crate::{
    analysis::{Report, report::Verdict},
    cli::Format,
    model::Session,
    sink::{Look, json, recording, screen::Screen, table},
};

use super::{journal::Journal, print};

/// The one place that a watch's output goes through.
pub(super) enum Output {
    /// Nothing is shown before the end.
    Silent,
    /// A line on standard error says how far it is; the report is for later.
    Progress,
    /// A terminal: the report in place, and for good at the end.
    Screen(Screen, Look),
    /// A pipe or file: verdicts when they are made and when they are over, the report at the end.
    Lines(Look),
    /// One JSON object a line.
    Json,
    /// The systemd journal: an entry for each verdict, when it is made and when it is over.
    Journal(Journal),
}

impl Output {
    pub(super) fn silent() -> Self {
        Self::Silent
    }

    /// For machines.
    pub(super) fn service() -> Self {
        Journal::of_stdout().map_or(Self::Json, Self::Journal)
    }

    /// For a recording.
    pub(super) fn progress() -> Self {
        if io::stderr().is_terminal() {
            Self::Progress
        } else {
            Self::Silent
        }
    }

    /// Chooses by the format, by what standard output is, and by whether there is something to see
    /// before the end.
    pub(super) fn start(format: Format, look: Look, goes_on: bool) -> io::Result<Self> {
        Ok(match format {
            Format::Json => Self::Json,
            Format::Table if goes_on && io::stdout().is_terminal() => {
                Self::Screen(Screen::enter()?, look)
            }
            Format::Table => Self::Lines(look),
        })
    }

    /// Whether reports are shown while the watch goes on.
    pub(super) fn refreshes(&self) -> bool {
        matches!(self, Self::Screen(..) | Self::Progress)
    }

    /// The watch has begun.
    pub(super) fn begin(&mut self, session: &Session) -> io::Result<()> {
        match self {
            Self::Silent | Self::Progress | Self::Screen(..) | Self::Journal(_) => Ok(()),
            Self::Lines(look) => print(&table::unwatched(*look, session)),
            Self::Json => print(&json::start(session)),
        }
    }

    /// Verdicts were made or have changed.
    pub(super) fn verdicts(&mut self, session: &Session, verdicts: &[Verdict]) -> io::Result<()> {
        match self {
            Self::Silent | Self::Progress | Self::Screen(..) => Ok(()),
            // The report at the end has the last numbers: in a log, a line each second would bury
            // what is new.
            Self::Lines(look) => begun_or_over(verdicts)
                .try_for_each(|verdict| print(&table::verdict_line(*look, session, verdict))),
            Self::Journal(journal) => {
                begun_or_over(verdicts).for_each(|verdict| journal.verdict(session, verdict));
                Ok(())
            }
            Self::Json => verdicts
                .iter()
                .try_for_each(|verdict| print(&json::verdict(session, verdict))),
        }
    }

    /// What is known now.
    pub(super) fn refresh(&mut self, report: &Report) -> io::Result<()> {
        match self {
            Self::Screen(screen, look) => screen.draw(&table::render(*look, report)),
            Self::Progress => {
                // One line that replaces itself, and is gone at the end.
                write!(io::stderr(), "\r{}\x1b[K", recording::progress(report))
            }
            Self::Silent | Self::Lines(_) | Self::Json | Self::Journal(_) => Ok(()),
        }
    }

    /// The last report. The terminal is given back first, so that the report stays on it.
    pub(super) fn end(self, report: &Report) -> io::Result<()> {
        match self {
            Self::Silent | Self::Journal(_) => Ok(()),
            Self::Progress => write!(io::stderr(), "\r\x1b[K"),
            Self::Screen(screen, look) => {
                drop(screen);
                print(&table::render(look, report))
            }
            Self::Lines(look) => print(&table::render(look, report)),
            Self::Json => print(&json::report_lines(report)),
        }
    }
}

fn begun_or_over(verdicts: &[Verdict]) -> impl Iterator<Item = &Verdict> {
    verdicts
        .iter()
        .filter(|verdict| verdict.update == 0 || !verdict.ongoing)
}

/// Only the `TIME_WAIT` sockets, and the end.
pub(super) fn time_wait_lines(report: &Report) -> String {
    let mut lines: String = report
        .time_wait
        .iter()
        .map(|row| json::time_wait(&report.session, report.at, row))
        .collect();
    lines.push_str(&json::stats(report));
    lines.push_str(&json::end(report));
    lines
}
