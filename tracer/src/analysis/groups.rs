//! The table of groups: which connection counts where, and when a group's verdicts begin and end;
//! never holds a threshold (the detectors do).

use rustc_hash::FxHashMap;
use tracer_common::Role;

use crate::model::{Endpoint, Nanos, Tid};

use super::{
    churn,
    connection::Owner,
    connections::FailedConnect,
    ended::{Ended, EndedConnection},
    episode::{ConnectionsEpisode, FailingEpisode},
    failing_connects, flapping,
    group::{Group, GroupKey},
    history::{History, Seq},
    limits,
    losses::{Family, LossHistory},
    process::ProcessKey,
    thresholds::Thresholds,
    verdicts::Verdicts,
};

/// What the groups need of the engine to conclude.
pub(super) struct Scene<'a> {
    pub(super) now: Nanos,
    pub(super) thresholds: &'a Thresholds,
    pub(super) ended: &'a mut Ended,
    pub(super) verdicts: &'a mut Verdicts,
    pub(super) losses: &'a LossHistory,
}

/// All groups of connections, with the failed connects that they count.
#[derive(Debug)]
pub(super) struct Groups {
    /// Each by itself: a table of large rows has nearly as much room for none, and is copied as it grows.
    table: FxHashMap<GroupKey, Box<Group>>,
    failed: History<FailedConnect>,
    /// Groups that the next tick must look at.
    dirty: Vec<GroupKey>,
    /// Groups forgotten for want of room, or never begun.
    pub(super) evicted: u64,
}

