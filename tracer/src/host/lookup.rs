//! The thread that looks things up on the host and turns them into inputs, so that the loop that
//! drains the ring never has to; it never decides what the facts mean.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    procfs::DescriptorTable,
    sock_diag::SockDiagError,
    world::{NetnsState, World},
};
use tracer_common::FdKind;

use crate::model::{
    DescriptorFact, HostFact, Input, Nanos, Netns, Pid, PortRange, ProcessFact, SocketRow,
    StackFact, StackId, TableFact, TimeWaitListing, is_same_start,
};

/// How often a descriptor table is counted until the kernel half's count stands still meanwhile.
const COUNT_ATTEMPTS: u32 = 5;

/// The time between two listings where the last one was empty and no connection did anything since: the
/// kernel looks through its whole table each time. A socket stays in `TIME_WAIT` for twice as long.
const QUIET_INTERVAL: Nanos = Nanos::from_secs(30);

/// Network namespaces that are listed beside tracer's own.
const NAMESPACES_MAX: usize = 256;

/// Processes remembered of each namespace, to enter it by when the others have ended.
const PIDS_PER_NAMESPACE: usize = 4;

/// How long the thread may sleep where nothing is to be done at intervals.
const IDLE: Duration = Duration::from_hours(1);

/// How often a table's content is read until the kernel half's count stands still meanwhile.
const CONTENT_ATTEMPTS: u32 = 2;

/// The most descriptors whose table is read whole although it is far from full: that takes some
/// milliseconds.
const CONTENT_OF_NO_INTEREST_MAX: u64 = 1_024;

/// What a process holds that is younger than this is not read yet: most that begin end soon, and a look
/// costs them all more than it tells of them.
const SETTLED_AGE: Nanos = Nanos::from_secs(1);

/// Whether what a table holds should be read: each descriptor takes its time, so of big tables only
/// where that is of interest.
fn wants_content(table: &DescriptorFact, now: Nanos) -> bool {
    let is_filling = table
        .soft_limit
        .is_some_and(|limit| table.open >= limit / 2);
    let has_settled = table
        .start
        .is_none_or(|start| now.since(start) >= SETTLED_AGE);
    is_filling || (has_settled && table.open <= CONTENT_OF_NO_INTEREST_MAX)
}

/// The kernel half's net count of a process's descriptors (got less closed), by kind.
type Nets = [i64; FdKind::COUNT];

/// Something to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Who a process is and how full its descriptor table is.
    Process {
        /// The process.
        pid: Pid,
        /// What it was introduced with, if it was.
        introduced: Option<Introduced>,
    },
    /// What a user stack of a process looks like.
    Stack {
        /// The process.
        pid: Pid,
        /// When it started, where that is known.
        start: Option<Nanos>,
        /// The stack.
        stack: StackId,
    },
    /// A network namespace whose `TIME_WAIT` sockets are wanted from now on. May be said again at
    /// any time, to add a process.
    Netns {
        /// The namespace.
        netns: Netns,
        /// A process that lives in it.
        pid: Pid,
    },
}

/// What the kernel half told of a process: it tells this process from another that gets its pid, and
/// something of it that can be looked up after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// When it started.
    pub start: Nanos,
    /// Its cgroup, which tells where it ran.
    pub cgroup_id: u64,
    /// Its parent then.
    pub ppid: Pid,
    /// Its user.
    pub uid: u32,
}

/// What is looked up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests that may wait; one more is dropped and counted.
    pub queue: usize,
    /// The time between two listings of `TIME_WAIT` sockets; `None` where none is wanted, nor the
    /// sockets from before.
    pub time_wait_interval: Option<Duration>,
    /// Only sockets with one of these ports, on either side, are told; all where empty.
    pub ports: Vec<u16>,
    /// Only sockets from before that these processes hold are told; all where empty.
    pub pids: Vec<Pid>,
    /// Only sockets from before in this network namespace are told; all where `None`.
    pub netns: Option<Netns>,
}

impl Default for Options {
    /// Everything, once a second; the queue holds every process of a big host.
    fn default() -> Self {
        Self {
            queue: 16_384,
            time_wait_interval: Some(Duration::from_secs(1)),
            ports: Vec::new(),
            pids: Vec::new(),
            netns: None,
        }
    }
}

