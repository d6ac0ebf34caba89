//! Facts about the host that no event tells (/proc, `sock_diag`, limits), as values; never how they
//! were looked up.

use tracer_common::ProcessCounters;

use super::{Cookie, Endpoint, Nanos, Netns, Pid, TcpState};

/// One looked-up fact.
#[derive(Clone, Debug, PartialEq)]
pub enum HostFact {
    /// Who a process is.
    Process(Box<ProcessFact>),
    /// How full a process's descriptor table is.
    Descriptors(DescriptorFact),
    /// The kernel half's exact counters of a live process.
    Counters {
        /// The process.
        pid: Pid,
        /// What it did since it was first seen.
        counters: Box<ProcessCounters>,
    },
    /// A connection that was there before the trace began, with the process that holds it.
    SocketBefore(SocketOwner),
    /// All `TIME_WAIT` sockets of a network namespace, now.
    TimeWait(TimeWaitListing),
    /// The range that the kernel takes ephemeral ports from.
    EphemeralPorts(PortRange),
}

/// Who a process is, from /proc. A field is `None` where it could not be read (the process may
/// have vanished half way).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFact {
    /// The process.
    pub pid: Pid,
    /// When it started.
    pub start: Option<Nanos>,
    /// Its name.
    pub comm: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// Its command line, arguments joined by spaces.
    pub cmdline: Option<String>,
    /// Its parent.
    pub ppid: Option<Pid>,
    /// Its user's name, or the number where it has none.
    pub user: Option<String>,
    /// Its pid in its own pid namespace.
    pub ns_pid: Option<u32>,
    /// Its container's id, where it runs in one.
    pub container: Option<String>,
}

/// How full a process's descriptor table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorFact {
    /// The process.
    pub pid: Pid,
    /// Open descriptors when this was read.
    pub open: u64,
    /// The kernel half's net count (got less closed) at the same moment, where it has one: with it
    /// the number of open descriptors at any event can be told.
    pub net: Option<i64>,
    /// The soft limit; `None` is unlimited.
    pub soft_limit: Option<u64>,
    /// The hard limit; `None` is unlimited.
    pub hard_limit: Option<u64>,
}

/// A socket as `sock_diag` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketRow {
    /// Its cookie.
    pub cookie: Cookie,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Its state.
    pub state: TcpState,
}

/// A socket and the process that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// The socket.
    pub row: SocketRow,
    /// Its network namespace.
    pub netns: Netns,
    /// The process that holds a descriptor of it.
    pub pid: Pid,
}

/// All `TIME_WAIT` sockets of one network namespace at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeWaitListing {
    /// The namespace.
    pub netns: Netns,
    /// The sockets (also those that still wait for the peer's FIN without an owner), in order.
    pub rows: Vec<SocketRow>,
}

impl TimeWaitListing {
    /// A listing of these sockets in order: the kernel's own is that of its hash table, which means
    /// nothing, and what changes from one listing to the next is found by it.
    #[must_use]
    pub fn new(netns: Netns, mut rows: Vec<SocketRow>) -> Self {
        rows.sort_unstable();
        Self { netns, rows }
    }
}

/// Ephemeral ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

impl PortRange {
    /// How many ports the range holds.
    #[must_use]
    pub fn ports(self) -> u32 {
        u32::from(self.high).saturating_sub(u32::from(self.low)) + 1
    }
}
