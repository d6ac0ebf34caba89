//! The user stack of the acting thread, taken where that was asked for; never its symbols.
//!
//! The kernel walks the chain of frame pointers, and keeps each different stack once, so that an event
//! carries a number only: a flapping thread has one stack for all its tries. The collector takes
//! out what only ended processes had. A stack that finds no room is told as such in the event.
//!
//! The table has one place for a hash, so two stacks can want the same. The later one is tried again
//! without its innermost functions, which are those of the C library: it has another hash then.

use aya_ebpf::{EbpfContext, bindings::BPF_F_USER_STACK, helpers::generated};

use crate::{config::config, maps::STACKS};

/// What an event tells of a stack that was not asked for.
pub const NOT_ASKED: i32 = 0;

/// How many of the innermost functions a stack may lack.
const LACKED_AT_MOST: u64 = 2;

/// Another stack has the place.
const EEXIST: i32 = 17;

/// Takes the running thread's user stack. Gives what an event's header tells of it.
#[inline(always)]
pub fn take(ctx: &impl EbpfContext) -> i32 {
    if config!(stacks) == 0 {
        return NOT_ASKED;
    }
    let mut number = take_without(ctx, 0);
    for lacked in 1..=LACKED_AT_MOST {
        if number != -EEXIST {
            break;
        }
        let shorter = take_without(ctx, lacked);
        // One that has no more functions is an error of its own, and not why this one is lost.
        if shorter >= 0 {
            number = shorter;
        }
    }
    if number < 0 { number } else { number + 1 }
}

/// Takes it without so many of its innermost functions, of which the helper's flags have the number.
#[inline(always)]
fn take_without(ctx: &impl EbpfContext, lacked: u64) -> i32 {
    // SAFETY: the program's own context, and a map of the type that the helper takes.
    unsafe {
        generated::bpf_get_stackid(
            ctx.as_ptr(),
            (&raw const STACKS).cast_mut().cast(),
            u64::from(BPF_F_USER_STACK) | lacked,
        ) as i32
    }
}
