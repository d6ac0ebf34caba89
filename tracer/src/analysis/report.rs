//! What the engine has to say, as plain values; never how it is shown.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tracer_common::Role;

use crate::model::{Ancestor, Comm, Endpoint, Losses, Nanos, Netns, Pid, PortRange, Session, Tid};

pub use super::{
    stacks::{StackCount, StackState},
    tally::FdRates,
};

/// All that is known at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// How, where and what is watched.
    pub session: Session,
    /// The moment.
    pub at: Nanos,
    /// What was found, the most recent activity first among what still goes on, then what ended.
    pub verdicts: Vec<Verdict>,
    /// Processes, the busiest first.
    pub processes: Vec<ProcessRow>,
    /// `TIME_WAIT` sockets that the kernel listed last, each with its owner.
    pub time_wait: Vec<TimeWaitRow>,
    /// What became of all events.
    pub losses: Losses,
    /// What the engine itself had to forget to keep within its bounds.
    pub evicted: Evicted,
}

/// How much the engine forgot to keep its memory bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evicted {
    /// Processes.
    pub processes: u64,
    /// Connections.
    pub connections: u64,
    /// Groups of connections to one peer.
    pub groups: u64,
    /// Verdicts that had ended, and those that were not made because too many went on.
    pub verdicts: u64,
}

/// Who did it. What is not known is `None`; for a process that has died, what was known stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The process in the host's pid namespace.
    pub pid: Option<Pid>,
    /// Its pid in its own pid namespace, where that is another.
    pub ns_pid: Option<u32>,
    /// When it started.
    pub start: Option<Nanos>,
    /// Its name.
    pub comm: String,
    /// Its executable.
    pub exe: Option<String>,
    /// Its command line.
    pub cmdline: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// Its container.
    pub container: Option<Arc<str>>,
    /// What runs that container.
    pub runtime: Option<Arc<str>>,
    /// The uid of its pod.
    pub pod_uid: Option<Arc<str>>,
    /// Its systemd unit.
    pub unit: Option<Arc<str>>,
    /// The host name of its UTS namespace; of a pod's process the pod's name.
    pub hostname: Option<Arc<str>>,
    /// Its network namespace.
    pub netns: Option<Netns>,
    /// Its parent.
    pub ppid: Option<Pid>,
    /// Its parent's name.
    pub parent_comm: Option<String>,
    /// Its parent, its parent's parent and so on, as far as they were looked up.
    pub parents: Option<Arc<[Ancestor]>>,
    /// The thread, where one thread did it.
    pub tid: Option<Tid>,
    /// The thread's name.
    pub thread: Option<String>,
    /// Where it is told of a parent's children of one name together, each of which did too little by
    /// itself: how many they are. Then the pid and all that goes with it are those of the last one,
    /// and `ppid` is who starts them.
    pub children: Option<u64>,
    /// Whether the process has ended.
    pub ended: bool,
}

impl Identity {
    /// Its parent, its parent's parent and so on, each with its name, which is empty where it is not
    /// known.
    pub fn lineage(&self) -> impl Iterator<Item = (Pid, &str)> {
        let parent = self.ppid.map(|ppid| {
            let comm = self.parent_comm.as_deref().unwrap_or_default();
            (ppid, comm)
        });
        let further = self.parents.as_deref().and_then(|all| all.get(1..));
        let further = further.unwrap_or_default().iter();
        parent
            .into_iter()
            .chain(further.map(|ancestor| (ancestor.pid, ancestor.comm.as_str())))
    }
}

/// One finding. It keeps its id while it goes on; each change of what is told makes one more update.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The same for all updates, and for a replay of the same inputs.
    pub id: u64,
    /// 0 when first made, then one more each time.
    pub update: u32,
    /// Who did it.
    pub who: Identity,
    /// When the first thing that belongs to it happened.
    pub first_seen: Nanos,
    /// When the last one happened.
    pub last_seen: Nanos,
    /// Whether it still goes on.
    pub ongoing: bool,
    /// Whether events were lost while it was made, so that its numbers are lower bounds.
    pub lossy: bool,
    /// The verdicts that brought it about, by number.
    pub caused_by: Vec<u64>,
    /// The verdicts that it brought about, by number.
    pub led_to: Vec<u64>,
    /// The user stacks of the connects or opens that it tells of, the most frequent first; `None`
    /// where they were not asked for, and where it tells of neither.
    pub stacks: Option<Vec<StackCount>>,
    /// What was found.
    pub finding: Finding,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// Connections opened and closed again and again without a useful exchange.
    Flapping(Connections),
    /// Short connections that do exchange data: no keep-alive, no pool.
    Churn(Connections),
    /// Connects that fail again and again.
    FailingConnects(FailingConnects),
    /// Many files opened, and kept open, at once.
    FdBurst(FdBurst),
    /// A descriptor table that is nearly full.
    FdNearLimit(FdNearLimit),
    /// A descriptor table that is full: calls fail.
    FdExhaustion(FdExhaustion),
    /// Descriptors that become more and more.
    FdLeak(FdLeak),
    /// Connections that the peer has long closed and this side never does.
    CloseWaitLeak(CloseWaitLeak),
    /// Ephemeral ports that run out towards one peer.
    PortExhaustion(PortExhaustion),
}

