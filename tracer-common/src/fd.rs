//! The record of a descriptor got, refused or closed; its path follows it in the ring buffer.
//!
//! Never holds the path itself: records are as long as their path.

use crate::EventHeader;

/// The longest path that a record carries, in bytes (`PATH_MAX` in `include/uapi/linux/limits.h`).
pub const PATH_BYTES_MAX: usize = 4096;

/// How a descriptor was asked for, from the system call that was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FdSource {
    /// open, openat, openat2, creat.
    Open = 0,
    /// socket, socketpair.
    Socket = 1,
    /// accept, accept4.
    Accept = 2,
    /// dup, dup2, dup3, fcntl.
    Dup = 3,
    /// pipe, pipe2.
    Pipe = 4,
    /// `epoll_create`, `epoll_create1`.
    Epoll = 5,
    /// eventfd, eventfd2.
    Eventfd = 6,
    /// Received over a Unix socket (recvmsg, recvmmsg).
    Received = 7,
    /// `io_uring_setup` and what rings do on a process's behalf.
    IoUring = 8,
    /// Any other call (timerfd, inotify, memfd, pidfd, bpf…), and calls of 32-bit programs.
    Other = 9,
}

impl FdSource {
    /// Every source, in the order of its number.
    pub const ALL: [Self; 10] = [
        Self::Open,
        Self::Socket,
        Self::Accept,
        Self::Dup,
        Self::Pipe,
        Self::Epoll,
        Self::Eventfd,
        Self::Received,
        Self::IoUring,
        Self::Other,
    ];

    /// How many sources there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The source with this number, or `None` for a number that no source has.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The name in reports, traces and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Socket => "socket",
            Self::Accept => "accept",
            Self::Dup => "dup",
            Self::Pipe => "pipe",
            Self::Epoll => "epoll",
            Self::Eventfd => "eventfd",
            Self::Received => "received",
            Self::IoUring => "io_uring",
            Self::Other => "other",
        }
    }
}

/// What a descriptor refers to, from the type bits of its inode's mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FdKind {
    /// A regular file, a directory or a block device.
    File = 0,
    /// A socket.
    Socket = 1,
    /// A pipe or named pipe.
    Pipe = 2,
    /// A character device.
    Device = 3,
    /// No type: epoll, eventfd, timerfd and the like.
    Anonymous = 4,
}

impl FdKind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 5] = [
        Self::File,
        Self::Socket,
        Self::Pipe,
        Self::Device,
        Self::Anonymous,
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
            Self::File => "file",
            Self::Socket => "socket",
            Self::Pipe => "pipe",
            Self::Device => "device",
            Self::Anonymous => "anonymous",
        }
    }
}

/// How the bytes after a record spell its path.
pub mod path_form {
    /// No path was taken (not a file, or beyond the budget).
    pub const NONE: u8 = 0;
    /// Names from the file up to the root of its mount namespace, each ended by NUL; a path
    /// `/a/b` reads `b\0a\0`.
    pub const RESOLVED: u8 = 1;
    /// As [`RESOLVED`], but the directories nearest the root did not fit.
    pub const RESOLVED_CUT: u8 = 2;
    /// What the process asked for, perhaps relative to its working directory.
    pub const AS_GIVEN: u8 = 3;
    /// As [`AS_GIVEN`], but the end did not fit.
    pub const AS_GIVEN_CUT: u8 = 4;
}

/// A descriptor got, refused or closed. `path_bytes` bytes of path follow.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "records", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct FdEvent {
    /// When, who, what.
    pub header: EventHeader,
    /// Files that the process has opened since it was first seen, this one included.
    pub opens: u64,
    /// Descriptors got less descriptors closed since the process was first seen, this one included.
    pub fds_net: i64,
    /// The same for descriptors of [`FdKind::File`] only.
    pub files_net: i64,
    /// The descriptor; -1 where the hook does not tell.
    pub fd: i32,
    /// Why it failed (a positive errno), 0 otherwise.
    pub errno: i32,
    /// A [`FdSource`] as its number.
    pub source: u8,
    /// A [`FdKind`] as its number.
    pub fd_kind: u8,
    /// One of [`path_form`].
    pub path_form: u8,
    /// Explicit padding, zero.
    pub padding: u8,
    /// Bytes of path that follow, at most [`PATH_BYTES_MAX`].
    pub path_bytes: u32,
}

const _: () = assert!(size_of::<FdEvent>() == 40 + 24 + 8 + 8);
