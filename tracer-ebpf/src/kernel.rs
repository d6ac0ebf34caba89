//! Reads of kernel memory, and what the language has no word for; never knows what it reads.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated;

/// The address of a kernel structure. Only ever read through [`read`], which cannot fault, or as
/// [`Typed`].
pub type KernelPtr = *const u8;

/// The `T` at `base + offset`; zero where it could not be read, which a chain of reads passes on.
/// There is no result to test on purpose: each test would double what the verifier must follow.
#[inline(always)]
pub fn read<T>(base: KernelPtr, offset: usize) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address itself, and fills the value with zeros instead of
    // faulting. `T` is an integer or an array of integers at every call, so any bytes are valid.
    unsafe {
        generated::bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            base.wrapping_add(offset).cast(),
        );
        value.assume_init()
    }
}

/// The pointer at `base + offset`; null where it could not be read.
#[inline(always)]
pub fn read_ptr(base: KernelPtr, offset: usize) -> KernelPtr {
    read::<u64>(base, offset) as KernelPtr
}

/// Where a kernel structure can be read from.
pub trait Structure: Copy {
    /// The `T` at this offset; zero where it could not be read.
    fn read<T: Copy>(self, offset: usize) -> T;

    /// The structure that the pointer at this offset points to.
    fn follow(self, offset: usize) -> Self;

    /// Where it lies, as a plain number.
    fn address(self) -> KernelPtr;
}

impl Structure for KernelPtr {
    #[inline(always)]
    fn read<T: Copy>(self, offset: usize) -> T {
        read(self, offset)
    }

    #[inline(always)]
    fn follow(self, offset: usize) -> Self {
        read_ptr(self, offset)
    }

    #[inline(always)]
    fn address(self) -> KernelPtr {
        self
    }
}

/// A pointer whose type the verifier knows: an argument of an fentry or fexit program, or what lies
/// behind one. Reading it is one instruction, which cannot fault, instead of a call.
#[derive(Clone, Copy)]
pub struct Typed(KernelPtr);

impl Typed {
    /// # Safety
    /// The verifier must know the pointer's type, and that it has what is read at each offset.
    #[inline(always)]
    pub const unsafe fn new(pointer: KernelPtr) -> Self {
        Self(pointer)
    }

    /// The pointer, for helpers that ask for one of its type.
    #[inline(always)]
    pub const fn pointer(self) -> KernelPtr {
        self.0
    }
}

impl Structure for Typed {
    #[inline(always)]
    fn read<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the kernel catches a read that faults, and reads zeros then; structures' members
        // are aligned.
        unsafe { self.0.wrapping_add(offset).cast::<T>().read_volatile() }
    }

    #[inline(always)]
    fn follow(self, offset: usize) -> Self {
        Self(self.read(offset))
    }

    #[inline(always)]
    fn address(self) -> KernelPtr {
        plain(self.0)
    }
}

/// A pointer whose type the verifier knows, as a plain number. It forbids the arithmetic that an address
/// as a key needs on the former, and takes a negated pointer, of which no type is left, for the latter.
#[inline(always)]
pub fn plain(pointer: KernelPtr) -> KernelPtr {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = pointer as u64;
        // SAFETY: two operations on one register, which undo each other.
        unsafe {
            core::arch::asm!(
                "{number} = -{number}",
                "{number} = -{number}",
                number = inout(reg) number,
                options(pure, nomem, nostack),
            );
        }
        number as KernelPtr
    }
    #[cfg(not(target_arch = "bpf"))]
    pointer
}

/// Copies `size` bytes of kernel memory; zeros where they could not be read.
///
/// # Safety
/// `to` must point to at least `size` writable bytes that the verifier knows of.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, size: u32, from: KernelPtr) {
    // SAFETY: the caller vouches for `to`; the helper checks `from` itself.
    unsafe { generated::bpf_probe_read_kernel(to.cast(), size, from.cast()) };
}

/// Zeroes 16 bytes in two stores: as an array of bytes they would be a loop.
///
/// # Safety
/// `to` must be writable, and lie at a multiple of eight bytes.
#[inline(always)]
#[expect(clippy::cast_ptr_alignment, reason = "the caller vouches for that")]
pub unsafe fn zero(to: *mut [u8; 16]) {
    let words = to.cast::<u64>();
    // SAFETY: the caller vouches for `to`.
    unsafe {
        words.write_volatile(0);
        words.add(1).write_volatile(0);
    }
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
