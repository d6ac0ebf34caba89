//! The fields of the verdicts about descriptors; never how a value is found.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use crate::{
    analysis::report::{
        CloseWaitLeak, FdBurst, FdContent, FdExhaustion, FdLeak, FdNearLimit, PeerCount,
        ThreadCount,
    },
    model::{Session, Tid},
};

use super::super::{clock::rfc3339, errno};
use super::{known, lines::FindingFields, port, role, rounded};

#[derive(Serialize)]
pub(in crate::sink) struct FdBurstFields<'a> {
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
pub(in crate::sink) struct FdNearLimitFields<'a> {
    fds_now: u64,
    fds_peak: u64,
    fd_limit: u64,
    room: u64,
    kinds: &'a BTreeMap<&'static str, u64>,
    top_dirs: Vec<PatternObject<'a>>,
    top_peers: Vec<PeerObject>,
}

#[derive(Serialize)]
pub(in crate::sink) struct FdExhaustionFields<'a> {
    calls: &'a BTreeMap<&'static str, u64>,
    first_failure: String,
    first_call: Option<&'static str>,
    first_errno: String,
    first_tid: Option<Tid>,
    first_thread: Option<&'a str>,
    threads: Vec<ThreadObject<'a>>,
    fds_peak: Option<u64>,
    fd_limit: Option<u64>,
    kinds: &'a BTreeMap<&'static str, u64>,
    top_dirs: Vec<PatternObject<'a>>,
    top_peers: Vec<PeerObject>,
    unreached_peers: Vec<UnreachedObject>,
    recovered: Option<String>,
}

#[derive(Serialize)]
pub(in crate::sink) struct FdLeakFields<'a> {
    rate_per_min: f64,
    grown: u64,
    fds_now: Option<u64>,
    fd_limit: Option<u64>,
    eta: Option<String>,
    top_dirs: Vec<PatternObject<'a>>,
    top_peers: Vec<PeerObject>,
}

#[derive(Serialize)]
pub(in crate::sink) struct CloseWaitLeakFields<'a> {
    count: u64,
    peak: u64,
    oldest: Option<String>,
    threads: Vec<ThreadObject<'a>>,
    top_peers: Vec<PeerObject>,
}

#[derive(Serialize)]
struct PatternObject<'a> {
    pattern: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct PeerObject {
    role: Option<&'static str>,
    addr: IpAddr,
    port: Option<u16>,
    count: u64,
    close_wait: u64,
}

/// What a table holds now.
#[derive(Serialize)]
pub(in crate::sink) struct FdContentFields<'a> {
    table_looked: Option<String>,
    kinds: &'a BTreeMap<&'static str, u64>,
    top_dirs: Vec<PatternObject<'a>>,
    top_peers: Vec<PeerObject>,
}

#[derive(Serialize)]
struct ThreadObject<'a> {
    tid: Tid,
    nid: String,
    thread: Option<&'a str>,
    count: u64,
}

#[derive(Serialize)]
struct UnreachedObject {
    addr: IpAddr,
    port: Option<u16>,
    connects_before: u64,
    last_connect: String,
    reached_again: Option<String>,
}

pub(super) fn fd_burst(found: &FdBurst) -> FindingFields<'_> {
    FindingFields::FdBurst(FdBurstFields {
        opens: found.opens,
        window_ms: found.window.as_millis_f64(),
        top_dirs: patterns(&found.top_dirs),
        paths_missing: found.paths_missing,
        fds_before: found.fds_before,
        fds_peak: found.fds_peak,
        fds_now: found.fds_now,
        fd_limit: found.fd_limit,
    })
}

pub(super) fn fd_near_limit(found: &FdNearLimit) -> FindingFields<'_> {
    FindingFields::FdNearLimit(FdNearLimitFields {
        fds_now: found.fds_now,
        fds_peak: found.fds_peak,
        fd_limit: found.fd_limit,
        room: found.room,
        kinds: &found.kinds,
        top_dirs: patterns(&found.top_dirs),
        top_peers: peers(&found.top_peers),
    })
}

pub(super) fn fd_exhaustion<'a>(session: &Session, found: &'a FdExhaustion) -> FindingFields<'a> {
    let first = &found.first_failure;
    let unreached = found.unreached_peers.iter().map(|row| UnreachedObject {
        addr: row.remote.addr,
        port: port(row.remote.port),
        connects_before: row.connects_before,
        last_connect: rfc3339(session, row.last_connect),
        reached_again: row.reached_again.map(|at| rfc3339(session, at)),
    });
    FindingFields::FdExhaustion(Box::new(FdExhaustionFields {
        calls: &found.calls,
        first_failure: rfc3339(session, first.at),
        first_call: first.call,
        first_errno: errno::name(first.errno).into_owned(),
        first_tid: first.tid,
        first_thread: first.thread.as_deref().and_then(known),
        threads: threads(&found.threads),
        fds_peak: found.fds_peak,
        fd_limit: found.fd_limit,
        kinds: &found.kinds,
        top_dirs: patterns(&found.top_dirs),
        top_peers: peers(&found.top_peers),
        unreached_peers: unreached.collect(),
        recovered: found.recovered.map(|at| rfc3339(session, at)),
    }))
}

pub(super) fn fd_leak<'a>(session: &Session, found: &'a FdLeak) -> FindingFields<'a> {
    FindingFields::FdLeak(FdLeakFields {
        rate_per_min: rounded(found.rate_per_min),
        grown: found.grown,
        fds_now: found.fds_now,
        fd_limit: found.fd_limit,
        eta: found.eta.map(|at| rfc3339(session, at)),
        top_dirs: patterns(&found.top_dirs),
        top_peers: peers(&found.top_peers),
    })
}

pub(super) fn close_wait_leak<'a>(
    session: &Session,
    found: &'a CloseWaitLeak,
) -> FindingFields<'a> {
    FindingFields::CloseWaitLeak(CloseWaitLeakFields {
        count: found.count,
        peak: found.peak,
        oldest: found.oldest.map(|at| rfc3339(session, at)),
        threads: threads(&found.threads),
        top_peers: peers(&found.top_peers),
    })
}

pub(super) fn content<'a>(session: &Session, content: &'a FdContent) -> FdContentFields<'a> {
    FdContentFields {
        table_looked: content.looked.map(|at| rfc3339(session, at)),
        kinds: &content.kinds,
        top_dirs: patterns(&content.top_dirs),
        top_peers: peers(&content.top_peers),
    }
}

fn threads(rows: &[ThreadCount]) -> Vec<ThreadObject<'_>> {
    rows.iter()
        .map(|row| ThreadObject {
            tid: row.tid,
            nid: format!("{:#x}", row.tid.0),
            thread: known(&row.thread),
            count: row.count,
        })
        .collect()
}

fn patterns(rows: &[(String, u64)]) -> Vec<PatternObject<'_>> {
    rows.iter()
        .map(|(pattern, count)| PatternObject {
            pattern,
            count: *count,
        })
        .collect()
}

fn peers(rows: &[PeerCount]) -> Vec<PeerObject> {
    rows.iter()
        .map(|row| PeerObject {
            role: role(row.role),
            addr: row.addr,
            port: port(row.port),
            count: row.count,
            close_wait: row.close_wait,
        })
        .collect()
}
