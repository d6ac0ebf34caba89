//! `int filp_close(struct file *filp, fl_owner_t id)`: a descriptor of `filp` is gone: by close (up
//! to 6.5), `close_range`, dup2 over it, exec, or the end of its process. Unchanged since long before
//! 5.10. From 6.6 on close(2) itself takes another way: see `file_close_fd`.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_common::{EventKind, FdSource, stats::Outcome};

use crate::{
    emit,
    file::{self, Change},
    filter,
    kernel::{KernelPtr, Structure, Typed},
    process::{self, Actor},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::FdClose;

#[fentry(function = "filp_close")]
fn filp_close(ctx: FEntryContext) -> i32 {
    let owner: u64 = ctx.arg(1);
    // SAFETY: the program's own argument, a `struct file`.
    closed(unsafe { Typed::new(ctx.arg(0)) }, owner, -1);
    0
}

#[kprobe(function = "filp_close")]
fn filp_close_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(file), Some(owner)) = (ctx.arg::<KernelPtr>(0), ctx.arg::<u64>(1)) {
        closed(file, owner, -1);
    }
    0
}

/// Counts a descriptor that was closed. `owner` is the table that it was in; 0 where the kernel
/// closes a file of its own, which never was a descriptor.
#[inline(always)]
pub(super) fn closed(file: impl Structure, owner: u64, fd: i32) {
    if owner == 0 {
        return;
    }
    let actor = Actor::current();
    // A process that is not known yet closes what it inherited, one that has ended closes the rest:
    // neither changes a count that anybody keeps.
    let counters = match process::known_counters(actor.pid) {
        Some(counters) if filter::wants_task(actor.pid) => counters,
        _ => {
            emit::see_filtered(KIND);
            return;
        }
    };
    emit::see(KIND);
    let fd_kind = file::kind(file);
    file::count_closed(counters, fd_kind);
    if filter::is_selected(actor.pid) {
        let source = FdSource::Other;
        file::stream(
            Change {
                kind: KIND,
                fd,
                source,
                fd_kind,
                errno: 0,
                stack: NOT_ASKED,
            },
            actor,
            counters,
        );
    } else {
        emit::conclude(KIND, Outcome::CountedOnly);
    }
}
