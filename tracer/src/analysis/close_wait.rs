//! The detector of connections that the peer has long closed and this side never does; never counts one
//! that is closed within a while, as most are.

use std::collections::BTreeMap;

use crate::model::{Comm, Nanos, Tid};

use super::{
    connections::{HalfClosed, PeerCounts},
    limits,
    process::{ProcessKey, Processes},
    report::{CloseWaitLeak, PeerCount, ThreadCount},
    thresholds::Thresholds,
};

/// The processes that leave many connections half closed.
#[derive(Debug, Default)]
pub(super) struct CloseWaits {
    pub(super) leaks: BTreeMap<ProcessKey, Leak>,
}

/// One process's connections that only the peer has closed.
#[derive(Debug)]
pub(super) struct Leak {
    /// When the peer closed the first of them, and the last.
    pub(super) since: Nanos,
    pub(super) last: Nanos,
    count: u64,
    peak: u64,
    oldest: Option<Nanos>,
    threads: BTreeMap<(Tid, Comm), u64>,
    top_peers: Vec<PeerCount>,
    pub(super) over: bool,
    pub(super) losses_before: u64,
    pub(super) verdict: Option<u64>,
}

impl CloseWaits {
    /// Learns all connections that are half closed for long, and forgets the leaks that are over and
    /// told.
    pub(super) fn learn(
        &mut self,
        half_closed: &[HalfClosed],
        processes: &Processes,
        thresholds: &Thresholds,
    ) {
        self.leaks.retain(|_, leak| !leak.over);
        let mut by_process: BTreeMap<ProcessKey, Vec<&HalfClosed>> = BTreeMap::new();
        for row in half_closed {
            by_process.entry(row.owner.process).or_default().push(row);
        }
        for (key, leak) in &mut self.leaks {
            // Its end closes all, whether that is told or not.
            let has_ended = processes
                .get(*key)
                .is_none_or(|process| process.end().is_some());
            let rows = by_process.remove(key).filter(|_| !has_ended);
            leak.advance(&rows.unwrap_or_default(), thresholds);
        }
        for (key, rows) in by_process {
            let lives = processes
                .get(key)
                .is_some_and(|process| process.end().is_none());
            if lives && rows.len() as u64 >= thresholds.close_wait_count {
                let since = rows.iter().map(|row| row.since).min().unwrap_or_default();
                let mut leak = Leak::begin(since);
                leak.advance(&rows, thresholds);
                self.leaks.insert(key, leak);
            }
        }
    }
}

impl Leak {
    fn begin(since: Nanos) -> Self {
        Self {
            since,
            last: since,
            count: 0,
            peak: 0,
            oldest: None,
            threads: BTreeMap::new(),
            top_peers: Vec::new(),
            over: false,
            losses_before: 0,
            verdict: None,
        }
    }

    fn advance(&mut self, rows: &[&HalfClosed], thresholds: &Thresholds) {
        self.count = rows.len() as u64;
        self.oldest = rows.iter().map(|row| row.since).min();
        // One or two less are no end of it.
        self.over = self.count <= thresholds.close_wait_count / 2;
        if self.over {
            return;
        }
        self.peak = self.peak.max(self.count);
        self.threads.clear();
        let mut peers = PeerCounts::default();
        for row in rows {
            self.last = self.last.max(row.since);
            *self
                .threads
                .entry((row.owner.tid, row.owner.thread))
                .or_default() += 1;
            peers.add(row.peer, true);
        }
        self.top_peers = peers.top();
    }

    /// The thread that opened all of them, where one did.
    pub(super) fn sole_thread(&self) -> Option<(Tid, Comm)> {
        let mut threads = self.threads.keys().filter(|(tid, _)| tid.0 != 0);
        threads.next().copied().filter(|_| self.threads.len() == 1)
    }

    /// What is told of it.
    pub(super) fn describe(&self) -> CloseWaitLeak {
        let mut threads: Vec<_> = self
            .threads
            .iter()
            .filter(|((tid, _), _)| tid.0 != 0)
            .map(|((tid, thread), count)| ThreadCount {
                tid: *tid,
                thread: thread.to_string(),
                count: *count,
            })
            .collect();
        threads.sort_by_key(|thread| (std::cmp::Reverse(thread.count), thread.tid));
        threads.truncate(limits::THREADS_PER_EXHAUSTION);
        CloseWaitLeak {
            count: self.count,
            peak: self.peak,
            oldest: self.oldest,
            threads,
            top_peers: self.top_peers.clone(),
        }
    }
}
