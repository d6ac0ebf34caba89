//! Lays a report out for people: verdicts first, then processes, `TIME_WAIT` sockets and losses;
//! never prints text of the traced world unescaped.

mod descriptors;

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    analysis::report::{Identity, ProcessRow, Report, TimeWaitRow, Verdict},
    model::{Endpoint, Session},
};

use super::{
    clock::{date_and_time, time_of_day},
    completeness,
    escape::Escaped,
    grid::{Column, fit, grid, wrap},
    look::{ALARM, FAINT, Look, NAME, TITLE, WARNING},
    sentence, stack,
    units::span,
};

/// Processes shown: the busiest; JSON has all.
const PROCESSES_SHOWN: usize = 20;

/// Owners of `TIME_WAIT` sockets shown, those with the most sockets; `tracer timewait` lists every
/// socket.
const OWNERS_SHOWN: usize = 20;

/// What the lines that belong to a finding are set in by.
const INDENT: &str = "    ";

/// The whole report.
#[must_use]
pub fn render(look: Look, report: &Report) -> String {
    let mut text = head(look, report);
    text.push_str(&verdicts(look, report));
    text.push_str(&processes(look, report));
    text.push_str(&descriptors::render(look, report));
    text.push_str(&time_wait(look, report));
    text.push_str(&losses(look, report));
    text
}

/// A verdict as it is made, in one line: in full the first time, shortened when it is an update.
#[must_use]
pub fn verdict_line(look: Look, session: &Session, verdict: &Verdict) -> String {
    let says = if verdict.update == 0 {
        sentence::says(session, verdict)
    } else {
        sentence::says_since(session, verdict)
    };
    verdict_sentence(look, verdict, &says)
}

/// The hooks that are missing, each with what is therefore not watched: to be told at the start.
#[must_use]
pub fn unwatched(look: Look, session: &Session) -> String {
    completeness::unwatched(session)
        .map(|sentence| wrap(look, &look.paint(WARNING, &sentence), INDENT))
        .collect()
}

/// What makes the numbers of any report less sure, in one line; empty where nothing does.
pub(super) fn caveat(look: Look, report: &Report) -> String {
    let Some(causes) = completeness::in_short(report) else {
        return String::new();
    };
    let text = format!("NOT COMPLETE: {causes}; see LOSSES below. Numbers are lower bounds.");
    wrap(look, &look.paint(WARNING, &text), INDENT)
}

/// What was lost, for which cause, and what was left out on purpose.
pub(super) fn losses(look: Look, report: &Report) -> String {
    let mut text = title(look, "LOSSES");
    text.push_str(&unwatched(look, &report.session));
    let losses = completeness::losses(report);
    if losses.is_empty() {
        text.push_str("Nothing was lost.\n");
    }
    for sentence in losses {
        text.push_str(&wrap(look, &look.paint(WARNING, &sentence), INDENT));
    }
    for sentence in completeness::left_out(report) {
        text.push_str(&wrap(look, &sentence, INDENT));
    }
    text
}

/// Where, when and what was watched, and whether that is all there was.
fn head(look: Look, report: &Report) -> String {
    let session = &report.session;
    let line = format!(
        "tracer {} on {} (Linux {}), {} to {} UTC ({}), {}",
        Escaped(&session.version),
        Escaped(&session.host),
        Escaped(&session.kernel),
        date_and_time(session, session.start),
        time_of_day(session, report.at, session.start),
        span(report.at.since(session.start)),
        watched(session)
    );
    wrap(look, &line, INDENT) + &caveat(look, report)
}

/// What was watched, such as `connections of port 2181 and descriptors, pid 4711`.
pub(super) fn watched(session: &Session) -> String {
    let selection = &session.selection;
    let mut parts = Vec::new();
    if selection.tcp {
        parts.push(match selection.ports.as_slice() {
            [] => "connections".to_owned(),
            [port] => format!("connections with port {port}"),
            several => format!("connections with ports {}", joined(several)),
        });
    }
    if selection.fds {
        parts.push("descriptors".to_owned());
    }
    let mut what = parts.join(" and ");
    if let Some(netns) = selection.netns {
        // Writing to a string cannot fail.
        let _ = write!(what, " in network namespace {netns}");
    }
    match selection.pids.as_slice() {
        [] => what,
        [pid] => format!("{what}, of process {pid}"),
        several => format!("{what}, of processes {}", joined(several)),
    }
}

