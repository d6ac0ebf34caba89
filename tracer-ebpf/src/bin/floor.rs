//! The floor of `cargo xtask bench`: the least that a program on the same hooks can do, which is to
//! put a record of fixed size into a ring buffer. It follows nothing, counts nothing and is never
//! part of tracer.
#![no_std]
#![no_main]
// As in tracer's own programs: `memset` and `memcpy` are loops over bytes here.
#![no_builtins]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the program macros hand over their context by value"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "a pid is the upper half of what the helper gives, and a thread's name is short"
)]

use aya_ebpf::{
    EbpfContext, Global,
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    cty::c_void,
    helpers::{bpf_get_current_pid_tgid, generated},
    macros::{fentry, fexit, map},
    maps::RingBuf,
    programs::{FEntryContext, FExitContext},
};
use tracer_common::COMM_BYTES;

/// The kernel lends its tracing helpers to GPL-compatible programs only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// How many bytes wait before the reader is woken.
const WAKEUP_BYTES: u64 = 1 << 20;

/// The port that is wanted; 0 for all. A descriptor is never wanted where one is given.
#[unsafe(no_mangle)]
static PORT: Global<u16> = Global::new(0);

/// Where a socket's ports and addresses lie: `struct sock_common` begins with them and has not
/// changed since long before 5.10 (`include/net/sock.h`).
const ADDRESSES: u64 = 0;
const PORTS: u64 = 12;

#[repr(C)]
struct Who {
    ts_ns: u64,
    pid_tgid: u64,
    comm: [u8; COMM_BYTES],
}

#[repr(C)]
struct Connection {
    who: Who,
    addresses: u64,
    /// The remote port in network order, then the local one in host order.
    ports: u32,
    kind: u32,
}

/// Room for a path as it was asked for.
const NAME_BYTES: u32 = 64;

#[repr(C)]
struct Descriptor {
    who: Who,
    kind: u64,
    name: [u8; NAME_BYTES as usize],
}

#[fentry(function = "tcp_connect")]
fn floor_connect(ctx: FEntryContext) -> i32 {
    connection(argument(&ctx, 0), 0)
}

#[fexit(function = "inet_csk_accept")]
fn floor_accept(ctx: FExitContext) -> i32 {
    // The result lies behind four arguments, as it does up to 6.9.
    connection(argument(&ctx, 4), 1)
}

#[fentry(function = "tcp_close")]
fn floor_close(ctx: FEntryContext) -> i32 {
    connection(argument(&ctx, 0), 2)
}

#[fentry(function = "do_filp_open")]
fn floor_open(ctx: FEntryContext) -> i32 {
    // `struct filename` begins with the pointer to its text (`include/linux/fs.h`).
    descriptor(read(argument(&ctx, 1)), 3)
}

#[fentry(function = "filp_close")]
fn floor_filp_close(_: FEntryContext) -> i32 {
    descriptor(0, 4)
}

fn connection(sock: u64, kind: u32) -> i32 {
    let ports: u32 = read(sock + PORTS);
    let port = PORT.load();
    if port != 0 && (ports >> 16) as u16 != port && (ports as u16).swap_bytes() != port {
        return 0;
    }
    let Some(mut record) = EVENTS.reserve::<Connection>(0) else {
        return 0;
    };
    let connection = record.as_mut_ptr();
    // SAFETY: the record was reserved with this very type.
    unsafe {
        Who::write_current(&raw mut (*connection).who);
        (*connection).addresses = read(sock + ADDRESSES);
        (*connection).ports = ports;
        (*connection).kind = kind;
    }
    record.submit(wakeup_flags(size_of::<Connection>() as u64));
    0
}

fn descriptor(name: u64, kind: u64) -> i32 {
    if PORT.load() != 0 {
        return 0;
    }
    let Some(mut record) = EVENTS.reserve::<Descriptor>(0) else {
        return 0;
    };
    let descriptor = record.as_mut_ptr();
    // SAFETY: the record was reserved with this very type; the helper checks the address itself.
    unsafe {
        Who::write_current(&raw mut (*descriptor).who);
        (*descriptor).kind = kind;
        if name != 0 {
            let to = (&raw mut (*descriptor).name).cast();
            generated::bpf_probe_read_kernel_str(to, NAME_BYTES, name as *const c_void);
        }
    }
    record.submit(wakeup_flags(size_of::<Descriptor>() as u64));
    0
}

impl Who {
    /// # Safety
    /// `to` must be writable.
    unsafe fn write_current(to: *mut Self) {
        // SAFETY: the caller vouches for `to`, and the helpers have no other precondition.
        unsafe {
            (*to).ts_ns = generated::bpf_ktime_get_boot_ns();
            (*to).pid_tgid = bpf_get_current_pid_tgid();
            generated::bpf_get_current_comm((&raw mut (*to).comm).cast(), COMM_BYTES as u32);
        }
    }
}

/// An argument of the hooked function, or its result behind them, as a plain number.
fn argument(ctx: &impl EbpfContext, index: usize) -> u64 {
    read(ctx.as_ptr() as u64 + (index * size_of::<u64>()) as u64)
}

/// A number in the kernel's memory.
fn read<T: Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the address itself; `T` is an integer at every call.
    unsafe {
        generated::bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const c_void,
        );
    }
    value
}

/// Wakes the reader only when so much waits.
fn wakeup_flags(record_bytes: u64) -> u64 {
    let waiting = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    let crossed = waiting >= WAKEUP_BYTES && waiting - (record_bytes + 8) < WAKEUP_BYTES;
    u64::from(if crossed {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    // No program of ours contains a reachable panic: the verifier would refuse this endless loop.
    loop {}
}
