//! A made-up host: carries out what was planned, in the order of time, and tells it as the kernel
//! half and the look-ups would; never plans anything itself.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
};

use tracer::model::{
    Ancestor, Comm, Cookie, DescriptorFact, Event, EventBody, FdAction, FdEvent, HostFact, Input,
    Losses, Nanos, Netns, Path, PathForm, Pid, ProcessFact, ProcessSeen, SockId, SocketRow,
    TcpAction, TcpEvent, TcpState, Tid, TimeWaitListing,
};
use tracer_common::{EventKind, FdKind, FdSource, ProcessCounters};

/// The host's only network namespace, numbered as the kernel numbers the first.
pub const NETNS: Netns = Netns(4_026_531_840);

/// How long a socket stays in `TIME_WAIT` (`TCP_TIMEWAIT_LEN` in `include/net/tcp.h`).
const TIME_WAIT: Nanos = Nanos::from_secs(60);

/// How often sockets in `TIME_WAIT` are listed.
const LISTING: Nanos = Nanos::from_secs(1);

/// Descriptor events that a process may send each second, as `--fd-budget` has it by default.
const BUDGET: u64 = 1_000;

/// Errors that a full table and a missing right give (`include/uapi/asm-generic/errno-base.h`).
const EMFILE: i32 = 24;
const EACCES: i32 = 13;

/// Sockets whose memory is used in turn.
const SOCKETS: u64 = 65_536;

/// Descriptors that every process begins with: its standard streams.
const INHERITED: i64 = 3;

/// The highest pid on a 64-bit host (`PID_MAX_LIMIT` in `include/linux/threads.h`).
const PID_MAX: u32 = 4_194_304;

/// A thread and its process.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub pid: Pid,
    pub tid: Tid,
    pub name: Comm,
}

/// What is told of a process that begins.
#[derive(Clone, Debug)]
pub struct Program {
    pub comm: &'static str,
    pub exe: &'static str,
    pub cmdline: String,
    pub user: &'static str,
    pub uid: u32,
    pub container: Option<&'static str>,
    pub parent: (Pid, &'static str),
    /// The soft limit of descriptors.
    pub limit: u64,
}

/// Something that a process does, or that happens to it.
#[derive(Debug)]
pub enum Act {
    Begin(Thread, Box<Program>),
    /// An event of a connection of this thread; its name is told where it acts itself.
    Tcp(Thread, TcpEvent),
    /// A descriptor is asked for: a file if there is a path, else a socket.
    Get(Thread, FdSource, Option<String>),
    /// A file that it may not read.
    OpenForbidden(Thread, String),
    Close(Pid, FdKind),
    End(Thread),
}

#[derive(Debug)]
struct Planned {
    ts: Nanos,
    act: Act,
}

#[derive(Debug)]
struct Process {
    program: Box<Program>,
    start: Nanos,
    counters: ProcessCounters,
    /// Whether the counters have changed since they were last read.
    is_active: bool,
}

impl Process {
    fn net(&self, of: impl Fn(&[u64; FdKind::COUNT]) -> u64) -> i64 {
        let got = of(&self.counters.fds_got_of_kind);
        got.cast_signed() - of(&self.counters.fds_closed_of_kind).cast_signed()
    }

    fn fds_net(&self) -> i64 {
        self.net(|kinds| kinds.iter().sum())
    }

    fn files_net(&self) -> i64 {
        self.net(|kinds| kinds[FdKind::File as usize])
    }

    fn open(&self) -> u64 {
        (self.fds_net() + INHERITED).cast_unsigned()
    }

    /// Whether one more descriptor event may be streamed now.
    fn within_budget(&mut self, now: Nanos) -> bool {
        let counters = &mut self.counters;
        if now.0 - counters.budget_window_ns >= 1_000_000_000 {
            counters.budget_window_ns = now.0;
            counters.budget_used = 0;
        }
        let within = counters.budget_used < BUDGET;
        if within {
            counters.budget_used += 1;
        } else {
            counters.not_streamed += 1;
        }
        within
    }

