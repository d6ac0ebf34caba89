//! What a descriptor refers to, and the events of descriptors; never their paths.

use tracer_common::{EventKind, FdEvent, FdKind, FdSource, ProcessCounters, fd::path_form};

use crate::{
    config::offset,
    emit,
    kernel::{Structure, add},
    process::Actor,
};

/// What an open file is, from the type bits of its inode's mode (`include/uapi/linux/stat.h`).
#[inline(always)]
pub fn kind(file: impl Structure) -> FdKind {
    let mode: u16 = file.follow(offset!(file_inode)).read(offset!(inode_mode));
    match mode & 0o170_000 {
        // regular, directory, block device
        0o100_000 | 0o040_000 | 0o060_000 => FdKind::File,
        0o140_000 => FdKind::Socket,
        0o010_000 => FdKind::Pipe,
        0o020_000 => FdKind::Device,
        _ => FdKind::Anonymous,
    }
}

/// What happened to a descriptor.
#[derive(Clone, Copy)]
pub struct Change {
    /// What happened.
    pub kind: EventKind,
    /// The descriptor; -1 where the hook does not tell.
    pub fd: i32,
    /// How it was asked for.
    pub source: FdSource,
    /// What it refers to.
    pub fd_kind: FdKind,
    /// Why it failed (a positive errno), 0 otherwise.
    pub errno: i32,
    /// The acting thread's user stack, as an event's header tells it.
    pub stack: i32,
}

/// Fills in a descriptor event without a path.
///
/// # Safety
/// `event` must be writable, `counters` a map value.
#[inline(always)]
pub unsafe fn fill(
    event: *mut FdEvent,
    change: Change,
    actor: Actor,
    counters: *const ProcessCounters,
) {
    // SAFETY: vouched for by the caller.
    unsafe {
        emit::fill_header(&raw mut (*event).header, change.kind, actor);
        (*event).header.stack = change.stack;
        let got = &(*counters).fds_got_of_kind;
        let closed = &(*counters).fds_closed_of_kind;
        (*event).opens = (*counters).fds_got[FdSource::Open as usize];
        (*event).fds_net = sum(got).wrapping_sub(sum(closed)) as i64;
        (*event).files_net =
            got[FdKind::File as usize].wrapping_sub(closed[FdKind::File as usize]) as i64;
        (*event).fd = change.fd;
        (*event).errno = change.errno;
        (*event).source = change.source as u8;
        (*event).fd_kind = change.fd_kind as u8;
        (*event).path_form = path_form::NONE;
        (*event).padding = 0;
        (*event).path_bytes = 0;
    }
}

#[inline(always)]
fn sum(of_kind: &[u64; FdKind::COUNT]) -> u64 {
    of_kind[0] + of_kind[1] + of_kind[2] + of_kind[3] + of_kind[4]
}

/// Streams a descriptor event without a path.
#[inline(always)]
pub fn stream(change: Change, actor: Actor, counters: *const ProcessCounters) -> bool {
    emit::stream::<FdEvent>(
        change.kind,
        #[inline(always)]
        |event| {
            // SAFETY: the record was reserved with this very type; `counters` is a map value.
            unsafe { fill(event, change, actor, counters) }
        },
    )
}

/// Counts a descriptor that was got.
#[inline(always)]
pub fn count_got(counters: *mut ProcessCounters, source: FdSource, kind: FdKind) {
    // SAFETY: a map value that the verifier knows of; the numbers of the enums are the indices.
    unsafe {
        add(
            (&raw mut (*counters).fds_got)
                .cast::<u64>()
                .add(source as usize),
            1,
        );
        add(
            (&raw mut (*counters).fds_got_of_kind)
                .cast::<u64>()
                .add(kind as usize),
            1,
        );
    }
}

/// Counts a descriptor that was closed.
#[inline(always)]
pub fn count_closed(counters: *mut ProcessCounters, kind: FdKind) {
    // SAFETY: as in `count_got`.
    unsafe {
        add(
            (&raw mut (*counters).fds_closed_of_kind)
                .cast::<u64>()
                .add(kind as usize),
            1,
        );
    }
}

/// Counts a descriptor that was refused.
#[inline(always)]
pub fn count_refused(counters: *mut ProcessCounters, source: FdSource) {
    // SAFETY: as in `count_got`.
    unsafe {
        add(
            (&raw mut (*counters).fds_refused)
                .cast::<u64>()
                .add(source as usize),
            1,
        );
    }
}
