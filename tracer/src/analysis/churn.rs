//! The detector of churn: short connections that do exchange data, so that a pool or keep-alive
//! would serve; never speaks of connections that were of no use (that is flapping).

use super::{
    ended::EndedConnection,
    exchange::{is_short, is_useful},
    group::Target,
    thresholds::Thresholds,
};

/// Whether a connection was as those of churn are.
pub(super) fn matches(row: &EndedConnection, thresholds: &Thresholds) -> bool {
    is_short(row, thresholds) && is_useful(row, thresholds)
}

/// Whether so many matching connections of one window are churn.
pub(super) fn is_churn(matching: usize, target: Target, thresholds: &Thresholds) -> bool {
    let enough = match target {
        Target::To(_) => thresholds.churn_count,
        Target::From { .. } => thresholds.churn_server_count,
    };
    matching as u64 >= enough
}
