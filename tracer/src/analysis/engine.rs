//! The engine: takes every input to those whom it concerns, and assembles what they have to say;
//! never judges anything itself.

mod descriptors;
mod observed;
mod ports;
mod tell;

use tracer_common::Role;

use crate::model::{Event, EventBody, HostFact, Input, Nanos, Pid, Session, TcpAction};

use super::{
    close_wait::CloseWaits,
    connections::{Connections, Outcome},
    groups::{Groups, Scene},
    losses::LossHistory,
    pattern::Patterns,
    port_exhaustion::{EADDRNOTAVAIL, PortExhaustions},
    process::{ProcessKey, Processes},
    relooks::Relooks,
    report::{Evicted, Report, Verdict},
    stacks::{StackWanted, Stacks},
    thresholds::Thresholds,
    time_wait::TimeWaitTable,
    verdicts::Verdicts,
};

/// Concludes from inputs what goes on. The same inputs in the same order always give the same
/// verdicts and the same report, whenever those are taken.
#[derive(Debug)]
pub struct Engine {
    thresholds: Thresholds,
    session: Session,
    /// The latest tick.
    now: Nanos,
    /// The latest time that any input told.
    latest: Nanos,
    losses: LossHistory,
    processes: Processes,
    connections: Connections,
    groups: Groups,
    patterns: Patterns,
    /// Processes whose descriptors the next tick must look at, each once.
    busy: Vec<ProcessKey>,
    relooks: Relooks,
    /// Whether unused patterns were dropped since the last tick, and hardly any were.
    has_dropped_patterns: bool,
    time_wait: TimeWaitTable,
    close_waits: CloseWaits,
    ports: PortExhaustions,
    stacks: Stacks,
    verdicts: Verdicts,
    /// What the last input did to connections.
    outcomes: Vec<Outcome>,
}

