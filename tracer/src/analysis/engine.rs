//! The engine: takes every input to those whom it concerns, and assembles what they have to say;
//! never judges anything itself.

mod observed;

use std::collections::BTreeSet;

use tracer_common::{FdKind, FdSource, ProcessCounters, Role};

use crate::model::{
    Comm, Event, EventBody, FdAction, FdEvent, HostFact, Input, Nanos, Pid, Session, TcpAction, Tid,
};

use super::{
    connections::{Connections, Outcome},
    descriptors::{Level, OpenedFile},
    episode::Tries,
    fd_burst,
    group::{GroupKey, Subject},
    groups::{Groups, Scene},
    losses::{Family, LossHistory},
    pattern::{PatternId, Patterns},
    process::{ProcessKey, Processes},
    report::{Evicted, Finding, Identity, Report, Verdict},
    thresholds::Thresholds,
    time_wait::TimeWaitTable,
    verdicts::{self, Basis, Clock, Telling, Verdicts},
};

/// How often the kernel half's counters are told: what they add may have happened since then.
const COUNTERS_PERIOD: Nanos = Nanos::from_secs(1);

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
    /// Processes whose descriptors the next tick must look at.
    busy: BTreeSet<ProcessKey>,
    time_wait: TimeWaitTable,
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
            busy: BTreeSet::new(),
            time_wait: TimeWaitTable::default(),
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
    /// replaced its program, and when a burst of it begins and ends.
    pub fn take_lookups(&mut self) -> Vec<Pid> {
        self.processes.take_wanted()
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
            processes: self.processes.rows(),
            time_wait: self.time_wait.rows(
                &self.connections,
                &self.processes,
                &self.session.selection,
            ),
            losses: self.losses.latest().clone(),
            evicted: Evicted {
                processes: self.processes.evicted,
                connections: self.connections.evicted,
                groups: self.groups.evicted,
                verdicts: self.verdicts.missing(),
            },
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
                        TcpAction::Connect => process.connected(),
                        TcpAction::Accept => process.accepted(),
                        _ => {}
                    }
                }
                let mut outcomes = std::mem::take(&mut self.outcomes);
                let owner = || processes.owner(event);
                self.connections
                    .apply(event.ts, tcp.sock, tcp, owner, &mut outcomes);
                self.account(&outcomes);
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

    /// Lets processes and groups know what became of connections.
    fn account(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match *outcome {
                Outcome::Opened {
                    owner,
                    role,
                    remote,
                } => {
                    if let Some(process) = self.processes.get_mut(owner.process) {
                        process.connections_open += 1;
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
                Outcome::Failed(ref failure) => {
                    if let Some(process) = self.processes.get_mut(failure.owner.process) {
                        process.connects_failed += 1;
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

    fn descriptor_event(&mut self, event: &Event, fd: &FdEvent) {
        let Some(key) = self.processes.acting(event) else {
            return;
        };
        let pattern = fd
            .path
            .as_ref()
            .filter(|_| fd.action == FdAction::Installed)
            .and_then(|path| self.pattern(&path.text));
        let Some(process) = self.processes.get_mut(key) else {
            return;
        };
        process.count(fd);
        let level = Level {
            ts: event.ts,
            opens: fd.opens,
            files_net: fd.files_net,
            fds_net: fd.fds_net,
        };
        let is_open = fd.source == FdSource::Open;
        let held_before =
            (fd.action == FdAction::Installed && fd.kind == FdKind::File).then(|| Level {
                ts: event.ts,
                opens: fd.opens.saturating_sub(u64::from(is_open)),
                files_net: fd.files_net.saturating_sub(1),
                fds_net: fd.fds_net.saturating_sub(1),
            });
        let opened = pattern.map(|pattern| OpenedFile {
            ts: event.ts,
            pattern,
            tid: event.tid,
            thread: event.thread,
        });
        process
            .descriptors
            .sample(level, held_before, opened, &self.thresholds);
        if process.descriptors.becomes_busy() {
            self.busy.insert(key);
        }
    }

    /// The number of a path's pattern. Where the table is full, what nothing holds is dropped first.
    fn pattern(&mut self, path: &str) -> Option<PatternId> {
        if let Some(id) = self.patterns.of(path) {
            return Some(id);
        }
        let mut held: Vec<_> = self
            .busy
            .iter()
            .filter_map(|key| self.processes.get(*key))
            .flat_map(|process| process.descriptors.patterns())
            .collect();
        held.sort_unstable();
        held.dedup();
        self.patterns.keep_only(&held);
        self.patterns.of(path)
    }

    fn learn_counters(
        &mut self,
        pid: Pid,
        counters: &ProcessCounters,
        at: Nanos,
    ) -> Option<ProcessKey> {
        let key = self.processes.learn_counters(pid, counters, at)?;
        let process = self.processes.get_mut(key)?;
        let sum = |of_kind: &[u64]| {
            let sum = of_kind.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
            i64::try_from(sum).unwrap_or(i64::MAX)
        };
        let file = FdKind::File as usize;
        let (got, closed) = (&counters.fds_got_of_kind, &counters.fds_closed_of_kind);
        let level = Level {
            ts: at,
            opens: counters.fds_got[FdSource::Open as usize],
            files_net: sum(&got[file..=file]) - sum(&closed[file..=file]),
            fds_net: sum(got) - sum(closed),
        };
        if level.opens < process.descriptors.now().opens {
            // Read before events that have already been told.
            return Some(key);
        }
        // What was not streamed happened after what was last known, and since the last counters.
        let before = process.descriptors.now();
        let held_before = process.descriptors.is_known().then(|| Level {
            ts: before.ts.max(Nanos(at.0.saturating_sub(COUNTERS_PERIOD.0))),
            ..before
        });
        process
            .descriptors
            .sample(level, held_before, None, &self.thresholds);
        if process.descriptors.becomes_busy() {
            self.busy.insert(key);
        }
        Some(key)
    }

    fn fact(&mut self, at: Nanos, fact: &HostFact) {
        match fact {
            HostFact::Process(fact) => self.processes.learn(fact, at),
            HostFact::Descriptors(fact) => self.processes.learn_descriptors(fact, at),
            HostFact::Counters { pid, counters } => {
                self.learn_counters(*pid, counters, at);
            }
            HostFact::SocketBefore(socket) => {
                if let Some(owner) = self.processes.owner_by_pid(socket.pid, at) {
                    self.connections.learn_before(socket.row.cookie, owner);
                }
            }
            HostFact::TimeWait(listing) => {
                self.time_wait
                    .learn(at, listing, &mut self.connections.ended);
            }
            // Told by who shows the host's state; no verdict of this engine depends on it.
            HostFact::EphemeralPorts(_) => {}
        }
    }

    fn tick(&mut self) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        self.connections.tick(self.now, &mut outcomes);
        self.account(&outcomes);
        self.outcomes = outcomes;
        let live = self.groups.conclude(&mut Scene {
            now: self.now,
            thresholds: &self.thresholds,
            ended: &mut self.connections.ended,
            verdicts: &mut self.verdicts,
            losses: &self.losses,
        });
        self.tell_groups(&live);
        self.tell_bursts();
    }

    fn tell_groups(&mut self, live: &[GroupKey]) {
        let ended = &self.connections.ended;
        let clock = self.clock();
        let time_wait_of = |tries: &Tries| ended.time_wait_of(tries.verdict);
        for key in live {
            let Some(group) = self.groups.get_mut(key) else {
                continue;
            };
            let mut teller = Teller {
                key,
                processes: &self.processes,
                losses: self.losses.by_now(Family::Tcp),
                clock,
                verdicts: &mut self.verdicts,
            };
            if let Some(episode) = &group.flapping {
                let time_wait = time_wait_of(&episode.tries);
                teller.tell(&episode.tries, episode.facts(time_wait), || {
                    Finding::Flapping(episode.describe(time_wait))
                });
            }
            if let Some(episode) = &group.churn {
                let time_wait = time_wait_of(&episode.tries);
                teller.tell(&episode.tries, episode.facts(time_wait), || {
                    Finding::Churn(episode.describe(time_wait))
                });
            }
            if let Some(episode) = &group.failing {
                teller.tell(&episode.tries, episode.facts(), || {
                    Finding::FailingConnects(episode.describe())
                });
            }
            group.drop_ended();
        }
    }

    fn clock(&self) -> Clock {
        Clock {
            now: self.now,
            pause: self.thresholds.update_pause,
        }
    }

    fn tell_bursts(&mut self) {
        let clock = self.clock();
        let mut wanted = Vec::new();
        for key in &self.busy {
            let Some(process) = self.processes.get_mut(*key) else {
                continue;
            };
            process.descriptors.tick(self.now, &self.thresholds);
            for burst in process.descriptors.bursts_mut() {
                let begins = burst.verdict.is_none();
                if begins {
                    burst.verdict = Some(self.verdicts.next_id());
                    let losses = self.losses.by(burst.before.ts, Family::Fd);
                    burst.losses_before = losses;
                }
                let ends = !burst.ongoing && burst.summary.is_none();
                fd_burst::settle(burst, &self.patterns);
                if begins || ends {
                    wanted.push(key.pid());
                }
            }
        }
        for key in &self.busy {
            let Some(process) = self.processes.get(*key) else {
                continue;
            };
            for burst in process.descriptors.bursts() {
                let Some(id) = burst.verdict else {
                    continue;
                };
                let descriptors = &process.descriptors;
                let lossy = self.losses.by_now(Family::Fd) > burst.losses_before;
                let version = self.processes.identity_version(*key);
                // One that is over stays as it is.
                let basis = version.filter(|_| !burst.ongoing).map(|version| Basis {
                    who: verdicts::Subject {
                        process: *key,
                        version,
                        tid: Tid(0),
                        thread: Comm::default(),
                        processes: 1,
                    },
                    facts: [descriptors.looks(), 0, 0, 0, 0],
                    ongoing: false,
                    lossy,
                });
                let who = || {
                    let mut who = self.processes.identity(*key);
                    if let Some((tid, thread)) = fd_burst::sole_thread(burst) {
                        who.tid = Some(tid);
                        who.thread = Some(thread.to_string());
                    }
                    who
                };
                let telling = || {
                    let told = fd_burst::describe(burst, descriptors, &self.patterns);
                    Telling {
                        process: *key,
                        first_seen: burst.before.ts,
                        last_seen: burst.last.ts,
                        ongoing: burst.ongoing,
                        lossy,
                        finding: Finding::FdBurst(told),
                    }
                };
                let fds_now = descriptors.open_now();
                self.verdicts.tell(id, basis, fds_now, clock, who, telling);
            }
        }
        let processes = &mut self.processes;
        for pid in wanted {
            processes.ask_about(pid);
        }
        self.busy.retain(|key| {
            processes
                .get_mut(*key)
                .is_some_and(|process| process.descriptors.stays_busy())
        });
    }
}

/// Tells the verdicts of one group.
struct Teller<'a> {
    key: &'a GroupKey,
    processes: &'a Processes,
    losses: u64,
    clock: Clock,
    verdicts: &'a mut Verdicts,
}

impl Teller<'_> {
    fn tell(&mut self, tries: &Tries, facts: [u64; 5], finding: impl FnOnce() -> Finding) {
        let process = tries.owner.process;
        let (ongoing, lossy) = (!tries.is_over, self.losses > tries.losses_before);
        let version = self.processes.identity_version(process);
        let basis = version.map(|version| Basis {
            who: verdicts::Subject {
                process,
                version,
                tid: tries.owner.tid,
                thread: tries.owner.thread,
                processes: tries.processes(),
            },
            facts,
            ongoing,
            lossy,
        });
        let who = || identity_of(self.processes, self.key, tries);
        let telling = || Telling {
            process,
            first_seen: tries.first_seen,
            last_seen: tries.last_seen,
            ongoing,
            lossy,
            finding: finding(),
        };
        self.verdicts
            .tell(tries.verdict, basis, None, self.clock, who, telling);
        if tries.is_over {
            self.verdicts.group_is_over();
        }
    }
}

/// Who a group's verdict names.
fn identity_of(processes: &Processes, key: &GroupKey, tries: &Tries) -> Identity {
    let process = processes.identity(tries.owner.process);
    match key.subject {
        Subject::Thread(..) => process.of_thread(&tries.owner),
        Subject::Process(_) => process,
        Subject::Children(..) => Identity {
            children: Some(tries.processes()),
            ..process
        },
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
