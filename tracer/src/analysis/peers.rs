//! The peers that a process has connected to lately; never those that connected to it.

use crate::model::{Endpoint, Nanos};

use super::limits;

/// One peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerSeen {
    pub(super) remote: Endpoint,
    /// Connections that came about.
    pub(super) count: u64,
    /// When the last one did.
    pub(super) last: Nanos,
}

/// The last peers of one process, in the order of their first connection.
#[derive(Debug, Default)]
pub(super) struct Peers {
    rows: Vec<PeerSeen>,
}

impl Peers {
    /// A connection to a peer came about. The peer that was connected to the longest ago gives way.
    pub(super) fn note(&mut self, remote: Endpoint, at: Nanos) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.remote == remote) {
            row.count += 1;
            row.last = row.last.max(at);
            return;
        }
        if self.rows.len() >= limits::PEERS_PER_PROCESS {
            let oldest = self.rows.iter().enumerate().min_by_key(|(_, row)| row.last);
            if let Some(index) = oldest.map(|(index, _)| index) {
                self.rows.remove(index);
            }
        }
        self.rows.push(PeerSeen {
            remote,
            count: 1,
            last: at,
        });
    }

    /// What is known of a peer.
    pub(super) fn get(&self, remote: Endpoint) -> Option<&PeerSeen> {
        self.rows.iter().find(|row| row.remote == remote)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &PeerSeen> {
        self.rows.iter()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
