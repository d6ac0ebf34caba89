//! Writes what the engine concluded as one JSON object a line, for machines; never a key that
//! `docs/fields.md` does not explain, and never a key less where something is not known.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use serde::{Serialize, Serializer};
use tracer_common::{EventKind, EventStats, Role};

use crate::{
    analysis::report::{
        Connections, FailingConnects, FdBurst, Finding, Identity, ProcessRow, Report, TimeWaitRow,
        Verdict,
    },
    model::{HookState, Losses, Nanos, Pid, Session, Tid},
};

use super::{clock::rfc3339, completeness::is_complete, errno, sentence};

/// The line that comes first: how, where and what is watched.
#[must_use]
pub fn start(session: &Session) -> String {
    line(&StartLine {
        kind: "start",
        ts: rfc3339(session, session.start),
        host: &session.host,
        kernel: &session.kernel,
        version: &session.version,
        selection: SelectionObject {
            ports: &session.selection.ports,
            pids: &session.selection.pids,
            tcp: session.selection.tcp,
            fds: session.selection.fds,
        },
        hooks: hooks(session),
    })
}

/// A verdict, or an update of one: the last line with its id holds.
#[must_use]
pub fn verdict(session: &Session, verdict: &Verdict) -> String {
    let who = &verdict.who;
    line(&VerdictLine {
        kind: "verdict",
        verdict: verdict.finding.name(),
        id: verdict.id,
        update: verdict.update,
        text: format!(
            "{} {}",
            sentence::who(who),
            sentence::says(session, verdict)
        ),
        process: ProcessFields::new(session, who),
        thread: ThreadFields::new(who),
        children: who.children,
        first_seen: rfc3339(session, verdict.first_seen),
        last_seen: rfc3339(session, verdict.last_seen),
        ongoing: verdict.ongoing,
        lossy: verdict.lossy,
        finding: match &verdict.finding {
            Finding::Flapping(found) | Finding::Churn(found) => connections(found),
            Finding::FailingConnects(found) => failing_connects(found),
            Finding::FdBurst(found) => fd_burst(found),
        },
    })
}

/// One process's totals at a moment.
#[must_use]
pub fn process(session: &Session, at: Nanos, row: &ProcessRow) -> String {
    line(&ProcessLine {
        kind: "process",
        ts: rfc3339(session, at),
        process: ProcessFields::new(session, &row.who),
        connects: row.connects,
        connects_failed: row.connects_failed,
        accepts: row.accepts,
        connections_ended: row.connections_ended,
        connections_open: row.connections_open,
        opens: row.opens,
        opens_failed: row.opens_failed,
        fds_got: row.fds_got,
        fds_closed: row.fds_closed,
        fds_refused: row.fds_refused,
        fds_open: row.fds_open,
        fd_limit: row.fd_limit,
        not_streamed: row.not_streamed,
    })
}

/// One `TIME_WAIT` socket with its owner at a moment.
#[must_use]
pub fn time_wait(session: &Session, at: Nanos, row: &TimeWaitRow) -> String {
    line(&TimeWaitLine {
        kind: "time_wait",
        ts: rfc3339(session, at),
        process: ProcessFields::new(session, &row.who),
        thread: ThreadFields::new(&row.who),
        laddr: row.local.addr,
        lport: port(row.local.port),
        raddr: row.remote.addr,
        rport: port(row.remote.port),
        netns: row.netns.0,
        attribution: row.attribution.name(),
    })
}

/// What became of all events, and whether the report lacks anything.
#[must_use]
pub fn stats(report: &Report) -> String {
    let losses = &report.losses;
    line(&StatsLine {
        kind: "stats",
        ts: rfc3339(&report.session, report.at),
        events: EventsObject(losses),
        undecodable: losses.undecodable,
        kernel_skipped: losses.kernel_skipped,
        lookups_dropped: losses.lookups_dropped,
        lost: losses.total(),
        evicted: EvictedObject {
            processes: report.evicted.processes,
            connections: report.evicted.connections,
            groups: report.evicted.groups,
            verdicts: report.evicted.verdicts,
        },
        hooks: hooks(&report.session),
        complete: is_complete(report),
    })
}

