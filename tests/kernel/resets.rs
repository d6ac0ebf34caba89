//! Counts connections that the kernel reset by mistake, which no program wanted; never those that one did.

use std::fs;

use anyhow::{Context as _, Result};

/// Counters of TCP for this network namespace, two lines for each group: their names, and their values.
const COUNTERS: &str = "/proc/net/netstat";
const GROUP: &str = "TcpExt:";

/// Acknowledgements that no connection and no handshake was found for, but a listener. While a socket
/// moves from the handshakes to the connections, a look-up on another processor can miss both; the kernel
/// answers with a reset then. It was mended in 6.2 by commit 3f4ca5fafc08, which was taken back in 6.5.
const NAME: &str = "SyncookiesFailed";

/// How many there were so far.
pub fn count() -> Result<u64> {
    let text = fs::read_to_string(COUNTERS).with_context(|| format!("cannot read {COUNTERS}"))?;
    find(&text).with_context(|| format!("{COUNTERS} has no {NAME}"))
}

fn find(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(GROUP));
    let names = lines.next()?.split_whitespace();
    let values = lines.next()?.split_whitespace();
    let (_, value) = names.zip(values).find(|(name, _)| *name == NAME)?;
    value.parse().ok()
}
