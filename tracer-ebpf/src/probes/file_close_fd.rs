//! `struct file *file_close_fd(unsigned int fd)`, which close(2) calls since 6.6 to take a descriptor
//! out of its table; up to 6.7 by the name `close_fd_get_file`. Before 6.6 close(2) passes
//! `filp_close` instead, and only Android's binder comes here.

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};

use super::{errno_of_pointer, filp_close::closed};
use crate::kernel::{KernelPtr, plain};

/// This hook's descriptors are always of the running process's own table.
const OWN_TABLE: u64 = 1;

#[fexit(function = "file_close_fd")]
fn file_close_fd(ctx: FExitContext) -> i32 {
    removed(ctx.arg(0), plain(ctx.arg(1)));
    0
}

#[kretprobe(function = "file_close_fd")]
fn file_close_fd_kprobe(ctx: RetProbeContext) -> u32 {
    removed(-1, ctx.ret());
    0
}

#[inline(always)]
fn removed(fd: i32, file: KernelPtr) {
    if !file.is_null() && errno_of_pointer(file).is_none() {
        closed(file, OWN_TABLE, fd);
    }
}