/// The line that comes last.
#[must_use]
pub fn end(report: &Report) -> String {
    line(&EndLine {
        kind: "end",
        ts: rfc3339(&report.session, report.at),
        duration_ms: report.at.since(report.session.start).as_millis_f64(),
        verdicts: report.verdicts.len(),
        lost: report.losses.total(),
        complete: is_complete(report),
    })
}

/// What follows the verdicts at the end: processes, `TIME_WAIT` sockets, the counters, the end.
#[must_use]
pub fn report_lines(report: &Report) -> String {
    let session = &report.session;
    let processes = report
        .processes
        .iter()
        .map(|row| process(session, report.at, row));
    let sockets = report
        .time_wait
        .iter()
        .map(|row| time_wait(session, report.at, row));
    let mut lines: String = processes.chain(sockets).collect();
    lines.push_str(&stats(report));
    lines.push_str(&end(report));
    lines
}

#[derive(Serialize)]
struct StartLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    host: &'a str,
    kernel: &'a str,
    version: &'a str,
    selection: SelectionObject<'a>,
    hooks: Vec<HookObject<'a>>,
}

#[derive(Serialize)]
struct SelectionObject<'a> {
    ports: &'a [u16],
    pids: &'a [Pid],
    tcp: bool,
    fds: bool,
}

#[derive(Serialize)]
struct HookObject<'a> {
    name: &'a str,
    attached: Option<&'a str>,
    provides: &'a str,
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct VerdictLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    verdict: &'static str,
    id: u64,
    update: u32,
    text: String,
    #[serde(flatten)]
    process: ProcessFields<'a>,
    #[serde(flatten)]
    thread: ThreadFields<'a>,
    children: Option<u64>,
    first_seen: String,
    last_seen: String,
    ongoing: bool,
    lossy: bool,
    #[serde(flatten)]
    finding: FindingFields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum FindingFields<'a> {
    Connections(ConnectionsFields),
    FailingConnects(FailingConnectsFields),
    FdBurst(FdBurstFields<'a>),
}

/// Who did it: the process.
#[derive(Serialize)]
struct ProcessFields<'a> {
    pid: Option<Pid>,
    ns_pid: Option<u32>,
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    cmdline: Option<&'a str>,
    user: Option<&'a str>,
    container: Option<&'a str>,
    ppid: Option<Pid>,
    parent_comm: Option<&'a str>,
    started: Option<String>,
    ended: bool,
}

impl<'a> ProcessFields<'a> {
    fn new(session: &Session, who: &'a Identity) -> Self {
        Self {
            pid: who.pid,
            ns_pid: who.ns_pid,
            comm: known(&who.comm),
            exe: who.exe.as_deref(),
            cmdline: who.cmdline.as_deref(),
            user: who.user.as_deref(),
            container: who.container.as_deref(),
            ppid: who.ppid,
            parent_comm: who.parent_comm.as_deref(),
            started: who.start.map(|start| rfc3339(session, start)),
            ended: who.ended,
        }
    }
}

/// Who did it: the thread.
#[derive(Serialize)]
struct ThreadFields<'a> {
    tid: Option<Tid>,
    nid: Option<String>,
    thread: Option<&'a str>,
}

impl<'a> ThreadFields<'a> {
    fn new(who: &'a Identity) -> Self {
        Self {
            tid: who.tid,
            nid: who.tid.map(|tid| format!("{:#x}", tid.0)),
            thread: who.thread.as_deref(),
        }
    }
}

