//! Loads the BPF object and attaches its programs, by probing what the kernel accepts rather than by
//! its version. Never gives up a hook silently: each is told with how it is attached or why not.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap},
    programs::{
        Program, ProgramError, ProgramFd, ProgramType, RawTracePoint, RawTracePointRunOptions,
        TestRun as _,
    },
    sys::{BpfHelper, is_helper_supported},
};
use rustix::process::{Resource, Rlimit, setrlimit};
use tracer_common::{Collector, Config, config::FEW_PORTS};

use super::{
    check::{self, Checks},
    error::{AttachError, with_causes},
    hooks::{Attachment, HOOKS, Hook, Subject},
    kernel::{self, Kernel},
};
use crate::model::{HookState, Pid, Selection};

/// The kernel half, built by the build script.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf.o"));

/// User stacks that the kernel half keeps at most, a power of two: each takes a kilobyte. They are found
/// by a hash alone, so after a thousand different ones every eighth or so already finds its place taken,
/// and one in five hundred all the three that it may have.
const STACKS: u32 = 8_192;

/// Which attach methods may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// The best that the kernel accepts.
    #[default]
    Auto,
    /// fentry and fexit only.
    Fentry,
    /// Breakpoints only, as on kernels that refuse the others.
    Kprobe,
}

/// What the kernel half is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// What to watch.
    pub selection: Selection,
    /// Descriptor events streamed for one process in one second.
    pub fd_budget: u64,
    /// Size of the ring buffer, a power of two of at least a page.
    pub ring_bytes: u32,
    /// Which attach methods may be used.
    pub method: Method,
    /// Places in the tables of processes, of connections and of stacks, where that is not the usual number.
    pub map_entries: Option<u32>,
    /// Whether user stacks are taken.
    pub stacks: bool,
    /// A random number, new for each run.
    pub sock_secret: u64,
    /// The collector's own pid, which is never traced, if it is the host's.
    pub own_pid: Pid,
    /// Whether that is so: whether pids as the kernel tells them are those that the collector sees.
    pub has_hosts_pids: bool,
}

/// A program that is attached.
pub(super) struct AttachedProgram {
    /// What the kernel tells of it (`/proc/PID/fdinfo`), open since it is read twice a second; nothing
    /// where there is no /proc.
    info: Option<File>,
    /// Keeps the program, and so its numbers, beyond its detaching.
    _fd: ProgramFd,
}

impl AttachedProgram {
    fn new(fd: ProgramFd) -> Self {
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        Self {
            info: File::open(path).ok(),
            _fd: fd,
        }
    }

    /// Runs that the kernel skipped because the program was interrupted by itself on the same CPU;
    /// 0 where the kernel does not tell (before 5.12).
    pub(super) fn skipped_runs(&self) -> u64 {
        /// More than the text has.
        const TEXT_BYTES: usize = 4096;
        let mut text = [0; TEXT_BYTES];
        let read = |info: &File| info.read_at(&mut text, 0).ok();
        let bytes = self.info.as_ref().and_then(read).unwrap_or(0);
        let text = text.get(..bytes).unwrap_or_default();
        String::from_utf8_lossy(text)
            .lines()
            .find_map(|line| line.strip_prefix("recursion_misses:"))
            .and_then(|number| number.trim().parse().ok())
            .unwrap_or(0)
    }
}

/// The loaded object with what could be attached.
pub(super) struct Loaded {
    pub(super) ebpf: Ebpf,
    pub(super) programs: Vec<AttachedProgram>,
    pub(super) hooks: Vec<HookState>,
}

/// Whether tracing programs (fentry, fexit) can be attached. The first one tells, and stays attached:
/// taking one back makes the kernel wait until no task can be running it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tracing {
    /// No program has told yet.
    Untried,
    /// It does.
    Works,
    /// It does not: breakpoints serve.
    Refused,
}

/// Why a hook is not attached, or none of an opened object.
enum Unattached {
    /// The first tracing program was refused, for this reason; nothing behind it was tried.
    Tracing(String),
    /// Nothing of it was accepted: the reasons of a hook, or those of the first.
    Refused(String),
}

