//! `int get_unused_fd_flags(unsigned flags)`: a number for a new descriptor is looked for, before
//! whatever was asked for is made. Unchanged since long before 5.10. Only used for failures, so a
//! full table is seen for open, socket, accept, pipe and all others alike. It ends in `int
//! alloc_fd(unsigned start, unsigned end, unsigned flags)`, to which fcntl's `F_DUPFD`, and up to 5.10
//! accept, go straight: where the kernel's compiler kept that as a function, it is hooked instead.

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};
use tracer_common::{EventKind, FdKind, stats::Outcome};

use crate::{
    emit,
    file::{self, Change},
    filter,
    kernel::add,
    process::{self, Actor},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::FdExhausted;

/// `EMFILE`: the process's descriptor table is full (`include/uapi/asm-generic/errno-base.h`).
const EMFILE: i32 = 24;

#[fexit(function = "get_unused_fd_flags")]
fn get_unused_fd_flags(ctx: FExitContext) -> i32 {
    numbered(ctx.arg(1));
    0
}

#[fexit(function = "alloc_fd")]
fn alloc_fd(ctx: FExitContext) -> i32 {
    numbered(ctx.arg(3));
    0
}

#[kretprobe(function = "get_unused_fd_flags")]
fn get_unused_fd_flags_kprobe(ctx: RetProbeContext) -> u32 {
    numbered(ctx.ret());
    0
}

#[inline(always)]
fn numbered(result: i32) {
    if result == -EMFILE {
        refused(EMFILE);
    }
}

/// Counts and tells that the running task gets no descriptor.
#[inline(always)]
pub(super) fn refused(errno: i32) {
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
    let source = process::fd_source();
    file::count_refused(counters, source);
    if filter::is_selected(actor.pid) || process::within_budget(counters) {
        let fd_kind = FdKind::Anonymous;
        file::stream(
            Change {
                kind: KIND,
                fd: -1,
                source,
                fd_kind,
                errno,
                stack: NOT_ASKED,
            },
            actor,
            counters,
        );
    } else {
        // SAFETY: a map value that the verifier knows of.
        add(unsafe { &raw mut (*counters).not_streamed }, 1);
        emit::conclude(KIND, Outcome::CountedOnly);
    }
}
