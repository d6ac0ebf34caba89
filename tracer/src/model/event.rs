//! What a process did, typed: the decoded form of a ring buffer record; never its bytes.

use std::{fmt, net::IpAddr};

use tracer_common::{EventKind, FdKind, FdSource, ProcessCounters, Role};

use super::{Comm, Cookie, Nanos, Netns, Pid, SockId, Tid, UserStack};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub ts: Nanos,
    /// The process that acted or owns the socket; 0 when nobody is known.
    pub pid: Pid,
    /// The thread that acted, or opened the socket; 0 when nobody is known.
    pub tid: Tid,
    /// That thread's name; empty for events made outside its context.
    pub thread: Comm,
    /// That thread's user stack, where it was asked for.
    pub stack: Option<UserStack>,
    /// What happened.
    pub body: EventBody,
}

/// What happened, by subject.
#[derive(Clone, Debug, PartialEq)]
pub enum EventBody {
    /// Something happened to a TCP connection.
    Tcp(TcpEvent),
    /// A descriptor was got, refused or closed.
    Fd(FdEvent),
    /// A process was seen for the first time, or replaced its program.
    Process(ProcessSeen),
    /// A process ended.
    Exit {
        /// Its name.
        comm: Comm,
        /// What it did in all.
        counters: Box<ProcessCounters>,
    },
}

impl EventBody {
    /// The kind of event, by which it is called in traces, reports and filters.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::Tcp(tcp) => match tcp.action {
                TcpAction::Connect => EventKind::TcpConnect,
                TcpAction::ConnectFailed => EventKind::TcpConnectFailed,
                TcpAction::Accept => EventKind::TcpAccept,
                TcpAction::State => EventKind::TcpState,
                TcpAction::TimeWait => EventKind::TcpTimeWait,
                TcpAction::Close => EventKind::TcpClose,
            },
            Self::Fd(fd) => match fd.action {
                FdAction::Installed => EventKind::FdInstall,
                FdAction::OpenFailed => EventKind::FdOpenFailed,
                FdAction::Exhausted => EventKind::FdExhausted,
                FdAction::Closed => EventKind::FdClose,
            },
            Self::Process(_) => EventKind::Process,
            Self::Exit { .. } => EventKind::Exit,
        }
    }
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The address; an IPv4-mapped IPv6 address is told as the IPv4 address that it is.
    pub addr: IpAddr,
    /// The port; 0 where the kernel had already given it back.
    pub port: u16,
}

/// The TCP states that the engine distinguishes by name; numbers as the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 9293")]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    /// A number that this version does not know.
    Unknown(u8),
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Unknown(number) => return write!(f, "STATE_{number}"),
        })
    }
}

/// What happened to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpAction {
    /// The process asked for the connection; the first SYN is about to leave.
    Connect,
    /// Connecting failed before a SYN could leave; see `errno`.
    ConnectFailed,
    /// The process took it from a listening socket, in the state `new_state`: the peer may have
    /// closed already.
    Accept,
    /// It went from `old_state` to `new_state`.
    State,
    /// Its socket was replaced by a `TIME_WAIT` one (`new_state` is `TimeWait`), or by one that
    /// still waits for the peer's FIN (`FinWait2`).
    TimeWait,
    /// The last descriptor of its socket went away. What was `Established` goes to `FinWait1` by that
    /// or, cut off, on to `Close`; what was in `CloseWait` and whose peer has all data goes to `LastAck`,
    /// and no more is told of it.
    Close,
}

/// A connection's event with all that the kernel knew of it then.
#[derive(Clone, Debug, PartialEq)]
pub struct TcpEvent {
    /// What happened.
    pub action: TcpAction,
    /// The socket.
    pub sock: SockId,
    /// Its cookie; 0 where none is known.
    pub cookie: Cookie,
    /// When the connection began, where that was seen.
    pub start: Option<Nanos>,
    /// Payload bytes that the peer has acknowledged so far.
    pub tx_bytes: u64,
    /// Payload bytes received so far.
    pub rx_bytes: u64,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// The socket's network namespace.
    pub netns: Netns,
    /// State before; the same as `new_state` where nothing changed.
    pub old_state: TcpState,
    /// State from now on.
    pub new_state: TcpState,
    /// Why it failed or was cut off (a positive errno), 0 otherwise.
    pub errno: i32,
    /// The part the local process played, where its beginning was seen.
    pub role: Role,
}

/// What happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FdAction {
    /// The process got it.
    Installed,
    /// A file could not be opened; see `errno`.
    OpenFailed,
    /// None could be had (EMFILE).
    Exhausted,
    /// It was closed.
    Closed,
}

/// A descriptor's event.
#[derive(Clone, Debug, PartialEq)]
pub struct FdEvent {
    /// What happened.
    pub action: FdAction,
    /// The descriptor, where the hook tells.
    pub fd: Option<u32>,
    /// How it was asked for.
    pub source: FdSource,
    /// What it refers to.
    pub kind: FdKind,
    /// Why it failed (a positive errno), 0 otherwise.
    pub errno: i32,
    /// Files opened by the process since it was first seen, exact, this one included.
    pub opens: u64,
    /// Descriptors got less closed since the process was first seen, exact, this one included.
    pub fds_net: i64,
    /// The same for files only.
    pub files_net: i64,
    /// The file's path, where one was taken.
    pub path: Option<Path>,
}

/// How a path was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathForm {
    /// From the root of its mount namespace, as the kernel resolved it.
    Resolved,
    /// As the process asked for it, perhaps relative to its working directory.
    AsGiven,
}

/// A file's path. A part that did not fit is shown as `…`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// How it was learned.
    pub form: PathForm,
}

/// A process's first sight, or its new program.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessSeen {
    /// When it started; with the pid it names a process for good.
    pub start: Nanos,
    /// Its cgroup's inode number.
    pub cgroup_id: u64,
    /// Its parent.
    pub ppid: Pid,
    /// Its parent's name.
    pub parent_comm: Comm,
    /// Its real user id.
    pub uid: u32,
    /// Its pid in its own pid namespace.
    pub ns_pid: u32,
    /// Its network namespace.
    pub netns: Netns,
    /// The host name of its UTS namespace; empty where it is not known. Of a pod's process it is the
    /// pod's name.
    pub hostname: Box<str>,
    /// Its name: that of its first thread.
    pub comm: Comm,
    /// Whether it has just replaced its program.
    pub is_exec: bool,
    /// Its command line, arguments joined by spaces; a part that did not fit is shown as `…`.
    pub cmdline: String,
}
