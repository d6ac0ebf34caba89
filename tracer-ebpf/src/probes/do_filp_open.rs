//! `struct file *do_filp_open(int dfd, struct filename *pathname, const struct open_flags *op)`:
//! where every way to open a file by name passes, `io_uring`'s and exec's included. Unchanged since
//! long before 5.10, but for its name: `do_file_open` on the newest 7.x. Only used for failures:
//! what succeeds is told by `fd_install`.

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};
use tracer_common::{EventKind, FdKind, FdSource, stats::Outcome};

use super::errno_of_pointer;
use crate::{
    emit,
    file::{self, Change},
    filter,
    kernel::{KernelPtr, add, plain},
    maps::{SCRATCH, ScratchUser},
    path,
    process::{self, Actor},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::FdOpenFailed;

/// `ENOENT`: what programs get when they look for a file along a list of directories, so the failure
/// that is hardly ever news. Counted for all, streamed for selected processes.
const ENOENT: i32 = 2;

/// `ECHILD`: the kernel's own sign that a walk without locks must be repeated; not a failure that
/// the process sees.
const ECHILD: i32 = 10;

/// `EAGAIN`: to `io_uring`, the sign that an open may block; a thread of its own then tries again.
const EAGAIN: i32 = 11;

#[fexit(function = "do_filp_open")]
fn do_filp_open(ctx: FExitContext) -> i32 {
    if let Some(errno) = errno_of_pointer(plain(ctx.arg(3))) {
        open_failed(errno, Some(plain(ctx.arg(1))));
    }
    0
}

#[kretprobe(function = "do_filp_open")]
fn do_filp_open_kprobe(ctx: RetProbeContext) -> u32 {
    if let Some(errno) = errno_of_pointer(ctx.ret()) {
        // The arguments are gone by now: the path stays untold.
        open_failed(errno, None);
    }
    0
}

#[inline(always)]
fn open_failed(errno: i32, filename: Option<KernelPtr>) {
    let is_repeated =
        errno == ECHILD || (errno == EAGAIN && matches!(process::fd_source(), FdSource::IoUring));
    if is_repeated {
        return;
    }
    let actor = Actor::current();
    if !filter::wants_task(actor.pid) {
        emit::see_filtered(KIND);
        return;
    }
    emit::see(KIND);
    let Some(counters) = process::counters(actor) else {
        process::table_full(KIND);
        return;
    };
    // SAFETY: a map value that the verifier knows of.
    add(unsafe { &raw mut (*counters).opens_failed }, 1);
    let streamed =
        filter::is_selected(actor.pid) || (errno != ENOENT && process::within_budget(counters));
    if !streamed {
        // SAFETY: as above.
        add(unsafe { &raw mut (*counters).not_streamed }, 1);
        emit::conclude(KIND, Outcome::CountedOnly);
        return;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(ScratchUser::OpenFailed as u32) else {
        emit::conclude(KIND, Outcome::ReadFailed);
        return;
    };
    let change = Change {
        kind: KIND,
        fd: -1,
        source: FdSource::Open,
        fd_kind: FdKind::File,
        errno,
        stack: NOT_ASKED,
    };
    // SAFETY: this program's own entry; see `ScratchUser`.
    unsafe {
        file::fill(&raw mut (*scratch).event, change, actor, counters);
        if let Some(filename) = filename {
            path::as_given(filename, scratch);
        }
    }
    emit::stream_with_path(KIND, scratch);
}