/// The running look-ups. Dropping it answers what still waits, lists `TIME_WAIT` sockets a last
/// time, and waits for the thread to end.
#[derive(Debug)]
pub struct Lookups {
    requests: Option<SyncSender<Request>>,
    dropped: AtomicU64,
    has_connections: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lookups {
    /// Starts the thread. First of all it tells the ephemeral ports and the sockets from before.
    ///
    /// `nets_of` gives the kernel half's net count of a process's descriptors (got less closed), by kind.
    /// `output` takes what is found; while it blocks, look-ups wait, and so does dropping this. The
    /// thread does `first` what it is given.
    ///
    /// Fails where no thread can be started.
    pub fn start(
        world: impl World + 'static,
        options: Options,
        nets_of: impl FnMut(Pid) -> Option<[i64; FdKind::COUNT]> + Send + 'static,
        output: impl FnMut(Input) + Send + 'static,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (requests, queue) = sync_channel(options.queue);
        let worker = Worker::new(world, options, nets_of, output);
        let has_connections = Arc::clone(&worker.has_connections);
        let thread = thread::Builder::new()
            .name("tracer-lookup".to_owned())
            .spawn(move || {
                first();
                worker.run(&queue);
            })?;
        Ok(Self {
            requests: Some(requests),
            dropped: AtomicU64::new(0),
            has_connections,
            thread: Some(thread),
        })
    }

    /// Asks for something, without ever waiting. False where too much waits already: then the
    /// request is dropped and counted.
    pub fn request(&self, request: Request) -> bool {
        let taken = self
            .requests
            .as_ref()
            .is_some_and(|requests| requests.try_send(request).is_ok());
        if !taken {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Tells that a connection did something, so that there may be `TIME_WAIT` sockets.
    pub fn note_connection(&self) {
        self.has_connections.store(true, Ordering::Relaxed);
    }

    /// Requests that were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more.
        self.requests = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the look-ups had ended early: names and TIME_WAIT sockets are missing");
        }
    }
}

/// What the thread works with.
struct Worker<W, N, O> {
    world: W,
    options: Options,
    nets_of: N,
    output: O,
    own_netns: Option<Netns>,
    /// Other namespaces, each with processes that were seen in it, the newest last; by their pids here.
    namespaces: BTreeMap<Netns, VecDeque<Pid>>,
    /// The ephemeral ports that were told of each namespace that is listed.
    told_ports: BTreeMap<Netns, PortRange>,
    /// When `TIME_WAIT` sockets are listed next; `None` where that is not wanted or not possible.
    next_listing: Option<Nanos>,
    /// When they were listed last, while that is all that there are: none.
    empty_since: Option<Nanos>,
    /// Whether a connection did something since.
    has_connections: Arc<AtomicBool>,
    /// Whether other namespaces may be entered, as far as is known.
    may_enter: bool,
}

impl<W, N, O> Worker<W, N, O>
where
    W: World,
    N: FnMut(Pid) -> Option<Nets>,
    O: FnMut(Input),
{
    fn new(world: W, options: Options, nets_of: N, output: O) -> Self {
        Self {
            own_netns: world.own_netns(),
            next_listing: options.time_wait_interval.map(|_| world.now()),
            world,
            options,
            nets_of,
            output,
            namespaces: BTreeMap::new(),
            told_ports: BTreeMap::new(),
            empty_since: None,
            has_connections: Arc::default(),
            may_enter: true,
        }
    }

    /// Works until nobody can ask any more.
    fn run(mut self, queue: &Receiver<Request>) {
        self.begin();
        loop {
            let now = self.world.now();
            let wait = match self.next_listing {
                Some(due) if due <= now => {
                    self.list_if_any(now);
                    continue;
                }
                Some(due) => Duration::from_nanos(due.since(now).0),
                None => IDLE,
            };
            match queue.recv_timeout(wait) {
                Ok(request) => self.answer(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.next_listing.is_some() {
            self.list_time_wait();
        }
    }

    /// Tells what is told once.
    fn begin(&mut self) {
        match self.world.ephemeral_ports() {
            Ok(range) => self.tell_ports(self.own_netns.unwrap_or_default(), range),
            Err(error) => log::warn!("the range of ephemeral ports is not known: {error}"),
        }
        if self.next_listing.is_none() {
            return;
        }
        if !self.world.has_hosts_pids() {
            log::warn!(
                "connections from before the start have no owner: without the host's pids it is not \
                 known who they are there"
            );
            return;
        }
        match self.world.sockets_before(&self.options.pids) {
            Ok(owners) => {
                for owner in owners {
                    let is_here = self.options.netns.is_none_or(|netns| netns == owner.netns);
                    if is_here && self.is_wanted(&owner.row) {
                        self.tell(HostFact::SocketBefore(owner));
                    }
                }
            }
            Err(error) => log::warn!("connections from before the start have no owner: {error}"),
        }
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Process { pid, introduced } => {
                self.look_up_process(pid, introduced);
                let is_it = |start| introduced.is_none_or(|it| is_same_start(it.start, start));
                if let Some(fact) = self.count_descriptors(pid)
                    && fact.start.is_none_or(is_it)
                {
                    self.tell(HostFact::Descriptors(fact));
                    if wants_content(&fact, self.world.now())
                        && let Some(table) = self.table_as_told(pid)
                        && table.start.is_none_or(is_it)
                    {
                        self.tell(HostFact::Table(Box::new(table)));
                    }
                }
            }
            Request::Netns { netns, pid } => {
                if let Some(here) = self.world.pid_here(pid) {
                    self.remember(netns, here);
                }
            }
            Request::Stack { pid, start, stack } => {
                let frames = match self.world.pid_here(pid) {
                    Some(here) => self.world.frames(here, start, stack),
                    None => Vec::new(),
                };
                self.tell(HostFact::Stack(Box::new(StackFact {
                    pid,
                    start,
                    stack,
                    frames,
                })));
            }
        }
    }

    fn look_up_process(&mut self, pid: Pid, introduced: Option<Introduced>) {
        let mut fact = self.process_as_told(pid);
        if let Some(it) = introduced
            && !fact
                .start
                .is_some_and(|start| is_same_start(it.start, start))
        {
            // It has ended, and another may have its pid by now.
            fact = self.what_is_left(pid, it);
        }
        let nothing = ProcessFact {
            pid,
            ..ProcessFact::default()
        };
        if fact != nothing {
            self.tell(HostFact::Process(Box::new(fact)));
        }
    }

    /// What /proc tells of a process, in the numbers of the kernel half. What it tells of its parents is
    /// left out where those are others: the kernel half has told who the parent is.
    fn process_as_told(&mut self, pid: Pid) -> ProcessFact {
        let mut fact = match self.world.pid_here(pid) {
            Some(here) => self.world.process(here),
            None => ProcessFact::default(),
        };
        fact.pid = pid;
        if !self.world.has_hosts_pids() {
            fact.ppid = None;
            fact.parents.clear();
        }
        fact
    }

    /// What can be told of a process that has ended, or is not to be seen here.
    fn what_is_left(&mut self, pid: Pid, it: Introduced) -> ProcessFact {
        let place = self.world.place(it.cgroup_id).unwrap_or_default();
        let parents = if self.world.has_hosts_pids() {
            self.world.ancestors(it.ppid, it.start)
        } else {
            Vec::new()
        };
        ProcessFact {
            pid,
            start: Some(it.start),
            user: Some(self.world.user(it.uid)),
            container: place.container,
            runtime: place.runtime.map(str::to_owned),
            pod_uid: place.pod_uid,
            unit: place.unit,
            parents,
            ..ProcessFact::default()
        }
    }

    /// Counts a process's descriptors at a moment at which the kernel half's count is known: only
    /// then do both belong together.
    fn count_descriptors(&mut self, pid: Pid) -> Option<DescriptorFact> {
        let here = self.world.pid_here(pid)?;
        let mut last = None;
        for _ in 0..COUNT_ATTEMPTS {
            let before = (self.nets_of)(pid);
            let DescriptorTable {
                start,
                open,
                soft_limit,
                hard_limit,
            } = self.world.descriptor_table(here)?;
            let stood_still = (self.nets_of)(pid) == before;
            last = Some(DescriptorFact {
                pid,
                start,
                open,
                net: before.filter(|_| stood_still).map(|nets| nets.iter().sum()),
                soft_limit,
                hard_limit,
            });
            if stood_still {
                break;
            }
        }
        last
    }

    /// What a process's descriptor table holds, in the numbers of the kernel half.
    fn table_as_told(&mut self, pid: Pid) -> Option<TableFact> {
        let here = self.world.pid_here(pid)?;
        let mut last = None;
        for _ in 0..CONTENT_ATTEMPTS {
            let before = (self.nets_of)(pid);
            let table = self.world.table(here)?;
            let stood_still = (self.nets_of)(pid) == before;
            let nets = before.filter(|_| stood_still);
            last = Some(TableFact { pid, nets, ..table });
            if stood_still {
                break;
            }
        }
        last
    }

    /// Notes that `pid` lives in `netns`.
    fn remember(&mut self, netns: Netns, pid: Pid) {
        let is_new = !self.namespaces.contains_key(&netns);
        if self.own_netns == Some(netns) || !self.may_enter || self.next_listing.is_none() {
            return;
        }
        if is_new && self.namespaces.len() >= NAMESPACES_MAX {
            log::debug!("more than {NAMESPACES_MAX} network namespaces: {netns} is not listed");
            return;
        }
        let pids = self.namespaces.entry(netns).or_default();
        if pids.contains(&pid) {
            return;
        }
        if pids.len() >= PIDS_PER_NAMESPACE {
            pids.pop_front();
        }
        pids.push_back(pid);
    }

    /// A listing is due: tells it, unless it would most likely be as empty as the last one.
    fn list_if_any(&mut self, now: Nanos) {
        let is_quiet = !self.has_connections.swap(false, Ordering::Relaxed);
        let was_empty = |at: Nanos| now.since(at) < QUIET_INTERVAL;
        if is_quiet && self.empty_since.is_some_and(was_empty) {
            self.set_next_listing();
        } else {
            self.list_time_wait();
        }
    }

    fn set_next_listing(&mut self) {
        let interval = self.options.time_wait_interval.unwrap_or(IDLE);
        let interval = Nanos(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        self.next_listing = Some(self.world.now() + interval);
    }

    /// Tells the `TIME_WAIT` sockets of every namespace, and sets the time of the next listing.
    fn list_time_wait(&mut self) {
        self.set_next_listing();
        self.empty_since = Some(self.world.now());

        match self.world.netns_state() {
            Ok(state) => {
                if let Some(netns) = self.own_netns {
                    self.tell_state(netns, state);
                }
            }
            Err(error @ SockDiagError::Unsupported(_)) => {
                log::warn!("TIME_WAIT sockets are not listed: {error}");
                self.next_listing = None;
                return;
            }
            Err(error) => log::warn!("TIME_WAIT sockets were not listed this time: {error}"),
        }
        let mut deserted = Vec::new();
        for (netns, mut pids) in std::mem::take(&mut self.namespaces) {
            self.list_namespace(netns, &mut pids);
            if pids.is_empty() {
                deserted.push(netns);
            } else {
                self.namespaces.insert(netns, pids);
            }
        }
        if !self.may_enter {
            self.namespaces.clear();
        } else if !deserted.is_empty() {
            self.find_inhabitants(&deserted);
        }
    }

    /// Tells one other namespace's sockets, entering by the newest process that is still there; the
    /// others are forgotten.
    fn list_namespace(&mut self, netns: Netns, pids: &mut VecDeque<Pid>) {
        while self.may_enter
            && let Some(pid) = pids.back()
        {
            match self.world.netns_state_in(netns, *pid) {
                Ok(state) => return self.tell_state(netns, state),
                Err(SockDiagError::Namespace(error)) => match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        log::warn!(
                            "TIME_WAIT sockets of other network namespaces are not listed: \
                             {error}: this needs CAP_SYS_ADMIN"
                        );
                        self.may_enter = false;
                    }
                    _ => drop(pids.pop_back()),
                },
                Err(error) => {
                    log::warn!("network namespace {netns} was not listed this time: {error}");
                    return;
                }
            }
        }
    }

    /// Looks for other processes in namespaces whose known ones have all ended. A namespace without
    /// any has ended, too, and its sockets with it.
    fn find_inhabitants(&mut self, deserted: &[Netns]) {
        let processes = match self.world.processes_by_netns() {
            Ok(processes) => processes,
            Err(error) => {
                log::warn!("cannot look for processes in other network namespaces: {error}");
                return;
            }
        };
        for (netns, pid) in processes {
            if deserted.contains(&netns) {
                self.remember(netns, pid);
            }
        }
        for netns in deserted {
            if !self.namespaces.contains_key(netns) {
                self.tell_state(*netns, NetnsState::default());
                self.told_ports.remove(netns);
            }
        }
    }

    fn tell_state(&mut self, netns: Netns, mut state: NetnsState) {
        if let Some(range) = state.ephemeral_ports {
            self.tell_ports(netns, range);
        }
        state.time_wait.retain(|row| self.is_wanted(row));
        if !state.time_wait.is_empty() {
            self.empty_since = None;
        }
        self.tell(HostFact::TimeWait(TimeWaitListing::new(
            netns,
            state.time_wait,
        )));
    }

    /// Tells a namespace's ephemeral ports, unless they are as they were told before.
    fn tell_ports(&mut self, netns: Netns, range: PortRange) {
        if self.told_ports.insert(netns, range) != Some(range) {
            self.tell(HostFact::EphemeralPorts { netns, range });
        }
    }

    fn is_wanted(&self, row: &SocketRow) -> bool {
        let ports = &self.options.ports;
        ports.is_empty() || ports.contains(&row.local.port) || ports.contains(&row.remote.port)
    }

    fn tell(&mut self, fact: HostFact) {
        let now = self.world.now();
        (self.output)(Input::Host(now, fact));
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
