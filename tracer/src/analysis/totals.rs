//! Counts what happened by group of processes and peer, for a monitor that asks again and again: what is
//! counted never becomes less, and how much is told apart is bounded; never judges any of it.
//!
//! A group is a program in one place: its name, container, pod and unit. What a process does is counted
//! a moment later, when a look-up has told where it runs.

mod label;
mod peer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tracer_common::Role;

use crate::model::{Endpoint, EventBody, FdAction, HostFact, Input, Losses, Nanos, Pid};

use super::{
    Engine,
    connection::Side,
    connections::Outcome,
    limits,
    process::ProcessKey,
    report::{Evicted, Verdict},
};
pub use label::{Detail, GroupLabel};
pub use peer::{LIFETIME_BOUNDS, Lifetimes, PeerLabel, PeerTotals};

/// All that was counted so far, and how things stand now.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Groups of processes; `None` is all that are not told apart.
    pub groups: Vec<(Option<GroupLabel>, GroupTotals)>,
    /// `TIME_WAIT` sockets whose owner nobody knows.
    pub time_wait_unowned: u64,
    /// What became of all events.
    pub losses: Losses,
    /// What the engine had to forget.
    pub evicted: Evicted,
}

/// What a group of processes did, and how it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupTotals {
    /// By peer; `None` is all that are not told apart.
    pub peers: Vec<(Option<PeerLabel>, PeerTotals)>,
    /// Descriptors refused (EMFILE, ENFILE).
    pub fds_refused: u64,
    /// Verdicts made, by name.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Those of them that go on.
    pub verdicts_ongoing: BTreeMap<&'static str, u64>,
    /// How its processes stand; all zero where none is left.
    pub now: GroupNow,
}

/// How the processes of a group stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupNow {
    /// Processes that are alive.
    pub processes: u64,
    /// Open connections of those seen.
    pub connections_open: u64,
    /// `TIME_WAIT` sockets that the kernel listed last.
    pub time_wait: u64,
    /// Descriptors of all of them, where known of any.
    pub fds_open: Option<u64>,
    /// The lowest soft limit of one of them.
    pub fd_limit: Option<u64>,
    /// The fewest further descriptors that one of them could get.
    pub fd_room: Option<u64>,
}

/// A group while it is counted.
#[derive(Debug, Default)]
struct Group {
    peers: BTreeMap<PeerLabel, (PeerTotals, Nanos)>,
    other_peers: Option<PeerTotals>,
    fds_refused: u64,
    verdicts: BTreeMap<&'static str, u64>,
    last_active: Nanos,
}

/// What a process did that is not yet counted for its group.
#[derive(Debug)]
struct Pending {
    since: Nanos,
    peers: BTreeMap<PeerLabel, PeerTotals>,
    other_peers: PeerTotals,
    fds_refused: u64,
}

/// Counts what an engine is told.
#[derive(Debug, Default)]
pub struct TotalsRecorder {
    detail: Detail,
    groups: BTreeMap<GroupLabel, Group>,
    /// Those that found no place.
    other: Group,
    /// Peers of all groups.
    peers: usize,
    pending: FxHashMap<ProcessKey, Pending>,
    /// Descriptors refused that are counted already, of processes that were refused any.
    refused: FxHashMap<ProcessKey, u64>,
    ongoing: BTreeMap<u64, (GroupLabel, &'static str)>,
}

impl TotalsRecorder {
    /// Counts from now on, and tells groups apart in this detail.
    #[must_use]
    pub fn new(detail: Detail) -> Self {
        Self {
            detail,
            ..Self::default()
        }
    }

    /// Takes in one input that the engine was told just before.
    pub fn observe(&mut self, engine: &Engine, input: &Input) {
        match input {
            Input::Event(event) => match &event.body {
                EventBody::Tcp(_) => self.outcomes(engine),
                EventBody::Fd(fd) if fd.action == FdAction::Exhausted => {
                    self.refusals(engine, event.pid);
                }
                EventBody::Exit { .. } => self.refusals(engine, event.pid),
                EventBody::Fd(_) | EventBody::Process(_) => {}
            },
            Input::Tick(now) => {
                self.outcomes(engine);
                self.count_pending(engine, *now);
            }
            Input::Host(_, HostFact::Counters { pid, .. }) => self.refusals(engine, *pid),
            Input::Session(_) | Input::Losses(_) | Input::Host(..) => {}
        }
    }

    /// Takes in verdicts that were made or have changed.
    pub fn verdicts(&mut self, verdicts: &[Verdict]) {
        for verdict in verdicts {
            let name = verdict.finding.name();
            if verdict.update == 0 {
                let label = GroupLabel::of(&verdict.who, self.detail);
                let group = self.group(label.clone(), verdict.last_seen);
                *group.verdicts.entry(name).or_default() += 1;
                if verdict.ongoing {
                    self.ongoing.insert(verdict.id, (label, name));
                }
            } else if !verdict.ongoing {
                self.ongoing.remove(&verdict.id);
            }
        }
    }

