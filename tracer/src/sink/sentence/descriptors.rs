//! The sentences about descriptors; never a number that the verdict does not hold.

use std::{collections::BTreeMap, fmt::Write as _};

use tracer_common::{FdKind, Role};

use crate::{
    analysis::report::{
        CloseWaitLeak, FdBurst, FdContent, FdExhaustion, FdLeak, FdNearLimit, PeerCount, Verdict,
    },
    model::{Endpoint, Session},
};

use super::super::{
    clock::time_of_day,
    errno,
    escape::Escaped,
    units::{counted, per_minute, span},
};
use super::{LISTED, duration, endpoint};

pub(super) fn fd_burst(session: &Session, verdict: &Verdict, found: &FdBurst) -> String {
    let mut text = format!(
        "opened {} in {}",
        counted(found.opens, "file"),
        span(found.window)
    );
    let told = found.top_dirs.iter().take(LISTED);
    for (index, (pattern, count)) in told.enumerate() {
        let before = if index == 0 { ": " } else { ", " };
        let _ = write!(text, "{before}{count} × {}", Escaped(pattern));
    }
    let more = found.top_dirs.len().saturating_sub(LISTED) as u64;
    if more > 0 {
        let _ = write!(text, ", {}", counted(more, "other pattern"));
    }
    if found.paths_missing > 0 {
        let _ = write!(text, ", {} of unknown path", found.paths_missing);
    }
    descriptors(&mut text, verdict, found);
    let _ = write!(
        text,
        "; at {} UTC",
        time_of_day(session, verdict.first_seen, verdict.last_seen)
    );
    if verdict.ongoing {
        text.push_str(", still going on");
    }
    text
}

/// Appends the descriptors before, at the peak and now, against the limit.
fn descriptors(text: &mut String, verdict: &Verdict, found: &FdBurst) {
    let now = if verdict.who.ended {
        "at its end"
    } else {
        "now"
    };
    let levels: Vec<String> = [
        (found.fds_before, "before"),
        (found.fds_peak, "at the peak"),
        (found.fds_now, now),
    ]
    .into_iter()
    .filter_map(|(level, when)| level.map(|level| format!("{level} {when}")))
    .collect();
    if levels.is_empty() {
        return;
    }
    let _ = write!(text, "; descriptors {}", levels.join(", "));
    if let Some(limit) = found.fd_limit {
        let _ = write!(text, ", limit {limit}");
        if let Some(peak) = found.fds_peak {
            let _ = write!(text, " ({} left at the peak)", limit.saturating_sub(peak));
        }
    }
}

/// What has become of a burst.
pub(super) fn fd_burst_since(verdict: &Verdict, found: &FdBurst) -> String {
    let mut text = format!("{} opened", counted(found.opens, "file"));
    descriptors(&mut text, verdict, found);
    text
}

pub(super) fn fd_near_limit(session: &Session, verdict: &Verdict, found: &FdNearLimit) -> String {
    let mut text = format!(
        "has {} of {} descriptors open, {} left (at the peak {})",
        found.fds_now, found.fd_limit, found.room, found.fds_peak
    );
    table(&mut text, &found.kinds, &found.top_peers, &found.top_dirs);
    duration(&mut text, session, verdict);
    text
}

/// What has become of a table that was nearly full.
pub(super) fn fd_near_limit_since(found: &FdNearLimit) -> String {
    format!(
        "{} of {} descriptors open, {} left",
        found.fds_now, found.fd_limit, found.room
    )
}

/// The whole story, in order of time.
pub(super) fn fd_exhaustion(session: &Session, verdict: &Verdict, found: &FdExhaustion) -> String {
    let at = |at| time_of_day(session, at, verdict.last_seen);
    let mut text = "ran out of descriptors: ".to_owned();
    if let Some(burst) = &found.burst {
        let _ = write!(text, "burst of {}", counted(burst.opens, "open"));
        if let Some(pattern) = &burst.pattern {
            let _ = write!(text, " of {}", Escaped(pattern));
        }
        let _ = write!(text, " at {}, ", at(burst.at));
    }
    match (found.fds_peak, found.fd_limit) {
        (Some(peak), Some(limit)) => {
            let _ = write!(text, "peak {peak} of {limit}, ");
        }
        (Some(peak), None) => {
            let _ = write!(text, "peak {peak}, ");
        }
        (None, Some(limit)) => {
            let _ = write!(text, "limit {limit}, ");
        }
        (None, None) => {}
    }
    let first = &found.first_failure;
    let _ = write!(
        text,
        "first {} at {} UTC",
        errno::name(first.errno),
        at(first.at)
    );
    if let Some(tid) = first.tid {
        let name = first.thread.as_deref().unwrap_or_default();
        let _ = write!(text, " in thread {}[{tid}]", Escaped(name));
    }
    if let Some(call) = first.call {
        let _ = write!(text, " ({call})");
    }
    let _ = write!(text, "; {}", calls(found));
    let threads = found.threads.len() as u64;
    if threads > 1 {
        let _ = write!(text, " in {}", counted(threads, "thread"));
    }
    for (index, peer) in found.unreached_peers.iter().take(LISTED).enumerate() {
        let before = if index == 0 { ", " } else { " and " };
        let _ = write!(text, "{before}{}", endpoint(peer.remote));
    }
    let more = found.unreached_peers.len().saturating_sub(LISTED) as u64;
    if more > 0 {
        let _ = write!(text, " and {}", counted(more, "other peer"));
    }
    if !found.unreached_peers.is_empty() {
        text.push_str(" could no longer be connected to");
    }
    table(&mut text, &found.kinds, &found.top_peers, &found.top_dirs);
    match found.recovered {
        Some(recovered) => {
            let _ = write!(text, "; recovered at {} UTC", at(recovered));
        }
        None if verdict.ongoing => text.push_str("; still going on"),
        None => text.push_str("; until its end"),
    }
    text
}