impl Engine {
    /// An engine that has learned nothing yet.
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            session: Session::default(),
            now: Nanos::default(),
            latest: Nanos::default(),
            losses: LossHistory::default(),
            processes: Processes::default(),
            connections: Connections::new(),
            groups: Groups::new(),
            patterns: Patterns::default(),
            busy: Vec::new(),
            relooks: Relooks::default(),
            has_dropped_patterns: false,
            time_wait: TimeWaitTable::default(),
            close_waits: CloseWaits::default(),
            ports: PortExhaustions::default(),
            stacks: Stacks::default(),
            verdicts: Verdicts::default(),
            outcomes: Vec::new(),
        }
    }

    /// Learns one thing.
    pub fn apply(&mut self, input: &Input) {
        self.outcomes.clear();
        match input {
            Input::Session(session) => {
                self.session = (**session).clone();
                self.latest = self.latest.max(session.start);
            }
            Input::Event(event) => {
                self.latest = self.latest.max(event.ts);
                self.event(event);
            }
            Input::Tick(now) => {
                self.latest = self.latest.max(*now);
                self.now = self.now.max(*now);
                self.tick();
            }
            Input::Losses(losses) => self.losses.learn(self.latest, losses),
            Input::Host(at, fact) => {
                self.latest = self.latest.max(*at);
                self.fact(*at, fact);
            }
        }
    }

    /// Judges by other thresholds from now on; what goes on is over when these say so. A trace tells
    /// one set of them, so this is not for what is recorded as a whole.
    pub fn change_thresholds(&mut self, thresholds: Thresholds) {
        self.thresholds = thresholds;
    }

    /// The verdicts made or changed since they were last taken, in the order of their numbers. One
    /// that changes all the time comes about once a second; its end comes at once.
    pub fn take_verdict_updates(&mut self) -> Vec<Verdict> {
        self.verdicts.take()
    }

    /// As [`Self::take_verdict_updates`], with what was held back to come once a second only: for
    /// the end, when no more inputs will come.
    pub fn take_last_verdict_updates(&mut self) -> Vec<Verdict> {
        self.verdicts.take_all()
    }

    /// The processes that a [`HostFact::Process`] and a [`HostFact::Descriptors`] are wanted of, in
    /// the order in which they were asked for. Each is asked for when it is first met, when it has
    /// replaced its program, when a burst of it begins and ends, and from time to time.
    pub fn take_lookups(&mut self) -> Vec<Pid> {
        self.processes.take_wanted()
    }

    /// The stacks that a [`HostFact::Stack`] is wanted of: those of verdicts that begin, and from time
    /// to time those of which not all is known.
    pub fn take_stack_lookups(&mut self) -> Vec<StackWanted> {
        self.stacks.take_wanted()
    }

    /// The name of the process that has this pid now; empty where none is known.
    pub fn name(&self, pid: Pid) -> &str {
        self.processes.name_now(pid)
    }

    /// All that is known now. Verdicts are as the last tick left them.
    pub fn report(&self) -> Report {
        let verdicts = self.verdicts.all().into_iter();
        Report {
            session: self.session.clone(),
            at: self.latest,
            verdicts: verdicts
                .map(|(process, mut verdict)| {
                    verdict.who.ended |= self
                        .processes
                        .get(process)
                        .is_some_and(super::process::Process::has_ended);
                    verdict
                })
                .collect(),
            processes: self.process_rows(),
            time_wait: self.time_wait.rows(
                &self.connections,
                &self.processes,
                &self.session.selection,
            ),
            losses: self.losses.latest().clone(),
            evicted: self.evicted(),
        }
    }

    fn evicted(&self) -> Evicted {
        Evicted {
            processes: self.processes.evicted,
            connections: self.connections.evicted,
            groups: self.groups.evicted,
            verdicts: self.verdicts.missing(),
        }
    }

    fn event(&mut self, event: &Event) {
        match &event.body {
            EventBody::Tcp(tcp) => {
                let processes = &mut self.processes;
                let process = match tcp.action {
                    TcpAction::Connect | TcpAction::Accept | TcpAction::ConnectFailed => {
                        processes.acting(event)
                    }
                    TcpAction::State | TcpAction::TimeWait | TcpAction::Close => None,
                };
                if let Some(process) = process.and_then(|key| processes.get_mut(key)) {
                    match tcp.action {
                        TcpAction::Connect => process.tally.connected(),
                        TcpAction::Accept => process.tally.accepted(),
                        _ => {}
                    }
                }
                let mut outcomes = std::mem::take(&mut self.outcomes);
                let actor = (event.pid, event.tid);
                let owner = || processes.owner(event);
                self.connections
                    .apply(event.ts, tcp.sock, tcp, actor, owner, &mut outcomes);
                self.account(event.ts, &outcomes);
                self.outcomes = outcomes;
            }
            EventBody::Fd(fd) => self.descriptor_event(event, fd),
            EventBody::Process(seen) => {
                self.processes.introduce(event, seen);
            }
            EventBody::Exit { comm, counters } => {
                let key = self.learn_counters(event.pid, counters, event.ts);
                if let Some(key) = key {
                    self.processes.end(key, *comm, event.ts);
                }
            }
        }
    }

    /// Lets processes and groups know what became of connections at a moment, which may lie before the
    /// latest that is known: facts come sooner than events, which wait in the ring.
    fn account(&mut self, at: Nanos, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match *outcome {
                Outcome::Opened {
                    owner,
                    role,
                    remote,
                    ..
                } => {
                    if let Some(process) = self.processes.get_mut(owner.process) {
                        process.connections_open += 1;
                        if role == Role::Client {
                            process.peers.note(remote, at);
                        }
                    }
                    if role == Role::Client {
                        self.groups.note_success(&owner, remote);
                    }
                }
                Outcome::Ended { seq, was_open } => {
                    let owner = self.connections.ended.get(seq).and_then(|row| row.owner);
                    if let Some(process) = owner.and_then(|o| self.processes.get_mut(o.process)) {
                        process.connections_ended += 1;
                        process.connections_open =
                            process.connections_open.saturating_sub(u64::from(was_open));
                    }
                    self.groups
                        .note_ended(seq, &mut self.connections.ended, &self.thresholds);
                }
                Outcome::MoreBytes { seq, tx, rx } => self.groups.note_bytes(
                    seq,
                    (tx, rx),
                    &mut self.connections.ended,
                    &self.thresholds,
                ),
                Outcome::ClosedByOther(seq) => {
                    self.groups.note_closer(seq, &self.connections.ended);
                }
                Outcome::Failed(ref failure) => {
                    if let Some(process) = self.processes.get_mut(failure.owner.process) {
                        process.connects_failed += 1;
                    }
                    if failure.errno == EADDRNOTAVAIL {
                        self.ports.note_refused(failure);
                    }
                    self.groups.note_failed(failure.clone(), &self.thresholds);
                }
                Outcome::Lost(process) => {
                    if let Some(process) = self.processes.get_mut(process) {
                        process.connections_ended += 1;
                        process.connections_open = process.connections_open.saturating_sub(1);
                    }
                }
            }
        }
    }

    fn fact(&mut self, at: Nanos, fact: &HostFact) {
        match fact {
            HostFact::Process(fact) => self.processes.learn(fact, at),
            HostFact::Descriptors(fact) => self.learn_descriptors(fact, at),
            HostFact::Table(fact) => self.learn_table(fact, at),
            HostFact::Counters { pid, counters } => {
                self.learn_counters(*pid, counters, at);
            }
            HostFact::SocketBefore(socket) => {
                if let Some(owner) = self.processes.owner_by_pid(socket.pid, at) {
                    self.connections.learn_before(socket, owner);
                }
            }
            HostFact::TimeWait(listing) => {
                self.time_wait
                    .learn(at, listing, &mut self.connections.ended);
            }
            HostFact::EphemeralPorts { netns, range } => {
                self.connections.learn_ephemeral_ports(*netns, *range);
            }
            HostFact::Stack(fact) => self.stacks.learn(fact, &self.processes),
        }
    }

    fn tick(&mut self) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.connections.tick(self.now, &mut outcomes);
        self.account(self.now, &outcomes);
        self.outcomes = outcomes;
        self.verdicts.begin_round();
        let live = self.groups.conclude(&mut Scene {
            now: self.now,
            thresholds: &self.thresholds,
            ended: &mut self.connections.ended,
            verdicts: &mut self.verdicts,
            losses: &self.losses,
        });
        self.tell_groups(&live);
        self.tell_descriptors(&live);
        self.ask_for_looks();
        self.tell_close_waits();
        self.tell_ports(&live);
        self.drop_ended_groups(&live);
    }
}

/// Rows of each bounded table, to be held against the limits.
#[cfg(test)]
#[derive(Clone, Copy, Debug)]
pub(super) struct TableSizes {
    pub(super) processes: usize,
    pub(super) connections: usize,
    pub(super) ended: usize,
    pub(super) groups: usize,
    pub(super) verdicts: usize,
}

#[cfg(test)]
impl Engine {
    /// How full the tables are.
    pub(super) fn table_sizes(&self) -> TableSizes {
        TableSizes {
            processes: self.processes.len(),
            connections: self.connections.followed(),
            ended: self.connections.ended.len(),
            groups: self.groups.len(),
            verdicts: self.verdicts.len(),
        }
    }
}