/// The names of all findings, as [`Finding::name`] tells them.
pub const FINDING_NAMES: &[&str] = &[
    "flapping",
    "churn",
    "failing_connects",
    "fd_burst",
    "fd_near_limit",
    "fd_exhaustion",
    "fd_leak",
    "close_wait_leak",
    "port_exhaustion",
];

impl Finding {
    /// The verdict's name in JSON, filters and metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Flapping(_) => "flapping",
            Self::Churn(_) => "churn",
            Self::FailingConnects(_) => "failing_connects",
            Self::FdBurst(_) => "fd_burst",
            Self::FdNearLimit(_) => "fd_near_limit",
            Self::FdExhaustion(_) => "fd_exhaustion",
            Self::FdLeak(_) => "fd_leak",
            Self::CloseWaitLeak(_) => "close_wait_leak",
            Self::PortExhaustion(_) => "port_exhaustion",
        }
    }
}

/// Connections of one owner to one port, or of one peer to one local port, that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Connections {
    /// Which side the watched process was on.
    pub role: Role,
    /// The last connection's own side. On the server's side its port is the one that was connected to.
    pub local: Endpoint,
    /// The last connection's other side. On the client's side its port is the one that was
    /// connected to.
    pub remote: Endpoint,
    /// Every remote address of the group with its number of connections, the most frequent first
    /// (at most [`super::limits::PEERS_PER_GROUP`], the others counted in the last of them).
    pub peers: Vec<(IpAddr, u64)>,
    /// Connections that ended.
    pub count: u64,
    /// Connections a minute over the time from the first to the last.
    pub rate_per_min: f64,
    /// The time from one try to the next.
    pub period: Option<Spread>,
    /// The time from a connection's begin to its end.
    pub lifetime: Option<Spread>,
    /// Payload bytes sent and acknowledged, in all.
    pub tx_bytes: u64,
    /// Payload bytes received, in all.
    pub rx_bytes: u64,
    /// Connections that this side ended.
    pub closed_by_local: u64,
    /// Connections that the other side ended.
    pub closed_by_remote: u64,
    /// Who closed the descriptor of the last connection where that was another thread or process than
    /// had opened it.
    pub closer: Option<Closer>,
    /// Connects of the same group that failed meanwhile.
    pub failed: u64,
    /// Its `TIME_WAIT` sockets that the kernel listed last.
    pub time_wait_now: u64,
}

/// Who closed a connection's last descriptor: a child that inherited it, a process that it was passed
/// to, or another thread than had opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closer {
    /// The process.
    pub pid: Pid,
    /// Its name; empty where it is not known.
    pub comm: Comm,
    /// The thread.
    pub tid: Tid,
    /// The thread's name.
    pub thread: Comm,
    /// Whether it is another process, not only another thread.
    pub is_other_process: bool,
}

/// The distribution of some spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Half are at most this.
    pub p50: Nanos,
    /// 99 of 100 are at most this.
    pub p99: Nanos,
    /// The shortest.
    pub min: Nanos,
    /// The longest.
    pub max: Nanos,
}

/// Connects that fail again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct FailingConnects {
    /// The last one's own side.
    pub local: Endpoint,
    /// The last one's target.
    pub remote: Endpoint,
    /// Every target address with its number of failures, as in [`Connections::peers`].
    pub peers: Vec<(IpAddr, u64)>,
    /// Failures.
    pub count: u64,
    /// Failures a minute.
    pub rate_per_min: f64,
    /// The time from one try to the next.
    pub period: Option<Spread>,
    /// Positive errno to number of failures; 0 is a connect that the program itself gave up before
    /// an answer came.
    pub errnos: BTreeMap<i32, u64>,
}

/// Many files opened, and kept open, at once.
#[derive(Clone, Debug, PartialEq)]
pub struct FdBurst {
    /// Files opened from its begin to its end.
    pub opens: u64,
    /// The time from its begin to its last open.
    pub window: Nanos,
    /// Patterns of what was opened with their counts, the most frequent first.
    pub top_dirs: Vec<(String, u64)>,
    /// Opens of the burst whose path is not known (beyond the budget, or lost).
    pub paths_missing: u64,
    /// Descriptors just before it, where the table was looked at in time.
    pub fds_before: Option<u64>,
    /// The most descriptors during it.
    pub fds_peak: Option<u64>,
    /// Descriptors now, or when the process ended.
    pub fds_now: Option<u64>,
    /// The soft limit; `None` is unlimited or not known.
    pub fd_limit: Option<u64>,
}

