//! The process that acts: who it is, its exact totals, and its introduction to the collector.
//! Never used outside the acting task's own context.

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated},
};
use tracer_common::{
    ARGS_BYTES_MAX, COMM_BYTES, EventKind, FdSource, HOSTNAME_BYTES, ProcessCounters, ProcessEvent,
    stats::Outcome,
    task::announced::{ENDED, INTRODUCED, NOT_YET},
};

use crate::{
    config::{config, offset},
    emit,
    kernel::{KernelPtr, Structure, Typed, add, copy, now_ns, read, read_ptr},
    maps::PROCESSES,
};

/// The running task.
#[derive(Clone, Copy)]
pub struct Actor {
    /// Its process in the host's pid namespace.
    pub pid: u32,
    /// Its thread in the host's pid namespace.
    pub tid: u32,
}

impl Actor {
    /// The running task.
    #[inline(always)]
    pub fn current() -> Self {
        let pid_tgid = bpf_get_current_pid_tgid();
        Self {
            pid: (pid_tgid >> 32) as u32,
            tid: pid_tgid as u32,
        }
    }
}

/// The running task's `task_struct`.
#[inline(always)]
pub fn current_task() -> KernelPtr {
    // SAFETY: the helper has no precondition.
    unsafe { generated::bpf_get_current_task() as KernelPtr }
}

static NOTHING_YET: ProcessCounters = ProcessCounters::ZERO;

/// The totals of the running process, begun if need be; `None` where the table is full. A process
/// that is met for the first time is introduced to the collector.
#[inline(always)]
pub fn counters(actor: Actor) -> Option<*mut ProcessCounters> {
    let counters = match PROCESSES.get_ptr_mut(actor.pid) {
        Some(counters) if !has_ended(counters) => counters,
        // Its pid is another's now. Where two threads of that one come here at once, the first event
        // of one is not counted; an end must have been lost before for that.
        Some(_) => begin(actor.pid, BPF_ANY)?,
        // Another thread may be first: then its entry is as good.
        None => begin(actor.pid, BPF_NOEXIST)?,
    };
    // SAFETY: a map value that the verifier knows of.
    if unsafe { (*counters).announced } == NOT_YET && introduce(actor, false) {
        // SAFETY: as above. Two threads may both introduce their process at first: harmless.
        unsafe { (*counters).announced = INTRODUCED };
    }
    Some(counters)
}

#[inline(always)]
fn begin(pid: u32, flags: u32) -> Option<*mut ProcessCounters> {
    let _ = PROCESSES.insert(pid, &NOTHING_YET, u64::from(flags));
    let counters = PROCESSES.get_ptr_mut(pid)?;
    let leader = leader(current_task());
    // SAFETY: a map value that the verifier knows of.
    unsafe {
        (*counters).start_ns = start_ns(leader);
        (*counters).pid_here = pid_here(leader);
    }
    Some(counters)
}

/// The totals of a process that is already known, and has not ended.
#[inline(always)]
pub fn known_counters(pid: u32) -> Option<*mut ProcessCounters> {
    PROCESSES
        .get_ptr_mut(pid)
        .filter(|counters| !has_ended(*counters))
}

/// Leaves the totals of the running process, which ends, for the collector to find: there was no room
/// to tell them. Nobody adds to them any more.
#[inline(always)]
pub fn keep_for_collector(counters: *mut ProcessCounters) {
    // SAFETY: a map value that the verifier knows of; the last thread of the process is the only one.
    unsafe { (*counters).announced = ENDED };
}

#[inline(always)]
fn has_ended(counters: *mut ProcessCounters) -> bool {
    // SAFETY: a map value that the verifier knows of.
    unsafe { (*counters).announced == ENDED }
}

/// Whether one more descriptor event of this process may be streamed in this second.
#[inline(always)]
pub fn within_budget(counters: *mut ProcessCounters) -> bool {
    const SECOND_NS: u64 = 1_000_000_000;
    let now = now_ns();
    // SAFETY: a map value that the verifier knows of. Threads of the process may race here: the
    // budget is then off by an event or two, which harms nobody.
    unsafe {
        if now.wrapping_sub((*counters).budget_window_ns) >= SECOND_NS {
            (*counters).budget_window_ns = now;
            (*counters).budget_used = 0;
        }
        if (*counters).budget_used >= config!(budget_per_second) {
            return false;
        }
        add(&raw mut (*counters).budget_used, 1);
    }
    true
}

#[inline(always)]
fn leader(task: KernelPtr) -> KernelPtr {
    read_ptr(task, offset!(task_group_leader))
}

#[inline(always)]
fn start_ns(leader: KernelPtr) -> u64 {
    read(leader, offset!(task_start_boottime))
}

