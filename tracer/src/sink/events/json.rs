//! Events and connections as JSON lines; never a key that `docs/fields.md` does not explain, and
//! never a key less where something is not known.

use std::{borrow::Cow, net::IpAddr};

use serde::Serialize;
use tracer_common::FdSource;

use crate::{
    analysis::lives::{EndedBy, Life},
    model::{Event, EventBody, Nanos, PathForm, Pid, Session, TcpEvent, Tid},
};

use super::super::{
    clock::rfc3339,
    errno,
    json::{
        line,
        lines::{ProcessFields, ThreadFields, known},
        port, role,
    },
};
use super::error;

/// An event by a process of this name.
#[must_use]
pub fn event(session: &Session, event: &Event, comm: &str) -> String {
    line(&EventLine {
        kind: "event",
        ts: rfc3339(session, event.ts),
        event: event.body.kind().name(),
        pid: event.pid.known(),
        comm: known(comm),
        tid: (event.tid.0 != 0).then_some(event.tid),
        thread: known(event.thread.as_str()),
        body: match &event.body {
            EventBody::Tcp(tcp) => connection(session, event.ts, tcp),
            EventBody::Fd(fd) => BodyFields::Descriptor(DescriptorFields {
                fd: fd.fd,
                source: fd.source.name(),
                fd_kind: fd.kind.name(),
                errno: (fd.errno != 0).then_some(fd.errno),
                error: error(fd.errno),
                opens: fd.opens,
                fds_net: fd.fds_net,
                files_net: fd.files_net,
                path: fd.path.as_ref().map(|path| path.text.as_str()),
                path_form: fd.path.as_ref().map(|path| match path.form {
                    PathForm::Resolved => "resolved",
                    PathForm::AsGiven => "as_given",
                }),
            }),
            EventBody::Process(seen) => BodyFields::Process(ProcessSeenFields {
                started: rfc3339(session, seen.start),
                ns_pid: seen.ns_pid,
                ppid: seen.ppid.known(),
                parent_comm: known(seen.parent_comm.as_str()),
                uid: seen.uid,
                cgroup_id: seen.cgroup_id,
                netns: seen.netns.0,
                hostname: known(&seen.hostname),
                cmdline: known(&seen.cmdline),
                is_exec: seen.is_exec,
            }),
            EventBody::Exit { counters, .. } => BodyFields::Exit(ExitFields {
                connects: counters.connects,
                accepts: counters.accepts,
                opens: counters.fds_got[FdSource::Open as usize],
                opens_failed: counters.opens_failed,
                fds_got: sum(&counters.fds_got_of_kind),
                fds_closed: sum(&counters.fds_closed_of_kind),
                fds_refused: sum(&counters.fds_refused),
                not_streamed: counters.not_streamed,
            }),
        },
    })
}

/// A connection that is over.
#[must_use]
pub fn life(session: &Session, life: &Life) -> String {
    let failed = match life.ended_by {
        EndedBy::Failure(errno) => Some(errno),
        EndedBy::Local | EndedBy::Remote => None,
    };
    line(&LifeLine {
        kind: "connection",
        ts: rfc3339(session, life.end),
        process: ProcessFields::new(session, &life.who),
        thread: ThreadFields::new(&life.who),
        role: role(life.role),
        laddr: life.local.addr,
        lport: port(life.local.port),
        raddr: life.remote.addr,
        rport: port(life.remote.port),
        begun: life.start.map(|start| rfc3339(session, start)),
        lifetime_ms: life
            .start
            .map(|start| life.end.since(start).as_millis_f64()),
        tx_bytes: life.tx_bytes,
        rx_bytes: life.rx_bytes,
        ended_by: match life.ended_by {
            EndedBy::Local => "local",
            EndedBy::Remote => "remote",
            EndedBy::Failure(_) => "failure",
        },
        error: failed.map(errno::name),
    })
}

fn connection(session: &Session, at: Nanos, tcp: &TcpEvent) -> BodyFields<'static> {
    BodyFields::Connection(ConnectionFields {
        role: role(tcp.role),
        laddr: tcp.local.addr,
        lport: port(tcp.local.port),
        raddr: tcp.remote.addr,
        rport: port(tcp.remote.port),
        netns: tcp.netns.0,
        sock: format!("{:#x}", tcp.sock.0),
        cookie: tcp.cookie.known().map(|cookie| cookie.0),
        old_state: tcp.old_state.to_string(),
        new_state: tcp.new_state.to_string(),
        errno: (tcp.errno != 0).then_some(tcp.errno),
        error: error(tcp.errno),
        begun: tcp.start.map(|start| rfc3339(session, start)),
        age_ms: tcp.start.map(|start| at.since(start).as_millis_f64()),
        tx_bytes: tcp.tx_bytes,
        rx_bytes: tcp.rx_bytes,
    })
}

fn sum(counts: &[u64]) -> u64 {
    counts
        .iter()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

#[derive(Serialize)]
struct EventLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    #[serde(rename = "kind")]
    event: &'static str,
    pid: Option<Pid>,
    comm: Option<&'a str>,
    tid: Option<Tid>,
    thread: Option<&'a str>,
    #[serde(flatten)]
    body: BodyFields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum BodyFields<'a> {
    Connection(ConnectionFields),
    Descriptor(DescriptorFields<'a>),
    Process(ProcessSeenFields<'a>),
    Exit(ExitFields),
}

#[derive(Serialize)]
struct ConnectionFields {
    role: Option<&'static str>,
    laddr: IpAddr,
    lport: Option<u16>,
    raddr: IpAddr,
    rport: Option<u16>,
    netns: u32,
    /// As text: many a reader of JSON rounds numbers of 64 bits.
    sock: String,
    cookie: Option<u64>,
    old_state: String,
    new_state: String,
    errno: Option<i32>,
    error: Option<Cow<'static, str>>,
    begun: Option<String>,
    age_ms: Option<f64>,
    tx_bytes: u64,
    rx_bytes: u64,
}

#[derive(Serialize)]
struct DescriptorFields<'a> {
    fd: Option<u32>,
    source: &'static str,
    fd_kind: &'static str,
    errno: Option<i32>,
    error: Option<Cow<'static, str>>,
    opens: u64,
    fds_net: i64,
    files_net: i64,
    path: Option<&'a str>,
    path_form: Option<&'static str>,
}

#[derive(Serialize)]
struct ProcessSeenFields<'a> {
    started: String,
    ns_pid: u32,
    ppid: Option<Pid>,
    parent_comm: Option<&'a str>,
    uid: u32,
    cgroup_id: u64,
    netns: u32,
    hostname: Option<&'a str>,
    cmdline: Option<&'a str>,
    is_exec: bool,
}

#[derive(Serialize)]
struct ExitFields {
    connects: u64,
    accepts: u64,
    opens: u64,
    opens_failed: u64,
    fds_got: u64,
    fds_closed: u64,
    fds_refused: u64,
    not_streamed: u64,
}

#[derive(Serialize)]
struct LifeLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    ts: String,
    #[serde(flatten)]
    process: ProcessFields<'a>,
    #[serde(flatten)]
    thread: ThreadFields<'a>,
    role: Option<&'static str>,
    laddr: IpAddr,
    lport: Option<u16>,
    raddr: IpAddr,
    rport: Option<u16>,
    begun: Option<String>,
    lifetime_ms: Option<f64>,
    tx_bytes: u64,
    rx_bytes: u64,
    ended_by: &'static str,
    error: Option<Cow<'static, str>>,
}
