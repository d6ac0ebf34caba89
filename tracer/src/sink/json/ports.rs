//! The fields of the verdict about ephemeral ports; never how a value is found.

use std::net::IpAddr;

use serde::Serialize;

use crate::{
    analysis::report::PortExhaustion,
    model::{Pid, Session},
};

use super::super::clock::rfc3339;
use super::{known, lines::FindingFields, port, rounded};

#[derive(Serialize)]
pub(in crate::sink) struct PortExhaustionFields<'a> {
    laddr: IpAddr,
    raddr: IpAddr,
    rport: Option<u16>,
    port_low: u16,
    port_high: u16,
    ports_total: u32,
    ports_in_use: u64,
    ports_peak: u64,
    ports_time_wait: u64,
    ports_open: u64,
    owners: Vec<OwnerObject<'a>>,
    rate_per_min: f64,
    eta: Option<String>,
    failed: u64,
    first_failure: Option<String>,
}

#[derive(Serialize)]
struct OwnerObject<'a> {
    pid: Pid,
    comm: Option<&'a str>,
    ports: u64,
}

pub(super) fn port_exhaustion<'a>(
    session: &Session,
    found: &'a PortExhaustion,
) -> FindingFields<'a> {
    let owners = found.owners.iter().map(|owner| OwnerObject {
        pid: owner.pid,
        comm: known(&owner.comm),
        ports: owner.ports,
    });
    FindingFields::PortExhaustion(Box::new(PortExhaustionFields {
        laddr: found.local,
        raddr: found.remote.addr,
        rport: port(found.remote.port),
        port_low: found.range.low,
        port_high: found.range.high,
        ports_total: found.range.ports(),
        ports_in_use: found.ports_in_use,
        ports_peak: found.ports_peak,
        ports_time_wait: found.time_wait,
        ports_open: found.open,
        owners: owners.collect(),
        rate_per_min: rounded(found.rate_per_min),
        eta: found.eta.map(|at| rfc3339(session, at)),
        failed: found.failures,
        first_failure: found.first_failure.map(|at| rfc3339(session, at)),
    }))
}
