//! What a trace that begins in the middle must tell first, so that whoever has only it knows whose
//! processes and sockets it tells of; never an event that happened before.

use std::collections::BTreeMap;

use crate::model::{
    Cookie, DescriptorFact, Event, EventBody, HostFact, Input, Losses, Nanos, Netns, Pid,
    PortRange, ProcessFact, SockId, SocketOwner, SocketRow, StackFact, StackId, TableFact,
    TcpAction, TcpEvent, TcpState, TimeWaitListing,
};

/// Processes remembered: as many as the kernel half counts for. Each takes about a kilobyte.
const PROCESSES_MAX: usize = 16_384;

/// Stacks remembered of each process: those of a few verdicts.
const STACKS_MAX: usize = 32;

/// Sockets remembered, of each sort: as many connections as the engine follows, some 100 bytes each.
const SOCKETS_MAX: usize = 65_536;

/// Paths of all tables together that are kept; what a table holds beyond them is told by kind only. Some
/// 8 MB.
const TABLE_PATHS: usize = 65_536;

/// How long what has ended is remembered: `TIME_WAIT` lasts 60 s, and its last listing is as old as
/// the next one.
const ENDED_AGE: Nanos = Nanos::from_secs(120);

/// What is known at one point of a trace.
#[derive(Clone, Default)]
pub struct Baseline {
    /// Boxed: the tree's nodes have room for twice as many as come and go in order.
    processes: BTreeMap<Pid, Box<Known>>,
    /// Connections that are open, by socket.
    open: BTreeMap<SockId, SocketOwner>,
    /// Connections that have ended and may be in `TIME_WAIT`, or were there before the trace; with
    /// the time from which on they are dropped.
    left: BTreeMap<(Netns, Cookie), (SocketOwner, Nanos)>,
    listings: BTreeMap<Netns, (Nanos, TimeWaitListing)>,
    ephemeral_ports: BTreeMap<Netns, (Nanos, PortRange)>,
    losses: Option<Box<Losses>>,
    latest: Nanos,
}

/// What is known of a process: the inputs that told it.
#[derive(Clone, Default)]
struct Known {
    seen: Option<Event>,
    fact: Option<(Nanos, Box<ProcessFact>)>,
    counters: Option<(Nanos, HostFact)>,
    descriptors: Option<(Nanos, DescriptorFact)>,
    table: Option<(Nanos, Box<TableFact>)>,
    stacks: BTreeMap<StackId, (Nanos, Box<StackFact>)>,
    exit: Option<Event>,
}

impl Known {
    /// Paths of its table that are kept.
    fn table_paths(&self) -> usize {
        self.table
            .as_ref()
            .map_or(0, |(_, table)| table.paths.len())
    }
}

impl Baseline {
    /// Takes in what an input told.
    pub fn learn(&mut self, input: &Input) {
        if let Some(at) = input.time() {
            self.latest = self.latest.max(at);
        }
        match input {
            Input::Session(_) => {}
            Input::Event(event) => self.event(event),
            Input::Tick(now) => self.forget(*now),
            Input::Losses(losses) => self.losses = Some(losses.clone()),
            Input::Host(at, fact) => self.fact(*at, fact),
        }
    }

    /// The inputs that tell all this anew.
    #[must_use]
    pub fn inputs(&self) -> Vec<Input> {
        let mut inputs = Vec::new();
        inputs.extend(self.losses.clone().map(Input::Losses));
        for (&netns, &(at, range)) in &self.ephemeral_ports {
            inputs.push(Input::Host(at, HostFact::EphemeralPorts { netns, range }));
        }
        for known in self.processes.values().cloned() {
            let facts = [
                known.fact.map(|(at, fact)| (at, HostFact::Process(fact))),
                known.counters,
                known
                    .descriptors
                    .map(|(at, table)| (at, HostFact::Descriptors(table))),
                known.table.map(|(at, table)| (at, HostFact::Table(table))),
            ];
            let stacks = known.stacks.into_values();
            let stacks = stacks.map(|(at, stack)| (at, HostFact::Stack(stack)));
            inputs.extend(known.seen.map(Input::Event));
            inputs.extend(
                facts
                    .into_iter()
                    .flatten()
                    .chain(stacks)
                    .map(|(at, fact)| Input::Host(at, fact)),
            );
            inputs.extend(known.exit.map(Input::Event));
        }
        let left = self.left.values().map(|(socket, _)| socket);
        inputs.extend(
            self.open
                .values()
                .chain(left)
                .map(|socket| Input::Host(self.latest, HostFact::SocketBefore(*socket))),
        );
        for (at, listing) in self.listings.values() {
            inputs.push(Input::Host(*at, HostFact::TimeWait(listing.clone())));
        }
        inputs
    }

