//! Asks the running machine what tracing depends on; never judges the answers.

use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{SyscallError, is_map_supported, is_program_supported},
};
use aya_obj::btf::{Btf, BtfKind};
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

use crate::{
    confine::{self, Offers},
    host::{cgroup, procfs::Procfs, session, sock_diag},
    source::live::{FTRACE, HOOKS},
};

/// `PROC_PID_INIT_INO` and `PROC_USER_INIT_INO`, the inode numbers that the namespaces which the
/// kernel boots with have had since 3.8 (`include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Where the kernel shows its own BTF.
pub(super) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What trying something in the kernel came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// It works.
    Works,
    /// This kernel cannot do it.
    Lacking,
    /// The kernel refused to let this process try (EPERM).
    Refused,
    /// Trying failed in another way, which tells nothing.
    Failed(String),
}

/// Everything that the checks judge.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Effective capabilities.
    pub(super) capabilities: CapabilitySet,
    /// Whether the capabilities hold for the whole host; `None` where that cannot be told.
    pub(super) is_initial_user_namespace: Option<bool>,
    /// Whether this process sees the host's pids; `None` where that cannot be told.
    pub(super) is_initial_pid_namespace: Option<bool>,
    /// The kernel's release.
    pub(super) kernel: String,
    /// `kernel.unprivileged_bpf_disabled`, where there is such a setting.
    pub(super) unprivileged_bpf_disabled: Option<String>,
    /// How much memory this process may lock, in bytes; `None` where there is no limit.
    pub(super) locked_memory: Option<u64>,
    /// Lockdown modes, the one in force in brackets; empty where the kernel has none, `None` where
    /// it does not tell.
    pub(super) lockdown: Option<String>,
    /// Those names in [`HOOKS`] that the kernel's BTF has, or why it could not be read.
    pub(super) hooks_in_btf: Result<BTreeSet<&'static str>, String>,
    /// Making a map.
    pub(super) map: Probe,
    /// Making a ring buffer.
    pub(super) ring_buffer: Probe,
    /// Loading, and attaching, a tracing program (fentry).
    pub(super) tracing_program: Probe,
    /// Loading a program for kprobes.
    pub(super) kprobe_program: Probe,
    /// Whether the kernel offers kprobes to attach to.
    pub(super) has_kprobe_events: bool,
    /// `kernel.ftrace_enabled`, where there is such a setting.
    pub(super) ftrace_enabled: Option<String>,
    /// Where cgroup v2 is mounted.
    pub(super) cgroup_v2: Option<String>,
    /// Listing TCP sockets.
    pub(super) sock_diag: Result<(), String>,
    /// Processes that /proc shows, and those among them that may not be looked at; `None` where it
    /// hides processes.
    pub(super) processes: Option<(usize, usize)>,
    /// Giving up rights.
    pub(super) offers: Offers,
}

impl Facts {
    /// Asks the machine.
    pub(super) fn gather() -> Self {
        Self {
            capabilities: capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective),
            is_initial_user_namespace: is_namespace("user", INITIAL_USER_NAMESPACE),
            is_initial_pid_namespace: is_namespace("pid", INITIAL_PID_NAMESPACE),
            kernel: session::kernel_release(),
            unprivileged_bpf_disabled: setting("/proc/sys/kernel/unprivileged_bpf_disabled"),
            locked_memory: getrlimit(Resource::Memlock).current,
            lockdown: lockdown(),
            hooks_in_btf: hooks_in_btf(),
            map: probe_map(MapType::Array),
            ring_buffer: probe_map(MapType::RingBuf),
            tracing_program: probe_program(ProgramType::Tracing),
            kprobe_program: probe_program(ProgramType::KProbe),
            has_kprobe_events: Path::new("/sys/bus/event_source/devices/kprobe/type").exists(),
            ftrace_enabled: setting(FTRACE),
            cgroup_v2: cgroup::v2_mount().map(|path| path.display().to_string()),
            sock_diag: sock_diag::probe().map_err(|error| error.to_string()),
            processes: look_at_processes(&Procfs::of_this_host()),
            offers: confine::offers(),
        }
    }
}

/// Whether this process is in the namespace with this inode number.
fn is_namespace(name: &str, initial: u64) -> Option<bool> {
    let metadata = fs::metadata(format!("/proc/self/ns/{name}")).ok()?;
    Some(metadata.ino() == initial)
}

/// A file's one line.
fn setting(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// How many processes there are, and how many of them may not be looked at; `None` where not even
/// process 1 is shown.
fn look_at_processes(procfs: &Procfs) -> Option<(usize, usize)> {
    fs::metadata(procfs.root().join("1")).ok()?;
    let (mut seen, mut closed) = (0, 0);
    for pid in procfs.pids().ok()? {
        let exe = procfs.root().join(pid.to_string()).join("exe");
        seen += 1;
        // A process without a program (a kernel thread) answers differently, and is open.
        let result = fs::read_link(exe);
        closed +=
            usize::from(result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied));
    }
    Some((seen, closed))
}

/// What the kernel says about lockdown; no text where this kernel has none, `None` where /sys does
/// not tell.
fn lockdown() -> Option<String> {
    setting("/sys/kernel/security/lockdown").or_else(|| {
        // Beside this one the file would be, so it is the kernel that has no lockdown.
        Path::new("/sys/kernel/security/lsm")
            .exists()
            .then(String::new)
    })
}

/// The names of hooks, of all that they have had, that the kernel's BTF has.
fn hooks_in_btf() -> Result<BTreeSet<&'static str>, String> {
    let btf = Btf::from_sys_fs().map_err(|error| error.to_string())?;
    let is_named = |name: &str, kind| btf.id_by_type_name_kind(name, kind).is_ok();
    let names = HOOKS.iter().flat_map(|hook| {
        let is_tracepoint = hook.is_tracepoint();
        let names = hook.functions.iter().copied();
        names.filter(move |name| {
            if is_tracepoint {
                // The kernel describes a tracepoint by the type of the functions that it calls.
                is_named(&format!("btf_trace_{name}"), BtfKind::Typedef)
            } else {
                is_named(name, BtfKind::Func)
            }
        })
    });
    Ok(names.collect())
}

/// Tries to make a map.
fn probe_map(kind: MapType) -> Probe {
    is_map_supported(kind).map_or_else(|error| failed(&error), answered)
}

/// Tries to load a program.
fn probe_program(kind: ProgramType) -> Probe {
    match is_program_supported(kind) {
        Ok(works) => answered(works),
        Err(ProgramError::SyscallError(error)) => failed(&error),
        Err(error) => Probe::Failed(error.to_string()),
    }
}

/// The kernel's plain answer.
fn answered(works: bool) -> Probe {
    if works { Probe::Works } else { Probe::Lacking }
}

/// What a failed system call tells.
fn failed(error: &SyscallError) -> Probe {
    match error.io_error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => Probe::Refused,
        Some(Errno::NOSYS) => Probe::Lacking,
        _ => Probe::Failed(format!("{}: {}", error.call, error.io_error)),
    }
}
