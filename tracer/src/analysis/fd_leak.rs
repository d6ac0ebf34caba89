//! The detector of descriptors that become more and more: steady growth over a long stretch; never a
//! burst, nor what fills once and stays.
//!
//! What matters is the least that was open in each of some intervals: what is opened for a while
//! only does not raise it.

use std::collections::VecDeque;

use crate::model::Nanos;

use super::{
    descriptors::Level,
    report::{FdLeak, PeerCount},
    stats::minutes_long,
    thresholds::Thresholds,
};

/// Intervals that the window is divided into.
const INTERVALS: usize = 15;

/// In so many of them, in percent, there must be more than in the one before.
const RISING_PERCENT: usize = 80;

/// No single one may bring more than this part of all growth: what fills at once, or by a few steps, is
/// a pool, a cache or a burst.
const STEP_PART: i64 = 4;

/// The last third must still bring this part of it, of which a third would be steady: what fills ever
/// more slowly is a cache or a warm-up.
const LAST_THIRD_PART: i64 = 5;

/// What falls back by more than this part of it was closed after all.
const FALL_PART: i64 = 10;

/// The minima of the last intervals, of one process.
#[derive(Debug, Default)]
pub(super) struct Growth {
    /// When the current interval ends; zero before the first level is known.
    interval_end: Nanos,
    interval_min: i64,
    /// Of the intervals that are over, the oldest first.
    minima: VecDeque<i64>,
    pub(super) leak: Option<Box<Leak>>,
}

/// Descriptors that become more and more.
#[derive(Clone, Debug)]
pub(super) struct Leak {
    pub(super) since: Nanos,
    /// The end of the last interval in which they became more.
    pub(super) last: Nanos,
    first_min: i64,
    last_min: i64,
    rate_per_min: f64,
    /// When the last interval was over, at which the rate was found.
    pub(super) measured: Nanos,
    /// Whether an interval was over since it was told last.
    pub(super) is_news: bool,
    pub(super) top_dirs: Vec<(String, u64)>,
    pub(super) top_peers: Vec<PeerCount>,
    told_open: Option<u64>,
    fd_limit: Option<u64>,
    pub(super) over: Option<Nanos>,
    pub(super) losses_before: u64,
    pub(super) verdict: Option<u64>,
}

impl Growth {
    /// So many descriptors are open, net, after `before` were.
    pub(super) fn note(&mut self, level: Level, before: i64, thresholds: &Thresholds) {
        if level.ts >= self.interval_end {
            self.roll(level.ts, before, thresholds);
        }
        self.interval_min = self.interval_min.min(level.fds_net);
    }

    /// Ends the intervals that are over by `now`; `held` are open since the last level.
    pub(super) fn roll(&mut self, now: Nanos, held: i64, thresholds: &Thresholds) {
        let interval = Nanos((thresholds.leak_window.0 / INTERVALS as u64).max(1));
        if now < self.interval_end {
            return;
        }
        if self.interval_end == Nanos(0) {
            self.interval_end = now + interval;
            self.interval_min = held;
            return;
        }
        // Where nothing changed for long, the last of the intervals say all.
        let over = now.since(self.interval_end).0 / interval.0 + 1;
        for _ in 0..over.min(INTERVALS as u64 + 2) {
            if self.minima.len() > INTERVALS {
                self.minima.pop_front();
            }
            self.minima.push_back(self.interval_min);
            self.interval_min = held;
        }
        let end = Nanos(interval.0.saturating_mul(over - 1)) + self.interval_end;
        self.interval_end = end + interval;
        self.conclude(end, thresholds);
    }

    fn conclude(&mut self, end: Nanos, thresholds: &Thresholds) {
        let (Some(first), Some(last)) = (self.minima.front(), self.minima.back()) else {
            return;
        };
        let spans = self.minima.len().saturating_sub(1);
        let third = self.minima.len().checked_sub(1 + INTERVALS / 3);
        let third = third.and_then(|index| self.minima.get(index));
        let window = thresholds.leak_window.as_secs_f64() * spans as f64 / INTERVALS as f64;
        let rate_per_min = last.saturating_sub(*first) as f64 * 60.0 / window;
        if let Some(leak) = &mut self.leak {
            leak.is_news = true;
            leak.measured = end;
            if *last > leak.last_min {
                leak.last = end;
            }
            leak.last_min = *last;
            if third.is_some_and(|third| last <= third) {
                leak.over = Some(end);
            } else {
                leak.rate_per_min = rate_per_min;
            }
            return;
        }
        if is_leak(&self.minima, thresholds) {
            self.leak = Some(Box::new(Leak {
                since: Nanos(end.0.saturating_sub(thresholds.leak_window.0)),
                last: end,
                first_min: *first,
                last_min: *last,
                rate_per_min,
                measured: end,
                is_news: true,
                top_dirs: Vec::new(),
                top_peers: Vec::new(),
                told_open: None,
                fd_limit: None,
                over: None,
                losses_before: 0,
                verdict: None,
            }));
        }
    }
}

/// Whether the least of each interval tells of steady growth.
fn is_leak(minima: &VecDeque<i64>, thresholds: &Thresholds) -> bool {
    let (Some(first), Some(last)) = (minima.front(), minima.back()) else {
        return false;
    };
    let growth = last.saturating_sub(*first);
    let is_enough = u64::try_from(growth).is_ok_and(|growth| growth >= thresholds.leak_fds);
    if minima.len() <= INTERVALS || !is_enough {
        return false;
    }
    let pairs = || minima.iter().zip(minima.iter().skip(1));
    let steps = || pairs().map(|(before, after)| after.saturating_sub(*before));
    let rising = steps().filter(|step| *step > 0).count();
    let largest = steps().max().unwrap_or(0);
    let deepest = steps().min().unwrap_or(0);
    let last_third = steps()
        .skip(INTERVALS - INTERVALS / 3)
        .fold(0, i64::saturating_add);
    rising * 100 >= INTERVALS * RISING_PERCENT
        && largest <= growth / STEP_PART
        && deepest >= -(growth / FALL_PART)
        && last_third >= growth / LAST_THIRD_PART
}

impl Leak {
    /// Takes in how many descriptors are open now, and how many there may be.
    pub(super) fn learn(&mut self, open: Option<u64>, fd_limit: Option<u64>) {
        self.told_open = open;
        self.fd_limit = fd_limit;
        self.is_news = false;
    }

    /// What is told of it.
    pub(super) fn describe(&self) -> FdLeak {
        let left = self.fd_limit.zip(self.told_open);
        let left = left.map(|(limit, open)| limit.saturating_sub(open));
        let minutes = left
            .filter(|_| self.rate_per_min > 0.0 && self.over.is_none())
            .map(|left| left as f64 / self.rate_per_min);
        let grown = self.last_min.saturating_sub(self.first_min);
        FdLeak {
            rate_per_min: self.rate_per_min,
            grown: u64::try_from(grown).unwrap_or(0),
            fds_now: self.told_open,
            fd_limit: self.fd_limit,
            top_dirs: self.top_dirs.clone(),
            top_peers: self.top_peers.clone(),
            eta: minutes.map(|minutes| self.measured + minutes_long(minutes)),
        }
    }
}
