//! A file's path, read name by name from the file up to the root of its mount namespace.
//!
//! Walked by hand because the kernel's own helper (`bpf_d_path`) may not be called where the
//! descriptor is known (`fd_install`), nor from a kprobe. Never joins the names: that costs less in
//! user space.

use aya_ebpf::helpers::generated;
use tracer_common::{PATH_BYTES_MAX, fd::path_form};

use crate::{
    config::offset,
    kernel::{KernelPtr, read_ptr},
    maps::{FdScratch, PATH_ROOM},
};

/// Names and mount points that are followed; a deeper path is told as cut.
const STEPS_MAX: usize = 64;

/// `NAME_MAX` and the terminating NUL (`include/uapi/linux/limits.h`).
const NAME_ROOM: usize = 256;

const _: () = assert!(PATH_ROOM >= PATH_BYTES_MAX + NAME_ROOM);
const _: () = assert!(PATH_BYTES_MAX.is_power_of_two());

/// Where the walk stands.
struct Place {
    dentry: KernelPtr,
    /// The `struct mount` around the file's `struct vfsmount`.
    mount: KernelPtr,
    mount_root: KernelPtr,
}

impl Place {
    #[inline(always)]
    fn of(file: KernelPtr) -> Self {
        let path = file.wrapping_add(offset!(file_path));
        let vfsmount = read_ptr(path, offset!(path_mnt));
        Self {
            dentry: read_ptr(path, offset!(path_dentry)),
            mount: vfsmount.wrapping_sub(offset!(mount_mnt)),
            mount_root: read_ptr(vfsmount, offset!(vfsmount_root)),
        }
    }

    /// Steps from the root of a mount to where it is mounted; `None` at the root of all.
    #[inline(always)]
    fn leave_mount(&self) -> Option<Self> {
        let parent = read_ptr(self.mount, offset!(mount_parent));
        if parent == self.mount {
            return None;
        }
        Some(Self {
            dentry: read_ptr(self.mount, offset!(mount_mountpoint)),
            mount: parent,
            mount_root: read_ptr(
                parent.wrapping_add(offset!(mount_mnt)),
                offset!(vfsmount_root),
            ),
        })
    }
}

/// Writes the path of `file` into the scratch entry's path, and its form and length into its event.
///
/// # Safety
/// `scratch` must be an entry of the per-CPU map that no other program uses.
#[inline(always)]
pub unsafe fn resolve(file: KernelPtr, scratch: *mut FdScratch) {
    // How much is used lives in the event, not in a register: the verifier then knows as little of
    // it in every round as in the first, and need not follow each round's possible lengths.
    // SAFETY: vouched for by the caller.
    let used = unsafe { &raw mut (*scratch).event.path_bytes };
    // SAFETY: as above.
    unsafe { used.write_volatile(0) };
    let mut form = path_form::RESOLVED_CUT;
    let mut place = Place::of(file);
    for _ in 0..STEPS_MAX {
        if place.dentry == place.mount_root {
            let Some(outer) = place.leave_mount() else {
                form = path_form::RESOLVED;
                break;
            };
            place = outer;
            continue;
        }
        let parent = read_ptr(place.dentry, offset!(dentry_parent));
        if parent == place.dentry {
            // The root of a file system that is mounted nowhere (any more).
            form = path_form::RESOLVED;
            break;
        }
        // A pointer that could not be read ends the walk here: it has no name.
        // SAFETY: vouched for by the caller.
        if !unsafe { append_name(place.dentry, scratch) } {
            break;
        }
        place.dentry = parent;
    }
    // SAFETY: vouched for by the caller.
    unsafe { (*scratch).event.path_form = form };
}

/// Writes a dentry's name with its NUL behind those written before; false where it does not fit or
/// could not be read.
#[inline(always)]
unsafe fn append_name(dentry: KernelPtr, scratch: *mut FdScratch) -> bool {
    let name = read_ptr(dentry, offset!(dentry_name));
    // SAFETY: vouched for by the caller of `resolve`.
    let path_bytes = unsafe { &raw mut (*scratch).event.path_bytes };
    // SAFETY: as above.
    let used = unsafe { path_bytes.read_volatile() };
    if used >= PATH_BYTES_MAX as u32 {
        return false;
    }
    // The mask changes nothing, but shows the verifier the bound that was just checked.
    let at = used & (PATH_BYTES_MAX as u32 - 1);
    // SAFETY: `at` is less than `PATH_BYTES_MAX`, and `NAME_ROOM` bytes lie behind that.
    let read_bytes = unsafe {
        let to = (&raw mut (*scratch).path).cast::<u8>().add(at as usize);
        generated::bpf_probe_read_kernel_str(to.cast(), NAME_ROOM as u32, name.cast())
    };
    // One byte is the NUL alone: a name is never empty.
    if read_bytes <= 1 {
        return false;
    }
    // SAFETY: as above.
    unsafe { path_bytes.write_volatile(used + read_bytes as u32) };
    true
}

/// Writes the path that a process asked for (`struct filename`) as it gave it.
///
/// # Safety
/// As for [`resolve`].
#[inline(always)]
pub unsafe fn as_given(filename: KernelPtr, scratch: *mut FdScratch) {
    let name = read_ptr(filename, offset!(filename_name));
    // SAFETY: the path holds `PATH_BYTES_MAX` bytes.
    let bytes = unsafe {
        generated::bpf_probe_read_kernel_str(
            (&raw mut (*scratch).path).cast(),
            PATH_BYTES_MAX as u32,
            name.cast(),
        )
    };
    let (form, bytes) = match bytes {
        1..=4095 => (path_form::AS_GIVEN, bytes as u32),
        4096 => (path_form::AS_GIVEN_CUT, bytes as u32),
        _ => (path_form::NONE, 0),
    };
    // SAFETY: vouched for by the caller.
    unsafe {
        (*scratch).event.path_form = form;
        (*scratch).event.path_bytes = bytes;
    }
}
