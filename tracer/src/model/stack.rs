//! The user stack with which a thread acted: its number, and its frames as texts once somebody looked
//! them up; never an address.

use super::{Nanos, Pid, StackId};

/// The most frames that a stack has: `sysctl kernel.perf_event_max_stack` as it is by default. Of a
/// deeper one the innermost are taken.
pub const FRAMES_MAX: usize = 127;

/// The user stack of the acting thread, where it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UserStack {
    /// It was taken.
    Taken(StackId),
    /// It could not be, for this positive errno: EEXIST and ENOMEM mean that the kernel's table had no
    /// room for it, EFAULT that the thread had none.
    Missing(i32),
}

const ENOMEM: i32 = 12;
const EEXIST: i32 = 17;

impl UserStack {
    /// Another stack has its place.
    pub const PLACE_TAKEN: Self = Self::Missing(EEXIST);

    /// Whether the kernel's table had no room for it.
    #[must_use]
    pub const fn found_no_room(self) -> bool {
        matches!(self, Self::Missing(EEXIST | ENOMEM))
    }
}

/// What a process's stack with this number looks like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StackFact {
    /// The process.
    pub pid: Pid,
    /// When it started, where that is known.
    pub start: Option<Nanos>,
    /// The stack's number.
    pub stack: StackId,
    /// Its frames, the innermost first, at most [`FRAMES_MAX`]; empty where the process had ended before
    /// anybody could look.
    pub frames: Vec<Frame>,
}

/// A frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// A function and in brackets the file that it is in; where no function is known, a place in a
    /// file, or an address.
    pub text: String,
    /// Whether the function is known.
    pub is_named: bool,
}
