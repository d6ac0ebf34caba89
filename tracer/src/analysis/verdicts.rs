//! The verdicts made so far: their numbers, and which change of them is worth an update; never
//! decides whether there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::Nanos;

use super::{
    limits,
    process::ProcessKey,
    report::{Finding, Identity, Verdict},
};

/// What is to be told of a verdict now.
pub(super) struct Telling {
    pub(super) process: ProcessKey,
    pub(super) who: Identity,
    pub(super) first_seen: Nanos,
    pub(super) last_seen: Nanos,
    pub(super) ongoing: bool,
    pub(super) lossy: bool,
    pub(super) finding: Finding,
}

#[derive(Debug)]
struct Entry {
    /// As it is now.
    verdict: Verdict,
    /// As it was when its last update was counted.
    told: Verdict,
    /// When an update was last given out.
    given_at: Nanos,
    /// Whether an update waits for the pause between two to be over.
    is_held: bool,
    /// The process, to know later whether it has ended.
    process: ProcessKey,
}

/// All verdicts by number.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    entries: BTreeMap<u64, Entry>,
    next: u64,
    to_take: BTreeSet<u64>,
    /// Ended ones in the order of their end.
    ended: VecDeque<u64>,
    /// Verdicts of groups that go on.
    ongoing: usize,
    evicted: u64,
    refused: u64,
}

impl Verdicts {
    /// The number of a verdict that is about to be made; the first is 1.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// As [`Self::next_id`] for a group of connections, of which any number may be conspicuous at
    /// once; `None` where too many are. What is refused is counted once.
    pub(super) fn next_id_of_group(&mut self, was_refused: &mut bool) -> Option<u64> {
        if self.ongoing < limits::ONGOING_VERDICTS {
            self.ongoing += 1;
            return Some(self.next_id());
        }
        if !std::mem::replace(was_refused, true) {
            self.refused += 1;
        }
        None
    }

    /// A verdict of a group is over, and told so.
    pub(super) fn group_is_over(&mut self) {
        self.ongoing = self.ongoing.saturating_sub(1);
    }

    /// Verdicts forgotten, or not made, for want of room.
    pub(super) fn missing(&self) -> u64 {
        self.evicted + self.refused
    }

    /// Tells a verdict for the first time, or as it is now.
    pub(super) fn tell(&mut self, id: u64, telling: Telling, now: Nanos, pause: Nanos) {
        let Telling {
            process,
            who,
            first_seen,
            last_seen,
            ongoing,
            lossy,
            finding,
        } = telling;
        let mut verdict = Verdict {
            id,
            update: 0,
            who,
            first_seen,
            last_seen,
            ongoing,
            lossy,
            finding,
        };
        let was_ongoing = match self.entries.get_mut(&id) {
            None => {
                self.entries.insert(
                    id,
                    Entry {
                        told: verdict.clone(),
                        verdict,
                        given_at: now,
                        is_held: false,
                        process,
                    },
                );
                self.to_take.insert(id);
                true
            }
            Some(entry) => {
                let was_ongoing = entry.verdict.ongoing;
                entry.process = process;
                verdict.update = entry.told.update;
                if is_news(&entry.told, &verdict) {
                    verdict.update += 1;
                    entry.told = verdict.clone();
                    entry.is_held = true;
                }
                entry.verdict = verdict;
                if entry.is_held && (!ongoing || now.since(entry.given_at) >= pause) {
                    entry.is_held = false;
                    entry.given_at = now;
                    self.to_take.insert(id);
                }
                was_ongoing
            }
        };
        if was_ongoing && !ongoing {
            self.ended.push_back(id);
            if self.ended.len() > limits::ENDED_VERDICTS
                && let Some(oldest) = self.ended.pop_front()
            {
                self.entries.remove(&oldest);
                self.to_take.remove(&oldest);
                self.evicted += 1;
            }
        }
    }

    /// The verdicts made or changed since they were last taken, by number.
    pub(super) fn take(&mut self) -> Vec<Verdict> {
        let ids = std::mem::take(&mut self.to_take);
        let verdict = |id| Some(self.entries.get(id)?.verdict.clone());
        ids.iter().filter_map(verdict).collect()
    }

    /// As [`Self::take`], with those whose update was held back, and those that differ at all from
    /// what was told of them: nobody will tell it later.
    pub(super) fn take_all(&mut self) -> Vec<Verdict> {
        for (id, entry) in &mut self.entries {
            if entry.verdict != entry.told {
                entry.verdict.update += 1;
                entry.told = entry.verdict.clone();
                entry.is_held = true;
            }
            if std::mem::take(&mut entry.is_held) {
                self.to_take.insert(*id);
            }
        }
        self.take()
    }

    /// All verdicts, with the process that each is about: what goes on first, the latest activity
    /// first.
    pub(super) fn all(&self) -> Vec<(ProcessKey, Verdict)> {
        let mut all: Vec<_> = self
            .entries
            .values()
            .map(|entry| (entry.process, entry.verdict.clone()))
            .collect();
        all.sort_by_key(|(_, verdict)| {
            (
                !verdict.ongoing,
                std::cmp::Reverse(verdict.last_seen),
                verdict.id,
            )
        });
        all
    }

    /// The number of each verdict and the process that it is about.
    pub(super) fn processes(&self) -> impl Iterator<Item = (u64, ProcessKey)> {
        self.entries.iter().map(|(id, entry)| (*id, entry.process))
    }

    /// How many verdicts are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Whether a reader of the last update would want to hear of it.
fn is_news(told: &Verdict, now: &Verdict) -> bool {
    if told == now {
        return false;
    }
    // The table of a busy process changes all the time: only a good part of the burst is news.
    let (Finding::FdBurst(then), Finding::FdBurst(burst)) = (&told.finding, &now.finding) else {
        return true;
    };
    let has_moved = match (then.fds_now, burst.fds_now) {
        (Some(then), Some(now)) => then.abs_diff(now) >= (burst.opens / 4).max(1),
        (then, now) => then != now,
    };
    if has_moved {
        return true;
    }
    let mut same_table = burst.clone();
    same_table.fds_now = then.fds_now;
    let same_table = Verdict {
        finding: Finding::FdBurst(same_table),
        ..now.clone()
    };
    *told != same_table
}
