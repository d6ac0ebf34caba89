//! What one process did over time, as it is recorded; never chooses which processes are.

use tracer_common::{FdSource, ProcessCounters};

use crate::model::{FdAction, FdEvent};

use super::super::{limits, pattern::PatternId};
use super::sparse::{Counts, Level};

/// Files opened that share a pattern.
#[derive(Clone, Debug)]
struct OpensOfPattern {
    pattern: PatternId,
    counts: Counts,
}

/// What one process did over time, or several together.
#[derive(Clone, Debug, Default)]
pub(super) struct Track {
    /// How much it did, to find out who is busy.
    pub(super) activity: u64,
    /// Descriptors got less descriptors closed; not kept for several processes.
    pub(super) fds_net: Level,
    patterns: Vec<OpensOfPattern>,
    /// Opens whose path is known and whose pattern gave way to a more frequent one.
    pub(super) elsewhere: Counts,
    /// Opens whose path is not known.
    pub(super) unknown: Counts,
    pub(super) refused: Counts,
    pub(super) opened: Counts,
    pub(super) closed: Counts,
    failed: Vec<(i32, Counts)>,
    /// Failures with further errors.
    pub(super) failed_otherwise: Counts,
    pub(super) time_wait: Level,
    /// The bucket that it ended in.
    pub(super) ended: Option<u32>,
    /// Opens so far, by the running total; `None` where nobody knows how many were told already.
    opens: Option<u64>,
    /// Descriptors refused so far.
    refusals: u64,
}

impl Track {
    /// A process of which nothing was told yet, so that all that its totals count is news.
    pub(super) fn from_zero() -> Self {
        Self {
            opens: Some(0),
            ..Self::default()
        }
    }

    /// Takes in a descriptor's event with the pattern of its path.
    pub(super) fn descriptor(&mut self, bucket: u32, fd: &FdEvent, pattern: Option<PatternId>) {
        self.activity += 1;
        if fd.action == FdAction::Exhausted {
            self.refusals += 1;
            self.refused.add(bucket, 1);
        }
        let is_open = fd.action == FdAction::Installed && fd.source == FdSource::Open;
        // Counters, or another CPU's record, may have been faster: then it is counted, without its
        // path.
        let before = fd.opens.saturating_sub(u64::from(is_open));
        let so_far = self.opens.unwrap_or(before);
        let more = fd.opens.saturating_sub(so_far);
        let own = more.min(u64::from(is_open));
        match pattern.filter(|_| own > 0) {
            Some(pattern) => {
                self.counts_of_pattern(pattern).add(bucket, 1);
            }
            None => self.unknown.add(bucket, own),
        }
        self.unknown.add(bucket, more - own);
        if fd.opens >= so_far {
            self.opens = Some(fd.opens);
            self.fds_net.set(bucket, fd.fds_net);
        }
    }

    /// Takes in the exact totals.
    pub(super) fn counters(&mut self, bucket: u32, counters: &ProcessCounters) {
        let opens = counters.fds_got[FdSource::Open as usize];
        let refusals = counters.all_refused();
        let (opens_so_far, refusals_so_far) = match self.opens {
            Some(so_far) => (so_far, self.refusals),
            None => (opens, refusals),
        };
        let Some(more_opens) = opens.checked_sub(opens_so_far) else {
            // Read before events that have already been told.
            return;
        };
        let more_refusals = refusals.saturating_sub(refusals_so_far);
        self.activity = self.activity.saturating_add(more_opens);
        self.unknown.add(bucket, more_opens);
        self.refused.add(bucket, more_refusals);
        self.opens = Some(opens);
        self.refusals = self.refusals.max(refusals);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let got = signed(counters.all_got());
        let closed = signed(counters.all_closed());
        self.fds_net.set(bucket, got - closed);
    }

    /// A connect failed.
    pub(super) fn connect_failed(&mut self, bucket: u32, errno: i32) {
        self.activity += 1;
        self.counts_of_errno(errno).add(bucket, 1);
    }

