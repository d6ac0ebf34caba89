//! The only way into the ring buffer, and the account of every event; never builds an event.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated,
};
use tracer_common::{COMM_BYTES, EventHeader, EventKind, EventStats, stats::Outcome};

use crate::{
    config::config,
    kernel::{add, now_ns, zero},
    maps::{EVENTS, FdScratch, PATH_ROOM, STATS},
    process::Actor,
    stack::NOT_ASKED,
};

/// The counters of a kind on this CPU.
#[inline(always)]
fn stats_of(kind: EventKind) -> Option<*mut EventStats> {
    let all = STATS.get_ptr_mut(0)?;
    // SAFETY: every kind has its place in the map's value.
    Some(unsafe { all.cast::<EventStats>().add(kind as usize) })
}

/// Counts an event that a hook has seen. Each such event must come to exactly one [`conclude`],
/// [`stream`] or [`stream_with_path`]. What is not selected is counted by [`see_filtered`] alone.
#[inline(always)]
pub fn see(kind: EventKind) {
    if let Some(stats) = stats_of(kind) {
        // SAFETY: the pointer is into the map's value, which outlives the program's run.
        add(unsafe { &raw mut (*stats).seen }, 1);
    }
}

/// Counts an event that a hook has seen and that was not selected.
#[inline(always)]
pub fn see_filtered(kind: EventKind) {
    if let Some(stats) = stats_of(kind) {
        // SAFETY: the pointer is into the map's value, which outlives the program's run.
        unsafe {
            add(&raw mut (*stats).seen, 1);
            add(&raw mut (*stats).filtered, 1);
        }
    }
}

/// Counts what became of an event that was seen. True where it is the first with this outcome on
/// this CPU, which is when a warning is worth its place in the log.
#[inline(always)]
pub fn conclude(kind: EventKind, outcome: Outcome) -> bool {
    let Some(stats) = stats_of(kind) else {
        return false;
    };
    let counter = counter_of(stats, outcome);
    // SAFETY: the pointer is into the map's value, which outlives the program's run.
    let first = unsafe { counter.read_volatile() } == 0;
    add(counter, 1);
    first
}

#[inline(always)]
fn counter_of(stats: *mut EventStats, outcome: Outcome) -> *mut u64 {
    // SAFETY: only addresses are taken, of fields of a valid map value.
    unsafe {
        match outcome {
            Outcome::Streamed => &raw mut (*stats).streamed,
            Outcome::CountedOnly => &raw mut (*stats).counted_only,
            Outcome::Filtered => &raw mut (*stats).filtered,
            Outcome::RingFull => &raw mut (*stats).ring_full,
            Outcome::MapFull => &raw mut (*stats).map_full,
            Outcome::ReadFailed => &raw mut (*stats).read_failed,
        }
    }
}

/// Wakes the collector only when the fill level crosses the threshold: a wake-up at every event
/// would cost more than all else together. What stays below the threshold is found by the
/// collector's timer.
#[inline(always)]
fn wakeup_flags(record_bytes: u64) -> u64 {
    let threshold = config!(wakeup_bytes);
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    // The record itself is among the waiting bytes, with its 8-byte head.
    let crossed = waiting >= threshold && waiting.wrapping_sub(record_bytes + 8) < threshold;
    if crossed {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

/// Sends a record of fixed size that `fill` writes in place, and accounts for it. True where it was
/// streamed. `fill` must be inlined by its own word: as a function, which the compiler may choose where it
/// is needed twice, it would be given a pointer into the ring, which verifiers up to 6.1 refuse.
#[inline(always)]
pub fn stream<T: 'static>(kind: EventKind, fill: impl FnOnce(*mut T)) -> bool {
    let Some(mut record) = EVENTS.reserve::<T>(0) else {
        conclude(kind, Outcome::RingFull);
        return false;
    };
    fill(record.as_mut_ptr());
    record.submit(wakeup_flags(size_of::<T>() as u64));
    conclude(kind, Outcome::Streamed);
    true
}

/// Sends a scratch event with as much of its path as is used, and accounts for it.
#[inline(always)]
pub fn stream_with_path(kind: EventKind, scratch: *mut FdScratch) {
    // Read where it lies, so that the check below is there for the verifier to see, even where the
    // compiler knows better.
    // SAFETY: the pointer is into the per-CPU map's value, and no other program uses this entry.
    let path_bytes = unsafe { (&raw const (*scratch).event.path_bytes).read_volatile() } as usize;
    if path_bytes > PATH_ROOM {
        conclude(kind, Outcome::ReadFailed);
        return;
    }
    let size = (size_of::<FdScratch>() - PATH_ROOM + path_bytes) as u64;
    // SAFETY: `size` is at most the size of the scratch entry.
    let sent = unsafe {
        generated::bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            scratch.cast(),
            size,
            wakeup_flags(size),
        )
    } == 0;
    conclude(
        kind,
        if sent {
            Outcome::Streamed
        } else {
            Outcome::RingFull
        },
    );
}

/// Fills in the head of an event by the task that is running.
///
/// # Safety
/// `header` must be writable.
#[inline(always)]
pub unsafe fn fill_header(header: *mut EventHeader, kind: EventKind, actor: Actor) {
    // SAFETY: the caller vouches for `header`.
    unsafe {
        fill_facts(header, kind, actor.pid, actor.tid);
        // On failure the helper itself leaves zeros.
        generated::bpf_get_current_comm((&raw mut (*header).thread).cast(), COMM_BYTES as u32);
    }
}

/// Fills in the head of an event whose owner is not, or perhaps not, the task that is running.
///
/// # Safety
/// `header` must be writable.
#[inline(always)]
pub unsafe fn fill_header_of_owner(header: *mut EventHeader, kind: EventKind, pid: u32, tid: u32) {
    // SAFETY: the caller vouches for `header`.
    unsafe {
        fill_facts(header, kind, pid, tid);
        zero(&raw mut (*header).thread);
    }
}

#[inline(always)]
unsafe fn fill_facts(header: *mut EventHeader, kind: EventKind, pid: u32, tid: u32) {
    // SAFETY: the caller vouches for `header`.
    unsafe {
        (*header).ts_ns = now_ns();
        (*header).pid = pid;
        (*header).tid = tid;
        (*header).kind = kind as u32;
        (*header).stack = NOT_ASKED;
    }
}