    /// All that was counted, and how things stand now.
    pub fn totals(&mut self, engine: &Engine) -> Totals {
        let (mut now, time_wait_unowned) = self.now(engine);
        let mut ongoing: BTreeMap<Option<GroupLabel>, BTreeMap<&'static str, u64>> =
            BTreeMap::new();
        for (label, name) in self.ongoing.values() {
            let label = Some(label).filter(|label| self.groups.contains_key(label));
            let names = ongoing.entry(label.cloned()).or_default();
            *names.entry(name).or_default() += 1;
        }
        let mut told = |label: &Option<GroupLabel>, group: &Group| {
            let peers = group.peers.iter();
            let peers = peers.map(|(peer, (totals, _))| (Some(peer.clone()), totals.clone()));
            let others = group.other_peers.clone().map(|others| (None, others));
            GroupTotals {
                peers: peers.chain(others).collect(),
                fds_refused: group.fds_refused,
                verdicts: group.verdicts.clone(),
                verdicts_ongoing: ongoing.remove(label).unwrap_or_default(),
                now: now.remove(label).unwrap_or_default(),
            }
        };
        let mut groups: Vec<_> = self
            .groups
            .iter()
            .map(|(label, group)| {
                let label = Some(label.clone());
                let totals = told(&label, group);
                (label, totals)
            })
            .collect();
        let other = told(&None, &self.other);
        if other != GroupTotals::default() {
            groups.push((None, other));
        }
        let (losses, evicted) = engine.gaps();
        Totals {
            groups,
            time_wait_unowned,
            losses,
            evicted,
        }
    }

    /// How the live processes stand, by group, and how many `TIME_WAIT` sockets are nobody's.
    fn now(&mut self, engine: &Engine) -> (BTreeMap<Option<GroupLabel>, GroupNow>, u64) {
        let mut time_wait: FxHashMap<Option<ProcessKey>, u64> = FxHashMap::default();
        for owner in engine.time_wait_processes() {
            *time_wait.entry(owner).or_default() += 1;
        }
        let unowned = time_wait.remove(&None).unwrap_or(0);
        let processes = engine.processes();
        let mut keys: Vec<_> = processes
            .entries()
            .filter(|(key, process)| !process.has_ended() || time_wait.contains_key(&Some(*key)))
            .map(|(key, _)| key)
            .collect();
        // By first sight, so that who finds a place is the same each time.
        keys.sort_unstable();
        let mut groups: BTreeMap<Option<GroupLabel>, GroupNow> = BTreeMap::new();
        for key in keys {
            let label = processes.label(key, self.detail).unwrap_or_default();
            self.group(label.clone(), engine.latest());
            let label = Some(label).filter(|label| self.groups.contains_key(label));
            let now = groups.entry(label).or_default();
            now.time_wait += time_wait.get(&Some(key)).copied().unwrap_or(0);
            let Some(process) = processes.get(key).filter(|process| !process.has_ended()) else {
                continue;
            };
            now.processes += 1;
            now.connections_open += process.connections_open;
            let (open, limit) = (
                process.descriptors.open_now(),
                process.descriptors.soft_limit(),
            );
            let least = |known: Option<u64>, new: Option<u64>| match (known, new) {
                (Some(known), Some(new)) => Some(known.min(new)),
                (known, new) => known.or(new),
            };
            if let Some(open) = open {
                now.fds_open = Some(now.fds_open.unwrap_or(0).saturating_add(open));
            }
            now.fd_limit = least(now.fd_limit, limit);
            let room = open.and_then(|open| Some(limit?.saturating_sub(open)));
            now.fd_room = least(now.fd_room, room);
        }
        (groups, unowned)
    }

    /// The group with this label, or that of all others where there is no place for it.
    fn group(&mut self, label: GroupLabel, now: Nanos) -> &mut Group {
        if !self.groups.contains_key(&label) && self.groups.len() >= limits::TOTALS_GROUPS {
            let peers = &mut self.peers;
            self.groups.retain(|_, group| {
                let stays = now.since(group.last_active) < limits::TOTALS_IDLE;
                *peers -= if stays { 0 } else { group.peers.len() };
                stays
            });
        }
        let has_place =
            self.groups.len() < limits::TOTALS_GROUPS || self.groups.contains_key(&label);
        let group = if has_place {
            self.groups.entry(label).or_default()
        } else {
            &mut self.other
        };
        group.last_active = group.last_active.max(now);
        group
    }

