//! Whom the connections that processes hold now are with; never how they came about.

use std::{collections::BTreeMap, net::IpAddr};

use rustc_hash::FxHashMap;
use tracer_common::Role;

use super::{Connections, SocketBefore};
use crate::{
    analysis::{connection::Owner, limits, process::ProcessKey, report::PeerCount},
    model::{Endpoint, Nanos},
};

/// What peers are told apart by: this side's role, the peer, and the port that was connected to.
pub(in crate::analysis) type Peer = (Role, IpAddr, u16);

/// A peer's connections while they are counted.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    connections: u64,
    close_wait: u64,
}

/// Connections by peer.
#[derive(Debug, Default)]
pub(in crate::analysis) struct PeerCounts(BTreeMap<Peer, Held>);

impl PeerCounts {
    /// Counts one connection; `is_half_closed` where only the peer has closed it.
    pub(in crate::analysis) fn add(&mut self, peer: Peer, is_half_closed: bool) {
        let held = self.0.entry(peer).or_default();
        held.connections += 1;
        held.close_wait += u64::from(is_half_closed);
    }

    /// The most frequent peers.
    pub(in crate::analysis) fn top(self) -> Vec<PeerCount> {
        let rows = self
            .0
            .into_iter()
            .map(|((role, addr, port), held)| PeerCount {
                role,
                addr,
                port,
                count: held.connections,
                close_wait: held.close_wait,
            });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| (std::cmp::Reverse(row.count), *row));
        rows.truncate(limits::PEER_ROWS);
        rows
    }
}

/// The peer of a connection.
pub(in crate::analysis) fn peer_of(role: Role, local: Endpoint, remote: Endpoint) -> Peer {
    let port = match role {
        Role::Client => remote.port,
        Role::Server => local.port,
        Role::Unknown => 0,
    };
    (role, remote.addr, port)
}

impl Connections {
    /// Whom a process's sockets are connected with by connections that began at `since` or later, the
    /// most frequent first. Looks through all connections.
    pub(in crate::analysis) fn peers_of(
        &self,
        process: ProcessKey,
        since: Nanos,
    ) -> Vec<PeerCount> {
        let mut counts = PeerCounts::default();
        let its = self.held().filter(|held| held.owner.process == process);
        for held in its.filter(|held| held.start.unwrap_or_default() >= since) {
            counts.add(held.peer, held.is_half_closed);
        }
        counts.top()
    }

    /// Whom each process's sockets are connected with. Looks through all connections.
    pub(in crate::analysis) fn peers_by_process(&self) -> FxHashMap<ProcessKey, PeerCounts> {
        let mut processes: FxHashMap<_, PeerCounts> = FxHashMap::default();
        for held in self.held() {
            let counts = processes.entry(held.owner.process).or_default();
            counts.add(held.peer, held.is_half_closed);
        }
        processes
    }

    /// The connections that a process holds a descriptor of.
    fn held(&self) -> impl Iterator<Item = HeldConnection> {
        let followed = self.table.values().filter_map(|known| {
            known.descriptor_closed.is_none().then_some(())?;
            Some(HeldConnection {
                owner: known.owner?,
                peer: peer_of(known.role, known.local, known.remote),
                start: known.start,
                is_half_closed: known.close_wait.is_some(),
            })
        });
        let before = self.before.values().filter(|known| !known.is_followed);
        let before = before.map(|known| HeldConnection {
            owner: known.owner,
            peer: peer_of(self.likely_role(known), known.local, known.remote),
            start: None,
            is_half_closed: known.is_half_closed,
        });
        followed.chain(before)
    }

    /// Which side of a connection from before the trace is its process's, where the ports tell: a
    /// client mostly leaves the choice of its own to the kernel, and a server never does.
    pub(super) fn likely_role(&self, socket: &SocketBefore) -> Role {
        let range = self.ephemeral_ports(socket.netns);
        let is_ephemeral = |end: Endpoint| range.is_some_and(|range| range.contains(end.port));
        match (is_ephemeral(socket.local), is_ephemeral(socket.remote)) {
            (true, false) => Role::Client,
            (false, true) => Role::Server,
            _ => Role::Unknown,
        }
    }
}

/// A connection that a process holds a descriptor of.
struct HeldConnection {
    owner: Owner,
    peer: Peer,
    /// When it began, where that is known.
    start: Option<Nanos>,
    is_half_closed: bool,
}
