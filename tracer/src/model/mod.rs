//! What the engine learns, as plain typed values; never reads a clock, a file or the kernel.
//!
//! An [`Input`] is all that ever reaches the engine, whether it comes from the running kernel or
//! from somewhere else, so the same inputs in the same order always give the same report.

mod decode;
mod event;
mod host;
mod ids;
mod input;
#[cfg(test)]
mod sample_records;
mod stack;

pub use decode::{DecodeError, decode};
pub use event::{
    Endpoint, Event, EventBody, FdAction, FdEvent, Path, PathForm, ProcessSeen, TcpAction,
    TcpEvent, TcpState,
};
pub use host::{
    Ancestor, DescriptorFact, HostFact, ListingChange, PARENTS_MAX, PortRange, ProcessFact,
    SocketOwner, SocketRow, TABLE_PATHS_MAX, TableFact, TimeWaitListing, is_same_start,
};
pub use ids::{Comm, Cookie, Nanos, Netns, Pid, SockId, StackId, Tid};
pub use input::{HookState, Input, Losses, Selection, Session};
pub use stack::{FRAMES_MAX, Frame, StackFact, UserStack};
