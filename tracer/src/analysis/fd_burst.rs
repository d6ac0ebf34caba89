//! The detector of descriptor bursts: many files opened, and kept open, at once; never counts
//! sockets or pipes, nor files that are closed as fast as they are opened.

use crate::model::{Comm, Tid};

use super::{
    burst::Burst, descriptors::Descriptors, pattern::Patterns, report::FdBurst,
    thresholds::Thresholds,
};

/// A thread that made this part of a burst's opens, in percent, is told as the one who did it.
const SOLE_THREAD_PERCENT: u64 = 80;

/// Whether so many files more within the window are a burst.
pub(super) fn is_burst(files_kept: i64, soft_limit: Option<u64>, thresholds: &Thresholds) -> bool {
    let Ok(kept) = u64::try_from(files_kept) else {
        return false;
    };
    let is_large_part = soft_limit.is_some_and(|limit| {
        kept.saturating_mul(100) >= limit.saturating_mul(thresholds.burst_limit_percent)
    });
    kept >= thresholds.burst_files || (kept >= thresholds.burst_files_of_limit && is_large_part)
}

/// Puts a burst that is over into few words, for good, and lets go of what they were made of.
pub(super) fn settle(burst: &mut Burst, patterns: &Patterns) {
    if !burst.ongoing && burst.summary.is_none() {
        burst.summary = Some(patterns.summary(&burst.patterns));
        burst.patterns.clear();
    }
}

/// The patterns of what was opened, the most frequent first.
pub(super) fn patterns(burst: &Burst, patterns: &Patterns) -> Vec<(String, u64)> {
    match &burst.summary {
        Some(summary) => summary.clone(),
        None => patterns.summary(&burst.patterns),
    }
}

/// What is told of a burst.
pub(super) fn describe(burst: &Burst, descriptors: &Descriptors, patterns: &Patterns) -> FdBurst {
    let opens = burst.opens();
    FdBurst {
        opens,
        window: burst.last.ts.since(burst.before.ts),
        top_dirs: self::patterns(burst, patterns),
        paths_missing: opens.saturating_sub(burst.with_path),
        fds_before: descriptors.open_at(burst.before.fds_net),
        fds_peak: descriptors.open_at(burst.peak_fds_net),
        fds_now: descriptors.open_now(),
        fd_limit: descriptors.soft_limit(),
    }
}

/// The thread that made a burst, where one made most of it.
pub(super) fn sole_thread(burst: &Burst) -> Option<(Tid, Comm)> {
    let opens: u64 = burst.threads.iter().map(|(.., count)| count).sum();
    let (tid, name, count) = burst.threads.iter().max_by_key(|(.., count)| *count)?;
    (count.saturating_mul(100) >= opens.saturating_mul(SOLE_THREAD_PERCENT))
        .then_some((*tid, *name))
}
