//! The types that cross the border between kernel and user space, each defined once.
//!
//! Holds layouts and their names only: never reads a clock, a kernel structure or a file, and never
//! interprets what it carries.
#![no_std]

pub mod config;
pub mod fd;
pub mod header;
pub mod net;
pub mod offsets;
pub mod stats;
pub mod task;

pub use config::{Collector, Config};
pub use fd::{FdEvent, FdKind, FdSource, PATH_BYTES_MAX};
pub use header::{COMM_BYTES, EventHeader, EventKind};
pub use net::{Role, TcpEvent};
pub use offsets::Offsets;
pub use stats::EventStats;
pub use task::{ARGS_BYTES_MAX, ExitEvent, HOSTNAME_BYTES, ProcessCounters, ProcessEvent};

/// Marks types whose every byte pattern is valid, so that the collector may copy them in and out of
/// maps and globals.
#[cfg(feature = "user")]
macro_rules! impl_pod {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: the type is `repr(C)`, made of integers and arrays of integers only, and its
            // padding is spelled out as fields, so every byte pattern is a valid value.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

#[cfg(feature = "user")]
impl_pod!(Collector, Config, Offsets, EventStats, ProcessCounters);