/// A descriptor table that is nearly full, before any call fails.
#[derive(Clone, Debug, PartialEq)]
pub struct FdNearLimit {
    /// Descriptors now, or when it was over; told anew when they changed by a good part of the limit.
    pub fds_now: u64,
    /// The most descriptors since it began.
    pub fds_peak: u64,
    /// The soft limit.
    pub fd_limit: u64,
    /// How many more could be had with `fds_now`.
    pub room: u64,
    /// What it holds by kind; empty until a look at /proc has told.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Files that it holds, as in [`FdExhaustion::top_dirs`].
    pub top_dirs: Vec<(String, u64)>,
    /// Whom its sockets are connected with, as in [`FdExhaustion::top_peers`].
    pub top_peers: Vec<PeerCount>,
}

/// A descriptor table that is full: calls fail.
#[derive(Clone, Debug, PartialEq)]
pub struct FdExhaustion {
    /// Which calls got no descriptor, and how often.
    pub calls: BTreeMap<&'static str, u64>,
    /// The first one.
    pub first_failure: FirstFailure,
    /// The threads whose calls failed, of those whose events arrived, the most frequent first.
    pub threads: Vec<ThreadCount>,
    /// The most descriptors while it went on.
    pub fds_peak: Option<u64>,
    /// The soft limit then; `None` is unlimited or not known.
    pub fd_limit: Option<u64>,
    /// What the table is filled with, by kind, of what was got since the process was first seen.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Patterns of the files that it most likely held when the first call failed, the most frequent
    /// first: of those whose opens were told.
    pub top_dirs: Vec<(String, u64)>,
    /// Whom its sockets were connected with, the most frequent first: of the connections known.
    pub top_peers: Vec<PeerCount>,
    /// Peers that it had connected to, and could not while `socket` failed.
    pub unreached_peers: Vec<UnreachedPeer>,
    /// When a descriptor was to be had again for good; `None` while it goes on, and where the process
    /// ended before.
    pub recovered: Option<Nanos>,
    /// The burst that filled the table, in short.
    pub burst: Option<BurstBefore>,
}

/// Descriptors that become more and more.
#[derive(Clone, Debug, PartialEq)]
pub struct FdLeak {
    /// How many more a minute, over the last window.
    pub rate_per_min: f64,
    /// How many more since it began.
    pub grown: u64,
    /// Descriptors at the end of the last interval.
    pub fds_now: Option<u64>,
    /// The soft limit; `None` is unlimited or not known.
    pub fd_limit: Option<u64>,
    /// Patterns of files that it opened since then and most likely holds, the most frequent first.
    pub top_dirs: Vec<(String, u64)>,
    /// Whom connections are open with that were made since then, the most frequent first.
    pub top_peers: Vec<PeerCount>,
    /// When the limit will be reached at this rate; `None` without a limit, and once it is over.
    pub eta: Option<Nanos>,
}

/// Connections that the peer has long closed and this side never does.
#[derive(Clone, Debug, PartialEq)]
pub struct CloseWaitLeak {
    /// How many there are now.
    pub count: u64,
    /// The most that there were.
    pub peak: u64,
    /// When the peer closed the oldest of them.
    pub oldest: Option<Nanos>,
    /// The threads that opened them, the most frequent first.
    pub threads: Vec<ThreadCount>,
    /// Whom they are with, the most frequent first.
    pub top_peers: Vec<PeerCount>,
}

/// Ephemeral ports that run out between one address here and one address and port there.
#[derive(Clone, Debug, PartialEq)]
pub struct PortExhaustion {
    /// The address here.
    pub local: IpAddr,
    /// The peer.
    pub remote: Endpoint,
    /// The range that the kernel takes ports from.
    pub range: PortRange,
    /// Ports of the range that are in use, of those that are known; told anew when that changed by a
    /// good part of the range.
    pub ports_in_use: u64,
    /// The most since it began.
    pub ports_peak: u64,
    /// Of [`Self::ports_in_use`], those that `TIME_WAIT` sockets hold.
    pub time_wait: u64,
    /// Of [`Self::ports_in_use`], those that connections hold.
    pub open: u64,
    /// Processes with the ports that they hold, or held when most were in use, the most first, where
    /// they are known.
    pub owners: Vec<PortOwner>,
    /// How many more a minute, over the last half a minute; negative where they become fewer.
    pub rate_per_min: f64,
    /// When none will be left at this rate; `None` where that is never, or now.
    pub eta: Option<Nanos>,
    /// Connects that found no port (EADDRNOTAVAIL).
    pub failures: u64,
    /// The first of them.
    pub first_failure: Option<Nanos>,
}