#[derive(Serialize)]
struct ConnectionsFields {
    role: Option<&'static str>,
    laddr: IpAddr,
    lport: Option<u16>,
    raddr: IpAddr,
    rport: Option<u16>,
    peers: Vec<PeerObject>,
    count: u64,
    rate_per_min: f64,
    period_ms: Option<f64>,
    period_min_ms: Option<f64>,
    period_max_ms: Option<f64>,
    lifetime_p50_ms: Option<f64>,
    lifetime_p99_ms: Option<f64>,
    tx_bytes: u64,
    rx_bytes: u64,
    closed_by: ClosedByObject,
    failed: u64,
    time_wait_now: u64,
}

#[derive(Serialize)]
struct PeerObject {
    addr: IpAddr,
    count: u64,
}

#[derive(Serialize)]
struct ClosedByObject {
    local: Option<f64>,
    remote: Option<f64>,
}

#[derive(Serialize)]
struct FailingConnectsFields {
    role: &'static str,
    laddr: IpAddr,
    lport: Option<u16>,
    raddr: IpAddr,
    rport: Option<u16>,
    peers: Vec<PeerObject>,
    count: u64,
    rate_per_min: f64,
    period_ms: Option<f64>,
    period_min_ms: Option<f64>,
    period_max_ms: Option<f64>,
    errnos: BTreeMap<Cow<'static, str>, u64>,
}

#[derive(Serialize)]
struct FdBurstFields<'a> {
    opens: u64,
    window_ms: f64,
    top_dirs: Vec<PatternObject<'a>>,
    paths_missing: u64,
    fds_before: Option<u64>,
    fds_peak: Option<u64>,
    fds_now: Option<u64>,
    fd_limit: Option<u64>,
}

#[derive(Serialize)]
struct PatternObject<'a> {
    pattern: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct ProcessLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    #[serde(flatten)]
    process: ProcessFields<'a>,
    connects: u64,
    connects_failed: u64,
    accepts: u64,
    connections_ended: u64,
    connections_open: u64,
    opens: u64,
    opens_failed: u64,
    fds_got: u64,
    fds_closed: u64,
    fds_refused: u64,
    fds_open: Option<u64>,
    fd_limit: Option<u64>,
    not_streamed: u64,
}

#[derive(Serialize)]
struct TimeWaitLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    #[serde(flatten)]
    process: ProcessFields<'a>,
    #[serde(flatten)]
    thread: ThreadFields<'a>,
    laddr: IpAddr,
    lport: Option<u16>,
    raddr: IpAddr,
    rport: Option<u16>,
    netns: u32,
    attribution: &'static str,
}

#[derive(Serialize)]
struct StatsLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    events: EventsObject<'a>,
    undecodable: u64,
    kernel_skipped: u64,
    lookups_dropped: u64,
    lost: u64,
    evicted: EvictedObject,
    hooks: Vec<HookObject<'a>>,
    complete: bool,
}

/// The kernel half's counters, an object by the kind's name.
struct EventsObject<'a>(&'a Losses);

impl Serialize for EventsObject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            EventKind::ALL
                .into_iter()
                .map(|kind| (kind.name(), EventStatsObject::from(self.0.of(kind)))),
        )
    }
}

#[derive(Serialize)]
struct EventStatsObject {
    seen: u64,
    streamed: u64,
    counted_only: u64,
    filtered: u64,
    ring_full: u64,
    map_full: u64,
    read_failed: u64,
}

impl From<&EventStats> for EventStatsObject {
    fn from(stats: &EventStats) -> Self {
        let EventStats {
            seen,
            streamed,
            counted_only,
            filtered,
            ring_full,
            map_full,
            read_failed,
        } = *stats;
        Self {
            seen,
            streamed,
            counted_only,
            filtered,
            ring_full,
            map_full,
            read_failed,
        }
    }
}

#[derive(Serialize)]
struct EvictedObject {
    processes: u64,
    connections: u64,
    groups: u64,
    verdicts: u64,
}

#[derive(Serialize)]
struct EndLine {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    duration_ms: f64,
    verdicts: usize,
    lost: u64,
    complete: bool,
}

