//! The kernel functions and tracepoints that tracer attaches to, with what each is good for; never
//! attaches to them.

/// What kind of thing a hook is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookKind {
    /// A function of the kernel.
    Function,
    /// A tracepoint.
    Tracepoint,
}

/// Something to attach to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hook {
    /// The kernel's name for it.
    pub(super) name: &'static str,
    pub(super) kind: HookKind,
    /// What reports lack without it.
    pub(super) cost_if_absent: &'static str,
}

/// A function.
const fn function(name: &'static str, cost_if_absent: &'static str) -> Hook {
    Hook {
        name,
        kind: HookKind::Function,
        cost_if_absent,
    }
}

/// A tracepoint.
const fn tracepoint(name: &'static str, cost_if_absent: &'static str) -> Hook {
    Hook {
        name,
        kind: HookKind::Tracepoint,
        cost_if_absent,
    }
}

/// All of them.
pub(super) const HOOKS: [Hook; 14] = [
    function(
        "tcp_connect",
        "no connection is seen being opened by its process",
    ),
    function(
        "tcp_v4_connect",
        "IPv4 connects that fail before a SYN leaves are not seen",
    ),
    function(
        "tcp_v6_connect",
        "IPv6 connects that fail before a SYN leaves are not seen",
    ),
    function("inet_csk_accept", "accepted connections have no owner"),
    function(
        "tcp_close",
        "it is not seen when a socket's last descriptor is closed",
    ),
    function("tcp_time_wait", "TIME_WAIT sockets have no owner"),
    function(
        "fd_install",
        "new descriptors are not seen, nor descriptor bursts",
    ),
    function("do_filp_open", "opens that fail are not seen"),
    function(
        "get_unused_fd_flags",
        "descriptors that are refused (EMFILE) are not seen",
    ),
    function("filp_close", "closed descriptors are not seen"),
    function(
        "file_close_fd",
        "nothing: it is there on newer kernels only, others are watched elsewhere",
    ),
    tracepoint(
        "inet_sock_set_state",
        "lifetimes, who closed first and failed connects are not told",
    ),
    tracepoint(
        "sched_process_exec",
        "a process that replaces its program keeps its old name",
    ),
    tracepoint(
        "sched_process_exit",
        "ended processes are still shown as running",
    ),
];
