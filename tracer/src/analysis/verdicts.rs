//! The verdicts made so far: their numbers, and which change of them is worth an update; never
//! decides whether there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::model::{Comm, Nanos, Tid};

use super::{
    limits,
    process::ProcessKey,
    report::{Finding, Identity, StackCount, Verdict},
};

/// What is to be told of a verdict now.
pub(super) struct Telling {
    pub(super) process: ProcessKey,
    pub(super) first_seen: Nanos,
    pub(super) last_seen: Nanos,
    pub(super) ongoing: bool,
    pub(super) lossy: bool,
    pub(super) stacks: Option<Vec<StackCount>>,
    pub(super) finding: Finding,
}

/// Numbers that change whenever a verdict would be told differently but for
/// [`FdBurst::fds_now`](super::report::FdBurst::fds_now): most verdicts stay as they are for many
/// ticks, and to put one into words costs more than to see that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Basis {
    pub(super) who: Subject,
    pub(super) facts: [u64; 5],
    /// See [`Stacks::version`](super::stacks::Stacks::version).
    pub(super) stacks: u64,
    pub(super) ongoing: bool,
    pub(super) lossy: bool,
}

/// Whom a verdict names, as [`Basis`] has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subject {
    pub(super) process: ProcessKey,
    /// See [`Processes::identity_version`](super::process::Processes::identity_version).
    pub(super) version: u32,
    pub(super) tid: Tid,
    pub(super) thread: Comm,
    pub(super) processes: u64,
}

#[derive(Debug)]
struct Entry {
    /// As it is now.
    verdict: Verdict,
    /// What that was made of; `None` where that cannot be told.
    basis: Option<Basis>,
    /// As [`FdBurst::fds_now`](super::report::FdBurst::fds_now) was when the last update was
    /// counted. All else that changes is an update at once.
    told_fds_now: Option<u64>,
    /// When an update was last given out.
    given_at: Nanos,
    /// Whether an update waits for the pause between two to be over.
    is_held: bool,
    /// The process, to know later whether it has ended.
    process: ProcessKey,
    /// The round in which it was made: what changes before anybody can have taken it is no update.
    made_in: u64,
}

impl Entry {
    fn new(
        id: u64,
        basis: Option<Basis>,
        (now, round): (Nanos, u64),
        telling: Telling,
        who: Identity,
    ) -> Self {
        let process = telling.process;
        let verdict = telling.into_verdict(id, who);
        Self {
            made_in: round,
            told_fds_now: fds_now(&verdict.finding),
            verdict,
            basis,
            given_at: now,
            is_held: false,
            process,
        }
    }

    /// Tells it as it is now, of somebody else where `who` is given. Gives whether a reader of the
    /// last update would want to hear of that.
    fn change(&mut self, telling: Telling, who: Option<Identity>) -> bool {
        self.process = telling.process;
        let is_other = who.as_ref().is_some_and(|who| *who != self.verdict.who);
        let who = who.unwrap_or_else(|| std::mem::take(&mut self.verdict.who));
        let mut now = telling.into_verdict(self.verdict.id, who);
        now.update = self.verdict.update;
        now.caused_by.clone_from(&self.verdict.caused_by);
        now.led_to.clone_from(&self.verdict.led_to);
        let mut told = std::mem::replace(&mut self.verdict, now);
        if is_other || has_moved(&self.verdict.finding, self.told_fds_now) {
            return true;
        }
        set_fds_now(&mut told.finding, fds_now(&self.verdict.finding));
        let times = |verdict: &Verdict| (verdict.first_seen, verdict.last_seen);
        let state = |verdict: &Verdict| (verdict.ongoing, verdict.lossy);
        times(&told) != times(&self.verdict)
            || state(&told) != state(&self.verdict)
            || told.stacks != self.verdict.stacks
            || told.finding != self.verdict.finding
    }

    /// Whether an update may be given out by now; the last one is not held back.
    fn may_be_given(&self, clock: Clock) -> bool {
        let is_due = clock.now.since(self.given_at) >= clock.pause;
        self.is_held && (!self.verdict.ongoing || is_due)
    }

    fn give(&mut self, clock: Clock) {
        self.is_held = false;
        self.given_at = clock.now;
    }

    fn count_update(&mut self) {
        self.verdict.update += 1;
        self.told_fds_now = fds_now(&self.verdict.finding);
    }
}