fn joined<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

fn verdicts(look: Look, report: &Report) -> String {
    if report.verdicts.is_empty() {
        return title(look, "VERDICTS") + "None: nothing that was watched passed a threshold.\n";
    }
    let mut text = title(look, &format!("VERDICTS ({})", report.verdicts.len()));
    for (index, verdict) in report.verdicts.iter().enumerate() {
        if index > 0 {
            text.push('\n');
        }
        let says = sentence::says(&report.session, verdict);
        text.push_str(&verdict_sentence(look, verdict, &says));
        text.push_str(&identity(look, report, verdict));
        text.push_str(&top_stack(look, verdict));
    }
    text
}

fn verdict_sentence(look: Look, verdict: &Verdict, says: &str) -> String {
    let label = sentence::label(&verdict.finding);
    let style = if verdict.ongoing { ALARM } else { WARNING };
    let who = sentence::who(&verdict.who);
    let line = format!(
        "{}  {} {says}",
        look.paint(style, label),
        look.paint(NAME, &who)
    );
    wrap(look, &line, INDENT)
}

/// What is known of a verdict's process beyond its name, and of its causes, a line each; a line that is too long is cut on a
/// terminal.
fn identity(look: Look, report: &Report, verdict: &Verdict) -> String {
    known_of(&report.session, &verdict.who)
        .chain(sentence::links(&report.session, &report.verdicts, verdict))
        .map(|(name, value)| detail(look, name, &value))
        .collect()
}

/// A verdict's most frequent stack, a line for each frame.
fn top_stack(look: Look, verdict: &Verdict) -> String {
    let names = std::iter::once("stack").chain(std::iter::repeat(""));
    names
        .zip(stack::lines(verdict))
        .map(|(name, value)| detail(look, name, &value))
        .collect()
}

fn detail(look: Look, name: &str, value: &str) -> String {
    let line = fit(&format!("{INDENT}{name:<9}  {value}"), look.width);
    look.paint(FAINT, &line) + "\n"
}

