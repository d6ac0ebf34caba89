//! The records of a process's appearance and end, and the exact counters kept for it meanwhile.
//!
//! Never holds what must be looked up outside the kernel (executable path, container).

use crate::{COMM_BYTES, EventHeader, FdKind, FdSource};

/// The longest host name, in bytes (`__NEW_UTS_LEN` in `include/uapi/linux/utsname.h`).
pub const HOSTNAME_BYTES: usize = 64;

/// The longest command line that a record carries, in bytes.
pub const ARGS_BYTES_MAX: usize = 512;

/// A process seen for the first time, or one that has just replaced its program. `args_bytes` bytes
/// of command line, arguments separated by NUL, follow.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "records", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct ProcessEvent {
    /// When, who, what.
    pub header: EventHeader,
    /// When the process started, on the clock of the header: with the pid it names a process for
    /// good, as pids are used again.
    pub start_ns: u64,
    /// The process's cgroup (inode number of its directory in the cgroup v2 hierarchy).
    pub cgroup_id: u64,
    /// The parent, in the host's pid namespace.
    pub ppid: u32,
    /// The real user id.
    pub uid: u32,
    /// The process's pid in its own (innermost) pid namespace.
    pub ns_pid: u32,
    /// The task's network namespace (inode number).
    pub netns: u32,
    /// The process's name: that of its first thread.
    pub comm: [u8; COMM_BYTES],
    /// The parent's name.
    pub parent_comm: [u8; COMM_BYTES],
    /// The host name of the process's UTS namespace; ends with the first NUL, if there is one.
    pub hostname: [u8; HOSTNAME_BYTES],
    /// 1 where the process has just replaced its program, else 0.
    pub is_exec: u8,
    /// 1 where the command line was longer than [`ARGS_BYTES_MAX`], else 0.
    pub args_cut: u8,
    /// Explicit padding, zero.
    pub padding: [u8; 2],
    /// Bytes of command line that follow.
    pub args_bytes: u32,
}

const _: () = assert!(size_of::<ProcessEvent>() == 40 + 16 + 16 + 32 + 64 + 8);

/// What a process did since it was first seen; exact, whatever was streamed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "records", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct ProcessCounters {
    /// When the process started (see [`ProcessEvent::start_ns`]).
    pub start_ns: u64,
    /// Descriptors got, by [`FdSource`].
    pub fds_got: [u64; FdSource::COUNT],
    /// Descriptors got, by [`FdKind`].
    pub fds_got_of_kind: [u64; FdKind::COUNT],
    /// Descriptors closed, by [`FdKind`].
    pub fds_closed_of_kind: [u64; FdKind::COUNT],
    /// Descriptors refused (EMFILE), by [`FdSource`].
    pub fds_refused: [u64; FdSource::COUNT],
    /// Opens that failed for another reason.
    pub opens_failed: u64,
    /// Connects begun.
    pub connects: u64,
    /// Connections accepted.
    pub accepts: u64,
    /// Descriptor events that were counted here but not streamed.
    pub not_streamed: u64,
    /// Start of the second that the streaming budget counts in (kernel half only).
    pub budget_window_ns: u64,
    /// Descriptor events streamed within that second (kernel half only).
    pub budget_used: u64,
    /// How far the process is known to the collector: one of [`announced`] (kernel half only).
    pub announced: u32,
    /// The process's pid in the collector's own pid namespace; 0 where that is the host's, and where the
    /// process is not to be seen there (live look-ups only).
    pub pid_here: u32,
}

impl ProcessCounters {
    /// All zero.
    pub const ZERO: Self = Self {
        start_ns: 0,
        fds_got: [0; FdSource::COUNT],
        fds_got_of_kind: [0; FdKind::COUNT],
        fds_closed_of_kind: [0; FdKind::COUNT],
        fds_refused: [0; FdSource::COUNT],
        opens_failed: 0,
        connects: 0,
        accepts: 0,
        not_streamed: 0,
        budget_window_ns: 0,
        budget_used: 0,
        announced: 0,
        pid_here: 0,
    };

    /// Descriptors got.
    #[must_use]
    pub fn all_got(&self) -> u64 {
        sum(&self.fds_got_of_kind)
    }

    /// Descriptors closed.
    #[must_use]
    pub fn all_closed(&self) -> u64 {
        sum(&self.fds_closed_of_kind)
    }

    /// Descriptors got less descriptors closed, by [`FdKind`].
    #[must_use]
    pub fn nets(&self) -> [i64; FdKind::COUNT] {
        core::array::from_fn(|kind| {
            let net = self.fds_got_of_kind[kind].wrapping_sub(self.fds_closed_of_kind[kind]);
            net.cast_signed()
        })
    }

    /// Descriptors refused.
    #[must_use]
    pub fn all_refused(&self) -> u64 {
        sum(&self.fds_refused)
    }

    /// Without what only the kernel half needs.
    #[must_use]
    pub const fn told(mut self) -> Self {
        self.budget_window_ns = 0;
        self.budget_used = 0;
        self.announced = 0;
        self.pid_here = 0;
        self
    }
}

/// A trace may tell any numbers, whose sum may be too large.
fn sum(counts: &[u64]) -> u64 {
    counts.iter().fold(0, |sum, n| sum.saturating_add(*n))
}

/// How far the collector has heard of a process (see [`ProcessCounters::announced`]).
pub mod announced {
    /// Not at all.
    pub const NOT_YET: u32 = 0;
    /// A [`super::ProcessEvent`] was streamed.
    pub const INTRODUCED: u32 = 1;
    /// It has ended, and there was no room to say so: whoever has its pid next is another.
    pub const ENDED: u32 = 2;
}

/// The end of a process, with its final counters.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "records", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct ExitEvent {
    /// When, who, what.
    pub header: EventHeader,
    /// The process's name.
    pub comm: [u8; COMM_BYTES],
    /// What the process did in all.
    pub counters: ProcessCounters,
}

const _: () = assert!(size_of::<ProcessCounters>() == 8 * (1 + 10 + 5 + 5 + 10 + 7));
