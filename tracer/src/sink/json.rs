//! Writes what the engine concluded as one JSON object a line, for machines; never a key that
//! `docs/fields.md` does not explain, and never a key less where something is not known.

mod descriptors;
pub(super) mod lines;
mod ports;

use std::net::IpAddr;

use serde::Serialize;
use tracer_common::Role;

use crate::{
    analysis::report::{
        Connections, FailingConnects, Finding, ProcessRow, Report, StackCount, TimeWaitRow, Verdict,
    },
    model::{HookState, Nanos, Session},
};

use self::lines::{
    ClosedByObject, CloserObject, ConnectionsFields, EndLine, EventsObject, EvictedObject,
    FailingConnectsFields, FindingFields, GroupObject, HookObject, PeerObject, ProcessFields,
    ProcessLine, SelectionObject, StackObject, StartLine, StatsLine, ThreadFields, TimeWaitLine,
    VerdictLine, known,
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
        boot_id: known(&session.boot_id),
        version: &session.version,
        selection: SelectionObject {
            ports: &session.selection.ports,
            pids: &session.selection.pids,
            tcp: session.selection.tcp,
            fds: session.selection.fds,
            netns: session.selection.netns,
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
        text: sentence::whole(session, verdict),
        process: ProcessFields::new(session, who),
        thread: ThreadFields::new(who),
        netns: who.netns,
        children: who.children,
        group: who.children.map(|processes| GroupObject {
            ppid: who.ppid,
            comm: known(&who.comm),
            processes,
        }),
        first_seen: rfc3339(session, verdict.first_seen),
        last_seen: rfc3339(session, verdict.last_seen),
        ongoing: verdict.ongoing,
        lossy: verdict.lossy,
        caused_by: &verdict.caused_by,
        led_to: &verdict.led_to,
        stacks: verdict.stacks.as_deref().map(stacks),
        finding: match &verdict.finding {
            Finding::Flapping(found) | Finding::Churn(found) => connections(found),
            Finding::FailingConnects(found) => failing_connects(found),
            Finding::FdBurst(found) => descriptors::fd_burst(found),
            Finding::FdNearLimit(found) => descriptors::fd_near_limit(found),
            Finding::FdExhaustion(found) => descriptors::fd_exhaustion(session, found),
            Finding::FdLeak(found) => descriptors::fd_leak(session, found),
            Finding::CloseWaitLeak(found) => descriptors::close_wait_leak(session, found),
            Finding::PortExhaustion(found) => ports::port_exhaustion(session, found),
        },
    })
}

fn stacks(stacks: &[StackCount]) -> Vec<StackObject<'_>> {
    stacks
        .iter()
        .map(|stack| StackObject {
            count: stack.count,
            frames: &stack.frames,
            missing: stack.state.name(),
        })
        .collect()
}

/// One process's totals at a moment.
#[must_use]
pub fn process(session: &Session, at: Nanos, row: &ProcessRow) -> String {
    line(&ProcessLine {
        kind: "process",
        ts: rfc3339(session, at),
        process: ProcessFields::new(session, &row.who),
        netns: row.who.netns,
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
        fds_got_per_s: row.fd_rates.map(|rates| rounded(rates.got)),
        fds_closed_per_s: row.fd_rates.map(|rates| rounded(rates.closed)),
        fds_open: row.fds_open,
        fds_peak: row.fds_peak,
        fd_limit: row.fd_limit,
        fd_hard_limit: row.fd_hard_limit,
        fd_room: row.fd_room(),
        fds_corrected: row.fds_corrected,
        content: descriptors::content(session, &row.content),
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
        hooks_off_ms: losses.hooks_off_ms,
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

fn connections(found: &Connections) -> FindingFields<'_> {
    let closed = found.closed_by_local.saturating_add(found.closed_by_remote);
    FindingFields::Connections(ConnectionsFields {
        role: role(found.role),
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
        closer: found.closer.as_ref().map(|closer| CloserObject {
            pid: closer.pid,
            comm: known(closer.comm.as_str()),
            tid: closer.tid,
            thread: known(closer.thread.as_str()),
        }),
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

/// The part that the process played, where it is known.
pub(super) const fn role(role: Role) -> Option<&'static str> {
    match role {
        Role::Client => Some("client"),
        Role::Server => Some("server"),
        Role::Unknown => None,
    }
}

/// The port, unless the kernel had already given it back.
pub(super) fn port(port: u16) -> Option<u16> {
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
pub(super) fn line(object: &impl Serialize) -> String {
    let mut text = serde_json::to_string(object)
        .expect("only maps with keys that are no strings fail to serialise, and there are none");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
