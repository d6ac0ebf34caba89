//! The user stack of the acting thread, taken where that was asked for; never its symbols.
//!
//! The kernel walks the chain of frame pointers, and keeps each different stack once, so that an event
//! carries a number only: a flapping thread has one stack for all its tries. A number is never used
//! again, as nothing is taken out of the table. A stack that finds no room is told as such in the event.

use aya_ebpf::{EbpfContext, bindings::BPF_F_USER_STACK, helpers::generated};

use crate::{config::config, maps::STACKS};

/// What an event tells of a stack that was not asked for.
pub const NOT_ASKED: i32 = 0;

/// Takes the running thread's user stack. Gives what an event's header tells of it.
#[inline(always)]
pub fn take(ctx: &impl EbpfContext) -> i32 {
    if config!(stacks) == 0 {
        return NOT_ASKED;
    }
    // SAFETY: the program's own context, and a map of the type that the helper takes.
    let number = unsafe {
        generated::bpf_get_stackid(
            ctx.as_ptr(),
            (&raw const STACKS).cast_mut().cast(),
            u64::from(BPF_F_USER_STACK),
        )
    } as i32;
    if number < 0 { number } else { number + 1 }
}
