//! What adds up while a group's verdict goes on; never decides when that begins or ends.

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::Role;

use crate::model::{Endpoint, Nanos};

use super::{
    connection::{Owner, Side},
    connections::FailedConnect,
    ended::EndedConnection,
    limits,
    process::ProcessKey,
    report::{Closer, Connections, FailingConnects},
    stacks::StackCounts,
    stats::{Peers, Samples, rate_per_min},
};

/// What all tries have, whether they came about or not.
#[derive(Clone, Debug)]
pub(super) struct Tries {
    pub(super) verdict: u64,
    pub(super) first_seen: Nanos,
    pub(super) last_seen: Nanos,
    /// The losses before the first.
    pub(super) losses_before: u64,
    /// Whether it is over, and only has to be told so.
    pub(super) is_over: bool,
    /// Who tried last.
    pub(super) owner: Owner,
    last_start: Option<Nanos>,
    count: u64,
    periods: Samples,
    peers: Peers,
    local: Endpoint,
    remote: Endpoint,
    children: Children,
    /// The stacks that they were begun with.
    pub(super) stacks: StackCounts,
}

impl Tries {
    fn begin(
        verdict: u64,
        losses_before: u64,
        first_seen: Nanos,
        owner: Owner,
        local: Endpoint,
        remote: Endpoint,
    ) -> Self {
        Self {
            verdict,
            first_seen,
            last_seen: first_seen,
            losses_before,
            is_over: false,
            owner,
            last_start: None,
            count: 0,
            periods: Samples::default(),
            peers: Peers::default(),
            local,
            remote,
            children: Children::default(),
            stacks: StackCounts::default(),
        }
    }

    fn add(&mut self, start: Nanos, end: Nanos, owner: Owner, local: Endpoint, remote: Endpoint) {
        if let Some(last) = self.last_start {
            self.periods.add(start.since(last));
        }
        self.last_start = self.last_start.max(Some(start));
        self.first_seen = self.first_seen.min(start);
        self.last_seen = self.last_seen.max(end);
        self.count += 1;
        self.peers.add(remote.addr);
        self.children.add(owner.process);
        self.stacks.add(owner.stack);
        self.owner = owner;
        self.local = local;
        self.remote = remote;
    }

    /// How many processes tried.
    pub(super) fn processes(&self) -> u64 {
        self.children.count
    }

    /// Whether it is over after such a silence: one of so many periods, but not less than `least`.
    pub(super) fn is_over_after(&self, silence: Nanos, least: Nanos, periods: u64) -> bool {
        silence > least && silence.0 > self.periods.median().0.saturating_mul(periods)
    }

    fn rate_per_min(&self) -> f64 {
        let span = self.last_start.unwrap_or_default().since(self.first_seen);
        rate_per_min(self.count, span)
    }
}

/// The different processes of a group.
#[derive(Clone, Debug, Default)]
struct Children {
    known: BTreeSet<ProcessKey>,
    count: u64,
}

impl Children {
    fn add(&mut self, process: ProcessKey) {
        // Beyond the bound the newest are kept: keys are ordered by first sight, so a process older
        // than all that are kept is one that was met before.
        let is_full = self.known.len() >= limits::CHILDREN_PER_GROUP;
        let was_met = is_full && self.known.first().is_some_and(|oldest| process < *oldest);
        if !was_met && self.known.insert(process) {
            self.count += 1;
            if is_full {
                self.known.pop_first();
            }
        }
    }
}

/// Connections that ended, told as flapping or churn.
#[derive(Clone, Debug)]
pub(super) struct ConnectionsEpisode {
    pub(super) tries: Tries,
    /// The end of the last connection of the kind that it is about.
    pub(super) last_match: Nanos,
    role: Role,
    lifetimes: Samples,
    tx_bytes: u64,
    rx_bytes: u64,
    closed_by_local: u64,
    closed_by_remote: u64,
    /// Who closed the last connection, as [`Connections::closer`] tells.
    closer: Option<Closer>,
    /// Failed connects of the same group.
    pub(super) failed: u64,
}

impl ConnectionsEpisode {
    /// An episode whose first connection is `row`, which has yet to be added.
    pub(super) fn begin(
        verdict: u64,
        losses_before: u64,
        row: &EndedConnection,
        owner: Owner,
    ) -> Self {
        let first_seen = row.start.unwrap_or(row.end);
        Self {
            tries: Tries::begin(
                verdict,
                losses_before,
                first_seen,
                owner,
                row.local,
                row.remote,
            ),
            last_match: row.end,
            role: row.role,
            lifetimes: Samples::default(),
            tx_bytes: 0,
            rx_bytes: 0,
            closed_by_local: 0,
            closed_by_remote: 0,
            closer: None,
            failed: 0,
        }
    }

