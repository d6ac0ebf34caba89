//! What was lost up to which moment, so that a verdict can say whether it misses anything; never
//! counts what was filtered or only counted on purpose.

use std::collections::VecDeque;

use tracer_common::{EventKind, EventStats};

use crate::model::{Losses, Nanos};

use super::limits;

/// Which events a verdict is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// Those of connections.
    Tcp,
    /// Those of descriptors.
    Fd,
}

#[derive(Clone, Copy, Debug)]
struct Lost {
    at: Nanos,
    tcp: u64,
    fd: u64,
}

impl Lost {
    fn of(self, family: Family) -> u64 {
        match family {
            Family::Tcp => self.tcp,
            Family::Fd => self.fd,
        }
    }
}

/// The latest loss counters and how they came about.
#[derive(Debug, Default)]
pub(super) struct LossHistory {
    latest: Losses,
    changes: VecDeque<Lost>,
}

impl LossHistory {
    /// The latest counters.
    pub(super) fn latest(&self) -> &Losses {
        &self.latest
    }

    /// Takes in the counters as they stand at a moment.
    pub(super) fn learn(&mut self, at: Nanos, losses: &Losses) {
        self.latest.clone_from(losses);
        // Nobody knows how many events a time without hooks had: it counts as one for each millisecond.
        let of_no_kind = losses
            .undecodable
            .saturating_add(losses.kernel_skipped)
            .saturating_add(losses.hooks_off_ms);
        let lost = |kinds: &[EventKind]| {
            kinds
                .iter()
                .map(|kind| lost(losses.of(*kind)))
                .fold(of_no_kind, u64::saturating_add)
        };
        let now = Lost {
            at,
            tcp: lost(&[
                EventKind::TcpConnect,
                EventKind::TcpConnectFailed,
                EventKind::TcpAccept,
                EventKind::TcpState,
                EventKind::TcpTimeWait,
                EventKind::TcpClose,
            ]),
            fd: lost(&[
                EventKind::FdInstall,
                EventKind::FdExhausted,
                EventKind::FdClose,
            ]),
        };
        let has_changed = self
            .changes
            .back()
            .is_none_or(|last| (last.tcp, last.fd) != (now.tcp, now.fd));
        if has_changed {
            if self.changes.len() >= limits::LOSS_CHANGES {
                self.changes.pop_front();
            }
            self.changes.push_back(now);
        }
    }

    /// How much was lost in all by a moment: what was known then, or at the earliest that is still
    /// remembered.
    pub(super) fn by(&self, at: Nanos, family: Family) -> u64 {
        let known = self.changes.iter().rev().find(|change| change.at <= at);
        match (known, self.changes.len()) {
            (Some(change), _) => change.of(family),
            (None, limits::LOSS_CHANGES) => {
                self.changes.front().map_or(0, |oldest| oldest.of(family))
            }
            (None, _) => 0,
        }
    }

    /// How much was lost in all by now.
    pub(super) fn by_now(&self, family: Family) -> u64 {
        self.changes.back().map_or(0, |latest| latest.of(family))
    }
}

/// [`EventStats::lost`] without the overflow that counters from a damaged file could cause.
fn lost(stats: &EventStats) -> u64 {
    stats
        .ring_full
        .saturating_add(stats.map_full)
        .saturating_add(stats.read_failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_by_when_they_were_known() {
        let mut history = LossHistory::default();
        assert_eq!(history.by_now(Family::Tcp), 0);
        let mut losses = Losses::default();
        losses.by_kind[EventKind::TcpState as usize].ring_full = 3;
        history.learn(Nanos(10), &losses);
        losses.by_kind[EventKind::FdInstall as usize].map_full = 2;
        losses.by_kind[EventKind::FdInstall as usize].counted_only = 7;
        history.learn(Nanos(20), &losses);
        assert_eq!(history.by(Nanos(9), Family::Tcp), 0);
        assert_eq!(history.by(Nanos(10), Family::Tcp), 3);
        assert_eq!(history.by(Nanos(15), Family::Fd), 0);
        assert_eq!(history.by(Nanos(25), Family::Fd), 2);
        assert_eq!(history.by_now(Family::Tcp), 3);
    }
}
