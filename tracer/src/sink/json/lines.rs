//! The shapes of the JSON lines: the order and the names of their fields; never how a value is
//! found.

use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

use serde::{Serialize, Serializer};
use tracer_common::{EventKind, EventStats};

use crate::{
    analysis::report::Identity,
    model::{Losses, Netns, Pid, Session, Tid},
};

use super::super::clock::rfc3339;
use super::descriptors::{
    CloseWaitLeakFields, FdBurstFields, FdContentFields, FdExhaustionFields, FdLeakFields,
    FdNearLimitFields,
};
use super::ports::PortExhaustionFields;

#[derive(Serialize)]
pub(super) struct StartLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) ts: String,
    pub(super) host: &'a str,
    pub(super) kernel: &'a str,
    pub(super) boot_id: Option<&'a str>,
    pub(super) version: &'a str,
    pub(super) selection: SelectionObject<'a>,
    pub(super) hooks: Vec<HookObject<'a>>,
}

#[derive(Serialize)]
pub(super) struct SelectionObject<'a> {
    pub(super) ports: &'a [u16],
    pub(super) pids: &'a [Pid],
    pub(super) tcp: bool,
    pub(super) fds: bool,
    pub(super) netns: Option<Netns>,
}

#[derive(Serialize)]
pub(super) struct HookObject<'a> {
    pub(super) name: &'a str,
    pub(super) attached: Option<&'a str>,
    pub(super) provides: &'a str,
    pub(super) reason: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct VerdictLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) verdict: &'static str,
    pub(super) id: u64,
    pub(super) update: u32,
    pub(super) text: String,
    #[serde(flatten)]
    pub(super) process: ProcessFields<'a>,
    #[serde(flatten)]
    pub(super) thread: ThreadFields<'a>,
    pub(super) netns: Option<Netns>,
    pub(super) children: Option<u64>,
    pub(super) group: Option<GroupObject<'a>>,
    pub(super) first_seen: String,
    pub(super) last_seen: String,
    pub(super) ongoing: bool,
    pub(super) lossy: bool,
    pub(super) caused_by: &'a [u64],
    pub(super) led_to: &'a [u64],
    pub(super) stacks: Option<Vec<StackObject<'a>>>,
    #[serde(flatten)]
    pub(super) finding: FindingFields<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum FindingFields<'a> {
    Connections(ConnectionsFields<'a>),
    FailingConnects(FailingConnectsFields),
    FdBurst(FdBurstFields<'a>),
    FdNearLimit(FdNearLimitFields<'a>),
    FdExhaustion(Box<FdExhaustionFields<'a>>),
    FdLeak(FdLeakFields<'a>),
    CloseWaitLeak(CloseWaitLeakFields<'a>),
    PortExhaustion(Box<PortExhaustionFields<'a>>),
}

/// A user stack and how often it came.
#[derive(Serialize)]
pub(super) struct StackObject<'a> {
    pub(super) count: u64,
    pub(super) frames: &'a [Box<str>],
    pub(super) missing: Option<&'static str>,
}

/// A parent's children of one name.
#[derive(Serialize)]
pub(super) struct GroupObject<'a> {
    pub(super) ppid: Option<Pid>,
    pub(super) comm: Option<&'a str>,
    pub(super) processes: u64,
}

/// Who did it: the process.
#[derive(Serialize)]
pub(in crate::sink) struct ProcessFields<'a> {
    pub(super) pid: Option<Pid>,
    pub(super) ns_pid: Option<u32>,
    pub(super) comm: Option<&'a str>,
    pub(super) exe: Option<&'a str>,
    pub(super) cmdline: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) container: Option<&'a str>,
    pub(super) runtime: Option<&'a str>,
    pub(super) pod_uid: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    pub(super) hostname: Option<&'a str>,
    pub(super) ppid: Option<Pid>,
    pub(super) parent_comm: Option<&'a str>,
    pub(super) parents: Vec<ParentObject<'a>>,
    pub(super) started: Option<String>,
    pub(super) ended: bool,
}

impl<'a> ProcessFields<'a> {
    pub(in crate::sink) fn new(session: &Session, who: &'a Identity) -> Self {
        Self {
            pid: who.pid,
            ns_pid: who.ns_pid,
            comm: known(&who.comm),
            exe: who.exe.as_deref(),
            cmdline: who.cmdline.as_deref(),
            user: who.user.as_deref(),
            container: who.container.as_deref(),
            runtime: who.runtime.as_deref(),
            pod_uid: who.pod_uid.as_deref(),
            unit: who.unit.as_deref(),
            hostname: who.hostname.as_deref(),
            ppid: who.ppid,
            parent_comm: who.parent_comm.as_deref(),
            parents: who
                .lineage()
                .map(|(pid, comm)| ParentObject {
                    pid,
                    comm: known(comm),
                })
                .collect(),
            started: who.start.map(|start| rfc3339(session, start)),
            ended: who.ended,
        }
    }
}

#[derive(Serialize)]
pub(in crate::sink) struct ParentObject<'a> {
    pub(super) pid: Pid,
    pub(super) comm: Option<&'a str>,
}

/// Who did it: the thread.
#[derive(Serialize)]
pub(in crate::sink) struct ThreadFields<'a> {
    pub(super) tid: Option<Tid>,
    pub(super) nid: Option<String>,
    pub(super) thread: Option<&'a str>,
}