/// Copies the name of a task's process, which is that of its first thread.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub unsafe fn copy_comm(to: *mut [u8; COMM_BYTES], task: KernelPtr) {
    // SAFETY: the caller vouches for `to`.
    unsafe { copy_own_comm(to, leader(task)) }
}

#[inline(always)]
unsafe fn copy_own_comm(to: *mut [u8; COMM_BYTES], task: KernelPtr) {
    // SAFETY: the caller vouches for `to`.
    unsafe {
        copy(
            to.cast(),
            COMM_BYTES as u32,
            task.wrapping_add(offset!(task_comm)),
        );
    };
}

/// A [`ProcessEvent`] with room for its command line.
#[repr(C)]
struct Introduction {
    event: ProcessEvent,
    args: [u8; ARGS_BYTES_MAX],
}

/// Tells the collector who the running process is. True where it was streamed.
#[inline(always)]
pub fn introduce(actor: Actor, is_exec: bool) -> bool {
    emit::see(EventKind::Process);
    emit::stream::<Introduction>(
        EventKind::Process,
        #[inline(always)]
        |record| {
            let task = current_task();
            let leader = leader(task);
            let parent = read_ptr(leader, offset!(task_real_parent));
            // A task that ends has left its namespaces: then both read as zeros.
            let nsproxy = read_ptr(task, offset!(task_nsproxy));
            let uts = read_ptr(nsproxy, offset!(nsproxy_uts));
            // SAFETY: the record was reserved with this very type.
            unsafe {
                let event = &raw mut (*record).event;
                emit::fill_header(&raw mut (*event).header, EventKind::Process, actor);
                (*event).start_ns = start_ns(leader);
                (*event).cgroup_id = generated::bpf_get_current_cgroup_id();
                (*event).ppid = read(parent, offset!(task_tgid));
                (*event).uid = bpf_get_current_uid_gid() as u32;
                (*event).ns_pid = ns_pid(leader);
                (*event).netns = netns_of(nsproxy);
                copy_own_comm(&raw mut (*event).comm, leader);
                copy_own_comm(&raw mut (*event).parent_comm, parent);
                copy(
                    (&raw mut (*event).hostname).cast(),
                    HOSTNAME_BYTES as u32,
                    uts.wrapping_add(offset!(uts_nodename)),
                );
                (*event).is_exec = u8::from(is_exec);
                (*event).padding = [0; 2];
                fill_args(record, task);
            }
        },
    )
}

#[inline(always)]
fn netns_of(nsproxy: KernelPtr) -> u32 {
    read(read_ptr(nsproxy, offset!(nsproxy_net)), offset!(net_inum))
}

/// The running task's network namespace; 0 where it has left it, as a task that ends has.
#[inline(always)]
pub fn netns() -> u32 {
    netns_of(read_ptr(current_task(), offset!(task_nsproxy)))
}

/// The process's pid in the innermost pid namespace that it is in.
#[inline(always)]
fn ns_pid(leader: KernelPtr) -> u32 {
    let pid = read_ptr(leader, offset!(task_thread_pid));
    read(pid, upid(read(pid, offset!(pid_level))))
}

/// Where a `struct pid` keeps its number in the namespace of this depth, and behind it that namespace.
#[inline(always)]
fn upid(level: u32) -> usize {
    /// `sizeof(struct upid)`: an int, padding, a pointer (`include/linux/pid.h`).
    const UPID_BYTES: usize = 16;
    /// `MAX_PID_NS_LEVEL` (`include/linux/pid_namespace.h`): the mask below cuts nothing real.
    const LEVELS_MAX: u32 = 32;
    offset!(pid_numbers) + (level & (LEVELS_MAX - 1)) as usize * UPID_BYTES
}

/// The pid namespace at this depth that a `struct pid` has a number in.
#[inline(always)]
fn pidns(pid: KernelPtr, level: u32) -> u32 {
    /// Where `struct upid` keeps its namespace.
    const NS: usize = 8;
    read(read_ptr(pid, upid(level) + NS), offset!(pidns_inum))
}

/// The innermost pid namespace of the running process, and how deep it lies.
#[inline(always)]
pub fn innermost_pidns() -> (u32, u32) {
    let pid = read_ptr(leader(current_task()), offset!(task_thread_pid));
    let level = read(pid, offset!(pid_level));
    (pidns(pid, level), level)
}

/// The process's pid in the collector's pid namespace, where that is not the host's; 0 where it has none.
#[inline(always)]
fn pid_here(leader: KernelPtr) -> u32 {
    if config!(own_pidns) == 0 {
        return 0;
    }
    let pid = read_ptr(leader, offset!(task_thread_pid));
    let level = config!(own_pid_level);
    if read::<u32>(pid, offset!(pid_level)) < level || pidns(pid, level) != config!(own_pidns) {
        return 0;
    }
    read(pid, upid(level))
}