    fn known(&mut self, pid: Pid) -> Option<&mut Known> {
        if self.processes.len() >= PROCESSES_MAX && !self.processes.contains_key(&pid) {
            self.processes.retain(|_, known| known.exit.is_none());
            if self.processes.len() >= PROCESSES_MAX {
                return None;
            }
        }
        Some(self.processes.entry(pid).or_default())
    }

    fn event(&mut self, event: &Event) {
        match &event.body {
            EventBody::Tcp(tcp) => self.tcp(event, tcp),
            EventBody::Fd(_) => {}
            EventBody::Process(seen) => {
                if let Some(known) = self.known(event.pid) {
                    // A pid that is used again is another process.
                    let is_same = known.seen.as_ref().is_some_and(|before| {
                        matches!(&before.body, EventBody::Process(before) if before.start == seen.start)
                    });
                    if !is_same {
                        *known = Known::default();
                    }
                    known.seen = Some(event.clone());
                }
            }
            EventBody::Exit { .. } => {
                if let Some(known) = self.processes.get_mut(&event.pid) {
                    known.counters = None;
                    known.table = None;
                    known.exit = Some(event.clone());
                }
            }
        }
    }

    fn tcp(&mut self, event: &Event, tcp: &TcpEvent) {
        let row = SocketRow {
            cookie: tcp.cookie,
            local: tcp.local,
            remote: tcp.remote,
            state: tcp.new_state,
        };
        match tcp.action {
            TcpAction::Connect | TcpAction::Accept => {
                if self.open.len() < SOCKETS_MAX && event.pid.0 != 0 {
                    let socket = SocketOwner {
                        row,
                        netns: tcp.netns,
                        pid: event.pid,
                    };
                    self.open.insert(tcp.sock, socket);
                }
            }
            TcpAction::State if tcp.new_state == TcpState::Established => {
                // Its own port is known from now on.
                if let Some(socket) = self.open.get_mut(&tcp.sock) {
                    socket.row = row;
                }
            }
            TcpAction::State if tcp.new_state != TcpState::Close => {}
            TcpAction::State
            | TcpAction::TimeWait
            | TcpAction::Close
            | TcpAction::ConnectFailed => {
                if let Some(mut socket) = self.open.remove(&tcp.sock) {
                    // It is no longer open, whatever is left of it.
                    socket.row.state = TcpState::Close;
                    self.leave(socket, event.ts + ENDED_AGE);
                }
            }
        }
    }

    /// Remembers a socket for as long as it may be listed.
    fn leave(&mut self, socket: SocketOwner, until: Nanos) {
        if socket.row.cookie.0 != 0 && self.left.len() < SOCKETS_MAX {
            let key = (socket.netns, socket.row.cookie);
            self.left.insert(key, (socket, until));
        }
    }

    fn fact(&mut self, at: Nanos, fact: &HostFact) {
        match fact {
            HostFact::Process(fact) => {
                if let Some(known) = self.known(fact.pid) {
                    known.fact = Some((at, fact.clone()));
                }
            }
            HostFact::Descriptors(table) => {
                if let Some(known) = self.known(table.pid) {
                    known.descriptors = Some((at, *table));
                }
            }
            HostFact::Table(table) => {
                let others = self.processes.iter().filter(|(pid, _)| **pid != table.pid);
                let paths: usize = others.map(|(_, known)| known.table_paths()).sum();
                if let Some(known) = self.known(table.pid) {
                    let mut table = table.clone();
                    if paths + table.paths.len() > TABLE_PATHS {
                        table.paths = Vec::new();
                    }
                    known.table = Some((at, table));
                }
            }
            HostFact::Counters { pid, .. } => {
                if let Some(known) = self.known(*pid)
                    && known.exit.is_none()
                {
                    known.counters = Some((at, fact.clone()));
                }
            }
            // Nothing tells its end, so it stays.
            HostFact::SocketBefore(socket) => self.leave(*socket, Nanos(u64::MAX)),
            HostFact::TimeWait(listing) => {
                if self.listings.len() < SOCKETS_MAX {
                    self.listings.insert(listing.netns, (at, listing.kept()));
                }
            }
            HostFact::EphemeralPorts { netns, range } => {
                if self.ephemeral_ports.len() < SOCKETS_MAX {
                    self.ephemeral_ports.insert(*netns, (at, *range));
                }
            }
            HostFact::Stack(stack) => {
                if let Some(known) = self.known(stack.pid)
                    && (known.stacks.len() < STACKS_MAX || known.stacks.contains_key(&stack.stack))
                {
                    known.stacks.insert(stack.stack, (at, stack.clone()));
                }
            }
        }
    }

    fn forget(&mut self, now: Nanos) {
        self.left.retain(|_, (_, until)| *until >= now);
        self.processes.retain(|_, known| {
            known
                .exit
                .as_ref()
                .is_none_or(|exit| exit.ts + ENDED_AGE >= now)
        });
    }
}