    /// Takes note of what the last input did to connections.
    fn outcomes(&mut self, engine: &Engine) {
        let now = engine.latest();
        for outcome in engine.outcomes() {
            match outcome {
                Outcome::Opened {
                    owner,
                    role,
                    local,
                    remote,
                } => {
                    let peer = PeerLabel::new(*role, *local, *remote);
                    self.peer(owner.process, peer, now).opened += 1;
                }
                Outcome::Ended { seq, was_open } => {
                    let Some(row) = engine.ended(*seq) else {
                        continue;
                    };
                    let Some(owner) = row.owner else {
                        continue;
                    };
                    let peer = PeerLabel::new(row.role, row.local, row.remote);
                    let totals = self.peer(owner.process, peer, now);
                    if let Some(start) = row.start {
                        // It was over before it was accepted.
                        totals.opened += u64::from(!was_open);
                        totals.lifetimes.add(row.end.since(start));
                    }
                    match row.closed_by {
                        Side::Local => totals.closed_by_local += 1,
                        Side::Remote => totals.closed_by_remote += 1,
                    }
                }
                Outcome::Failed(failed) => {
                    let peer = PeerLabel::new(Role::Client, failed.local, failed.remote);
                    let totals = self.peer(failed.owner.process, peer, now);
                    totals.fail(failed.errno);
                }
                Outcome::MoreBytes { .. } | Outcome::ClosedByOther(_) | Outcome::Lost(_) => {}
            }
        }
    }

    fn pending(&mut self, key: ProcessKey, now: Nanos) -> &mut Pending {
        self.pending.entry(key).or_insert_with(|| Pending {
            since: now,
            peers: BTreeMap::new(),
            other_peers: PeerTotals::default(),
            fds_refused: 0,
        })
    }

    fn peer(&mut self, key: ProcessKey, peer: PeerLabel, now: Nanos) -> &mut PeerTotals {
        let pending = self.pending(key, now);
        if pending.peers.len() >= limits::TOTALS_PEERS && !pending.peers.contains_key(&peer) {
            return &mut pending.other_peers;
        }
        pending.peers.entry(peer).or_default()
    }

    /// Takes note of the descriptors that a process was refused since it was last looked at.
    fn refusals(&mut self, engine: &Engine, pid: Pid) {
        let Some(key) = engine.process_now(pid) else {
            return;
        };
        let process = engine.processes().get(key);
        let so_far = process.map_or(0, |process| process.tally.fds_refused());
        if so_far == 0 {
            return;
        }
        if self.refused.len() >= limits::PROCESSES {
            self.refused
                .retain(|key, _| engine.processes().get(*key).is_some());
        }
        let counted = self.refused.entry(key).or_default();
        let more = so_far.saturating_sub(*counted);
        *counted = so_far.max(*counted);
        if more > 0 {
            self.pending(key, engine.latest()).fds_refused += more;
        }
    }

    /// Counts for its group what has waited long enough; all where too much waits.
    fn count_pending(&mut self, engine: &Engine, now: Nanos) {
        let waits_too_much = self.pending.len() >= limits::TOTALS_PEERS;
        let is_due =
            |pending: &Pending| waits_too_much || now.since(pending.since) >= limits::TOTALS_WAIT;
        let mut due: Vec<_> = self
            .pending
            .extract_if(|_, pending| is_due(pending))
            .collect();
        due.sort_unstable_by_key(|(key, _)| *key);
        for (key, pending) in due {
            let label = engine.processes().label(key, self.detail);
            let label = label.unwrap_or_default();
            self.count(label, pending, now);
        }
    }

    fn count(&mut self, label: GroupLabel, pending: Pending, now: Nanos) {
        self.make_room_for_peers(&label, &pending, now);
        let mut room = limits::TOTALS_PEERS.saturating_sub(self.peers);
        let room_before = room;
        let has_others = pending.other_peers != PeerTotals::default();
        let group = self.group(label, now);
        group.fds_refused += pending.fds_refused;
        if has_others {
            let others = group.other_peers.get_or_insert_default();
            others.add(&pending.other_peers);
        }
        for (peer, totals) in pending.peers {
            if let Some((known, last_active)) = group.peers.get_mut(&peer) {
                known.add(&totals);
                *last_active = now;
            } else if room > 0 {
                room -= 1;
                group.peers.insert(peer, (totals, now));
            } else {
                group.other_peers.get_or_insert_default().add(&totals);
            }
        }
        self.peers += room_before - room;
    }

    /// Gives up the places of idle peers where new ones find none.
    fn make_room_for_peers(&mut self, label: &GroupLabel, pending: &Pending, now: Nanos) {
        let known = self.groups.get(label);
        let is_new = |peer: &&PeerLabel| known.is_none_or(|group| !group.peers.contains_key(*peer));
        let new = pending.peers.keys().filter(is_new).count();
        if self.peers + new <= limits::TOTALS_PEERS {
            return;
        }
        let others = std::iter::once(&mut self.other);
        let mut left = 0;
        for group in self.groups.values_mut().chain(others) {
            group
                .peers
                .retain(|_, (_, last_active)| now.since(*last_active) < limits::TOTALS_IDLE);
            left += group.peers.len();
        }
        self.peers = left;
    }
}

/// The end of a connection that was connected to; `None` where nobody knows which side was which.
fn server(role: Role, local: Endpoint, remote: Endpoint) -> Option<Endpoint> {
    match role {
        Role::Client => Some(remote),
        Role::Server => Some(local),
        Role::Unknown => None,
    }
}