impl Groups {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            table: FxHashMap::default(),
            failed: History::new(limits::FAILED_CONNECTS),
            dirty: Vec::new(),
            evicted: 0,
        }
    }

    /// Counts a connection that ended.
    pub(super) fn note_ended(&mut self, seq: Seq, ended: &mut Ended, thresholds: &Thresholds) {
        let Some((owner, row)) = ended.get(seq).and_then(|row| Some((row.owner?, row))) else {
            return;
        };
        if row.start.is_none() {
            // From before the trace: nobody can say how long it lived.
            return;
        }
        let end = row.end;
        for key in keys_of(row, &owner).into_iter().flatten() {
            let Some(group) = self.group(key, end) else {
                continue;
            };
            if absorb(group, seq, ended, thresholds) {
                // Told here: nobody else need hear of it.
                return;
            }
            group.push_ended(seq, end, thresholds);
        }
    }

    /// Counts what an ended connection turned out to have carried besides; it may become useful
    /// by that.
    pub(super) fn note_bytes(
        &mut self,
        seq: Seq,
        (tx, rx): (u64, u64),
        ended: &mut Ended,
        thresholds: &Thresholds,
    ) {
        let Some((owner, row)) = ended.get(seq).and_then(|row| Some((row.owner?, row))) else {
            return;
        };
        let (told_by, role, local, remote) = (row.told_by, row.role, row.local, row.remote);
        let is_timed = row.start.is_some();
        let visit = |groups: &mut Self, key: GroupKey, ended: &mut Ended| {
            let Some(group) = groups.table.get_mut(&key) else {
                return false;
            };
            let Some(verdict) = told_by else {
                groups.mark(key);
                return groups.table.get_mut(&key).is_some_and(|group| {
                    // A flapping took all that it is about when it began.
                    let may_join = is_timed && group.flapping.is_none();
                    may_join && absorb(group, seq, ended, thresholds)
                });
            };
            let told = [&mut group.flapping, &mut group.churn]
                .into_iter()
                .flatten()
                .find(|episode| episode.tries.verdict == verdict);
            told.map(|episode| episode.add_bytes(tx, rx)).is_some()
        };
        match role {
            Role::Client => {
                let _ = GroupKey::of_client(&owner, remote).any(|key| visit(self, key, ended));
            }
            Role::Server => {
                visit(self, GroupKey::of_server(&owner, local, remote), ended);
            }
            Role::Unknown => {}
        }
    }

    /// A connection's descriptor was closed by another than had opened it: the verdict that tells of the
    /// connection names who, if there is one already.
    pub(super) fn note_closer(&mut self, seq: Seq, ended: &Ended) {
        let told = ended
            .get(seq)
            .and_then(|row| Some((row, row.owner?, row.told_by?, *row.closer.as_deref()?)));
        let Some((row, owner, verdict, closer)) = told else {
            return;
        };
        for key in keys_of(row, &owner).into_iter().flatten() {
            let episodes = self.table.get_mut(&key);
            let episodes = episodes.map(|group| [&mut group.flapping, &mut group.churn]);
            let episode = episodes
                .into_iter()
                .flatten()
                .flatten()
                .find(|episode| episode.tries.verdict == verdict);
            if let Some(episode) = episode {
                episode.set_closer(closer);
                return;
            }
        }
    }

    /// Counts a connect that failed.
    pub(super) fn note_failed(&mut self, failure: FailedConnect, thresholds: &Thresholds) {
        let (owner, remote, at) = (failure.owner, failure.remote, failure.at);
        let (seq, _) = self.failed.push(failure);
        for key in GroupKey::of_client(&owner, remote) {
            if self.group(key, at).is_none() {
                continue;
            }
            let (Some(group), Some(row)) = (self.table.get_mut(&key), self.failed.get_mut(seq))
            else {
                continue;
            };
            if let Some(flapping) = &mut group.flapping {
                flapping.failed += 1;
            }
            if let Some(episode) = &mut group.failing
                && !episode.has_succeeded
                && row.told_by.is_none()
            {
                episode.add(row);
                row.told_by = Some(episode.tries.verdict);
            }
            group.push_failed(seq, at, thresholds.failures_before, &self.failed);
        }
    }

    /// A connect succeeded: failures before it are no longer in a row with those after it.
    pub(super) fn note_success(&mut self, owner: &Owner, remote: Endpoint) {
        let next = self.failed.next();
        for key in GroupKey::of_client(owner, remote) {
            if let Some(group) = self.table.get_mut(&key) {
                group.failing_from = next;
                if let Some(episode) = &mut group.failing {
                    episode.has_succeeded = true;
                }
            }
        }
    }

    /// Begins and ends verdicts. Gives every group whose verdicts go on, the finest first.
    pub(super) fn conclude(&mut self, scene: &mut Scene<'_>) -> Vec<GroupKey> {
        let mut keys = std::mem::take(&mut self.dirty);
        keys.retain(|key| {
            let Some(group) = self.table.get_mut(key) else {
                return false;
            };
            group.is_dirty =
                group.is_live() || group.is_waiting() || group.may_begin(scene.thresholds);
            group.is_dirty
        });
        // Finer groups come first, so that coarser ones know what they have told.
        keys.sort_unstable();
        keys.retain(|key| {
            let Some(group) = self.table.get_mut(key) else {
                return false;
            };
            end_episodes(group, scene);
            begin_flapping(*key, group, &self.failed, scene);
            begin_churn(*key, group, scene);
            begin_failing(*key, group, &mut self.failed, scene);
            // What goes on, or waits for finer groups, is looked at again each time.
            group.is_dirty = group.is_live() || group.is_waiting();
            group.is_dirty
        });
        self.dirty.clone_from(&keys);
        keys
    }

    /// A group.
    pub(super) fn get_mut(&mut self, key: &GroupKey) -> Option<&mut Group> {
        self.table.get_mut(key).map(Box::as_mut)
    }

    fn mark(&mut self, key: GroupKey) {
        if let Some(group) = self.table.get_mut(&key)
            && !group.is_dirty
        {
            group.is_dirty = true;
            self.dirty.push(key);
        }
    }

    /// The group, begun if there is room, which the next tick will look at.
    fn group(&mut self, key: GroupKey, at: Nanos) -> Option<&mut Group> {
        if self.table.len() >= limits::GROUPS && !self.table.contains_key(&key) {
            self.make_room();
            if self.table.len() >= limits::GROUPS {
                self.evicted += 1;
                return None;
            }
        }
        let group = self.table.entry(key).or_default();
        group.last_activity = group.last_activity.max(at);
        if !group.is_dirty {
            group.is_dirty = true;
            self.dirty.push(key);
        }
        Some(group)
    }

    /// Forgets the longest idle groups that are not told of.
    fn make_room(&mut self) {
        let idle = self.table.iter().filter(|(_, group)| !group.is_live());
        let idle = idle.map(|(key, group)| (group.last_activity, *key));
        for (_, key) in limits::to_evict(idle.collect(), limits::GROUPS) {
            self.table.remove(&key);
            self.evicted += 1;
        }
        self.dirty.retain(|key| self.table.contains_key(key));
    }

    /// How many groups there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

