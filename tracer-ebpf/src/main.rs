//! The kernel half: BPF programs that see what processes do with connections and descriptors, and
//! send it to the collector. Never decides what it means.
//!
//! One hook a file in `probes`; each has an fentry/fexit program and, for kernels that refuse those,
//! a kprobe program around the same body.
#![no_std]
#![no_main]
// The compiler would gather stores of zeros into calls of `memset`, which on this target is a loop over bytes.
#![no_builtins]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unstable_features,
        reason = "atomic additions are one BPF instruction that only inline assembly reaches"
    ),
    feature(asm_experimental_arch)
)]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows typed pointers and constants through inlined code only"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the program macros hand over their context by value"
)]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "a map takes a value or a reference; the value would be copied to the small stack first"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are 64 bits wide whatever they hold, and a checked cast would leave a panic \
              that the verifier refuses"
)]

mod collector;
mod config;
mod emit;
mod file;
mod filter;
mod kernel;
mod maps;
mod path;
mod probes;
mod process;
mod sock;
mod stack;

/// The kernel lends its tracing helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No program of ours contains a reachable panic: the verifier would refuse this endless loop.
    loop {}
}
