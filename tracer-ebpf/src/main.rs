//! The kernel half: BPF programs that see what processes do with connections and descriptors, and
//! send it to the collector. Never decides what it means.
//!
//! One hook a file in `probes`; each has an fentry/fexit program and, for kernels that refuse those,
//! a kprobe program around the same body.
#![no_std]
#![no_main]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unstable_features,
        reason = "atomic additions are one BPF instruction that only inline assembly reaches"
    ),
    feature(asm_experimental_arch)
)]

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
