//! Events and connections as lines, in the shape that users of tcplife, tcptracer and opensnoop know:
//! a column has its width from the start, so that nothing waits for the end; never prints text of the
//! traced world unescaped.

mod json;
#[cfg(test)]
pub(super) mod tests;

use tracer_common::EventKind;
use unicode_width::UnicodeWidthStr as _;

use crate::{
    analysis::lives::{EndedBy, Life},
    model::{Event, EventBody, FdEvent, Nanos, ProcessSeen, Session, TcpAction, TcpEvent},
};

use super::{
    clock::{date, time_of_day_ms},
    errno,
    escape::Escaped,
    look::{ALARM, FAINT, Look, NAME, WARNING},
    sentence::endpoint,
};

pub use json::{event as json_event, life as json_life};

/// What stands for a value that is not known.
const UNKNOWN: &str = "-";

/// A column's title and width; a negative width is of numbers, which stand to the right.
type Column = (&'static str, i8);

const TIME: Column = ("TIME", 12);
const PID: Column = ("PID", -7);
const COMM: Column = ("COMM", 15);
const TID: Column = ("TID", -7);
const THREAD: Column = ("THREAD", 15);
/// The longest kind is `tcp_connect_failed`.
const KIND: Column = ("EVENT", 18);
/// An IPv4 address and a port; one of IPv6 takes what it needs.
const LOCAL: Column = ("LADDR:LPORT", 21);
const REMOTE: Column = ("RADDR:RPORT", 21);
/// The longest is `ESTABLISHED->CLOSE_WAIT`.
const STATE: Column = ("STATE", 23);
const TX: Column = ("TX_B", -9);
const RX: Column = ("RX_B", -9);
const MS: Column = ("MS", -10);
const ERROR: Column = ("ERR", 12);
const FD: Column = ("FD", -5);
const SOURCE: Column = ("SOURCE", 8);
const FD_KIND: Column = ("KIND", 9);
const PATH: Column = ("PATH", 0);
const DETAILS: Column = ("DETAILS", 0);

const EVENT: [Column; 6] = [TIME, KIND, PID, COMM, TID, THREAD];
const CONNECTION: [Column; 7] = [LOCAL, REMOTE, STATE, TX, RX, MS, ERROR];
const DESCRIPTOR: [Column; 5] = [FD, ERROR, SOURCE, FD_KIND, PATH];

/// tcplife's columns, with the time before them, and after them who ended it and which thread it was.
const LIFE: [Column; 13] = [
    TIME,
    PID,
    COMM,
    ("LADDR", 15),
    ("LPORT", -5),
    ("RADDR", 15),
    ("RPORT", -5),
    ("TX_KB", -8),
    ("RX_KB", -8),
    MS,
    ("ENDED_BY", 12),
    TID,
    THREAD,
];

/// Lines for people.
#[derive(Debug)]
pub struct Lines {
    look: Look,
    /// The day of the last line.
    day: String,
}

impl Lines {
    /// Lines that look so.
    #[must_use]
    pub const fn new(look: Look) -> Self {
        Self {
            look,
            day: String::new(),
        }
    }

    /// The titles above events of these kinds; above all kinds where there are none.
    #[must_use]
    pub fn event_titles(&self, kinds: &[EventKind]) -> String {
        let all = |of: fn(EventKind) -> bool| !kinds.is_empty() && kinds.iter().all(|k| of(*k));
        let rest: &[Column] = if all(is_connection) {
            &CONNECTION
        } else if all(is_descriptor) {
            &DESCRIPTOR
        } else {
            &[DETAILS]
        };
        self.titles(EVENT.iter().chain(rest))
    }

    /// The titles above connections that are over.
    #[must_use]
    pub fn life_titles(&self) -> String {
        self.titles(LIFE.iter())
    }

    fn titles<'a>(&self, columns: impl Iterator<Item = &'a Column>) -> String {
        let mut row = Row::default();
        for column in columns {
            row.cell(*column, column.0);
        }
        self.look.paint(FAINT, row.text.trim_end()) + "\n"
    }

    /// An event by a process of this name.
    #[must_use]
    pub fn event(&mut self, session: &Session, event: &Event, comm: &str) -> String {
        let mut row = Row::default();
        self.time(&mut row, session, event.ts);
        let kind = event.body.kind();
        let style = match kind {
            EventKind::FdExhausted => Some(ALARM),
            EventKind::TcpConnectFailed | EventKind::FdOpenFailed => Some(WARNING),
            _ => None,
        };
        row.painted(KIND, kind.name(), self.look, style);
        row.cell(PID, &number(event.pid.known()));
        row.painted(COMM, &name(comm), self.look, Some(NAME));
        row.cell(TID, &number((event.tid.0 != 0).then_some(event.tid)));
        row.cell(THREAD, &name(event.thread.as_str()));
        match &event.body {
            EventBody::Tcp(tcp) => connection(&mut row, event.ts, tcp),
            EventBody::Fd(fd) => descriptor(&mut row, fd),
            EventBody::Process(seen) => row.last(&process(seen)),
            EventBody::Exit { counters, .. } => {
                let sum = |counts: &[u64]| counts.iter().fold(0, |n: u64, c| n.saturating_add(*c));
                row.last(&format!(
                    "connects {}, accepts {}, descriptors got {}, closed {}, refused {}",
                    counters.connects,
                    counters.accepts,
                    sum(&counters.fds_got_of_kind),
                    sum(&counters.fds_closed_of_kind),
                    sum(&counters.fds_refused),
                ));
            }
        }
        row.line()
    }

    /// A connection that is over.
    #[must_use]
    pub fn life(&mut self, session: &Session, life: &Life) -> String {
        let mut row = Row::default();
        self.time(&mut row, session, life.end);
        let [_, pid, comm, rest @ ..] = LIFE;
        row.cell(pid, &number(life.who.pid));
        row.painted(comm, &name(&life.who.comm), self.look, Some(NAME));
        let (ended_by, style) = match life.ended_by {
            EndedBy::Local => ("local".into(), None),
            EndedBy::Remote => ("remote".into(), None),
            EndedBy::Failure(error) => (errno::name(error), Some(WARNING)),
        };
        let [laddr, lport, raddr, rport, tx, rx, ms, by, tid, thread] = rest;
        row.cell(laddr, &life.local.addr.to_string());
        row.cell(lport, &port(life.local.port));
        row.cell(raddr, &life.remote.addr.to_string());
        row.cell(rport, &port(life.remote.port));
        row.cell(tx, &kilobytes(life.tx_bytes));
        row.cell(rx, &kilobytes(life.rx_bytes));
        row.cell(ms, &millis(life.start.map(|start| life.end.since(start))));
        row.painted(by, &ended_by, self.look, style);
        row.cell(tid, &number(life.who.tid));
        row.cell(
            thread,
            &name(life.who.thread.as_deref().unwrap_or_default()),
        );
        row.line()
    }

    /// The time of day, on a line of its own the day where that is another than before.
    fn time(&mut self, row: &mut Row, session: &Session, at: Nanos) {
        let day = date(session, at);
        if day != self.day {
            let line = format!("# {day}, times are UTC");
            row.text.push_str(&self.look.paint(FAINT, &line));
            row.text.push('\n');
            self.day = day;
        }
        row.cell(TIME, &time_of_day_ms(session, at));
    }
}