    fn event(&self, action: FdAction, source: FdSource, kind: FdKind) -> FdEvent {
        let has_fd = action == FdAction::Installed;
        FdEvent {
            action,
            fd: has_fd.then(|| u32::try_from(self.open()).unwrap_or(u32::MAX) - 1),
            source,
            kind,
            errno: 0,
            opens: self.counters.fds_got[FdSource::Open as usize],
            fds_net: self.fds_net(),
            files_net: self.files_net(),
            path: None,
        }
    }

    fn told(&self) -> Box<ProcessCounters> {
        Box::new(ProcessCounters {
            budget_window_ns: 0,
            budget_used: 0,
            announced: 0,
            pid_here: 0,
            ..self.counters
        })
    }
}

/// Everything on the host.
pub struct Host {
    planned: Vec<Planned>,
    processes: BTreeMap<Pid, Process>,
    /// Processes that began, or whose burst is worth a look, since the last look-ups.
    wanted: Vec<Pid>,
    /// Totals read at the last tick; events must come first.
    totals: Vec<(Nanos, Pid, Box<ProcessCounters>)>,
    /// When each socket leaves the state, and what is listed of it.
    time_wait: VecDeque<(Nanos, SocketRow)>,
    listed_at: Nanos,
    losses: Losses,
    last_pid: u32,
    last_cookie: u64,
    sockets: u64,
}

impl Host {
    pub fn new() -> Self {
        Self {
            planned: Vec::new(),
            processes: BTreeMap::new(),
            wanted: Vec::new(),
            totals: Vec::new(),
            time_wait: VecDeque::new(),
            listed_at: Nanos::default(),
            losses: Losses::default(),
            last_pid: 1_000,
            last_cookie: 0x1_0000,
            sockets: 0,
        }
    }

    /// Plans an act.
    pub fn at(&mut self, ts: Nanos, act: Act) {
        self.planned.push(Planned { ts, act });
    }

    /// A number for a process or thread.
    pub fn new_pid(&mut self) -> u32 {
        self.last_pid = if self.last_pid >= PID_MAX {
            1_000
        } else {
            self.last_pid + 1
        };
        self.last_pid
    }

    /// A cookie, and the memory of a socket.
    pub fn new_socket(&mut self) -> (Cookie, SockId) {
        /// How large a socket is, and where the first lies, mixed with a secret.
        const BYTES: u64 = 2_432;
        const MIXED: u64 = 0x7c31_9a04_55e2_d680;
        self.last_cookie += 1;
        self.sockets += 1;
        let address = 0xffff_8881_0400_0000 + self.sockets % SOCKETS * BYTES;
        (Cookie(self.last_cookie), SockId(address ^ MIXED))
    }

    /// Carries out all that was planned up to a moment, at which a tick comes.
    pub fn run(&mut self, until: Nanos, told: &mut VecDeque<Input>) {
        let mut planned = mem::take(&mut self.planned);
        planned.sort_by_key(|planned| planned.ts);
        let due = planned.partition_point(|planned| planned.ts < until);
        for Planned { ts, act } in planned.drain(..due) {
            told.extend(self.carry_out(ts, act));
        }
        self.planned = planned;
        self.look_up(until, told);
        for (at, pid, counters) in mem::take(&mut self.totals) {
            if self.processes.contains_key(&pid) {
                let fact = HostFact::Counters { pid, counters };
                told.push_back(Input::Host(at, fact));
            }
        }
        told.push_back(Input::Losses(Box::new(self.losses.clone())));
        told.push_back(Input::Tick(until));
        for (pid, process) in &mut self.processes {
            if mem::take(&mut process.is_active) {
                self.totals.push((until, *pid, process.told()));
            }
        }
    }

