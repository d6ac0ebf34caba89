//! The constants that the collector sets before loading: selection, budget, structure offsets.
//!
//! Each is read on its own by a volatile load from a frozen map, so that the verifier knows its value
//! and drops the branches that it rules out. Never copied as a whole: a copy would hide the values.

use aya_ebpf::Global;
use tracer_common::{Config, Offsets, config::FEW_PORTS};

#[unsafe(no_mangle)]
pub static CONFIG: Global<Config> = Global::new(Config {
    sock_secret: 0,
    budget_per_second: 0,
    wakeup_bytes: 0,
    own_pid: 0,
    own_pidns: 0,
    own_pid_level: 0,
    filter_netns: 0,
    filter_ports: 0,
    filter_pids: 0,
    has_socket_cookie: 0,
    has_task_pt_regs: 0,
    stacks: 0,
    are_ports_few: 0,
    padding: [0; 2],
    few_ports: [0; FEW_PORTS],
});

#[unsafe(no_mangle)]
pub static OFFSETS: Global<Offsets> = Global::new(Offsets::ZERO);

/// The collector's settings.
#[inline(always)]
pub fn collector_config() -> &'static Config {
    // SAFETY: `Global` is a transparent wrapper around the structure, which lives in a map that is
    // as long-lived as the program.
    unsafe { &*(&raw const CONFIG).cast() }
}

/// The kernel's structure offsets.
#[inline(always)]
pub fn kernel_offsets() -> &'static Offsets {
    // SAFETY: as in `collector_config`.
    unsafe { &*(&raw const OFFSETS).cast() }
}

/// Reads a field where it lies: the compiler must not take it for the value in this source.
#[inline(always)]
pub fn load<T: Copy>(field: &T) -> T {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::read_volatile(field) }
}

/// The value of one field of [`CONFIG`].
macro_rules! config {
    ($field:ident $([$index:literal])?) => {
        $crate::config::load(&$crate::config::collector_config().$field $([$index])?)
    };
}

/// One structure offset in bytes.
macro_rules! offset {
    ($field:ident) => {
        $crate::config::load(&$crate::config::kernel_offsets().$field) as usize
    };
}

pub(crate) use {config, offset};
