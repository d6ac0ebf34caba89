//! The lives of connections, each told once when it is over, and the names of processes meanwhile;
//! never judges any of it.
//!
//! It follows connections by the very rules that the verdicts are made by.

use std::collections::VecDeque;

use tracer_common::Role;

use crate::model::{Endpoint, Event, EventBody, HostFact, Input, Nanos, Pid, TcpAction};

use super::{
    connection::{Owner, Side},
    connections::{Connections, FailedConnect, Outcome},
    ended::EndedConnection,
    history::Seq,
    process::{ProcessKey, Processes},
    report::Identity,
};

/// How long after its end a connection is told: the segments that are still under way count as
/// payload of it.
const TOLD_AFTER: Nanos = Nanos::from_secs(2);

/// Ended connections that wait to be told, at most; then they are told at once. Half of those that are
/// remembered.
const WAITING_MAX: usize = super::limits::ENDED_CONNECTIONS / 2;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedBy {
    /// This side closed first.
    Local,
    /// The other side did.
    Remote,
    /// It never came about: a positive errno, 0 where the program gave up before an answer came.
    Failure(i32),
}

/// A connection that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct Life {
    /// Who connected or accepted it; [`Identity::default`] where that was not seen.
    pub who: Identity,
    /// The part that the process played.
    pub role: Role,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// When it began, where that was seen.
    pub start: Option<Nanos>,
    /// When it left ESTABLISHED, or was known to have failed.
    pub end: Nanos,
    /// How it ended.
    pub ended_by: EndedBy,
    /// Payload bytes sent and acknowledged.
    pub tx_bytes: u64,
    /// Payload bytes received.
    pub rx_bytes: u64,
}

/// What waits to be told.
#[derive(Debug)]
enum Waiting {
    Ended(Nanos, Seq),
    Failed(Box<FailedConnect>),
}

/// Follows the connections of a trace.
#[derive(Debug)]
pub struct Lives {
    processes: Processes,
    connections: Connections,
    outcomes: Vec<Outcome>,
    waiting: VecDeque<Waiting>,
    /// The latest tick.
    now: Nanos,
    is_over: bool,
}

impl Default for Lives {
    fn default() -> Self {
        Self {
            processes: Processes::default(),
            connections: Connections::new(),
            outcomes: Vec::new(),
            waiting: VecDeque::new(),
            now: Nanos::default(),
            is_over: false,
        }
    }
}

impl Lives {
    /// Learns one thing.
    pub fn apply(&mut self, input: &Input) {
        match input {
            Input::Session(_) | Input::Losses(_) => {}
            Input::Event(event) => self.event(event),
            Input::Tick(now) => {
                self.now = self.now.max(*now);
                self.connections.tick(self.now, &mut self.outcomes);
                self.remember();
                // Nobody looks anything up here.
                self.processes.take_wanted();
            }
            Input::Host(at, fact) => self.fact(*at, fact),
        }
    }

    /// The name of the process that has this pid now; empty where none is known.
    pub fn name(&self, pid: Pid) -> &str {
        self.processes.name_now(pid)
    }

    /// The process that has this pid now.
    pub(super) fn process(&self, pid: Pid) -> Option<ProcessKey> {
        self.processes.current(pid)
    }

    /// Whether a process is known and has not ended.
    pub(super) fn lives(&self, key: ProcessKey) -> bool {
        let process = self.processes.get(key);
        process.is_some_and(|process| !process.has_ended())
    }

    /// Who a process is.
    pub(super) fn identity(&self, key: ProcessKey) -> Identity {
        self.processes.identity(key)
    }

    /// No more inputs will come: what waits is told now.
    pub fn finish(&mut self) {
        self.is_over = true;
    }

    /// The next connection that is over, in the order of their ends.
    pub fn take(&mut self) -> Option<Life> {
        loop {
            let is_due = match self.waiting.front()? {
                Waiting::Ended(end, _) => {
                    self.now.since(*end) >= TOLD_AFTER || self.waiting.len() > WAITING_MAX
                }
                Waiting::Failed(_) => true,
            };
            if !is_due && !self.is_over {
                return None;
            }
            let life = match self.waiting.pop_front()? {
                Waiting::Ended(_, seq) => self
                    .connections
                    .ended
                    .get(seq)
                    .map(|ended| self.ended(ended)),
                Waiting::Failed(failed) => Some(self.failed(&failed)),
            };
            if life.is_some() {
                return life;
            }
        }
    }

    fn event(&mut self, event: &Event) {
        let processes = &mut self.processes;
        match &event.body {
            EventBody::Tcp(tcp) => {
                if matches!(
                    tcp.action,
                    TcpAction::Connect | TcpAction::Accept | TcpAction::ConnectFailed
                ) {
                    processes.acting(event);
                }
                let actor = (event.pid, event.tid);
                let owner = || processes.owner(event);
                self.connections
                    .apply(event.ts, tcp.sock, tcp, actor, owner, &mut self.outcomes);
                self.remember();
            }
            EventBody::Fd(_) => {
                processes.acting(event);
            }
            EventBody::Process(seen) => {
                processes.introduce(event, seen);
            }
            EventBody::Exit { comm, counters } => {
                if let Some(key) = processes.learn_counters(event.pid, counters, event.ts) {
                    processes.end(key, *comm, event.ts);
                }
            }
        }
    }

    fn fact(&mut self, at: Nanos, fact: &HostFact) {
        match fact {
            HostFact::Process(fact) => self.processes.learn(fact, at),
            HostFact::SocketBefore(socket) => {
                if let Some(owner) = self.processes.owner_by_pid(socket.pid, at) {
                    self.connections.learn_before(socket, owner);
                }
            }
            HostFact::Descriptors(_)
            | HostFact::Table(_)
            | HostFact::Counters { .. }
            | HostFact::TimeWait(_)
            | HostFact::EphemeralPorts { .. }
            | HostFact::Stack(_) => {}
        }
    }

    /// Puts what has just ended among those that wait.
    fn remember(&mut self) {
        for outcome in self.outcomes.drain(..) {
            match outcome {
                Outcome::Ended { seq, .. } => {
                    if let Some(row) = self.connections.ended.get(seq) {
                        self.waiting.push_back(Waiting::Ended(row.end, seq));
                    }
                }
                Outcome::Failed(failed) => {
                    self.waiting.push_back(Waiting::Failed(Box::new(failed)));
                }
                Outcome::Opened { .. }
                | Outcome::MoreBytes { .. }
                | Outcome::ClosedByOther(_)
                | Outcome::Lost(_) => {}
            }
        }
    }

    fn ended(&self, row: &EndedConnection) -> Life {
        Life {
            who: row.owner.map(|owner| self.who(&owner)).unwrap_or_default(),
            role: row.role,
            local: row.local,
            remote: row.remote,
            start: row.start,
            end: row.end,
            ended_by: match row.closed_by {
                Side::Local => EndedBy::Local,
                Side::Remote => EndedBy::Remote,
            },
            tx_bytes: row.tx_bytes,
            rx_bytes: row.rx_bytes,
        }
    }

    fn failed(&self, failed: &FailedConnect) -> Life {
        Life {
            who: self.who(&failed.owner),
            role: Role::Client,
            local: failed.local,
            remote: failed.remote,
            start: Some(failed.start),
            end: failed.at,
            ended_by: EndedBy::Failure(failed.errno),
            tx_bytes: 0,
            rx_bytes: 0,
        }
    }

    fn who(&self, owner: &Owner) -> Identity {
        self.processes.identity(owner.process).of_thread(owner)
    }
}
