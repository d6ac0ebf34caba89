//! Timelines of inputs for tests, written as one would tell them; never checks anything itself.
//!
//! The clock ticks at every whole second that is passed, as it does live.

mod connections;
mod descriptors;

use std::collections::HashMap;

use tracer_common::{FdKind, FdSource, ProcessCounters, Role};

use crate::model::{
    Comm, Cookie, DescriptorFact, Endpoint, Event, EventBody, FdAction, FdEvent, HostFact, Input,
    Nanos, Netns, Path, PathForm, Pid, ProcessSeen, Session, SocketRow, TcpState, Tid,
    TimeWaitListing, UserStack,
};

use super::{
    Engine, Report, Thresholds,
    report::{Finding, Verdict},
};

/// When timelines begin: hosts have been up for a while.
const BOOT_SECONDS: u64 = 1_000;

/// A thread and its process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Who {
    pub(super) pid: u32,
    pub(super) tid: u32,
    pub(super) thread: &'static str,
}

/// A thread of a process.
pub(super) const fn who(pid: u32, tid: u32, thread: &'static str) -> Who {
    Who { pid, tid, thread }
}

/// A socket's connection as the kernel half would remember it.
#[derive(Clone, Copy, Debug)]
struct Sock {
    owner: Option<Who>,
    cookie: u64,
    local: Endpoint,
    remote: Endpoint,
    role: Role,
    start: Option<Nanos>,
    tx: u64,
    rx: u64,
    state: TcpState,
}