impl Telling {
    fn into_verdict(self, id: u64, who: Identity) -> Verdict {
        Verdict {
            id,
            update: 0,
            who,
            caused_by: Vec::new(),
            led_to: Vec::new(),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            ongoing: self.ongoing,
            lossy: self.lossy,
            stacks: self.stacks,
            finding: self.finding,
        }
    }
}

/// When something is told, and the least time between two updates of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub(super) now: Nanos,
    pub(super) pause: Nanos,
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
    /// Counts the times that all verdicts are told.
    round: u64,
    evicted: u64,
    refused: u64,
}

impl Verdicts {
    /// All verdicts are about to be told.
    pub(super) fn begin_round(&mut self) {
        self.round += 1;
    }

    /// Links two verdicts of which the first led to the second, once.
    pub(super) fn link(&mut self, cause: u64, effect: u64, clock: Clock) {
        let is_known =
            |list: &[u64], id| list.contains(&id) || list.len() >= limits::LINKS_PER_VERDICT;
        if let Some(entry) = self.entries.get_mut(&cause)
            && !is_known(&entry.verdict.led_to, effect)
        {
            entry.verdict.led_to.push(effect);
            entry.verdict.led_to.sort_unstable();
            self.has_changed(cause, clock);
        }
        if let Some(entry) = self.entries.get_mut(&effect)
            && !is_known(&entry.verdict.caused_by, cause)
        {
            entry.verdict.caused_by.push(cause);
            entry.verdict.caused_by.sort_unstable();
            self.has_changed(effect, clock);
        }
    }

    /// A verdict is told differently from now on.
    fn has_changed(&mut self, id: u64, clock: Clock) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.made_in == self.round {
            return;
        }
        entry.count_update();
        entry.is_held = true;
        if entry.may_be_given(clock) {
            entry.give(clock);
            self.to_take.insert(id);
        }
    }

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

    /// Tells a verdict for the first time, or as it is now. `who` and `telling` are only asked
    /// where `basis` differs from the last one; `fds_now` is what the latter would tell of that.
    pub(super) fn tell(
        &mut self,
        id: u64,
        basis: Option<Basis>,
        fds_now: Option<u64>,
        clock: Clock,
        who: impl FnOnce() -> Identity,
        telling: impl FnOnce() -> Telling,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else {
            let entry = Entry::new(id, basis, (clock.now, self.round), telling(), who());
            let ongoing = entry.verdict.ongoing;
            self.entries.insert(id, entry);
            self.to_take.insert(id);
            if !ongoing {
                self.has_ended(id);
            }
            return;
        };
        let was_ongoing = entry.verdict.ongoing;
        let is_news = if basis.is_some() && entry.basis == basis {
            set_fds_now(&mut entry.verdict.finding, fds_now);
            has_moved(&entry.verdict.finding, entry.told_fds_now)
        } else {
            let same_who =
                basis.is_some_and(|basis| entry.basis.is_some_and(|known| known.who == basis.who));
            entry.basis = basis;
            entry.change(telling(), (!same_who).then(who))
        };
        let ongoing = entry.verdict.ongoing;
        if is_news {
            entry.count_update();
            entry.is_held = true;
        }
        if entry.may_be_given(clock) {
            entry.give(clock);
            self.to_take.insert(id);
        }
        if was_ongoing && !ongoing {
            self.has_ended(id);
        }
    }

    fn has_ended(&mut self, id: u64) {
        self.ended.push_back(id);
        if self.ended.len() > limits::ENDED_VERDICTS
            && let Some(oldest) = self.ended.pop_front()
        {
            self.entries.remove(&oldest);
            self.to_take.remove(&oldest);
            self.evicted += 1;
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
            if fds_now(&entry.verdict.finding) != entry.told_fds_now {
                entry.count_update();
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

/// Whether so many descriptors instead of those told would be news: the table of a busy process
/// changes all the time, so only a good part of the burst is.
fn has_moved(finding: &Finding, told: Option<u64>) -> bool {
    match (finding, told) {
        (Finding::FdBurst(burst), told) => match (told, burst.fds_now) {
            (Some(then), Some(now)) => then.abs_diff(now) >= (burst.opens / 4).max(1),
            (then, now) => then != now,
        },
        _ => false,
    }
}

/// Of a burst, the descriptors now.
fn fds_now(finding: &Finding) -> Option<u64> {
    match finding {
        Finding::FdBurst(burst) => burst.fds_now,
        _ => None,
    }
}

fn set_fds_now(finding: &mut Finding, now: Option<u64>) {
    if let Finding::FdBurst(burst) = finding {
        burst.fds_now = now;
    }
}
