//! The maps that the kernel half fills, as typed tables; never changes a number in them.

use std::{collections::HashSet, os::fd::AsFd as _};

use aya::{
    Ebpf, Pod,
    maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf, StackTraceMap},
};
use tracer_common::{EventKind, EventStats, FdKind, ProcessCounters, task::announced::ENDED};

use super::AttachError;
use crate::model::{FRAMES_MAX, Pid, StackId};

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, AttachError> {
    ebpf.take_map(name).ok_or(AttachError::Object(name))
}

/// The ring buffer that events come through.
pub(super) fn take_ring(ebpf: &mut Ebpf) -> Result<RingBuf<MapData>, AttachError> {
    Ok(RingBuf::try_from(take(ebpf, "EVENTS")?)?)
}

/// What became of every event.
pub(super) struct StatsTable(PerCpuArray<MapData, [EventStats; EventKind::COUNT]>);

impl StatsTable {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, AttachError> {
        Ok(Self(PerCpuArray::try_from(take(ebpf, "STATS")?)?))
    }

    /// The counters of each kind, summed over the CPUs.
    pub(super) fn read(&self) -> Result<[EventStats; EventKind::COUNT], MapError> {
        let mut by_kind = [EventStats::default(); EventKind::COUNT];
        // One look-up for all kinds: aya reads a file of /sys for each.
        for cpus in self.0.get(&0, 0)?.iter() {
            for (sum, cpu) in by_kind.iter_mut().zip(cpus) {
                sum.seen += cpu.seen;
                sum.streamed += cpu.streamed;
                sum.counted_only += cpu.counted_only;
                sum.filtered += cpu.filtered;
                sum.ring_full += cpu.ring_full;
                sum.map_full += cpu.map_full;
                sum.read_failed += cpu.read_failed;
            }
        }
        Ok(by_kind)
    }
}

/// The user stacks that the kernel half took.
pub struct StackTable(StackTraceMap<MapData>);

impl StackTable {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, AttachError> {
        Ok(Self(StackTraceMap::try_from(take(ebpf, "STACKS")?)?))
    }

    /// A stack's addresses, the innermost first; none where there is no such stack.
    pub fn addresses(&self, stack: StackId) -> Vec<u64> {
        let Ok(stack) = self.0.get(&stack.0, 0) else {
            return Vec::new();
        };
        stack.frames().iter().map(|frame| frame.ip).collect()
    }
}

/// The places of the table of stacks, to be given back.
pub(super) struct StackRoom(HashMap<MapData, u32, [u64; FRAMES_MAX]>);

impl StackRoom {
    /// A second way to the table, which must still be there: the first only reads.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, AttachError> {
        again(ebpf, "STACKS").map(Self)
    }

    /// Takes out the stacks that are in no place in use; gives their places.
    pub(super) fn free(&mut self, in_use: &HashSet<StackId>) -> Vec<StackId> {
        let places = self.0.keys().filter_map(Result::ok).map(StackId);
        let mut freed: Vec<_> = places.filter(|place| !in_use.contains(place)).collect();
        freed.retain(|place| self.0.remove(&place.0).is_ok());
        freed
    }
}

/// A second way to a table, to take things out of it.
fn again<K: Pod, V: Pod>(
    ebpf: &Ebpf,
    name: &'static str,
) -> Result<HashMap<MapData, K, V>, AttachError> {
    let Some(Map::HashMap(table) | Map::StackTraceMap(table)) = ebpf.map(name) else {
        return Err(AttachError::Object(name));
    };
    let fd = table.fd().as_fd().try_clone_to_owned();
    let table = MapData::from_fd(fd.map_err(MapError::IoError)?)?;
    Ok(HashMap::try_from(Map::HashMap(table))?)
}

/// The exact totals of each process that is alive (or whose end could not be told).
pub struct ProcessTable(HashMap<MapData, u32, ProcessCounters>);

impl ProcessTable {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, AttachError> {
        Ok(Self(HashMap::try_from(take(ebpf, "PROCESSES")?)?))
    }

    /// Forgets all processes: each is introduced and counted anew when it acts again.
    pub(super) fn clear(&mut self) {
        let pids: Vec<u32> = self.0.keys().filter_map(Result::ok).collect();
        for pid in pids {
            // One that has ended meanwhile is gone already.
            let _ = self.0.remove(&pid);
        }
    }

    /// Every process with its totals as the kernel half keeps them. A process that comes or goes
    /// meanwhile may be missed: the next reading has it, or its last event.
    pub fn read(&self) -> impl Iterator<Item = (Pid, ProcessCounters)> {
        self.0
            .iter()
            .filter_map(Result::ok)
            .map(|(pid, counters)| (Pid(pid), counters))
    }

    /// The pid that a process has in the collector's own pid namespace, where that is not the host's;
    /// `None` where it has none, and where the process is not known (any more).
    pub fn pid_here(&self, pid: Pid) -> Option<Pid> {
        Pid(self.0.get(&pid.0, 0).ok()?.pid_here).known()
    }

    /// Descriptors of each kind that a process got less those it closed since it was first seen;
    /// `None` where it has not been.
    pub fn net_fds(&self, pid: Pid) -> Option<[i64; FdKind::COUNT]> {
        let counters = self.0.get(&pid.0, 0).ok()?;
        Some(counters.nets())
    }
}

/// The processes whose end could not be told: the kernel half leaves their totals in the table above,
/// whose places would be taken for good.
pub(super) struct EndedTable(HashMap<MapData, u32, ProcessCounters>);

impl EndedTable {
    /// A second way to the table, which must still be there: the first is shared, and only reads.
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, AttachError> {
        again(ebpf, "PROCESSES").map(Self)
    }

    /// Makes room: the totals of these have arrived.
    pub(super) fn forget(&mut self, ended: &[Pid]) {
        for pid in ended {
            // Its pid may be another's by now.
            let is_still = |counters: ProcessCounters| counters.announced == ENDED;
            if self.0.get(&pid.0, 0).is_ok_and(is_still) {
                // Where the kernel refuses, the place stays taken, and what finds no room is counted.
                let _ = self.0.remove(&pid.0);
            }
        }
    }
}
