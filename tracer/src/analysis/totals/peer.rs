//! What is counted of the connections with one server; never by the port of a client.

use std::{cmp::Ordering, collections::BTreeMap};

use tracer_common::Role;

use crate::model::{Endpoint, Nanos};

use super::{super::limits, server};

/// The upper bounds of the lifetimes that are told apart: a loop that flaps, a request, a page, an idle
/// connection of a pool, a session.
pub const LIFETIME_BOUNDS: [Nanos; 8] = [
    Nanos::from_millis(1),
    Nanos::from_millis(10),
    Nanos::from_millis(100),
    Nanos::from_secs(1),
    Nanos::from_secs(10),
    Nanos::from_secs(60),
    Nanos::from_secs(600),
    Nanos::from_secs(3_600),
];

/// Which side the processes are on, and the server's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLabel {
    /// The part that the process played.
    pub role: Role,
    /// The address and port that were connected to; `None` where nobody knows which side was which.
    pub server: Option<Endpoint>,
}

impl PeerLabel {
    /// A connection's label.
    #[must_use]
    pub fn new(role: Role, local: Endpoint, remote: Endpoint) -> Self {
        Self {
            role,
            server: server(role, local, remote),
        }
    }

    fn key(&self) -> (u8, Option<Endpoint>) {
        (self.role as u8, self.server)
    }
}

impl Ord for PeerLabel {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for PeerLabel {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What became of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerTotals {
    /// Connections established or accepted.
    pub opened: u64,
    /// Connections that this side ended.
    pub closed_by_local: u64,
    /// Connections that the other side ended.
    pub closed_by_remote: u64,
    /// Connects that failed, by positive errno; 0 is one that the program itself gave up.
    pub failed: BTreeMap<i32, u64>,
    /// Connects that failed with further errors.
    pub failed_otherwise: u64,
    /// How long those lived that ended.
    pub lifetimes: Lifetimes,
}

impl PeerTotals {
    pub(super) fn fail(&mut self, errno: i32) {
        *self.failures(errno) += 1;
    }

    fn failures(&mut self, errno: i32) -> &mut u64 {
        if self.failed.len() >= limits::ERRNOS_PER_GROUP && !self.failed.contains_key(&errno) {
            return &mut self.failed_otherwise;
        }
        self.failed.entry(errno).or_default()
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.opened += more.opened;
        self.closed_by_local += more.closed_by_local;
        self.closed_by_remote += more.closed_by_remote;
        for (errno, count) in &more.failed {
            *self.failures(*errno) += count;
        }
        self.failed_otherwise += more.failed_otherwise;
        for (count, more) in self.lifetimes.counts.iter_mut().zip(more.lifetimes.counts) {
            *count += more;
        }
        self.lifetimes.sum = self.lifetimes.sum + more.lifetimes.sum;
    }
}

/// How long connections lived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// How many lived at most as long as each of [`LIFETIME_BOUNDS`] and longer than the one before;
    /// the last number is of those that lived longer than all.
    pub counts: [u64; LIFETIME_BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Nanos,
}

impl Lifetimes {
    pub(super) fn add(&mut self, lifetime: Nanos) {
        let at = LIFETIME_BOUNDS.partition_point(|bound| *bound < lifetime);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum = self.sum + lifetime;
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}