    /// Counts one connection; `matches` if it is of the kind that the episode is about.
    pub(super) fn add(&mut self, row: &EndedConnection, owner: Owner, matches: bool) {
        let start = row.start.unwrap_or(row.end);
        self.tries.add(start, row.end, owner, row.local, row.remote);
        self.lifetimes.add(row.end.since(start));
        self.add_bytes(row.tx_bytes, row.rx_bytes);
        match row.closed_by {
            Side::Local => self.closed_by_local += 1,
            Side::Remote => self.closed_by_remote += 1,
        }
        if row.closer.is_some() {
            self.closer = row.closer.as_deref().copied();
        }
        if matches {
            self.last_match = self.last_match.max(row.end);
        }
    }

    /// Counts what a connection that was added turned out to have carried besides.
    pub(super) fn add_bytes(&mut self, tx: u64, rx: u64) {
        self.tx_bytes = self.tx_bytes.saturating_add(tx);
        self.rx_bytes = self.rx_bytes.saturating_add(rx);
    }

    /// A connection that was added was closed by another than had opened it.
    pub(super) fn set_closer(&mut self, closer: Closer) {
        self.closer = Some(closer);
    }

    /// Numbers of which one changes with whatever is told of it.
    pub(super) fn facts(&self, time_wait_now: u64) -> [u64; 5] {
        let count = self.tries.count;
        let closer = self.closer.map_or(0, |closer| closer.tid.0);
        [
            count,
            self.tx_bytes,
            self.rx_bytes,
            // Four thousand million failures are beyond any verdict.
            self.failed ^ u64::from(closer) << 32,
            time_wait_now,
        ]
    }

    /// What is told of it.
    pub(super) fn describe(&self, time_wait_now: u64) -> Connections {
        Connections {
            role: self.role,
            local: self.tries.local,
            remote: self.tries.remote,
            peers: self.tries.peers.most_frequent_first(),
            count: self.tries.count,
            rate_per_min: self.tries.rate_per_min(),
            period: self.tries.periods.spread(),
            lifetime: self.lifetimes.spread(),
            tx_bytes: self.tx_bytes,
            rx_bytes: self.rx_bytes,
            closed_by_local: self.closed_by_local,
            closed_by_remote: self.closed_by_remote,
            closer: self.closer,
            failed: self.failed,
            time_wait_now,
        }
    }
}

/// Connects that failed in a row.
#[derive(Clone, Debug)]
pub(super) struct FailingEpisode {
    pub(super) tries: Tries,
    /// Whether a success has ended it.
    pub(super) has_succeeded: bool,
    errnos: BTreeMap<i32, u64>,
}

impl FailingEpisode {
    /// An episode whose first failure is `row`, which has yet to be added.
    pub(super) fn begin(verdict: u64, losses_before: u64, row: &FailedConnect) -> Self {
        Self {
            tries: Tries::begin(
                verdict,
                losses_before,
                row.start,
                row.owner,
                row.local,
                row.remote,
            ),
            has_succeeded: false,
            errnos: BTreeMap::new(),
        }
    }

    /// Counts one failure.
    pub(super) fn add(&mut self, row: &FailedConnect) {
        self.tries
            .add(row.start, row.at, row.owner, row.local, row.remote);
        if let Some(count) = self.errnos.get_mut(&row.errno) {
            *count += 1;
        } else if self.errnos.len() < limits::ERRNOS_PER_GROUP {
            self.errnos.insert(row.errno, 1);
        }
    }

    /// Whether a connect failed with this errno.
    pub(super) fn failed_with(&self, errno: i32) -> bool {
        self.errnos.contains_key(&errno)
    }

    /// Numbers of which one changes with whatever is told of it.
    pub(super) fn facts(&self) -> [u64; 5] {
        [self.tries.count, 0, 0, 0, 0]
    }

    /// What is told of it.
    pub(super) fn describe(&self) -> FailingConnects {
        FailingConnects {
            local: self.tries.local,
            remote: self.tries.remote,
            peers: self.tries.peers.most_frequent_first(),
            count: self.tries.count,
            rate_per_min: self.tries.rate_per_min(),
            period: self.tries.periods.spread(),
            errnos: self.errnos.clone(),
        }
    }
}
