//! Tells the systemd journal log lines and verdicts with their fields, where it is what standard error and
//! standard output lead to; never what a line or a verdict says.

use std::{env, io, os::fd::AsFd};

use env_filter::Filter;
use log::{Level, LevelFilter, Log, Metadata, Record};
use rustix::fs::fstat;
use systemd_journal_logger::JournalLog;

use super::action;
use crate::{
    analysis::report::Verdict,
    model::Session,
    sink::{json, labelled_sentence},
};

/// Begins to log lines of this level and above, or as `RUST_LOG` says: to the journal with priority and
/// fields where standard error leads there, otherwise as text.
pub fn start_log(level: LevelFilter) {
    if let Some(log) = open(io::stderr()) {
        let rules = env::var("RUST_LOG").unwrap_or_default();
        let filter = env_filter::Builder::new()
            .filter_level(level)
            .parse(&rules)
            .build();
        let most = filter.filter();
        // There is no other logger before the first.
        if log::set_boxed_logger(Box::new(Filtered { filter, log })).is_ok() {
            log::set_max_level(most);
        }
        return;
    }
    env_logger::Builder::new()
        .filter_level(level)
        .parse_default_env()
        .format_target(false)
        .init();
}

/// The journal, where this stream leads there (systemd.exec(5), `JOURNAL_STREAM`) and it takes entries.
fn open(stream: impl AsFd) -> Option<JournalLog> {
    let told = env::var("JOURNAL_STREAM").ok()?;
    let found = fstat(stream).ok()?;
    if told != format!("{}:{}", found.st_dev, found.st_ino) {
        return None;
    }
    let log = JournalLog::empty().ok()?;
    Some(log.with_syslog_identifier("tracer".to_owned()))
}

struct Filtered {
    filter: Filter,
    log: JournalLog,
}

impl Log for Filtered {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if self.filter.matches(record) {
            self.log.log(record);
        }
    }

    fn flush(&self) {
        self.log.flush();
    }
}

/// The journal in the place of standard output.
pub(super) struct Journal(JournalLog);

impl Journal {
    /// The journal, where standard output leads there.
    pub(super) fn of_stdout() -> Option<Self> {
        open(io::stdout()).map(Self)
    }

    /// A verdict as an entry: a warning while it goes on, a notice when it is over. A journal that is being
    /// started again is no reason to end.
    pub(super) fn verdict(&self, session: &Session, verdict: &Verdict) {
        let line = json::verdict(session, verdict);
        let mut fields = action::environment(verdict);
        // An entry is found by the fields that it has: one that is empty says nothing.
        fields.retain(|(_, value)| !value.is_empty());
        fields.push(("VERDICT_ONGOING", verdict.ongoing.to_string()));
        fields.push(("VERDICT_JSON", line.trim_end().to_owned()));
        let level = if verdict.ongoing {
            Level::Warn
        } else {
            Level::Info
        };
        let sent = self.0.journal_send(
            &Record::builder()
                .level(level)
                .target("verdict")
                .args(format_args!("{}", labelled_sentence(session, verdict)))
                .key_values(&fields)
                .build(),
        );
        if let Err(error) = sent {
            log::error!("verdict {} is not in the journal: {error}", verdict.id);
        }
    }
}