/// What is known of a process beyond its name, each with what it is.
pub(super) fn known_of(
    session: &Session,
    who: &Identity,
) -> impl Iterator<Item = (&'static str, String)> {
    let escaped = |text: Option<&str>| text.map(|text| Escaped(text).to_string());
    let container = who.container.as_deref().map(|container| {
        let runtime = who.runtime.as_deref();
        let runtime = runtime.map(|runtime| format!(" ({})", Escaped(runtime)));
        format!("{}{}", Escaped(container), runtime.unwrap_or_default())
    });
    // The host's own name says nothing new.
    let hostname = who.hostname.as_deref();
    let hostname = hostname.filter(|hostname| *hostname != session.host);
    let pod = who.pod_uid.as_deref().map(|uid| {
        let name = hostname.map(|name| format!("{}, ", Escaped(name)));
        format!("{}uid {}", name.unwrap_or_default(), Escaped(uid))
    });
    let hostname = hostname.filter(|_| pod.is_none());
    let pid_inside = who
        .ns_pid
        .map(|ns_pid| format!("{ns_pid} in its own pid namespace"));
    let parents: Vec<_> = who
        .lineage()
        .map(|(pid, comm)| sentence::process(comm, Some(pid)))
        .collect();
    let parents = (!parents.is_empty()).then(|| parents.join(" ← "));
    let started = who
        .start
        .map(|start| format!("{} UTC", date_and_time(session, start)));
    [
        ("exe", escaped(who.exe.as_deref())),
        ("cmdline", escaped(who.cmdline.as_deref())),
        ("container", container),
        ("pod", pod),
        ("unit", escaped(who.unit.as_deref())),
        ("hostname", escaped(hostname)),
        ("pid", pid_inside),
        ("user", escaped(who.user.as_deref())),
        ("parent", parents),
        ("started", started),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

fn processes(look: Look, report: &Report) -> String {
    if report.processes.is_empty() {
        return String::new();
    }
    let selection = &report.session.selection;
    let mut columns = vec![Column::Number("PID"), Column::Flexible("NAME")];
    if selection.tcp {
        columns.extend(["CONNECTS", "FAILED", "ACCEPTS", "ENDED", "LIVE"].map(Column::Number));
    }
    if selection.fds {
        columns.extend(["OPENS", "EMFILE", "FDS", "LIMIT"].map(Column::Number));
    }
    let rows = report
        .processes
        .iter()
        .take(PROCESSES_SHOWN)
        .map(|row| process_cells(row, selection.tcp, selection.fds));
    let mut text = title(look, &format!("PROCESSES ({})", report.processes.len()));
    text.push_str(&grid(look, &columns, rows));
    text.push_str(&more(
        report.processes.len(),
        PROCESSES_SHOWN,
        "--format json has all",
    ));
    text
}

fn process_cells(row: &ProcessRow, tcp: bool, fds: bool) -> Vec<String> {
    let ended = if row.who.ended { " (ended)" } else { "" };
    let mut cells = vec![
        unknown_or(row.who.pid),
        format!("{}{ended}", Escaped(&row.who.comm)),
    ];
    if tcp {
        let counts = [
            row.connects,
            row.connects_failed,
            row.accepts,
            row.connections_ended,
            row.connections_open,
        ];
        cells.extend(counts.map(|count| count.to_string()));
    }
    if fds {
        cells.extend([
            row.opens.to_string(),
            row.fds_refused.to_string(),
            unknown_or(row.fds_open),
            unknown_or(row.fd_limit),
        ]);
    }
    cells
}

/// The number, or netstat's sign for what is not known.
fn unknown_or(number: Option<impl ToString>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

/// `TIME_WAIT` sockets by owner and by the end that they have in common.
fn time_wait(look: Look, report: &Report) -> String {
    if report.time_wait.is_empty() {
        return String::new();
    }
    let groups = time_wait_owners(report);
    let columns = [
        Column::Number("SOCKETS"),
        Column::Flexible("OWNER"),
        Column::Flexible("THREAD"),
        Column::Whole("LOCAL"),
        Column::Whole("REMOTE"),
        Column::Whole("FOUND BY"),
    ];
    let rows = groups.iter().take(OWNERS_SHOWN).map(|(key, count)| {
        vec![
            count.to_string(),
            key.owner.clone(),
            Escaped(key.thread).to_string(),
            sentence::endpoint(key.local),
            sentence::endpoint(key.remote),
            key.found_by.to_owned(),
        ]
    });
    let mut text = title(look, &format!("TIME_WAIT ({})", report.time_wait.len()));
    text.push_str(&grid(look, &columns, rows));
    text.push_str(&more(
        groups.len(),
        OWNERS_SHOWN,
        "`tracer timewait` lists every socket",
    ));
    text
}

/// `TIME_WAIT` sockets by owner and by the end that they have in common, the most first.
pub(super) fn time_wait_owners(report: &Report) -> Vec<(OwnerKey<'_>, u64)> {
    let mut groups: BTreeMap<OwnerKey<'_>, u64> = BTreeMap::new();
    let ends = CommonEnds::of(&report.time_wait);
    for row in &report.time_wait {
        *groups.entry(ends.key(row)).or_default() += 1;
    }
    let mut groups: Vec<(OwnerKey<'_>, u64)> = groups.into_iter().collect();
    // The sort is stable, so owners with as many sockets stay in the order of their names.
    groups.sort_by_key(|(_key, count)| std::cmp::Reverse(*count));
    groups
}

/// What makes `TIME_WAIT` sockets one line: the owner and the end that they share; the other end's
/// port is 0.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OwnerKey<'a> {
    /// The process, escaped, or netstat's sign for none.
    pub(super) owner: String,
    /// The thread's name as the kernel has it.
    pub(super) thread: &'a str,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) found_by: &'static str,
}

/// How many sockets have the same end, to tell the port that was connected to from the ephemeral
/// one.
struct CommonEnds {
    local: BTreeMap<Endpoint, u64>,
    remote: BTreeMap<Endpoint, u64>,
}

impl CommonEnds {
    fn of(rows: &[TimeWaitRow]) -> Self {
        let mut ends = Self {
            local: BTreeMap::new(),
            remote: BTreeMap::new(),
        };
        for row in rows {
            *ends.local.entry(row.local).or_default() += 1;
            *ends.remote.entry(row.remote).or_default() += 1;
        }
        ends
    }

    /// The line that a socket belongs to: the end that fewer sockets share loses its port.
    fn key<'a>(&self, row: &'a TimeWaitRow) -> OwnerKey<'a> {
        let mut local = row.local;
        let mut remote = row.remote;
        if self.local.get(&local) > self.remote.get(&remote) {
            remote.port = 0;
        } else {
            local.port = 0;
        }
        OwnerKey {
            owner: owner(row),
            thread: row.who.thread.as_deref().unwrap_or_default(),
            local,
            remote,
            found_by: found_by(row),
        }
    }
}

/// A socket's owner, or netstat's sign for none.
pub(super) fn owner(row: &TimeWaitRow) -> String {
    match row.who.pid {
        Some(_) => sentence::process(&row.who.comm, row.who.pid),
        None => "-".to_owned(),
    }
}

/// How a socket's owner was found, in words.
pub(super) fn found_by(row: &TimeWaitRow) -> &'static str {
    use crate::analysis::report::Attribution;
    match row.attribution {
        Attribution::Cookie => "cookie",
        Attribution::Tuple => "addresses",
        Attribution::BeforeStart => "before start",
    }
}