/// A process and how many ephemeral ports its sockets hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// The process.
    pub pid: Pid,
    /// Its name; empty where it is not known.
    pub comm: String,
    /// The ports.
    pub ports: u64,
}

/// The first call that got no descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct FirstFailure {
    /// When; where it is only known from counters, when those were read.
    pub at: Nanos,
    /// Which; `None` where counters told of several at once.
    pub call: Option<&'static str>,
    /// EMFILE (the process's limit) or ENFILE (the host's).
    pub errno: i32,
    /// The thread, where its event arrived.
    pub tid: Option<Tid>,
    /// The thread's name.
    pub thread: Option<String>,
}

/// A thread and how often it did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadCount {
    /// The thread.
    pub tid: Tid,
    /// Its name.
    pub thread: String,
    /// How often.
    pub count: u64,
}

/// A peer and how many open connections there are with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerCount {
    /// Which side the process is on.
    pub role: Role,
    /// The peer.
    pub addr: IpAddr,
    /// The port that was connected to: the peer's where the process is the client, else its own; 0
    /// where the role is not known.
    pub port: u16,
    /// Connections.
    pub count: u64,
    /// Those of them that only the peer has closed.
    pub close_wait: u64,
}

/// A peer that a process had connected to, and then could not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreachedPeer {
    /// The peer.
    pub remote: Endpoint,
    /// Connections to it before.
    pub connects_before: u64,
    /// When the last of them came about.
    pub last_connect: Nanos,
    /// When the next one did, if it did.
    pub reached_again: Option<Nanos>,
}

/// A burst as what follows from it tells of it; its own verdict says more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BurstBefore {
    /// When it began.
    pub at: Nanos,
    /// Files opened by it.
    pub opens: u64,
    /// The most frequent pattern, if any is known.
    pub pattern: Option<String>,
}

/// One process's totals since it was first seen.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessRow {
    /// Who it is.
    pub who: Identity,
    /// Connects begun.
    pub connects: u64,
    /// Connects that failed.
    pub connects_failed: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Connections that ended.
    pub connections_ended: u64,
    /// Connections open now, of those seen.
    pub connections_open: u64,
    /// Files opened.
    pub opens: u64,
    /// Files that could not be opened.
    pub opens_failed: u64,
    /// Descriptors got in any way.
    pub fds_got: u64,
    /// Descriptors closed.
    pub fds_closed: u64,
    /// Descriptors refused (EMFILE).
    pub fds_refused: u64,
    /// How fast descriptors are got and closed, over the last ten seconds; `None` once it has ended.
    pub fd_rates: Option<FdRates>,
    /// Descriptors open now, where known.
    pub fds_open: Option<u64>,
    /// The most that were open since it was first looked at.
    pub fds_peak: Option<u64>,
    /// The soft limit; `None` is unlimited or not known.
    pub fd_limit: Option<u64>,
    /// The hard limit; `None` is unlimited or not known.
    pub fd_hard_limit: Option<u64>,
    /// By how many descriptors looks at the table have corrected [`Self::fds_open`], in all.
    pub fds_corrected: u64,
    /// What its table holds now.
    pub content: FdContent,
    /// Descriptor events that were counted but not streamed.
    pub not_streamed: u64,
}

impl ProcessRow {
    /// How many more descriptors could be had now, where there is a limit and both are known.
    #[must_use]
    pub fn fd_room(&self) -> Option<u64> {
        Some(self.fd_limit?.saturating_sub(self.fds_open?))
    }
}

/// What a descriptor table holds; nothing where its process has ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FdContent {
    /// When it was last looked at; `None` where it never was, and then only peers are known.
    pub looked: Option<Nanos>,
    /// Descriptors by kind: those at that look, and what was got less closed since.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Patterns of files, the most frequent first: those at that look, and those that were opened since
    /// and that it most likely still holds.
    pub top_dirs: Vec<(String, u64)>,
    /// Whom its sockets are connected with, the most frequent first: of the connections known.
    pub top_peers: Vec<PeerCount>,
}

/// A `TIME_WAIT` socket with its owner.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeWaitRow {
    /// The process whose connection it was; everything `None` where [`Attribution::BeforeStart`].
    pub who: Identity,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Its network namespace.
    pub netns: Netns,
    /// How the owner was found.
    pub attribution: Attribution,
}

/// How a `TIME_WAIT` socket's owner was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribution {
    /// By the kernel's socket cookie: certain.
    Cookie,
    /// By network namespace, both addresses and ports, and time (kernels before 5.12).
    Tuple,
    /// It was born before watching began (or its connection was not seen): not attributed.
    BeforeStart,
}

impl Attribution {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cookie => "cookie",
            Self::Tuple => "tuple",
            Self::BeforeStart => "before_start",
        }
    }
}
