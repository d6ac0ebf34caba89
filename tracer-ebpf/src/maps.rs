//! Every map that the two halves share; never logic.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, PerCpuArray, RingBuf, StackTrace},
};
use tracer_common::{Collector, EventKind, EventStats, FdEvent, PATH_BYTES_MAX, ProcessCounters};

use crate::sock::SockInfo;

/// What the collector drains. The size is set by the collector; this one is for a direct load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What became of every event, by [`EventKind`]: all in one entry, as the collector reads them all at once.
#[map]
pub static STATS: PerCpuArray<[EventStats; EventKind::COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// The exact totals of each process, by pid. An entry ends with its process.
#[map]
pub static PROCESSES: HashMap<u32, ProcessCounters> = HashMap::with_max_entries(16_384, 0);

/// The connections being followed, by socket address. An entry ends when the connection has ended
/// and its descriptor is closed.
#[map]
pub static SOCKS: HashMap<u64, SockInfo> = HashMap::with_max_entries(65_536, 0);

/// User stacks by the number that events tell. The collector sets the size: where stacks are not
/// asked for, nothing is to be kept. Nothing is ever taken out of it, so a number stays with its stack.
#[map]
pub static STACKS: StackTrace = StackTrace::with_max_entries(1, 0);

/// What the collector asks about itself before anything is attached.
#[map]
pub static COLLECTOR: Array<Collector> = Array::with_max_entries(1, 0);

/// The selected ports as a bitmap.
#[map]
pub static PORTS: Array<u64> = Array::with_max_entries(65_536 / 64, 0);

/// The selected processes.
#[map]
pub static PIDS: HashMap<u32, u8> = HashMap::with_max_entries(1_024, 0);

/// Room for one name beyond the longest path: a name is read as a whole before its length is known.
pub const PATH_ROOM: usize = PATH_BYTES_MAX + 256;

/// An event with room for its path: too large for the stack.
#[repr(C)]
pub struct FdScratch {
    /// The event.
    pub event: FdEvent,
    /// Its path.
    pub path: [u8; PATH_ROOM],
}

/// Which program uses which [`SCRATCH`] entry: one each, as a program may be preempted by another on
/// the same CPU (but never by itself: the kernel skips that run and counts it).
#[derive(Clone, Copy)]
pub enum ScratchUser {
    /// `fd_install`.
    Install = 0,
    /// `do_filp_open`.
    OpenFailed = 1,
}

/// Where events with a path are put together.
#[map]
pub static SCRATCH: PerCpuArray<FdScratch> = PerCpuArray::with_max_entries(2, 0);