/// Loads the object and attaches all hooks that the selection needs.
pub(super) fn load(options: &Options) -> Result<Loaded, AttachError> {
    allow_locked_memory();
    let kernel = Kernel::read().map_err(AttachError::Types)?;
    let mut loader = kernel::loader();
    loader
        .override_global("OFFSETS", &kernel.types.offsets, true)
        .map_max_entries("EVENTS", options.ring_bytes)
        .map_max_entries("STACKS", stack_places(options));
    if let Some(entries) = options.map_entries {
        for table in ["PROCESSES", "SOCKS"] {
            loader.map_max_entries(table, entries);
        }
    }
    let asks = configuration(options);
    let with_cookie = if options.has_hosts_pids {
        asks
    } else {
        let own = collector(&mut open(&mut loader, &asks)?).map_err(AttachError::Collector)?;
        Config {
            own_pid: own.pid,
            own_pidns: own.pidns,
            own_pid_level: own.pid_level,
            ..asks
        }
    };
    let without_cookie = Config {
        has_socket_cookie: 0,
        ..with_cookie
    };
    if options.method != Method::Kprobe {
        for config in [&with_cookie, &without_cookie] {
            let mut ebpf = open_selected(&mut loader, config, options)?;
            if let Err(reason) = try_helpers(&mut ebpf, &kernel, options) {
                log::debug!("no tracing programs as configured: {reason}");
                continue;
            }
            match attach_all(ebpf, &kernel, options, Tracing::Untried) {
                Err(Unattached::Tracing(reason)) => log::debug!("no tracing programs: {reason}"),
                Err(Unattached::Refused(reason)) => return Err(AttachError::NoHooks(reason)),
                Ok(all) => return Ok(all),
            }
        }
    }
    let ebpf = open_selected(&mut loader, &without_cookie, options)?;
    attach_all(ebpf, &kernel, options, Tracing::Refused).map_err(|unattached| match unattached {
        Unattached::Tracing(reason) | Unattached::Refused(reason) => AttachError::NoHooks(reason),
    })
}

/// Places in the table of stacks.
fn stack_places(options: &Options) -> u32 {
    if options.stacks {
        options.map_entries.unwrap_or(STACKS)
    } else {
        1
    }
}

/// What the kernel half is to do, as far as it is known before it is opened.
fn configuration(options: &Options) -> Config {
    let mut config = Config {
        sock_secret: options.sock_secret,
        budget_per_second: options.fd_budget,
        // A quarter of the ring: early enough that a burst still finds room while the loop wakes.
        wakeup_bytes: u64::from(options.ring_bytes / 4),
        own_pid: options.own_pid.0,
        filter_netns: options.selection.netns.unwrap_or_default().0,
        filter_ports: u8::from(!options.selection.ports.is_empty()),
        filter_pids: u8::from(!options.selection.pids.is_empty()),
        has_socket_cookie: 1,
        has_task_pt_regs: u8::from(
            // Tracing programs cannot be probed for, but share this helper with kprobes.
            is_helper_supported(ProgramType::KProbe, BpfHelper::BPF_FUNC_task_pt_regs)
                .unwrap_or(false),
        ),
        stacks: u8::from(options.stacks),
        ..Config::default()
    };
    if let Some(few) = few_ports(&options.selection) {
        config.are_ports_few = 1;
        config.few_ports = few;
    }
    config
}

/// The selected ports, the last of them repeated, where they are few enough to be compared one by one.
fn few_ports(selection: &Selection) -> Option<[u16; FEW_PORTS]> {
    let last = *selection.ports.last()?;
    let mut few = [last; FEW_PORTS];
    for (at, port) in selection.ports.iter().enumerate() {
        *few.get_mut(at)? = *port;
    }
    Some(few)
}

/// Kernels before 5.11 charge maps to the limit of locked memory, by default 64 KiB or some MiB; the
/// ring buffer alone is larger. Later ones charge the cgroup and need nothing.
fn allow_locked_memory() {
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if let Err(error) = setrlimit(Resource::Memlock, unlimited) {
        log::debug!("the limit of locked memory cannot be raised: {error}");
    }
}

/// Opens the object for this configuration.
fn open<'a>(loader: &mut EbpfLoader<'a>, config: &'a Config) -> Result<Ebpf, AttachError> {
    loader
        .override_global("CONFIG", config, true)
        .load(OBJECT)
        .map_err(AttachError::Load)
}