/// Inputs in order, fed to an engine as they are made.
pub(super) struct Timeline {
    pub(super) engine: Engine,
    pub(super) inputs: Vec<Input>,
    now: Nanos,
    next_tick: u64,
    next_port: u16,
    next_cookie: u64,
    /// False as on a kernel before 5.12.
    pub(super) has_cookies: bool,
    /// Of the processes that are introduced.
    pub(super) hostname: &'static str,
    /// The stack that threads act with.
    pub(super) stack: Option<UserStack>,
    socks: HashMap<u64, Sock>,
    counters: HashMap<u32, ProcessCounters>,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self::with(Session::default())
    }

    pub(super) fn with(session: Session) -> Self {
        let start = Nanos::from_secs(BOOT_SECONDS);
        let mut timeline = Self {
            engine: Engine::new(Thresholds::default()),
            inputs: Vec::new(),
            now: start,
            next_tick: BOOT_SECONDS + 1,
            next_port: 40_000,
            next_cookie: 1,
            has_cookies: true,
            hostname: "",
            stack: None,
            socks: HashMap::new(),
            counters: HashMap::new(),
        };
        timeline.input(Input::Session(Box::new(Session { start, ..session })));
        timeline
    }

    pub(super) fn input(&mut self, input: Input) -> &mut Self {
        self.engine.apply(&input);
        self.inputs.push(input);
        self
    }

    /// Goes on to this second since the begin, ticking on the way.
    pub(super) fn at(&mut self, seconds: f64) -> &mut Self {
        let now = instant(seconds);
        assert!(now >= self.now, "timelines run forward");
        while Nanos::from_secs(self.next_tick) <= now {
            let tick = Nanos::from_secs(self.next_tick);
            self.now = tick;
            self.next_tick += 1;
            self.input(Input::Tick(tick));
        }
        self.now = now;
        self
    }

    /// Goes on by so many milliseconds.
    pub(super) fn after_ms(&mut self, millis: f64) -> &mut Self {
        let now = seconds_since_begin(self.now) + millis / 1e3;
        self.at(now)
    }

    fn event(&mut self, by: Option<Who>, is_actor: bool, body: EventBody) -> &mut Self {
        let thread = by.filter(|_| is_actor).map_or("", |who| who.thread);
        self.input(Input::Event(Event {
            ts: self.now,
            pid: Pid(by.map_or(0, |who| who.pid)),
            tid: Tid(by.map_or(0, |who| who.tid)),
            thread: Comm::from(thread),
            stack: self.stack.filter(|_| is_actor),
            body,
        }))
    }

    /// A process is seen for the first time.
    pub(super) fn process(&mut self, pid: u32, comm: &str, parent: (u32, &str)) -> &mut Self {
        let start = self.now;
        self.introduction(pid, comm, parent, start, false)
    }

    /// A process replaces its program.
    pub(super) fn exec(
        &mut self,
        pid: u32,
        comm: &str,
        parent: (u32, &str),
        start: Nanos,
    ) -> &mut Self {
        self.introduction(pid, comm, parent, start, true)
    }

    fn introduction(
        &mut self,
        pid: u32,
        comm: &str,
        (parent, parent_comm): (u32, &str),
        start: Nanos,
        is_exec: bool,
    ) -> &mut Self {
        if !is_exec {
            self.counters.remove(&pid);
        }
        let seen = ProcessSeen {
            start,
            cgroup_id: 1,
            ppid: Pid(parent),
            parent_comm: Comm::from(parent_comm),
            uid: 1_000,
            ns_pid: pid,
            netns: NETNS,
            hostname: self.hostname.into(),
            comm: Comm::from(comm),
            is_exec,
            cmdline: format!("/usr/bin/{comm} --option"),
        };
        let by = who(pid, pid, "");
        self.event(Some(by), false, EventBody::Process(seen))
    }

    /// A process ends.
    pub(super) fn exit(&mut self, pid: u32, comm: &str) -> &mut Self {
        let counters = Box::new(*self.counters_of(pid));
        let comm = Comm::from(comm);
        let body = EventBody::Exit { comm, counters };
        self.event(Some(who(pid, pid, "")), true, body)
    }

    pub(super) fn counters_of(&mut self, pid: u32) -> &mut ProcessCounters {
        self.counters.entry(pid).or_insert(ProcessCounters::ZERO)
    }

    /// A descriptor is got; its event is streamed.
    pub(super) fn install(
        &mut self,
        by: Who,
        source: FdSource,
        kind: FdKind,
        path: Option<&str>,
    ) -> &mut Self {
        self.count_install(by.pid, source, kind);
        self.fd(by, FdAction::Installed, source, kind, path)
    }

    /// A descriptor is got beyond the budget.
    pub(super) fn count_install(&mut self, pid: u32, source: FdSource, kind: FdKind) -> &mut Self {
        let counters = self.counters_of(pid);
        counters.fds_got[source as usize] += 1;
        counters.fds_got_of_kind[kind as usize] += 1;
        self
    }

    /// A descriptor is closed, which is only counted.
    pub(super) fn count_close(&mut self, pid: u32, kind: FdKind) -> &mut Self {
        self.counters_of(pid).fds_closed_of_kind[kind as usize] += 1;
        self
    }

    /// A file is opened.
    pub(super) fn open(&mut self, by: Who, path: &str) -> &mut Self {
        self.install(by, FdSource::Open, FdKind::File, Some(path))
    }

    /// Files are opened and kept, `interval_ms` apart; `{}` in the path is their number.
    pub(super) fn open_many(
        &mut self,
        by: Who,
        count: usize,
        interval_ms: f64,
        path: &str,
    ) -> &mut Self {
        for n in 0..count {
            self.open(by, &path.replace("{}", &n.to_string()));
            self.after_ms(interval_ms);
        }
        self
    }

    /// Files are closed, which is only counted.
    pub(super) fn close_many(&mut self, pid: u32, count: usize) -> &mut Self {
        for _ in 0..count {
            self.count_close(pid, FdKind::File);
        }
        self
    }

    fn fd(
        &mut self,
        by: Who,
        action: FdAction,
        source: FdSource,
        kind: FdKind,
        path: Option<&str>,
    ) -> &mut Self {
        let (fds_net, _) = net_counts(self.counters_of(by.pid));
        // The lowest that is free, where what was got last was closed first.
        let fd = u32::try_from(fds_net + 2).ok();
        self.fd_event(by, action, (source, kind), (fd, 0), path)
    }

    fn fd_failed(&mut self, by: Who, action: FdAction, source: FdSource, errno: i32) -> &mut Self {
        self.fd_event(by, action, (source, FdKind::Anonymous), (None, errno), None)
    }

    fn fd_event(
        &mut self,
        by: Who,
        action: FdAction,
        (source, kind): (FdSource, FdKind),
        (fd, errno): (Option<u32>, i32),
        path: Option<&str>,
    ) -> &mut Self {
        let counters = *self.counters_of(by.pid);
        let (fds_net, files_net) = net_counts(&counters);
        let body = EventBody::Fd(FdEvent {
            action,
            fd,
            source,
            kind,
            errno,
            opens: counters.fds_got[FdSource::Open as usize],
            fds_net,
            files_net,
            path: path.map(|text| Path {
                text: text.to_owned(),
                form: PathForm::Resolved,
            }),
        });
        self.event(Some(by), true, body)
    }

    pub(super) fn fact(&mut self, fact: HostFact) -> &mut Self {
        self.input(Input::Host(self.now, fact))
    }

    /// The collector reads a process's counters.
    pub(super) fn read_counters(&mut self, pid: u32) -> &mut Self {
        let counters = Box::new(*self.counters_of(pid));
        let pid = Pid(pid);
        self.fact(HostFact::Counters { pid, counters })
    }

    /// The collector looks at a process's descriptors.
    pub(super) fn look_at_descriptors(&mut self, pid: u32, open: u64, limit: u64) -> &mut Self {
        let (net, _) = net_counts(self.counters_of(pid));
        self.fact(HostFact::Descriptors(DescriptorFact {
            pid: Pid(pid),
            start: None,
            open,
            net: Some(net),
            soft_limit: Some(limit),
            hard_limit: None,
        }))
    }

    /// `sock_diag` lists the `TIME_WAIT` sockets that are left of these.
    pub(super) fn list_time_wait(&mut self, socks: &[u64]) -> &mut Self {
        let rows = socks.iter().map(|sock| self.time_wait_row(*sock)).collect();
        let netns = NETNS;
        self.fact(HostFact::TimeWait(TimeWaitListing::new(netns, rows)))
    }

    pub(super) fn time_wait_row(&self, sock: u64) -> SocketRow {
        let known = self.socks[&sock];
        SocketRow {
            cookie: Cookie(known.cookie),
            local: known.local,
            remote: known.remote,
            state: TcpState::TimeWait,
        }
    }

    pub(super) fn report(&self) -> Report {
        self.engine.report()
    }

    /// The names of all verdicts, in the order of being made.
    pub(super) fn verdict_names(&self) -> Vec<&'static str> {
        let mut verdicts = self.report().verdicts;
        verdicts.sort_by_key(|verdict| verdict.id);
        verdicts.iter().map(|v| v.finding.name()).collect()
    }

    /// The only verdict.
    pub(super) fn verdict(&self) -> Verdict {
        let mut verdicts = self.report().verdicts;
        assert_eq!(verdicts.len(), 1, "{verdicts:#?}");
        verdicts.remove(0)
    }
}

