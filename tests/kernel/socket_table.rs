//! The kernel's own list of sockets, to be held against tracer's; never asks for it as tracer does.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result};

use crate::programs::wait_for;

/// A connection's addresses and ports, this side first; IPv4-mapped addresses as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    pub local: (IpAddr, u16),
    pub remote: (IpAddr, u16),
}

/// The number of `TIME_WAIT` in `/proc/net/tcp` (`include/net/tcp_states.h`).
const TIME_WAIT: &str = "06";

/// The `TIME_WAIT` sockets with this port that the kernel lists in the network namespace of a
/// process, sorted.
pub fn time_wait(pid: u32, port: u16) -> Result<Vec<Connection>> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let path = format!("/proc/{pid}/net/{table}");
        for line in fs::read_to_string(&path)
            .with_context(|| path.clone())?
            .lines()
            .skip(1)
        {
            let mut fields = line.split_whitespace().skip(1);
            let (local, remote, state) = (fields.next(), fields.next(), fields.next());
            if state != Some(TIME_WAIT) {
                continue;
            }
            let read = |text: Option<&str>| {
                text.and_then(endpoint)
                    .with_context(|| format!("{path} has the line {line}"))
            };
            let connection = Connection {
                local: read(local)?,
                remote: read(remote)?,
            };
            if connection.local.1 == port || connection.remote.1 == port {
                found.push(connection);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// As [`time_wait`], once there are so many at least: a connection's last packet comes a moment after its
/// programs have ended. The kernel's list skips some where others come and go while it is read, so what
/// one reading had is added to what others had.
pub fn all_time_wait(pid: u32, port: u16, count: usize) -> Result<Vec<Connection>> {
    let what = format!("{count} TIME_WAIT sockets with port {port}");
    let mut all = BTreeSet::new();
    wait_for(&what, || {
        all.extend(time_wait(pid, port)?);
        Ok((all.len() >= count).then(|| all.iter().copied().collect()))
    })
}

/// Reads `0100007F:0885`: words of the address in the machine's byte order, then the port.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::with_capacity(16);
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)).to_canonical(),
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}
