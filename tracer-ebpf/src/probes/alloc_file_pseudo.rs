//! `struct file *alloc_file_pseudo(struct inode *inode, struct vfsmount *mnt, const char *name, int
//! flags, const struct file_operations *fops)`: where sockets, accepted ones included, pipes, epoll
//! instances, event descriptors and the like get the file behind their descriptor. Unchanged since
//! before 5.10. Only used where the host has no more files; what opens by name then fails in
//! `do_filp_open`.

use aya_ebpf::{
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};

use super::{errno_of_pointer, get_unused_fd_flags::refused};
use crate::kernel::{KernelPtr, plain};

/// `ENFILE`: all files that the host may have are open (`include/uapi/asm-generic/errno-base.h`).
const ENFILE: i32 = 23;

#[fexit(function = "alloc_file_pseudo")]
fn alloc_file_pseudo(ctx: FExitContext) -> i32 {
    made(plain(ctx.arg(5)));
    0
}

#[kretprobe(function = "alloc_file_pseudo")]
fn alloc_file_pseudo_kprobe(ctx: RetProbeContext) -> u32 {
    made(ctx.ret());
    0
}

#[inline(always)]
fn made(file: KernelPtr) {
    if errno_of_pointer(file) == Some(ENFILE) {
        refused(ENFILE);
    }
}
