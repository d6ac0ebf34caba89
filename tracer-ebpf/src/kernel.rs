//! Reads of kernel memory, and the one atomic operation; never knows what it reads.

use aya_ebpf::{
    EbpfContext,
    cty::c_void,
    helpers::{bpf_probe_read_kernel, generated},
};

/// The address of a kernel structure. Only ever read through [`read`], which cannot fault.
pub type KernelPtr = *const u8;

/// The `T` at `base + offset`, or `None` where the kernel could not read it.
#[inline(always)]
pub fn read<T>(base: KernelPtr, offset: usize) -> Option<T> {
    // SAFETY: the helper checks the address itself and fails instead of faulting. `T` is an integer
    // or an array of integers at every call, so any bytes are a valid value.
    unsafe { bpf_probe_read_kernel(base.wrapping_add(offset).cast::<T>()).ok() }
}

/// The pointer at `base + offset`; `None` where it could not be read or is null.
#[inline(always)]
pub fn read_ptr(base: KernelPtr, offset: usize) -> Option<KernelPtr> {
    match read::<u64>(base, offset) {
        Some(address) if address != 0 => Some(address as KernelPtr),
        _ => None,
    }
}

/// A pointer among the arguments of an fentry or fexit program (its result comes behind them), as a
/// plain number. What the program loads itself is a typed pointer to the verifier, which forbids the
/// arithmetic that an address as a key needs; so it is read as any other memory.
#[inline(always)]
pub fn plain_arg(ctx: &impl EbpfContext, index: usize) -> KernelPtr {
    read_ptr(ctx.as_ptr() as KernelPtr, index * size_of::<u64>()).unwrap_or(core::ptr::null())
}

/// Copies `size` bytes of kernel memory; false, and zeros instead, where they could not be read.
///
/// # Safety
/// `to` must point to at least `size` writable bytes that the verifier knows of.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, size: u32, from: KernelPtr) -> bool {
    // SAFETY: the caller vouches for `to`; the helper checks `from` itself.
    unsafe { generated::bpf_probe_read_kernel(to.cast::<c_void>(), size, from.cast()) == 0 }
}

/// Zeroes 16 bytes in two stores: as an array of bytes they would be a loop.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub unsafe fn zero(to: *mut [u8; 16]) {
    // SAFETY: the caller vouches for `to`; the machine stores words at any address.
    unsafe { to.cast::<[u64; 2]>().write_unaligned([0; 2]) }
}

/// Adds to a counter that other CPUs, and interrupts on this one, may be adding to.
#[inline(always)]
pub fn add(counter: *mut u64, value: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: every caller passes a pointer into a map value that the verifier has checked.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({counter} + 0) += {value}",
            counter = in(reg) counter,
            value = in(reg) value,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as above; this branch only exists so that the crate can be checked on the host.
    unsafe {
        *counter += value;
    }
}

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { generated::bpf_ktime_get_boot_ns() }
}
