//! Every threshold of every verdict, with its default and the reason for it; never a bound on
//! memory (those are in `limits`).

use serde::{Deserialize, Serialize};

use crate::model::Nanos;

/// When the engine speaks up. The command line may change each; a count of connections beyond
/// [`super::limits::WINDOW_RECORDS`] is never reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Thresholds {
    /// Flapping: connections that must have ended within [`Self::flapping_window`]. `ZooKeeper`'s
    /// client retries every one to two seconds, so five tries in ten seconds must be enough; a
    /// monitor that asks every ten seconds makes one or two.
    pub flapping_count: u64,
    /// Flapping: the sliding window that they must fall into.
    pub flapping_window: Nanos,
    /// Flapping: the part of them, in percent, that must have been short and without a useful
    /// exchange. Some tries get a little further than the others.
    pub flapping_share_percent: u64,
    /// Flapping and churn: the longest life of a short connection. Longer than any slow handshake,
    /// shorter than the least pause after which a pool gives up an idle connection.
    pub short_lifetime: Nanos,
    /// From so many payload bytes of the server on, the exchange was useful. `ZooKeeper`'s answer
    /// to a session handshake has 41 bytes, and a session that then fails was of no use.
    pub useful_server_bytes: u64,
    /// From so many payload bytes of the client on, the exchange was useful, even when no answer
    /// came (a log shipper). `ZooKeeper`'s handshake has 49 bytes.
    pub useful_client_bytes: u64,
    /// Flapping and churn: the least silence after which it is over, unless the period is long.
    pub connections_silence: Nanos,
    /// Flapping, churn and failing connects: with a long period it is over after so many periods.
    pub silence_periods: u64,
    /// Churn of a client: short, useful connections within [`Self::churn_window`]. Five a second
    /// for ten seconds are past what a script or a page load makes, and worth a pool.
    pub churn_count: u64,
    /// Churn seen by a server, from one peer. A proxy in front of a server may well open some
    /// connections a second, so more must come than for a client.
    pub churn_server_count: u64,
    /// Churn: the sliding window.
    pub churn_window: Nanos,
    /// Failing connects: failures in a row, without a success to the same port between them. A
    /// name with an unreachable IPv6 and a working IPv4 address fails once before each success.
    pub failing_count: u64,
    /// Failing connects: the sliding window. Clients back off: five tries may take half a minute.
    pub failing_window: Nanos,
    /// Failing connects: the least silence after which it is over.
    pub failing_silence: Nanos,
    /// Failures up to so long before the first connection are told with a flapping. A server that
    /// restarts refuses for some tens of seconds.
    pub failures_before: Nanos,
    /// Burst: files more than at the least moment of [`Self::burst_window`], and kept open. A
    /// linker holds about a hundred; an application server's class loader opens hundreds.
    pub burst_files: u64,
    /// Burst: the sliding window. 228 jars were opened in one to two seconds.
    pub burst_window: Nanos,
    /// Burst where the soft limit is low: files more, if they are also
    /// [`Self::burst_limit_percent`] of the limit.
    pub burst_files_of_limit: u64,
    /// Burst where the soft limit is low: percent of the limit that the files make up.
    pub burst_limit_percent: u64,
    /// Burst: it is over when for so long no further file was kept. A class loader on a slow disk
    /// pauses for less.
    pub burst_gap: Nanos,
    /// Burst: how long after its end the process's descriptors are still told. The jars of the
    /// real case were released after 10 s and after 30 s.
    pub burst_follow: Nanos,
    /// Exhaustion: it is over when for so long no call was refused a descriptor, and one was to be had
    /// again. A pool that got no socket tries again within some seconds.
    pub exhaustion_silence: Nanos,
    /// Nearly full: percent of the soft limit that the descriptors make up. The real case stood at
    /// 78 % of its limit for days and failed at a burst of 6 %; what stands higher has no room for one.
    pub fd_near_limit_percent: u64,
    /// Leak: the stretch over which descriptors must become more and more. A warm-up lasts some minutes.
    pub leak_window: Nanos,
    /// Leak: descriptors more over that time. Three a minute fill a table of 4096 within a day, and
    /// what grows more slowly shows over a longer stretch.
    pub leak_fds: u64,
    /// `CLOSE_WAIT` leak: how long only the peer must have closed a connection. A pool looks through its
    /// idle connections every 30 s or so, and closes those by then.
    pub close_wait_age: Nanos,
    /// `CLOSE_WAIT` leak: so many such connections of one process. A pool may well forget some.
    pub close_wait_count: u64,
    /// Ephemeral ports: percent of the range that is in use between one address here and one address and
    /// port there. With the kernel's 28,232 ports, 375 connections a second that end here come to it.
    pub port_exhaustion_percent: u64,
    /// Every verdict: the least time between two updates, so that a machine that reads them is not
    /// flooded. A little less than a second, so that ticks of one second are not halved by jitter.
    pub update_pause: Nanos,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            flapping_count: 5,
            flapping_window: Nanos::from_secs(10),
            flapping_share_percent: 80,
            short_lifetime: Nanos::from_secs(2),
            useful_server_bytes: 64,
            useful_client_bytes: 256,
            connections_silence: Nanos::from_secs(15),
            silence_periods: 5,
            churn_count: 50,
            churn_server_count: 200,
            churn_window: Nanos::from_secs(10),
            failing_count: 5,
            failing_window: Nanos::from_secs(30),
            failing_silence: Nanos::from_secs(30),
            failures_before: Nanos::from_secs(60),
            burst_files: 150,
            burst_window: Nanos::from_secs(5),
            burst_files_of_limit: 50,
            burst_limit_percent: 25,
            burst_gap: Nanos::from_secs(2),
            burst_follow: Nanos::from_secs(60),
            exhaustion_silence: Nanos::from_secs(15),
            fd_near_limit_percent: 80,
            leak_window: Nanos::from_secs(900),
            leak_fds: 45,
            close_wait_age: Nanos::from_secs(60),
            close_wait_count: 10,
            port_exhaustion_percent: 80,
            update_pause: Nanos::from_millis(900),
        }
    }
}
