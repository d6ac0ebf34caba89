//! The sentence about ephemeral ports; never a number that the verdict does not hold.

use std::fmt::Write as _;

use crate::{
    analysis::report::{PortExhaustion, Verdict},
    model::Session,
};

use super::super::{
    clock::time_of_day,
    units::{counted, per_minute},
};
use super::{LISTED, duration, endpoint, process};

pub(super) fn port_exhaustion(
    session: &Session,
    verdict: &Verdict,
    found: &PortExhaustion,
) -> String {
    let at = |at| time_of_day(session, at, verdict.last_seen);
    let mut text = format!(
        "uses up the ephemeral ports from {} to {}: {} ({} in TIME_WAIT, {} open), at the peak {}",
        found.local,
        endpoint(found.remote),
        in_use(found),
        found.time_wait,
        found.open,
        found.ports_peak
    );
    if verdict.ongoing && found.rate_per_min > 0.0 {
        let _ = write!(text, ", {} more", per_minute(found.rate_per_min));
    }
    if let Some(eta) = found.eta {
        let _ = write!(text, ", none left at {} UTC at this rate", at(eta));
    }
    if let Some(first) = found.first_failure {
        let _ = write!(
            text,
            "; {} failed with EADDRNOTAVAIL since {} UTC",
            counted(found.failures, "connect"),
            at(first)
        );
    }
    for (index, owner) in found.owners.iter().take(LISTED).enumerate() {
        let before = if index == 0 { "; held by " } else { ", " };
        let who = process(&owner.comm, Some(owner.pid));
        let _ = write!(text, "{before}{} × {who}", owner.ports);
    }
    duration(&mut text, session, verdict);
    text
}

/// How many of how many are in use.
pub(super) fn in_use(found: &PortExhaustion) -> String {
    format!("{} of {} in use", found.ports_in_use, found.range.ports())
}
