//! The table of hooks: which program serves which kernel function, by which method, and what reports
//! lack without it. Never attaches anything.

/// How a program is attached to its hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// Called in place of the function's first instructions (fentry).
    Entry,
    /// Called behind the function, with arguments and result (fexit).
    Exit,
    /// As [`Attachment::Exit`], for a function that takes this many parameters on this kernel.
    ExitOfParameters(usize),
    /// A breakpoint at the function's start; works without the kernel's tracing programs.
    Kprobe,
    /// A breakpoint behind the function.
    Kretprobe,
    /// A tracepoint, with arguments of which the verifier knows the types.
    BtfTracepoint,
    /// A tracepoint, with its raw arguments.
    RawTracepoint,
}

impl Attachment {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Entry => "fentry",
            Self::Exit | Self::ExitOfParameters(_) => "fexit",
            Self::Kprobe => "kprobe",
            Self::Kretprobe => "kretprobe",
            Self::BtfTracepoint => "tp_btf",
            Self::RawTracepoint => "raw_tracepoint",
        }
    }

    /// Whether it is at a tracepoint, not at a function.
    pub const fn is_tracepoint(self) -> bool {
        matches!(self, Self::BtfTracepoint | Self::RawTracepoint)
    }

    /// Whether it is at a function, by one of the kernel's tracing programs.
    pub const fn is_tracing(self) -> bool {
        matches!(self, Self::Entry | Self::Exit | Self::ExitOfParameters(_))
    }
}

/// What a hook belongs to, so that what is not watched is not attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Connections.
    Tcp,
    /// Descriptors.
    Fds,
    /// Processes: always attached.
    Processes,
}

/// A place in the kernel that is watched.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The kernel function or tracepoint; by all names that it has had, the oldest first.
    pub functions: &'static [&'static str],
    /// What it belongs to.
    pub subject: Subject,
    /// What reports lack without it.
    pub provides: &'static str,
    /// Whether every supported kernel has it, so that its absence is worth a word.
    pub expected: bool,
    /// Programs that can serve it, the best first.
    pub programs: &'static [(&'static str, Attachment)],
}

impl Hook {
    /// Whether it is a tracepoint, not a function.
    pub fn is_tracepoint(&self) -> bool {
        self.programs
            .iter()
            .any(|(_, attachment)| attachment.is_tracepoint())
    }
}

/// Every hook, in the order of attaching: what ends something before what begins it, so that nothing
/// is seen beginning whose end is not.
pub const HOOKS: &[Hook] = &[
    Hook {
        functions: &["sched_process_exit"],
        subject: Subject::Processes,
        provides: "the end of processes and their final totals",
        expected: true,
        programs: &[("sched_process_exit", Attachment::RawTracepoint)],
    },
    Hook {
        functions: &["sched_process_exec"],
        subject: Subject::Processes,
        provides: "the names of processes after exec",
        expected: true,
        programs: &[("sched_process_exec", Attachment::RawTracepoint)],
    },
    Hook {
        functions: &["tcp_close"],
        subject: Subject::Tcp,
        provides: "when a connection's descriptor is closed, and by whom",
        expected: true,
        programs: &[
            ("tcp_close", Attachment::Entry),
            ("tcp_close_kprobe", Attachment::Kprobe),
        ],
    },
    Hook {
        functions: &["tcp_time_wait"],
        subject: Subject::Tcp,
        provides: "which connections become TIME_WAIT sockets",
        expected: true,
        programs: &[
            ("tcp_time_wait", Attachment::Entry),
            ("tcp_time_wait_kprobe", Attachment::Kprobe),
        ],
    },
    Hook {
        functions: &["inet_sock_set_state"],
        subject: Subject::Tcp,
        provides: "when connections are established and end, and which side ends them",
        expected: true,
        programs: &[
            ("inet_sock_set_state", Attachment::BtfTracepoint),
            ("inet_sock_set_state_raw", Attachment::RawTracepoint),
        ],
    },
    Hook {
        functions: &["inet_csk_accept"],
        subject: Subject::Tcp,
        provides: "who accepts connections",
        expected: true,
        programs: &[
            ("inet_csk_accept_2", Attachment::ExitOfParameters(2)),
            ("inet_csk_accept_4", Attachment::ExitOfParameters(4)),
            ("inet_csk_accept_kprobe", Attachment::Kretprobe),
        ],
    },
    Hook {
        functions: &["tcp_v4_connect"],
        subject: Subject::Tcp,
        provides: "IPv4 connects that fail before a packet leaves (no route, no free port)",
        expected: true,
        programs: &[("tcp_v4_connect", Attachment::Exit)],
    },
    Hook {
        functions: &["tcp_v6_connect"],
        subject: Subject::Tcp,
        provides: "IPv6 connects that fail before a packet leaves (no route, no free port)",
        expected: true,
        programs: &[("tcp_v6_connect", Attachment::Exit)],
    },
    Hook {
        functions: &["tcp_connect"],
        subject: Subject::Tcp,
        provides: "who opens connections",
        expected: true,
        programs: &[
            ("tcp_connect", Attachment::Entry),
            ("tcp_connect_kprobe", Attachment::Kprobe),
        ],
    },
    Hook {
        functions: &["filp_close"],
        subject: Subject::Fds,
        provides: "closed descriptors",
        expected: true,
        programs: &[
            ("filp_close", Attachment::Entry),
            ("filp_close_kprobe", Attachment::Kprobe),
        ],
    },
    Hook {
        functions: &["close_fd_get_file", "file_close_fd"],
        subject: Subject::Fds,
        provides: "descriptors closed by close(2) on kernels since 6.6",
        expected: false,
        programs: &[
            ("file_close_fd", Attachment::Exit),
            ("file_close_fd_kprobe", Attachment::Kretprobe),
        ],
    },
    Hook {
        functions: &["alloc_fd", "get_unused_fd_flags"],
        subject: Subject::Fds,
        provides: "descriptors refused because the table is full (EMFILE)",
        expected: true,
        programs: &[
            ("get_unused_fd_flags", Attachment::ExitOfParameters(1)),
            ("alloc_fd", Attachment::ExitOfParameters(3)),
            ("get_unused_fd_flags_kprobe", Attachment::Kretprobe),
        ],
    },
    Hook {
        functions: &["alloc_file_pseudo"],
        subject: Subject::Fds,
        provides: "sockets, pipes and the like refused because the host has no more files (ENFILE)",
        expected: true,
        programs: &[
            ("alloc_file_pseudo", Attachment::ExitOfParameters(5)),
            ("alloc_file_pseudo_kprobe", Attachment::Kretprobe),
        ],
    },
    Hook {
        functions: &["do_filp_open", "do_file_open"],
        subject: Subject::Fds,
        provides: "files that could not be opened",
        expected: true,
        programs: &[
            ("do_filp_open", Attachment::Exit),
            ("do_filp_open_kprobe", Attachment::Kretprobe),
        ],
    },
    Hook {
        functions: &["do_dup2"],
        subject: Subject::Fds,
        provides: "descriptors made at a chosen number (dup2, dup3)",
        expected: true,
        programs: &[
            ("do_dup2", Attachment::Exit),
            ("do_dup2_kprobe", Attachment::Kprobe),
        ],
    },
    Hook {
        functions: &["fd_install"],
        subject: Subject::Fds,
        provides: "new descriptors and the paths of opened files",
        expected: true,
        programs: &[
            ("fd_install", Attachment::Entry),
            ("fd_install_kprobe", Attachment::Kprobe),
        ],
    },
];