    /// What the look-ups answer: who new processes are, as far as they still live, and sockets.
    fn look_up(&mut self, now: Nanos, told: &mut VecDeque<Input>) {
        for pid in mem::take(&mut self.wanted) {
            let Some(process) = self.processes.get(&pid) else {
                continue;
            };
            let program = &process.program;
            let fact = ProcessFact {
                pid,
                start: Some(fact_start(process.start)),
                comm: Some(program.comm.to_owned()),
                exe: Some(program.exe.to_owned()),
                cmdline: Some(program.cmdline.clone()),
                ppid: Some(program.parent.0),
                user: Some(program.user.to_owned()),
                ns_pid: None,
                container: program.container.map(str::to_owned),
                runtime: program.container.map(|_| "containerd".to_owned()),
                pod_uid: None,
                unit: None,
                netns: Some(NETNS),
                parents: vec![
                    Ancestor {
                        pid: program.parent.0,
                        comm: Comm::from(program.parent.1),
                    },
                    Ancestor {
                        pid: Pid(1),
                        comm: Comm::from("systemd"),
                    },
                ],
            };
            told.push_back(Input::Host(now, HostFact::Process(Box::new(fact))));
            let fact = DescriptorFact {
                pid,
                start: Some(fact_start(process.start)),
                open: process.open(),
                net: Some(process.fds_net()),
                soft_limit: Some(program.limit),
                hard_limit: Some(1_048_576),
            };
            told.push_back(Input::Host(now, HostFact::Descriptors(fact)));
        }
        if now.since(self.listed_at) >= LISTING {
            self.listed_at = now;
            while self.time_wait.front().is_some_and(|(end, _)| *end <= now) {
                self.time_wait.pop_front();
            }
            let mut rows: Vec<_> = self.time_wait.iter().map(|(_, row)| *row).collect();
            rows.sort_unstable();
            let listing = TimeWaitListing::new(NETNS, rows);
            told.push_back(Input::Host(now, HostFact::TimeWait(listing)));
        }
    }

    fn carry_out(&mut self, ts: Nanos, act: Act) -> Option<Input> {
        let (kind, thread, body) = match act {
            Act::Begin(thread, program) => self.begin(ts, thread, program),
            Act::Tcp(thread, tcp) => self.connection_event(ts, thread, tcp)?,
            Act::Get(thread, source, path) => self.get(ts, thread, source, path)?,
            Act::OpenForbidden(thread, path) => {
                let process = self.processes.get_mut(&thread.pid)?;
                process.is_active = true;
                process.counters.opens_failed += 1;
                let fd = FdEvent {
                    errno: EACCES,
                    path: Some(Path {
                        text: path,
                        form: PathForm::AsGiven,
                    }),
                    ..process.event(FdAction::OpenFailed, FdSource::Open, FdKind::File)
                };
                (EventKind::FdOpenFailed, thread, EventBody::Fd(fd))
            }
            Act::Close(pid, kind) => {
                let process = self.processes.get_mut(&pid)?;
                process.is_active = true;
                process.counters.fds_closed_of_kind[kind as usize] += 1;
                self.count(EventKind::FdClose, false);
                return None;
            }
            Act::End(thread) => {
                let process = self.processes.remove(&thread.pid)?;
                let counters = process.told();
                let comm = Comm::from(process.program.comm);
                (EventKind::Exit, thread, EventBody::Exit { comm, counters })
            }
        };
        self.count(kind, true);
        let Thread { pid, tid, name } = thread;
        Some(Input::Event(Event {
            ts,
            pid,
            tid,
            thread: name,
            stack: None,
            body,
        }))
    }

