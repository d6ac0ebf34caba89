//! Small bounded statistics that verdicts are made of; never knows what is measured.

use std::{collections::VecDeque, net::IpAddr};

use crate::model::Nanos;

use super::{limits, report::Spread};

/// The last spans of something, and the shortest and longest of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    recent: VecDeque<Nanos>,
    min: Nanos,
    max: Nanos,
}

impl Samples {
    /// Adds one span. Nothing is put in order here: percentiles are wanted once a tick, however many spans
    /// come between two.
    pub(super) fn add(&mut self, span: Nanos) {
        if self.recent.is_empty() {
            self.min = span;
        }
        self.min = self.min.min(span);
        self.max = self.max.max(span);
        if self.recent.len() >= limits::SPREAD_SAMPLES {
            self.recent.pop_front();
        }
        self.recent.push_back(span);
    }

    /// The distribution; `None` where nothing was added.
    pub(super) fn spread(&self) -> Option<Spread> {
        let mut spans: Vec<Nanos> = self.recent.iter().copied().collect();
        let p99 = nearest_rank(&mut spans, 99)?;
        let p50 = nearest_rank(&mut spans, 50)?;
        Some(Spread {
            p50,
            p99,
            min: self.min,
            max: self.max,
        })
    }

    /// The median; zero where nothing was added.
    pub(super) fn median(&self) -> Nanos {
        let mut spans: Vec<Nanos> = self.recent.iter().copied().collect();
        nearest_rank(&mut spans, 50).unwrap_or_default()
    }
}

/// The smallest span that at least `percent` of all do not exceed.
fn nearest_rank(spans: &mut [Nanos], percent: usize) -> Option<Nanos> {
    let rank = (spans.len() * percent).div_ceil(100);
    let place = rank.checked_sub(1)?;
    let (_, span, _) = spans.select_nth_unstable(place);
    Some(*span)
}

/// Addresses with how often each was met, the first ones by name and all others together.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    counts: Vec<(IpAddr, u64)>,
}

impl Peers {
    /// Counts one meeting.
    pub(super) fn add(&mut self, addr: IpAddr) {
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == addr) {
            *count += 1;
        } else if self.counts.len() < limits::PEERS_PER_GROUP {
            self.counts.push((addr, 1));
        } else if let Some((_, others)) = self.counts.last_mut() {
            *others += 1;
        }
    }

    /// The most frequent first; where the list is full, its last one stands for all others too.
    pub(super) fn most_frequent_first(&self) -> Vec<(IpAddr, u64)> {
        let mut counts = self.counts.clone();
        let named = counts.len().min(limits::PEERS_PER_GROUP - 1);
        if let Some(named) = counts.get_mut(..named) {
            named.sort_by_key(|(addr, count)| (std::cmp::Reverse(*count), *addr));
        }
        if counts.len() < limits::PEERS_PER_GROUP {
            counts.sort_by_key(|(addr, count)| (std::cmp::Reverse(*count), *addr));
        }
        counts
    }
}

/// Events a minute when `count` of them lie `span` apart from the first to the last; 0 for one.
pub(super) fn rate_per_min(count: u64, span: Nanos) -> f64 {
    // Events of the same instant would be infinitely frequent: a millisecond is as near as we look.
    let span_min = span.max(Nanos::from_millis(1)).as_secs_f64() / 60.0;
    count.saturating_sub(1) as f64 / span_min
}

/// A span of so many minutes; the longest that there is where they are more.
pub(super) fn minutes_long(minutes: f64) -> Nanos {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and the longest span where it is too long"
    )]
    Nanos((minutes * 60e9) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut samples = Samples::default();
        assert_eq!(samples.spread(), None);
        for millis in 1..=100 {
            samples.add(Nanos::from_millis(millis));
        }
        assert_eq!(
            samples.spread(),
            Some(Spread {
                p50: Nanos::from_millis(50),
                p99: Nanos::from_millis(99),
                min: Nanos::from_millis(1),
                max: Nanos::from_millis(100),
            })
        );
    }

    #[test]
    fn old_samples_give_way_but_the_extremes_stay() {
        let mut samples = Samples::default();
        samples.add(Nanos(1));
        samples.add(Nanos(1_000));
        for _ in 0..limits::SPREAD_SAMPLES {
            samples.add(Nanos(7));
        }
        let spread = samples.spread().unwrap();
        assert_eq!((spread.p50, spread.p99), (Nanos(7), Nanos(7)));
        assert_eq!((spread.min, spread.max), (Nanos(1), Nanos(1_000)));
    }

    #[test]
    fn percentiles_are_those_of_the_last_samples() {
        let mut samples = Samples::default();
        let all: Vec<_> = (0..3 * limits::SPREAD_SAMPLES as u64)
            .map(|n| Nanos(n * 7_919 % 1_009))
            .collect();
        for span in &all {
            samples.add(*span);
        }
        let mut last = all[2 * limits::SPREAD_SAMPLES..].to_vec();
        last.sort_unstable();
        let spread = samples.spread().unwrap();
        assert_eq!((spread.p50, spread.p99), (last[511], last[1_013]));
        assert_eq!(samples.median(), last[511]);
    }

    #[test]
    fn peers_beyond_the_list_are_counted_in_its_last() {
        let addr = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut peers = Peers::default();
        for last in 1..=10 {
            peers.add(addr(last));
        }
        peers.add(addr(3));
        let counts = peers.most_frequent_first();
        assert_eq!(counts.len(), 8);
        assert_eq!(counts.first(), Some(&(addr(3), 2)));
        assert_eq!(counts.last(), Some(&(addr(8), 3)));
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 11);
    }

    #[test]
    fn a_rate_counts_the_intervals() {
        assert!((rate_per_min(5, Nanos::from_secs(8)) - 30.0).abs() < 1e-9);
        assert!(rate_per_min(1, Nanos(0)).abs() < 1e-9);
    }
}
