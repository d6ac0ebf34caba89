//! Puts a verdict into a sentence that a tired person can act on, without colours or line breaks;
//! never a number that the verdict does not hold.

mod descriptors;
mod ports;

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use tracer_common::Role;

use crate::{
    analysis::report::{Closer, Connections, FailingConnects, Finding, Identity, Spread, Verdict},
    model::{Endpoint, Nanos, Pid, Session},
};

use super::{
    clock::time_of_day,
    errno,
    escape::Escaped,
    units::{counted, per_minute, percent, size, span, span_range},
};

pub(super) use descriptors::holds;

/// Addresses or patterns told in a sentence; JSON has all.
const LISTED: usize = 3;

/// The verdict's name as a sentence begins with it.
pub(super) const fn label(finding: &Finding) -> &'static str {
    match finding {
        Finding::Flapping(_) => "FLAPPING",
        Finding::Churn(_) => "CHURN",
        Finding::FailingConnects(_) => "FAILING CONNECTS",
        Finding::FdBurst(_) => "FD BURST",
        Finding::FdNearLimit(_) => "FD NEAR LIMIT",
        Finding::FdExhaustion(_) => "FD EXHAUSTION",
        Finding::FdLeak(_) => "FD LEAK",
        Finding::CloseWaitLeak(_) => "CLOSE_WAIT LEAK",
        Finding::PortExhaustion(_) => "PORT EXHAUSTION",
    }
}

/// A verdict in one sentence, from who it is about to what is said of it.
#[must_use]
pub fn whole(session: &Session, verdict: &Verdict) -> String {
    let says = says(session, verdict);
    format!("{} {says}", who(&verdict.who))
}

/// The same behind the verdict's name.
#[must_use]
pub fn labelled(session: &Session, verdict: &Verdict) -> String {
    let label = label(&verdict.finding);
    format!("{label} {}", whole(session, verdict))
}

/// Who did it, such as `java[4711] thread Catalina-utilit[4713 = nid 0x1269]`; where it is told of a
/// parent's children together, such as `check.sh[812] by 37 children nc[last 6037]`.
pub(super) fn who(who: &Identity) -> String {
    if let Some(children) = who.children {
        let parent = process(who.parent_comm.as_deref().unwrap_or_default(), who.ppid);
        let name = Escaped(&who.comm);
        let last = who
            .pid
            .map(|pid| format!("[last {pid}]"))
            .unwrap_or_default();
        let plural = if children == 1 { "child" } else { "children" };
        return format!("{parent} by {children} {plural} {name}{last}");
    }
    let mut text = process(&who.comm, who.pid);
    if who.ended {
        text.push_str(" (ended)");
    }
    if let Some(tid) = who.tid {
        let name = who.thread.as_deref().unwrap_or_default();
        let _ = write!(
            text,
            " thread {}[{tid} = nid {nid:#x}]",
            Escaped(name),
            nid = tid.0
        );
    }
    text
}

/// The container that a process runs in, or the unit where it runs in none.
pub(super) fn place(who: &Identity) -> Option<String> {
    let place = who.container.as_deref().or(who.unit.as_deref());
    place.map(|place| Escaped(place).to_string())
}

/// A process, such as `java[4711]`.
pub(super) fn process(comm: &str, pid: Option<Pid>) -> String {
    match pid {
        Some(pid) => format!("{}[{pid}]", Escaped(comm)),
        None if comm.is_empty() => "an unknown process".to_owned(),
        None => Escaped(comm).to_string(),
    }
}

/// An address and port, such as `127.0.0.1:2181`, `[::1]:2181`, or `10.0.0.1:*` where the port is
/// not known.
pub(super) fn endpoint(endpoint: Endpoint) -> String {
    match endpoint {
        Endpoint { addr, port: 0 } => any_port(addr),
        Endpoint { addr, port } => SocketAddr::new(addr, port).to_string(),
    }
}

/// An address with any port, such as `10.0.0.1:*`.
pub(super) fn any_port(addr: IpAddr) -> String {
    match addr {
        IpAddr::V4(addr) => format!("{addr}:*"),
        IpAddr::V6(addr) => format!("[{addr}]:*"),
    }
}