/// Opens the object for this configuration, with what the user selected.
fn open_selected<'a>(
    loader: &mut EbpfLoader<'a>,
    config: &'a Config,
    options: &Options,
) -> Result<Ebpf, AttachError> {
    let mut ebpf = open(loader, config)?;
    select(&mut ebpf, &options.selection)?;
    Ok(ebpf)
}

/// Asks the kernel who this process is on the host.
fn collector(ebpf: &mut Ebpf) -> Result<Collector, String> {
    let program = ebpf.program_mut("collector").ok_or("no such program")?;
    let program: &mut RawTracePoint = program.try_into().map_err(|error| with_causes(&error))?;
    let run = |program: &mut RawTracePoint| {
        program.load()?;
        program.test_run(RawTracePointRunOptions::new())
    };
    run(program).map_err(|error: ProgramError| with_causes(&error))?;
    let map = ebpf.map("COLLECTOR").ok_or("no such map")?;
    let told = Array::<_, Collector>::try_from(map).and_then(|map| map.get(&0, 0));
    let told = told.map_err(|error| with_causes(&error))?;
    if told == Collector::default() {
        return Err("the kernel ran the program without telling anything".to_owned());
    }
    Ok(told)
}

/// Loads the tracing program that calls every helper which is not sure to be there; it is attached in
/// its turn.
fn try_helpers(ebpf: &mut Ebpf, kernel: &Kernel, options: &Options) -> Result<(), String> {
    if !options.selection.tcp {
        return Ok(());
    }
    let program = ebpf.program_mut("tcp_connect").ok_or("no such program")?;
    check::check(program, "tcp_connect", kernel).map_err(|error| with_causes(&error))
}

/// Tells the kernel half the ports and processes that the user selected.
fn select(ebpf: &mut Ebpf, selection: &Selection) -> Result<(), AttachError> {
    let ports = ebpf.map_mut("PORTS").ok_or(AttachError::Object("PORTS"))?;
    let mut ports: Array<_, u64> = Array::try_from(ports)?;
    for port in &selection.ports {
        let word = u32::from(port / 64);
        let bits = ports.get(&word, 0)? | 1 << (port % 64);
        ports.set(word, bits, 0)?;
    }
    let pids = ebpf.map_mut("PIDS").ok_or(AttachError::Object("PIDS"))?;
    let mut pids: HashMap<_, u32, u8> = HashMap::try_from(pids)?;
    for pid in &selection.pids {
        pids.insert(pid.0, 1, 0)?;
    }
    Ok(())
}

/// A hook that is wanted, by the name that it has on this kernel.
struct Wanted {
    hook: &'static Hook,
    function: &'static str,
    /// Programs that can serve it here, the best first.
    candidates: Vec<Candidate>,
}

struct Candidate {
    program: &'static str,
    attachment: Attachment,
    /// Whether that is what the user asked for, and what the kernel has not refused before.
    is_allowed: bool,
}

impl Wanted {
    fn new(hook: &'static Hook, kernel: &Kernel, method: Method, tracing: Tracing) -> Self {
        let function = kernel.name_of(hook);
        let candidate = |&(program, attachment)| {
            let is_allowed = match attachment {
                Attachment::ExitOfParameters(count)
                    if kernel.types.parameters(function) != Some(count) =>
                {
                    return None;
                }
                Attachment::Kprobe | Attachment::Kretprobe => method != Method::Fentry,
                Attachment::BtfTracepoint => method != Method::Kprobe,
                Attachment::RawTracepoint => true,
                _ => tracing != Tracing::Refused,
            };
            Some(Candidate {
                program,
                attachment,
                is_allowed,
            })
        };
        Self {
            hook,
            function,
            candidates: hook.programs.iter().filter_map(candidate).collect(),
        }
    }

    /// The program that is tried first, and the function that it is for.
    fn first(&self) -> Option<(&'static str, &'static str)> {
        let first = self.candidates.iter().find(|known| known.is_allowed)?;
        Some((first.program, self.function))
    }
}