/// What has become of a full table.
pub(super) fn fd_exhaustion_since(
    session: &Session,
    verdict: &Verdict,
    found: &FdExhaustion,
) -> String {
    let mut text = calls(found);
    if let Some(recovered) = found.recovered {
        let at = time_of_day(session, recovered, verdict.first_seen);
        let _ = write!(text, ", recovered at {at} UTC");
    }
    text
}

pub(super) fn fd_leak(session: &Session, verdict: &Verdict, found: &FdLeak) -> String {
    let mut text = "holds more and more descriptors: ".to_owned();
    text.push_str(&fd_leak_since(session, verdict, found));
    content(
        &mut text,
        "; gained ",
        named(&found.top_peers, &found.top_dirs),
    );
    duration(&mut text, session, verdict);
    text
}

pub(super) fn close_wait_leak(
    session: &Session,
    verdict: &Verdict,
    found: &CloseWaitLeak,
) -> String {
    let mut text = format!(
        "never closes {} that the peer has closed (CLOSE_WAIT), at the peak {}",
        counted(found.count, "connection"),
        found.peak
    );
    if let Some(oldest) = found.oldest {
        let at = time_of_day(session, oldest, verdict.last_seen);
        let _ = write!(text, ", the oldest since {at} UTC");
    }
    content(&mut text, ": ", named(&found.top_peers, &[]));
    let threads = found.threads.len() as u64;
    if threads > 1 {
        let _ = write!(text, "; opened by {}", counted(threads, "thread"));
    }
    duration(&mut text, session, verdict);
    text
}

/// What has become of a leak.
pub(super) fn fd_leak_since(session: &Session, verdict: &Verdict, found: &FdLeak) -> String {
    let mut text = format!("{} more ({})", found.grown, per_minute(found.rate_per_min));
    if let Some(now) = found.fds_now {
        let _ = write!(text, ", {now}");
        if let Some(limit) = found.fd_limit {
            let _ = write!(text, " of {limit}");
        }
        text.push_str(" by now");
    }
    if let Some(eta) = found.eta {
        let at = time_of_day(session, eta, verdict.last_seen);
        let _ = write!(text, ", none left at {at} UTC at this rate");
    }
    text
}

/// Which calls failed how often.
fn calls(found: &FdExhaustion) -> String {
    let mut calls: Vec<_> = found.calls.iter().collect();
    calls.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let told: Vec<_> = calls
        .into_iter()
        .map(|(call, count)| format!("{count} × {call}"))
        .collect();
    format!("{} failed", told.join(", "))
}

/// What a table holds now, in some words; empty where that is not known.
pub(in crate::sink) fn holds(found: &FdContent) -> String {
    let mut text = String::new();
    let mut rows = others(&found.kinds, &found.top_peers);
    rows.extend(found.top_peers.iter().map(|peer| {
        let half_closed = match peer.close_wait {
            0 => String::new(),
            count => format!(" ({count} CLOSE_WAIT)"),
        };
        (peer.count, whom(peer) + &half_closed)
    }));
    rows.extend(named(&[], &found.top_dirs));
    content(&mut text, "", rows);
    text
}

/// Appends what fills a table: also the kinds that no row of peers and paths tells of.
fn table(
    text: &mut String,
    kinds: &BTreeMap<&'static str, u64>,
    peers: &[PeerCount],
    patterns: &[(String, u64)],
) {
    let mut rows = named(peers, patterns);
    rows.extend(others(kinds, peers));
    content(text, "; held ", rows);
}

/// The kinds that no row of peers and paths tells of.
fn others(kinds: &BTreeMap<&'static str, u64>, peers: &[PeerCount]) -> Vec<(u64, String)> {
    let connected = peers.iter().map(|peer| peer.count).sum();
    let mut rows = Vec::new();
    for kind in FdKind::ALL.into_iter().rev() {
        let count = kinds.get(kind.name()).copied().unwrap_or(0);
        let (count, what) = match kind {
            FdKind::Socket => (count.saturating_sub(connected), "other sockets"),
            FdKind::Pipe => (count, "pipes"),
            FdKind::Device => (count, "devices"),
            FdKind::Anonymous => (count, "epoll, eventfd and the like"),
            FdKind::File => continue,
        };
        if count > 0 {
            rows.push((count, what.to_owned()));
        }
    }
    rows
}

/// What peers and paths tell of.
fn named(peers: &[PeerCount], patterns: &[(String, u64)]) -> Vec<(u64, String)> {
    let peers = peers.iter().map(|peer| (peer.count, whom(peer)));
    let patterns = patterns
        .iter()
        .map(|(pattern, count)| (*count, Escaped(pattern).to_string()));
    peers.chain(patterns).collect()
}

/// Appends what fills a table, or more and more of it.
fn content(text: &mut String, says: &str, mut rows: Vec<(u64, String)>) {
    // The sort is stable, so as many of each stay in order.
    rows.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    for (index, (count, what)) in rows.iter().take(LISTED).enumerate() {
        let before = if index == 0 { says } else { ", " };
        let _ = write!(text, "{before}{count} × {what}");
    }
}

/// A peer with the port that was connected to.
fn whom(peer: &PeerCount) -> String {
    match peer.role {
        Role::Server => format!("{} to port {}", peer.addr, peer.port),
        Role::Client | Role::Unknown => endpoint(Endpoint {
            addr: peer.addr,
            port: peer.port,
        }),
    }
}