/// What was found, all of it; continues after [`who`].
pub(super) fn says(session: &Session, verdict: &Verdict) -> String {
    let mut text = match &verdict.finding {
        Finding::Flapping(found) => connections(session, verdict, found, Exchange::Useless),
        Finding::Churn(found) => connections(session, verdict, found, Exchange::Useful),
        Finding::FailingConnects(found) => failing_connects(session, verdict, found),
        Finding::FdBurst(found) => descriptors::fd_burst(session, verdict, found),
        Finding::FdNearLimit(found) => descriptors::fd_near_limit(session, verdict, found),
        Finding::FdExhaustion(found) => descriptors::fd_exhaustion(session, verdict, found),
        Finding::FdLeak(found) => descriptors::fd_leak(session, verdict, found),
        Finding::CloseWaitLeak(found) => descriptors::close_wait_leak(session, verdict, found),
        Finding::PortExhaustion(found) => ports::port_exhaustion(session, verdict, found),
    };
    text.push('.');
    if verdict.lossy {
        text.push_str(" Events were lost meanwhile: these numbers are lower bounds.");
    }
    text
}

/// What brought a verdict about and what it led to, of the verdicts of the same report, each with what it
/// is.
pub(super) fn links<'a>(
    session: &'a Session,
    verdicts: &'a [Verdict],
    verdict: &'a Verdict,
) -> impl Iterator<Item = (&'static str, String)> + 'a {
    let named = |ids: &[u64]| -> Vec<String> {
        let linked = verdicts.iter().filter(|other| ids.contains(&other.id));
        let mut linked: Vec<_> = linked.collect();
        linked.sort_by_key(|other| (other.first_seen, other.id));
        let name = |other: &&Verdict| {
            let at = time_of_day(session, other.first_seen, verdict.first_seen);
            format!(
                "{} (verdict {}) at {at} UTC",
                label(&other.finding),
                other.id
            )
        };
        linked.iter().map(name).collect()
    };
    [
        ("caused by", named(&verdict.caused_by)),
        ("led to", named(&verdict.led_to)),
    ]
    .into_iter()
    .filter(|(_, named)| !named.is_empty())
    .map(|(how, named)| (how, named.join(", ")))
}

/// What has become of it since, in short; continues after [`who`].
pub(super) fn says_since(session: &Session, verdict: &Verdict) -> String {
    let now = match &verdict.finding {
        Finding::Flapping(found) | Finding::Churn(found) => format!(
            "{} {} ({})",
            counted(found.count, "connection"),
            direction(found),
            per_minute(found.rate_per_min)
        ),
        Finding::FailingConnects(found) => format!(
            "{} to {} ({})",
            counted(found.count, "failed connect"),
            target(found.remote, &found.peers),
            per_minute(found.rate_per_min)
        ),
        Finding::FdBurst(found) => descriptors::fd_burst_since(verdict, found),
        Finding::FdNearLimit(found) => descriptors::fd_near_limit_since(found),
        Finding::FdExhaustion(found) => descriptors::fd_exhaustion_since(session, verdict, found),
        Finding::FdLeak(found) => descriptors::fd_leak_since(session, verdict, found),
        Finding::CloseWaitLeak(found) => counted(found.count, "connection"),
        Finding::PortExhaustion(found) => ports::in_use(found),
    };
    let state = if verdict.ongoing {
        "goes on"
    } else {
        "is over"
    };
    format!(
        "{state}: {now}, last at {} UTC (verdict {}, update {}).",
        time_of_day(session, verdict.last_seen, verdict.first_seen),
        verdict.id,
        verdict.update
    )
}

/// Whether the connections were of use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exchange {
    Useless,
    Useful,
}

