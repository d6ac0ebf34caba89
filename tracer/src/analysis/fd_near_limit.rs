//! The detector of descriptor tables that are nearly full; never waits until a call fails.

use std::collections::BTreeMap;

use crate::model::Nanos;

use super::{
    content::Content,
    descriptors::Level,
    pattern::{PatternId, Patterns},
    report::{FdNearLimit, PeerCount},
    thresholds::Thresholds,
};

/// It is over when the table is so much emptier than where it began, in percent of the limit: a
/// table that goes up and down around the threshold is told once.
const HYSTERESIS_PERCENT: u64 = 10;

/// The number of descriptors now is told anew when it changed by so much, in percent of the limit.
const STEP_PERCENT: u64 = 5;

/// From how many descriptors on a table is nearly full; `None` where a limit has no such number.
pub(super) fn begins_at(limit: u64, thresholds: &Thresholds) -> Option<u64> {
    (limit > 0).then(|| share(limit, thresholds.fd_near_limit_percent.min(100)).max(1))
}

/// So many percent of a limit, rounded up.
fn share(limit: u64, percent: u64) -> u64 {
    let exact = (u128::from(limit) * u128::from(percent)).div_ceil(100);
    u64::try_from(exact).unwrap_or(u64::MAX)
}

/// A table that is nearly full.
#[derive(Clone, Debug)]
pub(super) struct NearLimit {
    pub(super) since: Nanos,
    pub(super) last: Nanos,
    peak_open: u64,
    fd_limit: u64,
    /// The number that is told as the current one.
    told_open: u64,
    /// Files held when it began, by pattern, until they are summarised.
    held: BTreeMap<PatternId, u64>,
    top_dirs: Option<Vec<(String, u64)>>,
    kinds: BTreeMap<&'static str, u64>,
    pub(super) top_peers: Option<Vec<PeerCount>>,
    pub(super) over: Option<Nanos>,
    /// Calls failed before it was told: then nothing is left to warn of.
    pub(super) is_told_by_exhaustion: bool,
    pub(super) losses_before: u64,
    pub(super) verdict: Option<u64>,
    /// When its process was last asked to be looked up.
    pub(super) asked: Option<Nanos>,
}

impl NearLimit {
    /// So many descriptors are open, for the first time.
    pub(super) fn begin(
        at: Nanos,
        open: u64,
        fd_limit: u64,
        held: BTreeMap<PatternId, u64>,
    ) -> Self {
        Self {
            since: at,
            last: at,
            peak_open: open,
            fd_limit,
            told_open: open,
            held,
            top_dirs: None,
            kinds: BTreeMap::new(),
            top_peers: None,
            over: None,
            is_told_by_exhaustion: false,
            losses_before: 0,
            verdict: None,
            asked: None,
        }
    }

    /// So many descriptors are open.
    pub(super) fn add(&mut self, at: Nanos, open: u64) {
        self.last = self.last.max(at);
        self.peak_open = self.peak_open.max(open);
    }

    /// Lets time pass. `open` and `limit` are the latest, `level` is when they held.
    pub(super) fn tick(
        &mut self,
        level: Level,
        open: Option<u64>,
        limit: Option<u64>,
        ended: Option<Nanos>,
        thresholds: &Thresholds,
    ) {
        let percent = thresholds.fd_near_limit_percent.min(100);
        let least = percent.saturating_sub(HYSTERESIS_PERCENT);
        let Some(limit) = limit.filter(|limit| *limit > 0) else {
            // It was lifted.
            self.over = Some(ended.unwrap_or(level.ts));
            return;
        };
        self.fd_limit = limit;
        let open = open.unwrap_or(0);
        self.peak_open = self.peak_open.max(open);
        let is_over = open < share(limit, least).max(1) || ended.is_some();
        if is_over {
            self.over = Some(ended.unwrap_or(level.ts).max(self.last));
        }
        let step = share(limit, STEP_PERCENT).max(1);
        if is_over || open.abs_diff(self.told_open) >= step {
            self.told_open = open;
        }
    }

    /// Puts what fills the table into few words, once.
    pub(super) fn settle(&mut self, patterns: &Patterns) {
        if self.top_dirs.is_none() {
            self.top_dirs = Some(patterns.summary(&self.held));
            self.held.clear();
        }
    }

    /// A look at /proc has told what fills the table, also what was there before anybody watched.
    pub(super) fn learn_table(&mut self, table: &Content) {
        if self.over.is_none() {
            self.kinds.clone_from(&table.kinds);
            self.top_dirs = Some(table.top_dirs.clone());
            self.held.clear();
        }
    }

    /// Every pattern that is still needed.
    pub(super) fn patterns(&self) -> impl Iterator<Item = PatternId> {
        self.held.keys().copied()
    }

    /// What is told of it.
    pub(super) fn describe(&self) -> FdNearLimit {
        FdNearLimit {
            fds_now: self.told_open,
            fds_peak: self.peak_open,
            fd_limit: self.fd_limit,
            room: self.fd_limit.saturating_sub(self.told_open),
            kinds: self.kinds.clone(),
            top_dirs: self.top_dirs.clone().unwrap_or_default(),
            top_peers: self.top_peers.clone().unwrap_or_default(),
        }
    }
}