/// Whether a kind of event is one of a connection.
const fn is_connection(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::TcpConnect
            | EventKind::TcpConnectFailed
            | EventKind::TcpAccept
            | EventKind::TcpState
            | EventKind::TcpTimeWait
            | EventKind::TcpClose
    )
}

/// Whether a kind of event is one of a descriptor.
const fn is_descriptor(kind: EventKind) -> bool {
    matches!(
        kind,
        EventKind::FdInstall
            | EventKind::FdOpenFailed
            | EventKind::FdExhausted
            | EventKind::FdClose
    )
}

fn connection(row: &mut Row, at: Nanos, tcp: &TcpEvent) {
    row.cell(LOCAL, &endpoint(tcp.local));
    row.cell(REMOTE, &endpoint(tcp.remote));
    let state = if tcp.old_state == tcp.new_state {
        tcp.new_state.to_string()
    } else {
        format!("{}->{}", tcp.old_state, tcp.new_state)
    };
    row.cell(STATE, &state);
    row.cell(TX, &tcp.tx_bytes.to_string());
    row.cell(RX, &tcp.rx_bytes.to_string());
    let age = tcp.start.filter(|_| tcp.action != TcpAction::Connect);
    row.cell(MS, &millis(age.map(|start| at.since(start))));
    row.cell(ERROR, &error(tcp.errno).unwrap_or_default());
}

fn descriptor(row: &mut Row, fd: &FdEvent) {
    row.cell(FD, &number(fd.fd));
    row.cell(ERROR, &error(fd.errno).unwrap_or(UNKNOWN.into()));
    row.cell(SOURCE, fd.source.name());
    row.cell(FD_KIND, fd.kind.name());
    let path = fd.path.as_ref().map_or("", |path| path.text.as_str());
    row.last(&Escaped(path).to_string());
}

fn process(seen: &ProcessSeen) -> String {
    let verb = if seen.is_exec { "exec, " } else { "" };
    format!(
        "{verb}parent {}[{}], uid {}: {}",
        Escaped(seen.parent_comm.as_str()),
        seen.ppid,
        seen.uid,
        Escaped(&seen.cmdline)
    )
}

/// An error's name, where there is one.
pub(super) fn error(number: i32) -> Option<std::borrow::Cow<'static, str>> {
    (number != 0).then(|| errno::name(number))
}

fn name(text: &str) -> String {
    if text.is_empty() {
        UNKNOWN.to_owned()
    } else {
        Escaped(text).to_string()
    }
}

fn number(number: Option<impl ToString>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string())
}

fn port(port: u16) -> String {
    number((port != 0).then_some(port))
}

fn millis(span: Option<Nanos>) -> String {
    number(span.map(|span| format!("{:.2}", span.as_millis_f64())))
}

/// Kilobytes as tcplife counts them (1024 bytes), but not so short that a handshake reads 0.
fn kilobytes(bytes: u64) -> String {
    let kilobytes = bytes as f64 / 1024.0;
    match bytes {
        0 => "0".to_owned(),
        _ if kilobytes < 10.0 => format!("{kilobytes:.2}"),
        _ => format!("{kilobytes:.0}"),
    }
}

/// A line that grows by cells.
#[derive(Default)]
struct Row {
    text: String,
}

impl Row {
    fn cell(&mut self, column: Column, text: &str) {
        self.painted(column, text, Look::PLAIN, None);
    }

    /// A cell; what is wider than its column moves the rest on, as a cut value would mislead.
    fn painted(
        &mut self,
        (_, width): Column,
        text: &str,
        look: Look,
        style: Option<anstyle::Style>,
    ) {
        let missing = usize::from(width.unsigned_abs()).saturating_sub(text.width());
        let padding = " ".repeat(missing);
        if width < 0 {
            self.text.push_str(&padding);
        }
        match style {
            Some(style) => self.text.push_str(&look.paint(style, text)),
            None => self.text.push_str(text),
        }
        if width >= 0 {
            self.text.push_str(&padding);
        }
        self.text.push(' ');
    }

    /// The last cell, as wide as it is.
    fn last(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn line(mut self) -> String {
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
        self.text
    }
}