/// The network namespace of all timelines.
pub(super) const NETNS: Netns = Netns(4_026_531_840);

/// The time so many seconds after the begin.
pub(super) fn instant(seconds: f64) -> Nanos {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "small positive numbers of seconds"
    )]
    let micros = (seconds * 1e6).round() as u64;
    Nanos(BOOT_SECONDS * 1_000_000_000 + micros * 1_000)
}

fn seconds_since_begin(at: Nanos) -> f64 {
    at.since(Nanos::from_secs(BOOT_SECONDS)).as_secs_f64()
}

/// An address with its port, as in `127.0.0.1:2181`.
pub(super) fn endpoint(text: &str) -> Endpoint {
    let socket: std::net::SocketAddr = text.parse().unwrap();
    Endpoint {
        addr: socket.ip(),
        port: socket.port(),
    }
}

fn net_counts(counters: &ProcessCounters) -> (i64, i64) {
    let sum = |of_kind: &[u64]| i64::try_from(of_kind.iter().sum::<u64>()).unwrap();
    let (got, closed) = (&counters.fds_got_of_kind, &counters.fds_closed_of_kind);
    let file = FdKind::File as usize..=FdKind::File as usize;
    (
        sum(got) - sum(closed),
        sum(&got[file.clone()]) - sum(&closed[file]),
    )
}

pub(super) use descriptors::{exhaustion, near_limit};

/// What a verdict tells of connections.
pub(super) fn connections(verdict: &Verdict) -> &super::report::Connections {
    match &verdict.finding {
        Finding::Flapping(told) | Finding::Churn(told) => told,
        other => panic!("about connections: {other:?}"),
    }
}

/// What a verdict tells of failing connects.
pub(super) fn failing(verdict: &Verdict) -> &super::report::FailingConnects {
    match &verdict.finding {
        Finding::FailingConnects(told) => told,
        other => panic!("about failing connects: {other:?}"),
    }
}

/// What a verdict tells of a burst.
pub(super) fn burst(verdict: &Verdict) -> &super::report::FdBurst {
    match &verdict.finding {
        Finding::FdBurst(told) => told,
        other => panic!("about a burst: {other:?}"),
    }
}
