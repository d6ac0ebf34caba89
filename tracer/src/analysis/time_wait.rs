//! The `TIME_WAIT` sockets that the kernel listed last, joined with the processes whose connections
//! they are left of; never guesses an owner.

use std::collections::BTreeMap;

use crate::model::{ListingChange, Nanos, Netns, PortRange, Selection, SocketRow, TimeWaitListing};

use super::{
    connection::Owner,
    connections::Connections,
    ended::Ended,
    limits,
    port_exhaustion::{Holder, PortUser},
    process::{ProcessKey, Processes},
    report::{Attribution, Identity, TimeWaitRow},
};

/// The last listing of each network namespace.
#[derive(Debug, Default)]
pub(super) struct TimeWaitTable {
    listings: BTreeMap<Netns, (Nanos, TimeWaitListing)>,
}

impl TimeWaitTable {
    /// Takes over a listing; it replaces the namespace's last one. `ended` is told what changed.
    pub(super) fn learn(&mut self, at: Nanos, listing: &TimeWaitListing, ended: &mut Ended) {
        let netns = listing.netns;
        let told = self.listings.insert(netns, (at, listing.kept()));
        let told = told.as_ref().map(|(_, told)| told);
        listing.changes_since(told, |change| match change {
            ListingChange::Came(row) => ended.list(netns, &row),
            ListingChange::Went(row) => ended.unlist(netns, &row),
        });
        if self.listings.len() > limits::TIME_WAIT_LISTINGS {
            let oldest = self
                .listings
                .iter()
                .min_by_key(|(netns, (at, _))| (*at, **netns))
                .map(|(netns, _)| *netns);
            if let Some(netns) = oldest
                && let Some((_, listing)) = self.listings.remove(&netns)
            {
                for row in listing.rows() {
                    ended.unlist(netns, row);
                }
            }
        }
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
            if !is_selected(row, found.map(|(owner, _)| owner), selection) {
                continue;
            }
            let (who, attribution) = match found {
                None => (Identity::default(), Attribution::BeforeStart),
                Some((owner, attribution)) => {
                    let process = processes.identity(owner.process);
                    (process.of_thread(&owner), attribution)
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

    /// What is left of clients' connections, as far as the ports tell; `range` tells which are given to
    /// clients.
    pub(super) fn port_users(
        &self,
        range: impl Fn(Netns) -> Option<PortRange>,
    ) -> impl Iterator<Item = PortUser<'_>> {
        let of_client = move |netns, row: &SocketRow| {
            let range: Option<PortRange> = range(netns);
            range.is_some_and(|range| range.contains(row.local.port))
        };
        self.sockets()
            .filter(move |(netns, row)| of_client(*netns, row))
            .map(|(netns, row)| PortUser::new(netns, row.local, row.remote, Holder::TimeWait(row)))
    }

    /// How many are listed.
    pub(super) fn len(&self) -> usize {
        self.listings
            .values()
            .map(|(_, listing)| listing.rows().len())
            .sum()
    }

    /// The process of each listed socket that was selected; `None` where nobody knows.
    pub(super) fn processes(
        &self,
        connections: &Connections,
        selection: &Selection,
    ) -> impl Iterator<Item = Option<ProcessKey>> {
        let listings = self.listings.values();
        listings.flat_map(|(_, listing)| owners(listing, connections, selection))
    }

    fn sockets(&self) -> impl Iterator<Item = (Netns, &SocketRow)> {
        self.listings
            .iter()
            .flat_map(|(netns, (_, listing))| listing.rows().iter().map(move |row| (*netns, row)))
    }
}

/// Whose each selected socket of a listing is; `None` where nobody knows.
pub(super) fn owners(
    listing: &TimeWaitListing,
    connections: &Connections,
    selection: &Selection,
) -> impl Iterator<Item = Option<ProcessKey>> {
    listing.rows().iter().filter_map(|row| {
        let found = connections.owner_of(listing.netns, row);
        let owner = found.map(|(owner, _)| owner);
        is_selected(row, owner, selection).then(|| owner.map(|owner| owner.process))
    })
}

/// Whether a socket with this owner, if anybody knows one, was selected.
fn is_selected(row: &SocketRow, owner: Option<Owner>, selection: &Selection) -> bool {
    let wants_port = |port: u16| selection.ports.is_empty() || selection.ports.contains(&port);
    let wants_owner = selection.pids.is_empty()
        || owner.is_some_and(|owner| selection.pids.contains(&owner.process.pid()));
    (wants_port(row.local.port) || wants_port(row.remote.port)) && wants_owner
}