/// A part's title, after an empty line.
fn title(look: Look, name: &str) -> String {
    format!("\n{}\n", look.paint(TITLE, name))
}

/// How many rows were not shown, and where they are.
pub(super) fn more(rows: usize, shown: usize, hint: &str) -> String {
    match rows.saturating_sub(shown) {
        0 => String::new(),
        hidden => format!("… {hidden} more ({hint})\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    const TERMINAL: Look = Look {
        color: false,
        width: Some(80),
    };

    #[test]
    fn both_incidents_in_a_pipe() {
        testing::assert_snapshot("incidents.txt", &render(Look::PLAIN, &testing::incidents()));
    }

    #[test]
    fn both_incidents_on_a_terminal() {
        testing::assert_snapshot("incidents_80.txt", &render(TERMINAL, &testing::incidents()));
    }

    #[test]
    fn losses_are_told_beside_the_verdicts() {
        testing::assert_snapshot("lossy_80.txt", &render(TERMINAL, &testing::lossy()));
    }

    #[test]
    fn nothing_to_say() {
        testing::assert_snapshot("quiet.txt", &render(Look::PLAIN, &testing::quiet()));
    }

    #[test]
    fn verdicts_as_they_are_made() {
        let session = testing::session();
        let update = Verdict {
            update: 4,
            ..testing::flapping()
        };
        let burst_update = Verdict {
            update: 1,
            ..testing::fd_burst()
        };
        let lines: String = [
            testing::flapping(),
            update,
            testing::flapping_server(),
            testing::failing_connects(),
            testing::fd_burst(),
            burst_update,
            testing::churn(),
            testing::flapping_children(),
            testing::unknown(testing::flapping()),
            testing::unknown(testing::fd_burst()),
        ]
        .iter()
        .map(|verdict| verdict_line(Look::PLAIN, &session, verdict))
        .collect();
        testing::assert_snapshot("verdict_lines.txt", &lines);
    }

    #[test]
    fn names_cannot_command_the_terminal() {
        let mut report = testing::incidents();
        for verdict in &mut report.verdicts {
            let hostile = Some("\u{1b}[2J\r\n\u{202e}".to_owned());
            verdict.who.comm = "\u{1b}[2J\r\n\u{202e}".to_owned();
            verdict.who.thread.clone_from(&hostile);
            verdict.who.exe.clone_from(&hostile);
            verdict.who.cmdline.clone_from(&hostile);
            verdict.who.user.clone_from(&hostile);
            verdict.who.container = hostile.as_deref().map(Into::into);
            verdict.who.parent_comm = hostile;
        }
        report.session.host = "\u{9b}31m".to_owned();
        let text = render(TERMINAL, &report);
        assert!(
            !text.contains(['\u{1b}', '\r', '\u{202e}', '\u{9b}']),
            "{text}"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        use unicode_width::UnicodeWidthStr as _;

        let mut report = testing::incidents();
        for verdict in &mut report.verdicts {
            verdict.who.cmdline = Some("東京".repeat(200));
        }
        let text = render(TERMINAL, &report);
        let widest = text.lines().max_by_key(|line| line.width()).unwrap();
        assert!(widest.width() <= 80, "{widest}");
    }
}