fn connections(
    session: &Session,
    verdict: &Verdict,
    found: &Connections,
    exchange: Exchange,
) -> String {
    let direction = direction(found);
    let mut text = match (found.role, exchange) {
        (Role::Client, Exchange::Useless) => {
            format!("opens and closes connections {direction} again and again")
        }
        (Role::Client, Exchange::Useful) => {
            format!(
                "makes a new connection {direction} for every exchange (no keep-alive, no pool)"
            )
        }
        (_, Exchange::Useless) => {
            format!("has connections {direction} that open and close again and again")
        }
        (_, Exchange::Useful) => {
            format!("has a new connection {direction} for every exchange (no keep-alive, no pool)")
        }
    };
    let _ = write!(text, ": {}", found.count);
    pace(&mut text, verdict, found.rate_per_min, found.period);
    if let Some(lifetime) = found.lifetime {
        let _ = write!(
            text,
            ", each lives {} (p99 {})",
            span(lifetime.p50),
            span(lifetime.p99)
        );
    }
    if found.count > 0 {
        let each = |bytes: u64| size(bytes as f64 / found.count as f64);
        let _ = write!(
            text,
            ", {} sent / {} received on average",
            each(found.tx_bytes),
            each(found.rx_bytes)
        );
    }
    let (local, remote) = (found.closed_by_local, found.closed_by_remote);
    let (side, closed) = if local >= remote {
        ("this side", local)
    } else {
        ("the peer", remote)
    };
    if let Some(share) = percent(closed, local.saturating_add(remote)) {
        let _ = write!(text, ", {side} closes first ({share})");
    }
    if let Some(closer) = &found.closer {
        closed_by(&mut text, verdict, closer);
    }
    if found.failed > 0 {
        let _ = write!(
            text,
            ", {} failed besides",
            counted(found.failed, "connect")
        );
    }
    duration(&mut text, session, verdict);
    match found.time_wait_now {
        0 => {}
        1 => text.push_str("; 1 TIME_WAIT socket is its own"),
        sockets => {
            let _ = write!(text, "; {sockets} TIME_WAIT sockets are its own");
        }
    }
    text
}

/// Appends who closed the descriptor: of another process always, of another thread where the sentence is
/// about one.
fn closed_by(text: &mut String, verdict: &Verdict, closer: &Closer) {
    if closer.is_other_process {
        let name = process(closer.comm.as_str(), Some(closer.pid));
        let _ = write!(text, ", its descriptor closed by {name}");
    } else if verdict.who.tid.is_some() {
        let name = Escaped(closer.thread.as_str());
        let _ = write!(
            text,
            ", its descriptor closed by thread {name}[{}]",
            closer.tid
        );
    }
}

fn failing_connects(session: &Session, verdict: &Verdict, found: &FailingConnects) -> String {
    let mut text = format!(
        "cannot connect to {}: {}",
        target(found.remote, &found.peers),
        counted(found.count, "failure")
    );
    pace(&mut text, verdict, found.rate_per_min, found.period);
    for (errno, count) in &found.errnos {
        let _ = write!(text, ", {count} × {}", errno::name(*errno));
        if let Some(meaning) = errno::meaning(*errno) {
            let _ = write!(text, " ({meaning})");
        }
    }
    duration(&mut text, session, verdict);
    text
}

/// Appends over how long, how often, and at which distance.
fn pace(text: &mut String, verdict: &Verdict, rate_per_min: f64, period: Option<Spread>) {
    let over = verdict.last_seen.since(verdict.first_seen);
    if over > Nanos(0) {
        let _ = write!(text, " in {} ({})", span(over), per_minute(rate_per_min));
    }
    if let Some(period) = period {
        let _ = write!(
            text,
            ", one every {} ({})",
            span(period.p50),
            span_range(period.min, period.max)
        );
    }
}

/// Appends since when, and whether it goes on.
fn duration(text: &mut String, session: &Session, verdict: &Verdict) {
    let first = time_of_day(session, verdict.first_seen, verdict.last_seen);
    let _ = if verdict.ongoing {
        write!(text, ", since {first} UTC, still going on")
    } else {
        let last = time_of_day(session, verdict.last_seen, verdict.first_seen);
        write!(text, ", from {first} to {last} UTC, over now")
    };
}

/// Where the connections lead: to a port, or from a peer.
fn direction(found: &Connections) -> String {
    match found.role {
        Role::Client => format!("to {}", target(found.remote, &found.peers)),
        Role::Server => {
            format!(
                "from {} to its port {}",
                peers(found.remote, &found.peers),
                found.local.port
            )
        }
        Role::Unknown => format!(
            "between {} and {}",
            endpoint(found.local),
            endpoint(found.remote)
        ),
    }
}

/// What was connected to: one address and port, or the port of several addresses.
fn target(last: Endpoint, addresses: &[(IpAddr, u64)]) -> String {
    if addresses.len() > 1 {
        format!("port {} of {}", last.port, peers(last, addresses))
    } else {
        endpoint(last)
    }
}

/// One address, or several with their counts.
fn peers(last: Endpoint, addresses: &[(IpAddr, u64)]) -> String {
    if addresses.len() <= 1 {
        return last.addr.to_string();
    }
    let mut told: Vec<String> = addresses
        .iter()
        .take(LISTED)
        .map(|(addr, count)| format!("{addr} (×{count})"))
        .collect();
    let more = addresses.len().saturating_sub(LISTED);
    if more > 0 {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}