/// The groups that a connection belongs to, the finest first.
fn keys_of(row: &EndedConnection, owner: &Owner) -> [Option<GroupKey>; 3] {
    let mut keys = [None; 3];
    match row.role {
        Role::Client => {
            for (slot, key) in keys.iter_mut().zip(GroupKey::of_client(owner, row.remote)) {
                *slot = Some(key);
            }
        }
        Role::Server => keys[0] = Some(GroupKey::of_server(owner, row.local, row.remote)),
        Role::Unknown => {}
    }
    keys
}

/// Adds a connection to a verdict of this group that goes on and is about its like. Returns
/// whether one took it.
fn absorb(group: &mut Group, seq: Seq, ended: &mut Ended, thresholds: &Thresholds) -> bool {
    let Some(row) = ended.get(seq) else {
        return false;
    };
    let (Some(owner), None) = (row.owner, row.told_by) else {
        return false;
    };
    let episode = if let Some(episode) = &mut group.flapping {
        let matches = flapping::matches(row, thresholds);
        episode.add(row, owner, matches);
        episode
    } else if let Some(episode) = &mut group.churn
        && churn::matches(row, thresholds)
    {
        episode.add(row, owner, true);
        episode
    } else {
        return false;
    };
    ended.tell(seq, episode.tries.verdict);
    true
}

fn end_episodes(group: &mut Group, scene: &Scene<'_>) {
    let thresholds = scene.thresholds;
    let connections = [&mut group.flapping, &mut group.churn];
    for ongoing in connections.into_iter().flatten() {
        let silence = scene.now.since(ongoing.last_match);
        let least = thresholds.connections_silence;
        ongoing.tries.is_over =
            ongoing
                .tries
                .is_over_after(silence, least, thresholds.silence_periods);
    }
    if let Some(ongoing) = &mut group.failing {
        let silence = scene.now.since(ongoing.tries.last_seen);
        let least = thresholds.failing_silence;
        ongoing.tries.is_over = ongoing.has_succeeded
            || ongoing
                .tries
                .is_over_after(silence, least, thresholds.silence_periods);
    }
}

/// Whether a coarse group must still leave the finer ones time to be told by themselves. `since`
/// remembers when it could first have been told.
fn must_wait(
    since: &mut Option<Nanos>,
    parts: impl Iterator<Item = Option<(ProcessKey, Tid)>>,
    now: Nanos,
    patience: Nanos,
) -> bool {
    let first = *since.get_or_insert(now);
    let mut parts: Vec<_> = parts.flatten().collect();
    let count = parts.len();
    parts.sort_unstable();
    parts.dedup();
    // Where each finer subject made one only, none will make enough: a thread or a process for each.
    parts.len() < count && now.since(first) < patience
}

/// The connections in the window that no verdict tells of.
fn untold(group: &Group, ended: &Ended) -> Vec<Seq> {
    let is_untold = |seq: &Seq| ended.get(*seq).is_some_and(|row| row.told_by.is_none());
    group
        .ended
        .iter()
        .map(|(_, seq)| *seq)
        .filter(is_untold)
        .collect()
}

fn part(key: GroupKey, seq: Seq, ended: &Ended) -> Option<(ProcessKey, Tid)> {
    key.part(&ended.get(seq)?.owner?)
}