fn connections(found: &Connections) -> FindingFields<'_> {
    let closed = found.closed_by_local.saturating_add(found.closed_by_remote);
    FindingFields::Connections(ConnectionsFields {
        role: match found.role {
            Role::Client => Some("client"),
            Role::Server => Some("server"),
            Role::Unknown => None,
        },
        laddr: found.local.addr,
        lport: port(found.local.port),
        raddr: found.remote.addr,
        rport: port(found.remote.port),
        peers: peers(&found.peers),
        count: found.count,
        rate_per_min: rounded(found.rate_per_min),
        period_ms: found.period.map(|period| period.p50.as_millis_f64()),
        period_min_ms: found.period.map(|period| period.min.as_millis_f64()),
        period_max_ms: found.period.map(|period| period.max.as_millis_f64()),
        lifetime_p50_ms: found.lifetime.map(|lifetime| lifetime.p50.as_millis_f64()),
        lifetime_p99_ms: found.lifetime.map(|lifetime| lifetime.p99.as_millis_f64()),
        tx_bytes: found.tx_bytes,
        rx_bytes: found.rx_bytes,
        closed_by: ClosedByObject {
            local: share(found.closed_by_local, closed),
            remote: share(found.closed_by_remote, closed),
        },
        failed: found.failed,
        time_wait_now: found.time_wait_now,
    })
}

fn failing_connects(found: &FailingConnects) -> FindingFields<'_> {
    FindingFields::FailingConnects(FailingConnectsFields {
        role: "client",
        laddr: found.local.addr,
        lport: port(found.local.port),
        raddr: found.remote.addr,
        rport: port(found.remote.port),
        peers: peers(&found.peers),
        count: found.count,
        rate_per_min: rounded(found.rate_per_min),
        period_ms: found.period.map(|period| period.p50.as_millis_f64()),
        period_min_ms: found.period.map(|period| period.min.as_millis_f64()),
        period_max_ms: found.period.map(|period| period.max.as_millis_f64()),
        errnos: found
            .errnos
            .iter()
            .map(|(errno, count)| (errno::name(*errno), *count))
            .collect(),
    })
}

fn fd_burst(found: &FdBurst) -> FindingFields<'_> {
    FindingFields::FdBurst(FdBurstFields {
        opens: found.opens,
        window_ms: found.window.as_millis_f64(),
        top_dirs: found
            .top_dirs
            .iter()
            .map(|(pattern, count)| PatternObject {
                pattern,
                count: *count,
            })
            .collect(),
        paths_missing: found.paths_missing,
        fds_before: found.fds_before,
        fds_peak: found.fds_peak,
        fds_now: found.fds_now,
        fd_limit: found.fd_limit,
    })
}

fn peers(addresses: &[(IpAddr, u64)]) -> Vec<PeerObject> {
    addresses
        .iter()
        .map(|&(addr, count)| PeerObject { addr, count })
        .collect()
}

fn hooks(session: &Session) -> Vec<HookObject<'_>> {
    session.hooks.iter().map(hook).collect()
}

fn hook(state: &HookState) -> HookObject<'_> {
    HookObject {
        name: &state.hook,
        attached: state.attached.as_deref(),
        provides: &state.provides,
        reason: known(&state.reason),
    }
}

/// The text, unless there is none.
fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// The port, unless the kernel had already given it back.
fn port(port: u16) -> Option<u16> {
    (port != 0).then_some(port)
}

/// A part of a whole, to four digits; `None` where there is no whole.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 1e4).round() / 1e4)
}

/// Three digits after the point: a rate is no more exact.
fn rounded(rate: f64) -> f64 {
    (rate * 1e3).round() / 1e3
}

/// One object on a line of its own.
fn line(object: &impl Serialize) -> String {
    let mut text = serde_json::to_string(object)
        .expect("only maps with keys that are no strings fail to serialise, and there are none");
    text.push('\n');
    text
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