    fn counts_of_errno(&mut self, errno: i32) -> &mut Counts {
        let at = match self.failed.iter().position(|(known, _)| *known == errno) {
            Some(at) => at,
            None if self.failed.len() >= limits::ERRNOS_PER_GROUP => usize::MAX,
            None => {
                self.failed.push((errno, Counts::default()));
                self.failed.len() - 1
            }
        };
        match self.failed.get_mut(at) {
            Some((_, counts)) => counts,
            None => &mut self.failed_otherwise,
        }
    }

    /// The counts of a pattern. Where there is no room for one more, the least frequent gives way,
    /// of those the one that was opened longest ago.
    fn counts_of_pattern(&mut self, pattern: PatternId) -> &mut Counts {
        let known = self.patterns.iter().position(|row| row.pattern == pattern);
        let at = known.unwrap_or_else(|| self.begin_pattern(pattern));
        &mut self.patterns[at].counts
    }

    fn begin_pattern(&mut self, pattern: PatternId) -> usize {
        if self.patterns.len() >= limits::SERIES_PATTERNS {
            let rank = |row: &OpensOfPattern| {
                let last = row.counts.points.last().map_or(0, |point| point.bucket);
                (row.counts.total, last)
            };
            let least = (0..self.patterns.len()).min_by_key(|at| self.patterns.get(*at).map(rank));
            if let Some(least) = least {
                let gone = self.patterns.swap_remove(least);
                self.elsewhere.absorb(&gone.counts);
            }
        }
        self.patterns.push(OpensOfPattern {
            pattern,
            counts: Counts::default(),
        });
        self.patterns.len() - 1
    }

    /// Patterns that are counted by themselves.
    pub(super) fn patterns(&self) -> impl Iterator<Item = (PatternId, &Counts)> {
        self.patterns.iter().map(|row| (row.pattern, &row.counts))
    }

    /// Failures by errno.
    pub(super) fn failed(&self) -> impl Iterator<Item = (i32, &Counts)> {
        self.failed.iter().map(|(errno, counts)| (*errno, counts))
    }

    /// Adds what another process did. Descriptors are not added up: each table has its own limit.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.activity = self.activity.saturating_add(other.activity);
        for (pattern, counts) in other.patterns() {
            self.counts_of_pattern(pattern).absorb(counts);
        }
        for (errno, counts) in other.failed() {
            self.counts_of_errno(errno).absorb(counts);
        }
        self.elsewhere.absorb(&other.elsewhere);
        self.unknown.absorb(&other.unknown);
        self.refused.absorb(&other.refused);
        self.opened.absorb(&other.opened);
        self.closed.absorb(&other.closed);
        self.failed_otherwise.absorb(&other.failed_otherwise);
        self.time_wait.absorb(&other.time_wait);
    }

    /// Makes each two buckets one.
    pub(super) fn halve(&mut self) {
        self.fds_net.halve();
        self.time_wait.halve();
        for row in &mut self.patterns {
            row.counts.halve();
        }
        for (_, counts) in &mut self.failed {
            counts.halve();
        }
        for counts in [
            &mut self.elsewhere,
            &mut self.unknown,
            &mut self.refused,
            &mut self.opened,
            &mut self.closed,
            &mut self.failed_otherwise,
        ] {
            counts.halve();
        }
        self.ended = self.ended.map(|bucket| bucket / 2);
    }

    /// How many points it takes.
    pub(super) fn points(&self) -> usize {
        let of_pattern = self.patterns.iter().map(|row| row.counts.points.len());
        let of_errno = self.failed.iter().map(|(_, counts)| counts.points.len());
        let others = [
            &self.elsewhere,
            &self.unknown,
            &self.refused,
            &self.opened,
            &self.closed,
            &self.failed_otherwise,
        ];
        let of_others = others.iter().map(|counts| counts.points.len());
        let sum: usize = of_pattern.chain(of_errno).chain(of_others).sum();
        sum + self.fds_net.points.len() + self.time_wait.points.len()
    }
}
