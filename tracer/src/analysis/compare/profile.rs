//! What one trace tells of each program, gathered while its processes come and go; never compares.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use crate::model::{
    Endpoint, Event, EventBody, FdAction, FdEvent, Input, Nanos, Pid, Session, TcpAction,
};
use tracer_common::{FdSource, Role};

use super::{Peer, Program, Side, Span};
use crate::analysis::{
    Engine, Thresholds,
    lives::{EndedBy, Lives},
    pattern::{PatternId, Patterns},
    process::ProcessKey,
    report::{Finding, Identity, Report, Verdict},
};

/// Rows of connections and rows of opened files that one trace may have, some hundred bytes each.
/// Programs with peers are few where peers are servers.
const ROWS_MAX: usize = 65_536;

/// How often a program did something with a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerCounts {
    pub(super) connections: u64,
    pub(super) failures: u64,
}

/// What verdicts of two traces have in common where they are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct VerdictKey {
    pub(super) name: &'static str,
    pub(super) program: Program,
    /// The server's port, whose side it is on, or the pattern of most files.
    target: (Option<(Side, u16)>, Option<String>),
}

/// What one process did since it was last added to its program.
#[derive(Debug, Default)]
struct Acts {
    peers: BTreeMap<Peer, PeerCounts>,
    opens: BTreeMap<Option<PatternId>, u64>,
}

/// One trace, gathered.
pub(super) struct Profile {
    pub(super) span: Span,
    pub(super) peers: BTreeMap<(Program, Peer), PeerCounts>,
    pub(super) opens: BTreeMap<(Program, Option<PatternId>), u64>,
    /// How many, and the last one.
    pub(super) verdicts: BTreeMap<VerdictKey, (u64, Verdict)>,
}

impl Profile {
    /// Every program that did anything.
    pub(super) fn programs(&self) -> impl Iterator<Item = &Program> {
        let peers = self.peers.keys().map(|(program, _)| program);
        let opens = self.opens.keys().map(|(program, _)| program);
        let verdicts = self.verdicts.keys().map(|key| &key.program);
        peers.chain(opens).chain(verdicts)
    }

    /// Takes what processes did whose executable nobody could read in time (they were gone by then)
    /// for that of the only program of their name.
    pub(super) fn unify(&mut self, known: &BTreeSet<Program>) {
        let whole = |program: Program| {
            if program.exe.is_some() {
                return program;
            }
            let mut same = known.iter().filter(|known| known.comm == program.comm);
            match (same.next(), same.next()) {
                (Some(only), None) => only.clone(),
                _ => program,
            }
        };
        for ((program, peer), counts) in std::mem::take(&mut self.peers) {
            let sum = self.peers.entry((whole(program), peer)).or_default();
            sum.connections += counts.connections;
            sum.failures += counts.failures;
        }
        for ((program, pattern), count) in std::mem::take(&mut self.opens) {
            *self.opens.entry((whole(program), pattern)).or_default() += count;
        }
        for (key, (count, verdict)) in std::mem::take(&mut self.verdicts) {
            let program = whole(key.program);
            let entry = self.verdicts.entry(VerdictKey { program, ..key });
            entry.or_insert((0, verdict)).0 += count;
        }
    }
}

/// Gathers one trace.
pub(super) struct Profiler {
    engine: Engine,
    lives: Lives,
    /// By process, as its program's name and executable may be learned later than what it did.
    acts: FxHashMap<ProcessKey, Acts>,
    profile: Profile,
}

impl Profiler {
    pub(super) fn new(thresholds: Thresholds) -> Self {
        Self {
            engine: Engine::new(thresholds),
            lives: Lives::default(),
            acts: FxHashMap::default(),
            profile: Profile {
                span: Span {
                    session: Session::default(),
                    length: Nanos::default(),
                    lost: 0,
                    forgotten: 0,
                },
                peers: BTreeMap::new(),
                opens: BTreeMap::new(),
                verdicts: BTreeMap::new(),
            },
        }
    }

    pub(super) fn apply(&mut self, input: &Input, patterns: &mut Patterns) {
        self.engine.apply(input);
        self.lives.apply(input);
        match input {
            Input::Event(event) => self.event(event, patterns),
            Input::Tick(_) => {
                self.engine.take_lookups();
                self.engine.take_verdict_updates();
                self.take_failures();
                self.add_ended();
            }
            Input::Session(_) | Input::Losses(_) | Input::Host(..) => {}
        }
    }

    pub(super) fn finish(mut self) -> Profile {
        self.lives.finish();
        self.take_failures();
        for (key, acts) in std::mem::take(&mut self.acts) {
            self.add(key, acts);
        }
        let report = self.engine.report();
        self.add_opens_without_path(&report);
        for verdict in report.verdicts {
            let key = VerdictKey {
                name: verdict.finding.name(),
                program: program(&verdict.who),
                target: target(&verdict.finding),
            };
            match self.profile.verdicts.get_mut(&key) {
                Some((count, last)) => {
                    *count += 1;
                    if verdict.last_seen > last.last_seen {
                        *last = verdict;
                    }
                }
                None => {
                    self.profile.verdicts.insert(key, (1, verdict));
                }
            }
        }
        let evicted = report.evicted;
        let span = &mut self.profile.span;
        span.length = report.at.since(report.session.start);
        span.lost = report.losses.total();
        span.forgotten +=
            evicted.processes + evicted.connections + evicted.groups + evicted.verdicts;
        span.session = report.session;
        self.profile
    }

