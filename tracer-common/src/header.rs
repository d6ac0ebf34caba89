//! What every ring buffer record begins with; never holds anything that only some kinds have.

/// Bytes of a kernel thread name, its terminating NUL included (`TASK_COMM_LEN` in
/// `include/linux/sched.h`).
pub const COMM_BYTES: usize = 16;

/// What a record tells. The numbers index the counters of [`crate::stats`], so they are dense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum EventKind {
    /// A process asked for a connection and the first SYN is about to leave: [`crate::TcpEvent`].
    TcpConnect = 0,
    /// A connect failed before a SYN could leave (no route, no free port): [`crate::TcpEvent`].
    TcpConnectFailed = 1,
    /// A process took a connection from a listening socket: [`crate::TcpEvent`].
    TcpAccept = 2,
    /// A connection was established, left ESTABLISHED but by its close, or came to its end:
    /// [`crate::TcpEvent`].
    TcpState = 3,
    /// The connection's socket was replaced by a `TIME_WAIT` one: [`crate::TcpEvent`].
    TcpTimeWait = 4,
    /// The last descriptor of a socket went away, which takes one that is ESTABLISHED to `FIN_WAIT1`, and
    /// one in `CLOSE_WAIT`, whose peer has all data, to `LAST_ACK`: [`crate::TcpEvent`].
    TcpClose = 5,
    /// A process got a new descriptor: [`crate::FdEvent`].
    FdInstall = 6,
    /// A file could not be opened: [`crate::FdEvent`].
    FdOpenFailed = 7,
    /// No descriptor could be had (EMFILE): [`crate::FdEvent`].
    FdExhausted = 8,
    /// A descriptor was closed: [`crate::FdEvent`].
    FdClose = 9,
    /// A process was seen for the first time, or replaced its program: [`crate::ProcessEvent`].
    Process = 10,
    /// A process ended: [`crate::ExitEvent`].
    Exit = 11,
}

impl EventKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 12] = [
        Self::TcpConnect,
        Self::TcpConnectFailed,
        Self::TcpAccept,
        Self::TcpState,
        Self::TcpTimeWait,
        Self::TcpClose,
        Self::FdInstall,
        Self::FdOpenFailed,
        Self::FdExhausted,
        Self::FdClose,
        Self::Process,
        Self::Exit,
    ];

    /// How many kinds there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The kind with this number, or `None` for a number that no kind has.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name in reports, traces and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TcpConnect => "tcp_connect",
            Self::TcpConnectFailed => "tcp_connect_failed",
            Self::TcpAccept => "tcp_accept",
            Self::TcpState => "tcp_state",
            Self::TcpTimeWait => "tcp_time_wait",
            Self::TcpClose => "tcp_close",
            Self::FdInstall => "fd_install",
            Self::FdOpenFailed => "fd_open_failed",
            Self::FdExhausted => "fd_exhausted",
            Self::FdClose => "fd_close",
            Self::Process => "process",
            Self::Exit => "exit",
        }
    }
}

/// The head of every record.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "records", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct EventHeader {
    /// `CLOCK_BOOTTIME` in nanoseconds, so that a suspended host does not bend periods.
    pub ts_ns: u64,
    /// The acting process (thread group) in the host's pid namespace. For a record made outside the
    /// acting task's context (TCP states), the owner that was noted when the process acted; 0 when
    /// nobody is known.
    pub pid: u32,
    /// The acting thread in the host's pid namespace, under the same rule.
    pub tid: u32,
    /// An [`EventKind`] as its number; as wide as it can be, so that it is one store without padding.
    pub kind: u32,
    /// The acting thread's user stack: 0 where it was not asked for, its number in the kernel's table
    /// plus 1 where it was taken, a negative errno where it could not be.
    pub stack: i32,
    /// The acting thread's name, NUL-terminated; empty where the record was made outside its context.
    pub thread: [u8; COMM_BYTES],
}

const _: () = assert!(size_of::<EventHeader>() == 40);
