//! Every bound on what the engine remembers, each with its reason; never a threshold of a verdict.

use crate::model::Nanos;

/// Connections followed at once. Twice the ephemeral ports of one address, about 12 MB.
pub const CONNECTIONS: usize = 65_536;

/// Ended connections remembered to find the owners of `TIME_WAIT` sockets. A host that makes more
/// than a thousand connections a second for a minute loses the oldest owners. About 12 MB.
pub const ENDED_CONNECTIONS: usize = 65_536;

/// How long an ended connection is remembered. `TIME_WAIT` lasts 60 s (`TCP_TIMEWAIT_LEN` in
/// `include/net/tcp.h`) from the last segment of the peer, and a listing is some seconds old.
pub const ENDED_AGE: Nanos = Nanos::from_secs(120);

/// Failed connects remembered; the detector looks 30 s back.
pub const FAILED_CONNECTS: usize = 16_384;

/// Sockets from before the trace whose owner was looked up.
pub const SOCKETS_BEFORE: usize = 65_536;

/// `TIME_WAIT` listings kept, one for each network namespace, the last listed ones.
pub const TIME_WAIT_LISTINGS: usize = 1_024;

/// Processes, ended ones included. A host seldom runs more than some thousands at once.
pub const PROCESSES: usize = 16_384;

/// Groups of connections: of one thread, process or parent to one port, or of one peer. A busy
/// server meets thousands of peers within a window; an idle group takes some 200 bytes.
pub const GROUPS: usize = 16_384;

/// Connections, and failed connects, that one group's sliding window holds; a threshold beyond it
/// is never reached. Hundreds of connections a second fit into the ten seconds of a window.
pub const WINDOW_RECORDS: usize = 4_096;

/// Peer addresses told of one group. An ensemble has three to seven members.
pub const PEERS_PER_GROUP: usize = 8;

/// Kinds of errno counted for one group; a connect knows about ten.
pub const ERRNOS_PER_GROUP: usize = 16;

/// Children told apart by identity in one group; later ones are recognised by their newness.
pub const CHILDREN_PER_GROUP: usize = 1_024;

/// Spans kept for a median and a 99th percentile: the last ones, so that a verdict of days tells
/// of today. Ten times the least that a 99th percentile can be read from.
pub const SPREAD_SAMPLES: usize = 1_024;

/// Opens remembered for one process until they are known to be a burst.
pub const PATHS_PER_PROCESS: usize = 1_024;

/// Different patterns counted for one burst; opens beyond them are counted without a path.
pub const PATTERNS_PER_BURST: usize = 512;

/// Different patterns known at once, for all processes together.
pub const PATTERNS: usize = 65_536;

/// Rows of patterns told of one burst: as many as a person reads.
pub const PATTERN_ROWS: usize = 8;

/// Threads told apart within one burst.
pub const THREADS_PER_BURST: usize = 16;

/// Levels of a process's descriptors kept over a burst's window, evenly spaced.
pub const LEVELS_PER_PROCESS: usize = 512;

/// Bursts of one process that are followed at once after they ended.
pub const FOLLOWED_BURSTS: usize = 4;

/// Threads told apart that got no descriptor: a pool's, beside the one that accepts.
pub const THREADS_PER_EXHAUSTION: usize = 16;

/// Numbers of descriptors whose files are remembered for each process, the lowest: the soft limit of
/// the second incident. Up to 60 bytes each, of as many as are open.
pub const HELD_FILES_PER_PROCESS: usize = 4_096;

/// Patterns remembered of what a table held when it was looked at, the most frequent: more than are
/// told, as files that are opened later may be of any of them. 16 bytes each.
pub const PATTERNS_PER_HOLDING: usize = 64;

/// Peers that each process connected to lately. A service has some databases, caches and queues.
pub const PEERS_PER_PROCESS: usize = 16;

/// Peers told of what fills a descriptor table: as many as a person reads.
pub const PEER_ROWS: usize = 8;

/// Routes (from one address to one address and port) whose ephemeral ports are followed at once. Each
/// has a good part of a range in use, so there can hardly be more.
pub const PORT_ROUTES: usize = 64;

