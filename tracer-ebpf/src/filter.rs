//! The user's selection, decided in the kernel so that what was not asked for costs next to nothing.
//! Never looks at anything but ports, pids and network namespaces.

use crate::{
    config::config,
    maps::{PIDS, PORTS},
    process,
};

/// Whether connections between any ports are wanted.
#[inline(always)]
pub fn is_any_port_wanted() -> bool {
    config!(filter_ports) == 0
}

/// Whether a connection between these ports is wanted.
#[inline(always)]
pub fn wants_ports(local: u16, remote: u16) -> bool {
    is_any_port_wanted() || has_port(local) || has_port(remote)
}

/// Whether what happens in a network namespace is wanted; it is asked for only where one is selected.
#[inline(always)]
pub fn wants_netns(netns: impl FnOnce() -> u32) -> bool {
    config!(filter_netns) == 0 || netns() == config!(filter_netns)
}

#[inline(always)]
fn has_port(port: u16) -> bool {
    if config!(are_ports_few) != 0 {
        // Constants to the verifier and so to the kernel's compiler; a port that is repeated, to it, is
        // a comparison like the others, of a nanosecond.
        return port == config!(few_ports[0])
            || port == config!(few_ports[1])
            || port == config!(few_ports[2])
            || port == config!(few_ports[3]);
    }
    match PORTS.get(u32::from(port) / 64) {
        Some(word) => word & (1 << (port % 64)) != 0,
        None => false,
    }
}

/// Whether the user named this process, so that it is streamed whole.
#[inline(always)]
pub fn is_selected(pid: u32) -> bool {
    // SAFETY: the value is not read, and nothing writes this map once the programs run.
    config!(filter_pids) != 0 && unsafe { PIDS.get(pid) }.is_some()
}

/// Whether what the running process, this one, does is wanted at all.
#[inline(always)]
pub fn wants_task(pid: u32) -> bool {
    wants_pid(pid) && wants_netns(process::netns)
}

/// Whether this process is wanted; what its sockets say of their network is another question.
#[inline(always)]
pub fn wants_pid(pid: u32) -> bool {
    pid != config!(own_pid) && (config!(filter_pids) == 0 || is_selected(pid))
}