fn begin_flapping(
    key: GroupKey,
    group: &mut Group,
    failed: &History<FailedConnect>,
    scene: &mut Scene<'_>,
) {
    if group.flapping.is_some() {
        return;
    }
    let thresholds = scene.thresholds;
    let rows = untold(group, scene.ended);
    let matching: Vec<_> = rows
        .iter()
        .filter_map(|seq| scene.ended.get(*seq))
        .map(|row| flapping::matches(row, thresholds))
        .collect();
    let Some(rows) = flapping::begins_at(&matching, thresholds).and_then(|begin| rows.get(begin..))
    else {
        group.flapping_since = None;
        return;
    };
    let parts = rows.iter().map(|seq| part(key, *seq, scene.ended));
    if must_wait(
        &mut group.flapping_since,
        parts,
        scene.now,
        thresholds.flapping_window,
    ) {
        return;
    }
    group.flapping_since = None;
    group.flapping = begin_episode(group, rows, scene);
    for seq in rows {
        absorb(group, *seq, scene.ended, thresholds);
    }
    if let Some(episode) = &mut group.flapping {
        let first_seen = episode.tries.first_seen;
        let precede = |seq: &&Seq| {
            failed
                .get(**seq)
                .is_some_and(|row| first_seen.since(row.at) <= thresholds.failures_before)
        };
        episode.failed = group.failed.iter().filter(precede).count() as u64;
    }
}

fn begin_churn(key: GroupKey, group: &mut Group, scene: &mut Scene<'_>) {
    // What flaps takes all connections of the group.
    if group.churn.is_some() || group.flapping.is_some() {
        return;
    }
    let thresholds = scene.thresholds;
    let mut rows = untold(group, scene.ended);
    rows.retain(|seq| {
        scene
            .ended
            .get(*seq)
            .is_some_and(|row| churn::matches(row, thresholds))
    });
    if !churn::is_churn(rows.len(), key.target, thresholds) {
        group.churn_since = None;
        return;
    }
    let parts = rows.iter().map(|seq| part(key, *seq, scene.ended));
    if must_wait(
        &mut group.churn_since,
        parts,
        scene.now,
        thresholds.churn_window,
    ) {
        return;
    }
    group.churn_since = None;
    group.churn = begin_episode(group, &rows, scene);
    for seq in &rows {
        absorb(group, *seq, scene.ended, thresholds);
    }
}

fn begin_episode(
    group: &mut Group,
    rows: &[Seq],
    scene: &mut Scene<'_>,
) -> Option<Box<ConnectionsEpisode>> {
    let row = scene.ended.get(*rows.first()?)?;
    let owner = row.owner?;
    let losses = scene.losses.by(row.start.unwrap_or(row.end), Family::Tcp);
    let id = scene.verdicts.next_id_of_group(&mut group.was_refused)?;
    Some(Box::new(ConnectionsEpisode::begin(id, losses, row, owner)))
}

fn begin_failing(
    key: GroupKey,
    group: &mut Group,
    failed: &mut History<FailedConnect>,
    scene: &mut Scene<'_>,
) {
    if group.failing.is_some() {
        return;
    }
    let thresholds = scene.thresholds;
    let is_untold = |seq: &Seq| {
        *seq >= group.failing_from && failed.get(*seq).is_some_and(|row| row.told_by.is_none())
    };
    let rows: Vec<_> = group.failed.iter().copied().filter(is_untold).collect();
    let times: Vec<_> = rows
        .iter()
        .filter_map(|seq| Some(failed.get(*seq)?.at))
        .collect();
    let Some(rows) =
        failing_connects::begins_at(&times, thresholds).and_then(|begin| rows.get(begin..))
    else {
        group.failing_since = None;
        return;
    };
    let parts = rows.iter().map(|seq| key.part(&failed.get(*seq)?.owner));
    if must_wait(
        &mut group.failing_since,
        parts,
        scene.now,
        thresholds.failing_window,
    ) {
        return;
    }
    group.failing_since = None;
    let Some(first) = rows.first().and_then(|seq| failed.get(*seq)) else {
        return;
    };
    let losses = scene.losses.by(first.start, Family::Tcp);
    let Some(id) = scene.verdicts.next_id_of_group(&mut group.was_refused) else {
        return;
    };
    let mut episode = Box::new(FailingEpisode::begin(id, losses, first));
    for seq in rows {
        if let Some(row) = failed.get_mut(*seq) {
            episode.add(row);
            row.told_by = Some(episode.tries.verdict);
        }
    }
    group.failing = Some(episode);
}