/// Processes told of those that hold a route's ephemeral ports: as many as a person reads.
pub const PORT_OWNERS: usize = 8;

/// Different stacks counted for one verdict: a loop that connects has one or a few.
pub const STACKS_PER_VERDICT: usize = 64;

/// Stacks of a verdict that are looked up, the most frequent.
pub const STACKS_ASKED: usize = 8;

/// Stacks told of one verdict: as many as a person reads.
pub const STACK_ROWS: usize = 3;

/// Stacks whose frames are remembered, of up to 127 texts each.
pub const STACKS: usize = 4_096;

/// Causes, and effects, that one verdict names.
pub const LINKS_PER_VERDICT: usize = 32;

/// The least time between two look-ups of a process whose table is nearly full: its limit may be
/// changed at any time, and a look at a big table costs milliseconds.
pub const LOOKUP_PERIOD: Nanos = Nanos::from_secs(10);

/// Such look-ups that are asked for at one tick.
pub const LOOKUPS_PER_TICK: usize = 32;

/// The least time between two looks at a table that nothing is told of.
pub const RELOOK_PERIOD: Nanos = Nanos::from_secs(30);

/// The least time between two looks at a table of which nobody knows that it has changed: another
/// process may share it, and a hook may have been skipped.
pub const RELOOK_AT_REST_PERIOD: Nanos = Nanos::from_secs(600);

/// Such looks that are asked for at one tick: sixteen a second take some milliseconds.
pub const RELOOKS_PER_TICK: usize = 8;

/// Verdicts about connections that go on at once; nobody reads more. Each takes up to 40 kB.
pub const ONGOING_VERDICTS: usize = 2_048;

/// Verdicts that have ended and are still told.
pub const ENDED_VERDICTS: usize = 1_024;

/// Look-ups that wait to be taken.
pub const LOOKUPS: usize = 4_096;

/// Changes of the loss counters remembered, to tell what was lost during a verdict.
pub const LOSS_CHANGES: usize = 256;

/// Buckets that a record over time is divided into, at most: as many as a wide screen has points.
pub const SERIES_BUCKETS: u32 = 1_024;

/// The shortest bucket of a record over time. A burst lasts a second, and 100 s keep this precision.
pub const SERIES_BUCKET: Nanos = Nanos::from_millis(100);

/// Processes recorded over time by themselves; the least busy beyond them are one sum.
pub const SERIES_PROCESSES: usize = 512;

/// Processes told over time by themselves at the end, those with verdicts first.
pub const SERIES_PROCESSES_TOLD: usize = 24;

/// Patterns of opened files that a process is recorded by; the least frequent beyond them are one
/// sum.
pub const SERIES_PATTERNS: usize = 16;

/// Points in time that all records together may hold, of 8 or 12 bytes each.
pub const SERIES_POINTS: usize = 1 << 20;

/// Groups of processes that are counted by themselves for a monitor, which keeps each number of each
/// for weeks; others are one sum. A node runs some hundreds of programs.
pub const TOTALS_GROUPS: usize = 512;

/// Peers of all such groups together that are counted by themselves; others are one sum for each group.
/// Each has some 15 numbers, so a monitor reads at most 3 MB.
pub const TOTALS_PEERS: usize = 1_024;

/// How long a group, or a peer, must have been idle before a full table may give its place to another:
/// longer than a monitor looks back to tell a rate.
pub const TOTALS_IDLE: Nanos = Nanos::from_secs(3_600);

/// How long what a process does waits for a look-up to tell where it runs, before it is counted.
pub const TOTALS_WAIT: Nanos = Nanos::from_secs(1);

/// Characters of a command line in a label.
pub const CMDLINE_LABEL_CHARS: usize = 128;

/// A full table forgets this part (one in so many) of its rows at once, so that finding the
/// oldest costs little for each row.
pub const EVICTED_PART: usize = 16;

/// Those that a full table of `capacity` rows forgets: the least of `rows`, in any order.
pub(super) fn to_evict<T: Ord>(mut rows: Vec<T>, capacity: usize) -> Vec<T> {
    let count = capacity / EVICTED_PART;
    if count < rows.len() {
        rows.select_nth_unstable(count);
        rows.truncate(count);
    }
    rows
}
