//! `static int do_dup2(struct files_struct *files, struct file *file, unsigned fd, unsigned flags)`:
//! a descriptor comes into being at a chosen number: dup2, dup3 and their kin. Unchanged since long
//! before 5.10. Never tells what lay there before: `filp_close` does.

use aya_ebpf::{
    macros::{fexit, kprobe},
    programs::{FExitContext, ProbeContext},
};

use super::fd_install::installed;
use crate::kernel::{KernelPtr, Typed};

#[fexit(function = "do_dup2")]
fn do_dup2(ctx: FExitContext) -> i32 {
    let result: i32 = ctx.arg(4);
    if result >= 0 {
        let file = ctx.arg(1);
        // SAFETY: the program's own argument, a `struct file`.
        installed(ctx.arg(2), None, unsafe { Typed::new(file) }, &ctx);
    }
    0
}

#[kprobe(function = "do_dup2")]
fn do_dup2_kprobe(ctx: ProbeContext) -> u32 {
    // Its result is not known yet; it fails only in a race with an open of the same number.
    if let (Some(file), Some(fd)) = (ctx.arg::<KernelPtr>(1), ctx.arg::<u32>(2)) {
        installed(fd, None, file, &ctx);
    }
    0
}
