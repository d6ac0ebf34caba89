//! The `TIME_WAIT` sockets that the kernel listed last, joined with the processes whose connections
//! they are left of; never guesses an owner.

use std::collections::BTreeMap;

use crate::model::{Nanos, Netns, Selection, SocketRow, TimeWaitListing};

use super::{
    connections::{Connections, Ownership},
    limits,
    process::{ProcessKey, Processes},
    report::{Attribution, Identity, TimeWaitRow},
};

/// The last listing of each network namespace.
#[derive(Debug, Default)]
pub(super) struct TimeWaitTable {
    listings: BTreeMap<Netns, (Nanos, Vec<SocketRow>)>,
}

impl TimeWaitTable {
    /// Takes over a listing; it replaces the namespace's last one.
    pub(super) fn learn(&mut self, at: Nanos, listing: &TimeWaitListing) {
        self.listings
            .insert(listing.netns, (at, listing.rows.clone()));
        if self.listings.len() > limits::TIME_WAIT_LISTINGS {
            let oldest = self
                .listings
                .iter()
                .min_by_key(|(netns, (at, _))| (*at, **netns))
                .map(|(netns, _)| *netns);
            if let Some(oldest) = oldest {
                self.listings.remove(&oldest);
            }
        }
    }

    /// How many listed sockets are left of each verdict's connections.
    pub(super) fn by_verdict(&self, connections: &Connections) -> BTreeMap<u64, u64> {
        let mut counts = BTreeMap::new();
        for (netns, row) in self.sockets() {
            if let Some(verdict) = connections
                .owner_of(netns, row)
                .and_then(|found| found.told_by)
            {
                *counts.entry(verdict).or_default() += 1;
            }
        }
        counts
    }

    /// The listed sockets that were selected, each with its owner.
    pub(super) fn rows(
        &self,
        connections: &Connections,
        processes: &Processes,
        selection: &Selection,
    ) -> Vec<TimeWaitRow> {
        let mut rows = Vec::new();
        for (netns, row) in self.sockets() {
            let found = connections.owner_of(netns, row);
            if !is_selected(row, found, selection) {
                continue;
            }
            let (who, attribution) = match found {
                None => (Identity::default(), Attribution::BeforeStart),
                Some(found) => {
                    let process = processes.identity(found.owner.process);
                    (process.of_thread(&found.owner), found.attribution)
                }
            };
            rows.push(TimeWaitRow {
                who,
                local: row.local,
                remote: row.remote,
                netns,
                attribution,
            });
        }
        rows
    }

    fn sockets(&self) -> impl Iterator<Item = (Netns, &SocketRow)> {
        self.listings
            .iter()
            .flat_map(|(netns, (_, rows))| rows.iter().map(move |row| (*netns, row)))
    }
}

/// Whose each selected socket of a listing is; `None` where nobody knows.
pub(super) fn owners(
    listing: &TimeWaitListing,
    connections: &Connections,
    selection: &Selection,
) -> impl Iterator<Item = Option<ProcessKey>> {
    listing.rows.iter().filter_map(|row| {
        let found = connections.owner_of(listing.netns, row);
        is_selected(row, found, selection).then(|| found.map(|found| found.owner.process))
    })
}

/// Whether the user selected a socket, by its ports and its owner.
fn is_selected(row: &SocketRow, found: Option<Ownership>, selection: &Selection) -> bool {
    let wants_port = |port: u16| selection.ports.is_empty() || selection.ports.contains(&port);
    if !wants_port(row.local.port) && !wants_port(row.remote.port) {
        return false;
    }
    let pid = found.map(|found| found.owner.process.pid());
    selection.pids.is_empty() || pid.is_some_and(|pid| selection.pids.contains(&pid))
}