impl<'a> ThreadFields<'a> {
    pub(in crate::sink) fn new(who: &'a Identity) -> Self {
        Self {
            tid: who.tid,
            nid: who.tid.map(|tid| format!("{:#x}", tid.0)),
            thread: who.thread.as_deref(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct ConnectionsFields<'a> {
    pub(super) role: Option<&'static str>,
    pub(super) laddr: IpAddr,
    pub(super) lport: Option<u16>,
    pub(super) raddr: IpAddr,
    pub(super) rport: Option<u16>,
    pub(super) peers: Vec<PeerObject>,
    pub(super) count: u64,
    pub(super) rate_per_min: f64,
    pub(super) period_ms: Option<f64>,
    pub(super) period_min_ms: Option<f64>,
    pub(super) period_max_ms: Option<f64>,
    pub(super) lifetime_p50_ms: Option<f64>,
    pub(super) lifetime_p99_ms: Option<f64>,
    pub(super) tx_bytes: u64,
    pub(super) rx_bytes: u64,
    pub(super) closed_by: ClosedByObject,
    pub(super) closer: Option<CloserObject<'a>>,
    pub(super) failed: u64,
    pub(super) time_wait_now: u64,
}

#[derive(Serialize)]
pub(super) struct PeerObject {
    pub(super) addr: IpAddr,
    pub(super) count: u64,
}

#[derive(Serialize)]
pub(super) struct ClosedByObject {
    pub(super) local: Option<f64>,
    pub(super) remote: Option<f64>,
}

#[derive(Serialize)]
pub(super) struct CloserObject<'a> {
    pub(super) pid: Pid,
    pub(super) comm: Option<&'a str>,
    pub(super) tid: Tid,
    pub(super) thread: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct FailingConnectsFields {
    pub(super) role: &'static str,
    pub(super) laddr: IpAddr,
    pub(super) lport: Option<u16>,
    pub(super) raddr: IpAddr,
    pub(super) rport: Option<u16>,
    pub(super) peers: Vec<PeerObject>,
    pub(super) count: u64,
    pub(super) rate_per_min: f64,
    pub(super) period_ms: Option<f64>,
    pub(super) period_min_ms: Option<f64>,
    pub(super) period_max_ms: Option<f64>,
    pub(super) errnos: BTreeMap<Cow<'static, str>, u64>,
}

#[derive(Serialize)]
pub(super) struct ProcessLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) ts: String,
    #[serde(flatten)]
    pub(super) process: ProcessFields<'a>,
    pub(super) netns: Option<Netns>,
    pub(super) connects: u64,
    pub(super) connects_failed: u64,
    pub(super) accepts: u64,
    pub(super) connections_ended: u64,
    pub(super) connections_open: u64,
    pub(super) opens: u64,
    pub(super) opens_failed: u64,
    pub(super) fds_got: u64,
    pub(super) fds_closed: u64,
    pub(super) fds_refused: u64,
    pub(super) fds_got_per_s: Option<f64>,
    pub(super) fds_closed_per_s: Option<f64>,
    pub(super) fds_open: Option<u64>,
    pub(super) fds_peak: Option<u64>,
    pub(super) fd_limit: Option<u64>,
    pub(super) fd_hard_limit: Option<u64>,
    pub(super) fd_room: Option<u64>,
    pub(super) fds_corrected: u64,
    #[serde(flatten)]
    pub(super) content: FdContentFields<'a>,
    pub(super) not_streamed: u64,
}

#[derive(Serialize)]
pub(super) struct TimeWaitLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) ts: String,
    #[serde(flatten)]
    pub(super) process: ProcessFields<'a>,
    #[serde(flatten)]
    pub(super) thread: ThreadFields<'a>,
    pub(super) laddr: IpAddr,
    pub(super) lport: Option<u16>,
    pub(super) raddr: IpAddr,
    pub(super) rport: Option<u16>,
    pub(super) netns: u32,
    pub(super) attribution: &'static str,
}

#[derive(Serialize)]
pub(super) struct StatsLine<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) ts: String,
    pub(super) events: EventsObject<'a>,
    pub(super) undecodable: u64,
    pub(super) kernel_skipped: u64,
    pub(super) lookups_dropped: u64,
    pub(super) hooks_off_ms: u64,
    pub(super) lost: u64,
    pub(super) evicted: EvictedObject,
    pub(super) hooks: Vec<HookObject<'a>>,
    pub(super) complete: bool,
}

/// The kernel half's counters, an object by the kind's name.
pub(super) struct EventsObject<'a>(pub(super) &'a Losses);

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
pub(super) struct EventStatsObject {
    pub(super) seen: u64,
    pub(super) streamed: u64,
    pub(super) counted_only: u64,
    pub(super) filtered: u64,
    pub(super) ring_full: u64,
    pub(super) map_full: u64,
    pub(super) read_failed: u64,
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
pub(super) struct EvictedObject {
    pub(super) processes: u64,
    pub(super) connections: u64,
    pub(super) groups: u64,
    pub(super) verdicts: u64,
}

#[derive(Serialize)]
pub(super) struct EndLine {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) ts: String,
    pub(super) duration_ms: f64,
    pub(super) verdicts: usize,
    pub(super) lost: u64,
    pub(super) complete: bool,
}

/// The text, unless there is none.
pub(in crate::sink) fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
