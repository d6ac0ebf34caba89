//! The system calls that are refused (EPERM) to a thread and those that it starts; never one that a
//! program needs to go on as it is.
//!
//! The list is of what is refused, not of what is allowed: a C library or an allocator that one day makes
//! a call nobody thought of must not break a tracer that has run for months.

use std::{collections::BTreeMap, process, sync::LazyLock};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// A filter's rules: the calls that it stops, always or where one of the rules matches.
type Rules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

/// Nobody starts a program.
const PROGRAMS: [libc::c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];

/// Nobody reads or changes another process's memory, descriptors or fate.
const OTHERS: [libc::c_long; 20] = [
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    libc::SYS_ioprio_set,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setscheduler,
    libc::SYS_setpriority,
    libc::SYS_tkill,
    libc::SYS_unshare,
];

/// Nobody changes the machine, or reaches parts of the kernel that only such programs need.
const MACHINE: [libc::c_long; 40] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_adjtimex,
    libc::SYS_chroot,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    // Its work is done past any filter.
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    // Finds files past the folders that they are in.
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
];

/// Those of x86 alone: its ports and segments.
#[cfg(target_arch = "x86_64")]
const MACHINE_OF_ITS_KIND: [libc::c_long; 3] =
    [libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const MACHINE_OF_ITS_KIND: [libc::c_long; 0] = [];

/// Who only reads makes, changes and removes no file.
const FILES: [libc::c_long; 22] = [
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_ftruncate,
    libc::SYS_linkat,
    libc::SYS_lremovexattr,
    libc::SYS_lsetxattr,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    // Its flags are in memory, where no filter can see them.
    libc::SYS_openat2,
    libc::SYS_removexattr,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_setxattr,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
];

/// The same by their older names.
#[cfg(target_arch = "x86_64")]
const FILES_BY_OLD_NAMES: [libc::c_long; 14] = [
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_creat,
    libc::SYS_futimesat,
    libc::SYS_lchown,
    libc::SYS_link,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_utime,
    libc::SYS_utimes,
];
#[cfg(not(target_arch = "x86_64"))]
const FILES_BY_OLD_NAMES: [libc::c_long; 0] = [];

/// What of bpf(2) goes on (`enum bpf_cmd`): `MAP_LOOKUP_ELEM`, `MAP_DELETE_ELEM` (processes that have
/// ended leave the table), `MAP_GET_NEXT_KEY`, `OBJ_GET_INFO_BY_FD` and `MAP_LOOKUP_BATCH`.
const BPF_GOES_ON: [u64; 5] = [1, 3, 4, 15, 24];

/// Namespaces that clone(2) could make.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// Refuses this thread, and those that it will start, what a watch that goes on never does; files are
/// written only where that is said.
pub(super) fn refuse(may_write: bool) -> Result<(), String> {
    static WRITERS: LazyLock<Filters> = LazyLock::new(|| filters(refused_to_all()?));
    static READERS: LazyLock<Filters> = LazyLock::new(|| filters(refused_to_readers()?));
    let found: &Filters = if may_write { &WRITERS } else { &READERS };
    for filter in found.as_ref().map_err(Clone::clone)? {
        apply_filter(filter).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Refuses this thread to open any file by its name.
pub(super) fn refuse_to_open() -> Result<(), String> {
    let opens = [
        libc::SYS_openat,
        libc::SYS_openat2,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
    ];
    let filter = compile(always(&[&opens]), libc::EPERM.unsigned_abs())?;
    apply_filter(&filter).map_err(|error| error.to_string())
}

/// The programs for the kernel, or why there are none.
type Filters = Result<[BpfProgram; 2], String>;

fn filters(rules: Rules) -> Filters {
    // Its flags are in memory, where no filter can see them; C libraries that do not find it use clone.
    let absent = Rules::from([(libc::SYS_clone3, Vec::new())]);
    Ok([
        compile(absent, libc::ENOSYS.unsigned_abs())?,
        compile(rules, libc::EPERM.unsigned_abs())?,
    ])
}

fn compile(rules: Rules, errno: u32) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let refused = SeccompAction::Errno(errno);
    SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())
}

fn refused_to_all() -> Result<Rules, String> {
    let lists = [&PROGRAMS[..], &OTHERS, &MACHINE, &MACHINE_OF_ITS_KIND];
    let mut rules = always(&lists);
    let own_pid = process::id().into();
    let is_other = |argument| when(argument, SeccompCmpOp::Ne, own_pid);
    rules.insert(libc::SYS_kill, vec![all_of([is_other(0)?])?]);
    rules.insert(libc::SYS_tgkill, vec![all_of([is_other(0)?])?]);
    // 0 is who asks.
    let is_named = when(0, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![all_of([is_named, is_other(0)?])?]);
    let net = libc::CLONE_NEWNET.unsigned_abs().into();
    let is_other_kind = when(1, SeccompCmpOp::Ne, net)?;
    rules.insert(libc::SYS_setns, vec![all_of([is_other_kind])?]);
    let makes_one = NEW_NAMESPACES.map(|flag| has_bits(0, flag));
    rules.insert(libc::SYS_clone, each(makes_one)?);
    let is_not = BPF_GOES_ON.map(|command| when(0, SeccompCmpOp::Ne, command));
    let is_none = is_not.into_iter().collect::<Result<Vec<_>, _>>()?;
    rules.insert(libc::SYS_bpf, vec![all_of(is_none)?]);
    Ok(rules)
}

fn refused_to_readers() -> Result<Rules, String> {
    let mut rules = refused_to_all()?;
    rules.extend(always(&[&FILES[..], &FILES_BY_OLD_NAMES]));
    rules.insert(libc::SYS_openat, each(opens_to_write(2))?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, each(opens_to_write(1))?);
    Ok(rules)
}

/// What the flags of an open say where it writes, makes or cuts a file.
fn opens_to_write(flags: u8) -> [Result<SeccompCondition, String>; 4] {
    let mode = |mode: libc::c_int| {
        let mask = libc::O_ACCMODE.unsigned_abs().into();
        let operator = SeccompCmpOp::MaskedEq(mask);
        when(flags, operator, mode.unsigned_abs().into())
    };
    [
        mode(libc::O_WRONLY),
        mode(libc::O_RDWR),
        has_bits(flags, libc::O_CREAT),
        has_bits(flags, libc::O_TRUNC),
    ]
}

fn always(lists: &[&[libc::c_long]]) -> Rules {
    let calls = lists.iter().copied().flatten();
    calls.map(|call| (*call, Vec::new())).collect()
}

/// A rule for each condition: any of them is enough.
fn each(
    conditions: impl IntoIterator<Item = Result<SeccompCondition, String>>,
) -> Result<Vec<SeccompRule>, String> {
    let conditions = conditions.into_iter();
    conditions.map(|condition| all_of([condition?])).collect()
}

fn all_of(conditions: impl Into<Vec<SeccompCondition>>) -> Result<SeccompRule, String> {
    SeccompRule::new(conditions.into()).map_err(|error| error.to_string())
}

fn has_bits(argument: u8, bits: libc::c_int) -> Result<SeccompCondition, String> {
    let bits = bits.unsigned_abs().into();
    when(argument, SeccompCmpOp::MaskedEq(bits), bits)
}

/// All arguments that matter here are 32 bits wide.
fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, String> {
    SeccompCondition::new(argument, Dword, operator, value).map_err(|error| error.to_string())
}
