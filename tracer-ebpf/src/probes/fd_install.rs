//! `void fd_install(unsigned int fd, struct file *file)`: a descriptor comes into being, whatever
//! system call asked for it, `io_uring` included. Unchanged since long before 5.10. Never sees the
//! descriptors that a child inherits, nor those that are made at a chosen number: see `do_dup2`.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use aya_log_ebpf::warn;
use tracer_common::{EventKind, FdKind, FdSource, ProcessCounters, stats::Outcome};

use crate::{
    emit,
    file::{self, Change},
    filter,
    kernel::{KernelPtr, Structure, Typed, add},
    maps::{SCRATCH, ScratchUser},
    path,
    process::{self, Actor},
    stack,
};

const KIND: EventKind = EventKind::FdInstall;

#[fentry(function = "fd_install")]
fn fd_install(ctx: FEntryContext) -> i32 {
    let file = ctx.arg(1);
    // SAFETY: the program's own argument, a `struct file`.
    if installed(ctx.arg(0), Some(file), unsafe { Typed::new(file) }, &ctx) {
        warn!(&ctx, "the table of processes is full: some are not counted");
    }
    0
}

#[kprobe(function = "fd_install")]
fn fd_install_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(fd), Some(file)) = (ctx.arg::<u32>(0), ctx.arg::<KernelPtr>(1))
        && installed(fd, Some(file), file, &ctx)
    {
        warn!(&ctx, "the table of processes is full: some are not counted");
    }
    0
}

/// Counts and, as far as that is wanted, tells of a new descriptor. `structure` is the file as it can
/// be read best, `opened` where its path is found; `None` at a hook that no open comes to, which spares
/// the verifier the way along it. True where it is worth a warning.
#[inline(always)]
pub(super) fn installed(
    fd: u32,
    opened: Option<KernelPtr>,
    structure: impl Structure,
    ctx: &impl EbpfContext,
) -> bool {
    let actor = Actor::current();
    if !filter::wants_task(actor.pid) {
        emit::see_filtered(KIND);
        return false;
    }
    emit::see(KIND);
    let Some(counters) = process::counters(actor) else {
        return process::table_full(KIND);
    };
    let fd_kind = file::kind(structure);
    let source = match process::fd_source() {
        // What a ring opens for a process is as much an open as the process's own.
        FdSource::IoUring if matches!(fd_kind, FdKind::File) => FdSource::Open,
        source => source,
    };
    file::count_got(counters, source, fd_kind);
    let mut change = Change {
        kind: KIND,
        fd: fd as i32,
        source,
        fd_kind,
        errno: 0,
        stack: stack::NOT_ASKED,
    };
    if let (FdSource::Open, Some(file)) = (source, opened) {
        if filter::is_selected(actor.pid) || process::within_budget(counters) {
            change.stack = stack::take(ctx);
            stream_with_path(change, actor, counters, file);
            return false;
        }
    } else if filter::is_selected(actor.pid) {
        file::stream(change, actor, counters);
        return false;
    }
    // SAFETY: a map value that the verifier knows of.
    add(unsafe { &raw mut (*counters).not_streamed }, 1);
    emit::conclude(KIND, Outcome::CountedOnly);
    false
}

#[inline(always)]
fn stream_with_path(
    change: Change,
    actor: Actor,
    counters: *const ProcessCounters,
    file: KernelPtr,
) {
    let Some(scratch) = SCRATCH.get_ptr_mut(ScratchUser::Install as u32) else {
        emit::conclude(KIND, Outcome::ReadFailed);
        return;
    };
    // SAFETY: this program's own entry; see `ScratchUser`.
    unsafe {
        file::fill(&raw mut (*scratch).event, change, actor, counters);
        path::resolve(file, scratch);
    }
    emit::stream_with_path(KIND, scratch);
}