    fn begin(
        &mut self,
        ts: Nanos,
        thread: Thread,
        program: Box<Program>,
    ) -> (EventKind, Thread, EventBody) {
        let seen = ProcessSeen {
            start: Nanos(ts.0.saturating_sub(400_000)),
            cgroup_id: 4_711,
            ppid: program.parent.0,
            parent_comm: Comm::from(program.parent.1),
            uid: program.uid,
            ns_pid: thread.pid.0,
            netns: NETNS,
            hostname: "shop-07".into(),
            comm: Comm::from(program.comm),
            is_exec: true,
            cmdline: program.cmdline.clone(),
        };
        let process = Process {
            program,
            start: seen.start,
            counters: ProcessCounters {
                start_ns: seen.start.0,
                ..ProcessCounters::ZERO
            },
            is_active: false,
        };
        self.processes.insert(thread.pid, process);
        self.wanted.push(thread.pid);
        (EventKind::Process, thread, EventBody::Process(seen))
    }

    fn connection_event(
        &mut self,
        ts: Nanos,
        mut thread: Thread,
        tcp: TcpEvent,
    ) -> Option<(EventKind, Thread, EventBody)> {
        let process = self.processes.get_mut(&thread.pid)?;
        let kind = match tcp.action {
            TcpAction::Connect => {
                process.counters.connects += 1;
                EventKind::TcpConnect
            }
            TcpAction::ConnectFailed => EventKind::TcpConnectFailed,
            TcpAction::Accept => {
                process.counters.accepts += 1;
                EventKind::TcpAccept
            }
            TcpAction::State => EventKind::TcpState,
            TcpAction::TimeWait => {
                let row = SocketRow {
                    cookie: tcp.cookie,
                    local: tcp.local,
                    remote: tcp.remote,
                    state: TcpState::TimeWait,
                };
                self.time_wait.push_back((ts + TIME_WAIT, row));
                EventKind::TcpTimeWait
            }
            TcpAction::Close => EventKind::TcpClose,
        };
        process.is_active = true;
        // What an interrupt does bears nobody's name.
        if matches!(tcp.action, TcpAction::State | TcpAction::TimeWait) {
            thread.name = Comm::default();
        }
        Some((kind, thread, EventBody::Tcp(tcp)))
    }

    fn get(
        &mut self,
        ts: Nanos,
        thread: Thread,
        source: FdSource,
        path: Option<String>,
    ) -> Option<(EventKind, Thread, EventBody)> {
        let process = self.processes.get_mut(&thread.pid)?;
        process.is_active = true;
        if process.open() >= process.program.limit {
            process.counters.fds_refused[source as usize] += 1;
            if !process.within_budget(ts) {
                self.count(EventKind::FdExhausted, false);
                return None;
            }
            let fd = FdEvent {
                errno: EMFILE,
                ..process.event(FdAction::Exhausted, source, FdKind::Anonymous)
            };
            return Some((EventKind::FdExhausted, thread, EventBody::Fd(fd)));
        }
        let kind = match path {
            Some(_) => FdKind::File,
            None => FdKind::Socket,
        };
        process.counters.fds_got[source as usize] += 1;
        process.counters.fds_got_of_kind[kind as usize] += 1;
        // Sockets are counted only.
        let path = path.filter(|_| process.within_budget(ts));
        let Some(text) = path else {
            self.count(EventKind::FdInstall, false);
            return None;
        };
        let fd = FdEvent {
            path: Some(Path {
                text,
                form: PathForm::Resolved,
            }),
            ..process.event(FdAction::Installed, source, kind)
        };
        Some((EventKind::FdInstall, thread, EventBody::Fd(fd)))
    }

    fn count(&mut self, kind: EventKind, is_streamed: bool) {
        let stats = &mut self.losses.by_kind[kind as usize];
        stats.seen += 1;
        if is_streamed {
            stats.streamed += 1;
        } else {
            stats.counted_only += 1;
        }
    }
}

/// A start as /proc tells it: cut to a clock tick.
fn fact_start(start: Nanos) -> Nanos {
    const TICK_NS: u64 = 10_000_000;
    Nanos(start.0 / TICK_NS * TICK_NS)
}
