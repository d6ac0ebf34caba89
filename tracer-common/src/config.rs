//! What the collector tells the kernel half before it is loaded; never changed afterwards.
//!
//! The values become frozen globals: the verifier sees constants and drops the branches that they
//! rule out, so a filter that is off costs nothing.

/// Selection, budget and abilities.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Config {
    /// Mixed into socket addresses so that no kernel address leaves the kernel.
    pub sock_secret: u64,
    /// Descriptor events streamed for one process in one second; the rest are counted. A process
    /// that was selected by pid is streamed whole.
    pub budget_per_second: u64,
    /// The ring buffer wakes the collector once so many bytes wait in it.
    pub wakeup_bytes: u64,
    /// The collector itself, which is never traced (pid in the host's namespace).
    pub own_pid: u32,
    /// The collector's pid namespace (inode number); 0 where that is the host's, whose pids are told
    /// anyway.
    pub own_pidns: u32,
    /// How deep that namespace lies below the host's.
    pub own_pid_level: u32,
    /// The only network namespace that is wanted (inode number); 0 for all.
    pub filter_netns: u32,
    /// 1 where only ports of the `PORTS` map are wanted.
    pub filter_ports: u8,
    /// 1 where only processes of the `PIDS` map are wanted.
    pub filter_pids: u8,
    /// 1 where the kernel has `bpf_get_socket_cookie` for tracing programs (since 5.12).
    pub has_socket_cookie: u8,
    /// 1 where the kernel has `bpf_task_pt_regs` (since 5.15).
    pub has_task_pt_regs: u8,
    /// 1 where the user stacks of connects and opens are taken.
    pub stacks: u8,
    /// 1 where every selected port is among `few_ports`.
    pub are_ports_few: u8,
    /// Explicit padding, zero.
    pub padding: [u8; 2],
    /// The selected ports where they are few, the last of them repeated: compared as constants they
    /// cost less than a map.
    pub few_ports: [u16; FEW_PORTS],
}

/// How many ports are few.
pub const FEW_PORTS: usize = 4;

const _: () = assert!(size_of::<Config>() == 56);

/// What the kernel half tells of the collector before anything is attached: a container's process
/// cannot know its own pid on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Collector {
    /// Its pid in the host's namespace.
    pub pid: u32,
    /// Its pid namespace (inode number).
    pub pidns: u32,
    /// How deep that namespace lies below the host's.
    pub pid_level: u32,
}