    /// What was opened beyond the budget of events was counted only.
    fn add_opens_without_path(&mut self, report: &Report) {
        let mut missing: BTreeMap<Program, u64> = BTreeMap::new();
        for row in report.processes.iter().filter(|row| row.opens > 0) {
            *missing.entry(program(&row.who)).or_default() += row.opens;
        }
        for ((program, _), count) in &self.profile.opens {
            if let Some(missing) = missing.get_mut(program) {
                *missing = missing.saturating_sub(*count);
            }
        }
        missing.retain(|_, missing| *missing > 0);
        for (program, missing) in missing {
            *self.profile.opens.entry((program, None)).or_default() += missing;
        }
    }

    fn event(&mut self, event: &Event, patterns: &mut Patterns) {
        match &event.body {
            EventBody::Tcp(tcp) => match tcp.action {
                TcpAction::Connect => self.begun(event.pid, Side::Client, tcp.remote),
                TcpAction::Accept => self.begun(event.pid, Side::Server, tcp.local),
                _ => {}
            },
            EventBody::Fd(fd) => self.opened(event.pid, fd, patterns),
            EventBody::Process(_) | EventBody::Exit { .. } => {}
        }
    }

    fn begun(&mut self, pid: Pid, role: Side, server: Endpoint) {
        if let Some(acts) = self.acts_of(pid) {
            let peer = Peer { role, server };
            acts.peers.entry(peer).or_default().connections += 1;
        }
    }

    fn opened(&mut self, pid: Pid, fd: &FdEvent, patterns: &mut Patterns) {
        if fd.action != FdAction::Installed || fd.source != FdSource::Open {
            return;
        }
        let path = fd.path.as_ref();
        let pattern = path.and_then(|path| patterns.of(&without_numbers(&path.text)));
        if let Some(acts) = self.acts_of(pid) {
            *acts.opens.entry(pattern).or_default() += 1;
        }
    }

    fn acts_of(&mut self, pid: Pid) -> Option<&mut Acts> {
        let key = self.lives.process(pid)?;
        Some(self.acts.entry(key).or_default())
    }

    fn take_failures(&mut self) {
        while let Some(life) = self.lives.take() {
            if !matches!(life.ended_by, EndedBy::Failure(_)) {
                continue;
            }
            let Some(acts) = life.who.pid.and_then(|pid| self.acts_of(pid)) else {
                continue;
            };
            let peer = Peer {
                role: Side::Client,
                server: life.remote,
            };
            acts.peers.entry(peer).or_default().failures += 1;
        }
    }

    /// Adds what ended processes did to their programs.
    fn add_ended(&mut self) {
        let lives = &self.lives;
        let ended: Vec<_> = self.acts.extract_if(|key, _| !lives.lives(*key)).collect();
        for (key, acts) in ended {
            self.add(key, acts);
        }
    }

    fn add(&mut self, key: ProcessKey, acts: Acts) {
        let program = program(&self.lives.identity(key));
        let profile = &mut self.profile;
        for (peer, counts) in acts.peers {
            let room = profile.peers.len() < ROWS_MAX;
            let key = (program.clone(), peer);
            if !room && !profile.peers.contains_key(&key) {
                profile.span.forgotten += 1;
                continue;
            }
            let sum = profile.peers.entry(key).or_default();
            sum.connections += counts.connections;
            sum.failures += counts.failures;
        }
        for (pattern, count) in acts.opens {
            let room = profile.opens.len() < ROWS_MAX;
            let key = (program.clone(), pattern);
            if !room && !profile.opens.contains_key(&key) {
                profile.span.forgotten += 1;
                continue;
            }
            *profile.opens.entry(key).or_default() += count;
        }
    }
}

fn program(who: &Identity) -> Program {
    Program {
        comm: who.comm.clone(),
        exe: who.exe.clone(),
        contained: who.container.is_some(),
    }
}

/// What a verdict is about: addresses change, as do directories of one file each.
fn target(finding: &Finding) -> (Option<(Side, u16)>, Option<String>) {
    match finding {
        Finding::Flapping(found) | Finding::Churn(found) => {
            let server = match found.role {
                Role::Server => (Side::Server, found.local.port),
                Role::Client | Role::Unknown => (Side::Client, found.remote.port),
            };
            (Some(server), None)
        }
        Finding::FailingConnects(found) => (Some((Side::Client, found.remote.port)), None),
        Finding::FdBurst(found) => {
            let top = found.top_dirs.first();
            (None, top.map(|(pattern, _)| without_numbers(pattern)))
        }
        Finding::PortExhaustion(found) => (Some((Side::Client, found.remote.port)), None),
        // What fills a table is many things, of which another may be the most each time.
        Finding::FdNearLimit(_)
        | Finding::FdExhaustion(_)
        | Finding::FdLeak(_)
        | Finding::CloseWaitLeak(_) => (None, None),
    }
}

/// A path with `*` for each part that is a number: those of processes (`/proc/4711`) and of threads
/// are others in each trace.
fn without_numbers(path: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = path
        .split('/')
        .map(|part| if is_number(part) { "*" } else { part })
        .collect();
    parts.join("/")
}