/// Copies the command line out of the process's own memory: /proc may come too late for it.
#[inline(always)]
unsafe fn fill_args(record: *mut Introduction, task: KernelPtr) {
    let mm = read_ptr(task, offset!(task_mm));
    let start: u64 = read(mm, offset!(mm_arg_start));
    let end: u64 = read(mm, offset!(mm_arg_end));
    let mut bytes = end.wrapping_sub(start);
    let cut = bytes > ARGS_BYTES_MAX as u64;
    if cut {
        bytes = ARGS_BYTES_MAX as u64;
    }
    // SAFETY: at most as many bytes as `args` holds are written to it; the helper checks the user
    // address itself.
    let failed = unsafe {
        generated::bpf_probe_read_user(
            (&raw mut (*record).args).cast(),
            bytes as u32,
            start as *const _,
        )
    };
    if failed != 0 {
        bytes = 0;
    }
    // SAFETY: the caller passes the reserved record.
    unsafe {
        (*record).event.args_bytes = bytes as u32;
        (*record).event.args_cut = u8::from(cut);
    }
}

/// Whether the running thread is the last of its process.
#[inline(always)]
pub fn is_last_thread() -> bool {
    let signal = read_ptr(current_task(), offset!(task_signal));
    read::<u32>(signal, offset!(signal_live)) == 0
}

/// How the descriptor that the running task is getting was asked for.
#[inline(always)]
pub fn fd_source() -> FdSource {
    /// `PF_IO_WORKER` (`include/linux/sched.h`): a thread of `io_uring`'s own.
    const PF_IO_WORKER: u32 = 0x10;
    /// `TS_COMPAT` (`arch/x86/include/asm/thread_info.h`): a 32-bit call, numbered differently.
    const TS_COMPAT: u32 = 0x2;
    /// Where `orig_ax`, the system call's number, lies in `struct pt_regs`, and how long that is
    /// (x86-64 ABI).
    const ORIG_AX: usize = 15 * 8;
    const PT_REGS_BYTES: usize = 21 * 8;
    /// `THREAD_SIZE` of x86-64 kernels without KASAN.
    const THREAD_BYTES: usize = 16 << 10;
    // Both helpers that give typed pointers came before 5.15, by which the kernel has all of them.
    let (flags, status, call) = if config!(has_task_pt_regs) != 0 {
        // SAFETY: the verifier knows what both helpers return.
        let (task, regs) = unsafe {
            let task = generated::bpf_get_current_task_btf();
            let regs = generated::bpf_task_pt_regs(task);
            (Typed::new(task as KernelPtr), Typed::new(regs as KernelPtr))
        };
        let flags: u32 = task.read(offset!(task_flags));
        let status: u32 = task.read(offset!(task_status));
        (flags, status, regs.read(ORIG_AX))
    } else {
        let task = current_task();
        // The registers lie at the top of the kernel stack.
        let stack = read_ptr(task, offset!(task_stack));
        let regs = stack.wrapping_add(THREAD_BYTES - PT_REGS_BYTES);
        let flags: u32 = read(task, offset!(task_flags));
        let status: u32 = read(task, offset!(task_status));
        (flags, status, read::<u64>(regs, ORIG_AX))
    };
    if flags & PF_IO_WORKER != 0 {
        return FdSource::IoUring;
    }
    if status & TS_COMPAT != 0 {
        return FdSource::Other;
    }
    // By `arch/x86/entry/syscalls/syscall_64.tbl`.
    match call {
        // open, creat, openat, open_by_handle_at, openat2
        2 | 85 | 257 | 304 | 437 => FdSource::Open,
        // socket, socketpair
        41 | 53 => FdSource::Socket,
        // accept, accept4
        43 | 288 => FdSource::Accept,
        // dup, dup2, fcntl, dup3
        32 | 33 | 72 | 292 => FdSource::Dup,
        // pipe, pipe2
        22 | 293 => FdSource::Pipe,
        // epoll_create, epoll_create1
        213 | 291 => FdSource::Epoll,
        // eventfd, eventfd2
        284 | 290 => FdSource::Eventfd,
        // recvmsg, recvmmsg
        47 | 299 => FdSource::Received,
        // io_uring_setup, io_uring_enter, io_uring_register
        425..=427 => FdSource::IoUring,
        _ => FdSource::Other,
    }
}

/// Copies a task structure's counters for its last record.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub unsafe fn copy_counters(to: *mut ProcessCounters, from: *const ProcessCounters) {
    // SAFETY: the caller vouches for `to`; a map value is readable like kernel memory.
    unsafe { copy(to.cast(), size_of::<ProcessCounters>() as u32, from.cast()) };
}

/// Counts an event of a known kind as lost because the process table is full.
#[inline(always)]
pub fn table_full(kind: EventKind) -> bool {
    emit::conclude(kind, Outcome::MapFull)
}
