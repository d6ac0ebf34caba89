//! What a connection was good for: how long it lived and what it carried; never who made it.

use tracer_common::Role;

use super::{ended::EndedConnection, thresholds::Thresholds};

/// Whether it lived shortly; not where its begin is not known.
pub(super) fn is_short(row: &EndedConnection, thresholds: &Thresholds) -> bool {
    row.start
        .is_some_and(|start| row.end.since(start) <= thresholds.short_lifetime)
}

/// Whether it carried more than a handshake, of one side or the other.
pub(super) fn is_useful(row: &EndedConnection, thresholds: &Thresholds) -> bool {
    let (of_client, of_server) = match row.role {
        Role::Server => (row.rx_bytes, row.tx_bytes),
        Role::Client | Role::Unknown => (row.tx_bytes, row.rx_bytes),
    };
    of_client >= thresholds.useful_client_bytes || of_server >= thresholds.useful_server_bytes
}