fn attach_all(
    mut ebpf: Ebpf,
    kernel: &Kernel,
    options: &Options,
    tracing: Tracing,
) -> Result<Loaded, Unattached> {
    let is_wanted = |hook: &&Hook| match hook.subject {
        Subject::Tcp => options.selection.tcp,
        Subject::Fds => options.selection.fds,
        Subject::Processes => true,
    };
    let all: Vec<_> = HOOKS
        .iter()
        .filter(is_wanted)
        .map(|hook| Wanted::new(hook, kernel, options.method, tracing))
        .collect();
    let first = all.iter().filter_map(Wanted::first);
    let attached = check::ahead(&mut ebpf, first, kernel, |checks| {
        attach_each(&all, checks, kernel, tracing)
    });
    let (programs, hooks) = attached
        .map_err(|error| Unattached::Refused(format!("no thread for their check: {error}")))??;
    Ok(Loaded {
        ebpf,
        programs,
        hooks,
    })
}

/// Attaches what can be attached of these, in their order. Fails where that is nothing that tells who did
/// something.
fn attach_each(
    all: &[Wanted],
    mut checks: Checks<'_>,
    kernel: &Kernel,
    mut tracing: Tracing,
) -> Result<(Vec<AttachedProgram>, Vec<HookState>), Unattached> {
    let mut programs = Vec::new();
    let mut hooks = Vec::new();
    let mut any = false;
    for wanted in all {
        let mut state = HookState {
            hook: wanted.function.to_owned(),
            provides: wanted.hook.provides.to_owned(),
            ..HookState::default()
        };
        match attach_hook(wanted, &mut checks, kernel, &mut tracing) {
            Ok((program, attachment)) => {
                // Tracepoints alone tell that something happened, and never who did it.
                any |= !attachment.is_tracepoint();
                programs.push(program);
                state.attached = Some(attachment.name().to_owned());
            }
            Err(Unattached::Refused(_)) if !wanted.hook.expected => continue,
            Err(Unattached::Refused(reason)) => state.reason = reason,
            Err(refused @ Unattached::Tracing(_)) => return Err(refused),
        }
        hooks.push(state);
    }
    if any {
        return Ok((programs, hooks));
    }
    let reason = hooks
        .into_iter()
        .map(|hook| hook.reason)
        .find(|reason| !reason.is_empty());
    Err(Unattached::Refused(reason.unwrap_or_default()))
}

/// Attaches the first program of a hook that the kernel accepts; else says why each was refused.
fn attach_hook(
    wanted: &Wanted,
    checks: &mut Checks<'_>,
    kernel: &Kernel,
    tracing: &mut Tracing,
) -> Result<(AttachedProgram, Attachment), Unattached> {
    let function = wanted.function;
    let mut reasons = Vec::new();
    for candidate in &wanted.candidates {
        let (name, attachment) = (candidate.program, candidate.attachment);
        if !candidate.is_allowed {
            reasons.push(format!("{}: not available here", attachment.name()));
            continue;
        }
        let attached = checks
            .take(name, function)
            .ok_or_else(|| format!("the BPF object has no {name}"))
            .and_then(|(program, checked)| {
                checked
                    .and_then(|()| attach(program, function))
                    .and_then(|()| program.fd()?.try_clone().map_err(ProgramError::from))
                    .map_err(|error| format!("{}: {}", attachment.name(), with_causes(&error)))
            });
        // A function that this kernel does not have tells nothing of tracing programs.
        let tells = *tracing == Tracing::Untried
            && attachment.is_tracing()
            && kernel.types.parameters(function).is_some();
        match attached {
            Ok(fd) => {
                if tells {
                    *tracing = Tracing::Works;
                }
                return Ok((AttachedProgram::new(fd), attachment));
            }
            Err(reason) if tells => return Err(Unattached::Tracing(reason)),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(Unattached::Refused(reasons.join("; ")))
}

/// Attaches a program that was checked.
fn attach(program: &mut Program, function: &str) -> Result<(), ProgramError> {
    match program {
        Program::FEntry(program) => {
            program.attach()?;
        }
        Program::FExit(program) => {
            program.attach()?;
        }
        Program::KProbe(program) => {
            program.attach(function, 0)?;
        }
        Program::BtfTracePoint(program) => {
            program.attach()?;
        }
        Program::RawTracePoint(program) => {
            program.attach(function)?;
        }
        _ => return Err(ProgramError::UnexpectedProgramType),
    }
    Ok(())
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
