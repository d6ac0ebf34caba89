//! The thread that looks things up on the host and turns them into inputs, so that the loop that
//! drains the ring never has to; it never decides what the facts mean.

mod listings;
mod tables;

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

use tracer_common::FdKind;

use self::tables::wants_content;
use super::world::World;
use crate::model::{
    HostFact, Input, Nanos, Netns, Pid, PortRange, ProcessFact, StackFact, StackId, is_same_start,
};

/// How long the thread may sleep where nothing is to be done at intervals.
const IDLE: Duration = Duration::from_hours(1);

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
    /// Its network namespace.
    pub netns: Netns,
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
    /// The pod of all processes in tracer's own network namespace of which nothing else tells it.
    pub pod_uid: Option<String>,
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
            pod_uid: None,
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
        let netns = fact.netns.or(introduced.map(|it| it.netns));
        if netns.is_some() && netns == self.own_netns {
            fact.pod_uid = fact.pod_uid.or_else(|| self.options.pod_uid.clone());
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

    fn tell(&mut self, fact: HostFact) {
        let now = self.world.now();
        (self.output)(Input::Host(now, fact));
    }
}

#[cfg(test)]
#[path = "lookup_tests.rs"]
mod tests;
