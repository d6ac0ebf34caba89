//! The detector of a full descriptor table: which calls get no descriptor, from the first one until
//! descriptors are to be had again; never counts a failure for another reason.

use std::collections::BTreeMap;

use tracer_common::{FdKind, FdSource, ProcessCounters};

use crate::model::{Comm, Nanos, Tid};

use super::{
    burst::Burst,
    content::{self, Content},
    descriptors::{Descriptors, Level},
    limits,
    pattern::{PatternId, Patterns},
    peers::Peers,
    report::{BurstBefore, FdExhaustion, FirstFailure, PeerCount, ThreadCount, UnreachedPeer},
    thresholds::Thresholds,
};

/// One call that got no descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) ts: Nanos,
    pub(super) source: FdSource,
    pub(super) tid: Tid,
    pub(super) thread: Comm,
    /// EMFILE or ENFILE.
    pub(super) errno: i32,
    /// Whether the totals of refused calls hold it: those of an open that failed by ENFILE do not.
    pub(super) is_in_totals: bool,
}

/// A peer that was last connected to so long before the first failure is not missed by it.
const PEER_AGE: Nanos = Nanos::from_secs(300);

/// All refusals of one process, and the exhaustion that goes on.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By source, as the counters told last; `None` before they told any.
    counted: Option<[u64; FdSource::COUNT]>,
    counted_at: Nanos,
    /// Told by events since then.
    since: [u64; FdSource::COUNT],
    /// Opens refused as the host had no more files: to the counters they are opens that failed.
    opens_beside: u64,
    pub(super) current: Option<Exhaustion>,
}

/// A table that is full, and what comes of it.
#[derive(Clone, Debug)]
pub(super) struct Exhaustion {
    first: FirstFailure,
    last: Nanos,
    /// The totals by source before it began.
    before: [u64; FdSource::COUNT],
    opens_beside_before: u64,
    /// Calls that failed so far.
    calls: [u64; FdSource::COUNT],
    threads: Vec<(Tid, Comm, u64)>,
    /// Whether it is only known from counters that it began.
    pub(super) is_counted: bool,
    /// The most descriptors while it went on, and those when a call failed last.
    peak_fds_net: i64,
    fds_net_at_last: i64,
    fd_limit: Option<u64>,
    /// Files held when it began, by pattern, until they are summarised.
    held: BTreeMap<PatternId, u64>,
    top_dirs: Option<Vec<(String, u64)>>,
    pub(super) top_peers: Option<Vec<PeerCount>>,
    kinds: Option<BTreeMap<&'static str, u64>>,
    pub(super) unreached: Vec<UnreachedPeer>,
    pub(super) burst: Option<BurstBefore>,
    /// When a descriptor was to be had again after the last failure.
    again: Option<Nanos>,
    /// When it was over, once it is.
    pub(super) over: Option<Nanos>,
    pub(super) losses_before: u64,
    pub(super) verdict: Option<u64>,
    /// When its process was last asked to be looked up.
    pub(super) asked: Option<Nanos>,
}

impl Refusals {
    /// Takes in a refusal; `level` and `held` are the process's when it came. Gives whether an
    /// exhaustion begins with it.
    pub(super) fn refuse(
        &mut self,
        refusal: Refusal,
        level: Level,
        fd_limit: Option<u64>,
        held: impl FnOnce() -> BTreeMap<PatternId, u64>,
    ) -> bool {
        let (before, opens_beside_before) = (self.totals(), self.opens_beside);
        if !refusal.is_in_totals {
            self.opens_beside += 1;
        } else if self.counted.is_none() || refusal.ts > self.counted_at {
            self.since[refusal.source as usize] += 1;
        }
        let calls_before = (before, opens_beside_before);
        let begins = self.current.is_none();
        let (totals, opens_beside) = (self.totals(), self.opens_beside);
        let exhaustion = self.current.get_or_insert_with(|| {
            let first = FirstFailure {
                at: refusal.ts,
                call: Some(refusal.source.name()),
                errno: refusal.errno,
                tid: Some(refusal.tid),
                thread: Some(refusal.thread.to_string()),
            };
            Exhaustion::begin(first, level, calls_before, fd_limit, held())
        });
        exhaustion.add_thread(refusal.tid, refusal.thread);
        exhaustion.failed(refusal.ts, level);
        exhaustion.count(totals, opens_beside);
        begins
    }

    /// Takes in the exact totals at a moment. Gives whether an exhaustion begins with them.
    pub(super) fn learn(
        &mut self,
        counters: &ProcessCounters,
        at: Nanos,
        level: Level,
        fd_limit: Option<u64>,
        held: impl FnOnce() -> BTreeMap<PatternId, u64>,
    ) -> bool {
        let before = self.totals();
        self.counted = Some(counters.fds_refused);
        self.counted_at = at;
        self.since = [0; FdSource::COUNT];
        let now = self.totals();
        let has_grown = now.iter().zip(&before).any(|(now, before)| now > before);
        let mut begins = false;
        if has_grown && self.current.is_none() {
            // Of several calls, nobody can tell which came first.
            let mut grown = FdSource::ALL
                .into_iter()
                .filter(|source| now[*source as usize] > before[*source as usize]);
            let call = grown.next().filter(|_| grown.next().is_none());
            let first = FirstFailure {
                at,
                call: call.map(FdSource::name),
                errno: EMFILE,
                tid: None,
                thread: None,
            };
            let calls_before = (before, self.opens_beside);
            let mut begun = Exhaustion::begin(first, level, calls_before, fd_limit, held());
            begun.is_counted = true;
            self.current = Some(begun);
            begins = true;
        }
        let opens_beside = self.opens_beside;
        if let Some(exhaustion) = &mut self.current {
            exhaustion.count(now, opens_beside);
            if has_grown {
                exhaustion.failed(at, level);
            } else if level.fds_net < exhaustion.fds_net_at_last {
                exhaustion.got_again(at);
            }
        }
        begins
    }

    /// The refusals so far are those of an earlier life of the process, or of before the trace.
    pub(super) fn begin_at(&mut self, counters: &ProcessCounters, at: Nanos) {
        self.counted = Some(counters.fds_refused);
        self.counted_at = at;
    }

    fn totals(&self) -> [u64; FdSource::COUNT] {
        let mut totals = self.counted.unwrap_or_default();
        for (total, since) in totals.iter_mut().zip(&self.since) {
            *total = total.saturating_add(*since);
        }
        totals
    }
}

/// A table is full though one part in so many is free: calls that wait hold descriptors, and numbers are
/// read a little later.
const FEW: u64 = 8;

/// `EMFILE` in `include/uapi/asm-generic/errno-base.h`: the process's table is full.
pub(super) const EMFILE: i32 = 24;

/// `ENFILE` in the same file: the host has no more files.
pub(super) const ENFILE: i32 = 23;

impl Exhaustion {
    fn begin(
        first: FirstFailure,
        level: Level,
        (before, opens_beside_before): ([u64; FdSource::COUNT], u64),
        fd_limit: Option<u64>,
        held: BTreeMap<PatternId, u64>,
    ) -> Self {
        Self {
            last: first.at,
            first,
            before,
            opens_beside_before,
            calls: [0; FdSource::COUNT],
            threads: Vec::new(),
            is_counted: false,
            peak_fds_net: level.fds_net,
            fds_net_at_last: level.fds_net,
            fd_limit,
            held,
            top_dirs: None,
            top_peers: None,
            kinds: None,
            unreached: Vec::new(),
            burst: None,
            again: None,
            over: None,
            losses_before: 0,
            verdict: None,
            asked: None,
        }
    }

    /// When the first call failed.
    pub(super) fn begun(&self) -> Nanos {
        self.first.at
    }

    /// When the last call failed.
    pub(super) fn last(&self) -> Nanos {
        self.last
    }

    /// Calls of one sort that failed.
    pub(super) fn failed_calls(&self, source: FdSource) -> u64 {
        self.calls[source as usize]
    }

    /// The thread that made every failing call, where one did.
    pub(super) fn sole_thread(&self) -> Option<(Tid, Comm)> {
        match self.threads.as_slice() {
            [(tid, thread, _)] if self.total() == self.of_threads() => Some((*tid, *thread)),
            _ => None,
        }
    }

    fn total(&self) -> u64 {
        self.calls.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }

    fn of_threads(&self) -> u64 {
        self.threads.iter().map(|(.., count)| count).sum()
    }

    fn add_thread(&mut self, tid: Tid, thread: Comm) {
        if let Some((_, name, count)) = self.threads.iter_mut().find(|(known, ..)| *known == tid) {
            *name = thread;
            *count += 1;
        } else if self.threads.len() < limits::THREADS_PER_EXHAUSTION {
            self.threads.push((tid, thread, 1));
        }
    }

    fn failed(&mut self, at: Nanos, level: Level) {
        self.last = self.last.max(at);
        self.peak_fds_net = self.peak_fds_net.max(level.fds_net);
        self.fds_net_at_last = level.fds_net;
        self.again = None;
    }

    fn count(&mut self, totals: [u64; FdSource::COUNT], opens_beside: u64) {
        for (calls, (now, before)) in self.calls.iter_mut().zip(totals.iter().zip(&self.before)) {
            *calls = now.saturating_sub(*before);
        }
        let opens_beside = opens_beside.saturating_sub(self.opens_beside_before);
        let opens = &mut self.calls[FdSource::Open as usize];
        *opens = opens.saturating_add(opens_beside);
    }

    /// A descriptor was got, or one was closed.
    pub(super) fn got_again(&mut self, at: Nanos) {
        if self.again.is_none() {
            self.again = Some(at.max(self.last));
        }
    }

    /// A look at the table told the limit.
    pub(super) fn learn_limit(&mut self, limit: Option<u64>) {
        // Once there is room again, the limit may be another than the one that was met.
        if self.again.is_none() || self.fd_limit.is_none() {
            self.fd_limit = limit;
        }
    }

    /// Lets time pass; `ended` is the process's end.
    pub(super) fn tick(&mut self, now: Nanos, ended: Option<Nanos>, thresholds: &Thresholds) {
        let is_silent = now.since(self.last) > thresholds.exhaustion_silence;
        if ended.is_some() {
            self.over = Some(self.again.or(ended).unwrap_or(now));
        } else if is_silent && self.again.is_some() {
            self.over = self.again;
        }
    }

    /// Puts what filled the table into few words, once.
    pub(super) fn settle(&mut self, patterns: &Patterns, counters: Option<&ProcessCounters>) {
        if self.top_dirs.is_none() {
            self.top_dirs = Some(patterns.summary(&self.held));
            self.held.clear();
        }
        if self.kinds.is_none()
            && let Some(counters) = counters
        {
            let (got, closed) = (&counters.fds_got_of_kind, &counters.fds_closed_of_kind);
            let net =
                FdKind::ALL.map(|kind| got[kind as usize].saturating_sub(closed[kind as usize]));
            self.kinds = Some(content::by_name(net));
        }
    }

    /// A look at /proc has told what fills the table, also what was there before anybody watched. One that
    /// came after room had been made does not tell what filled it.
    pub(super) fn learn_table(&mut self, table: &Content) {
        let is_full = |limit: u64| table.descriptors() >= limit.saturating_sub(limit / FEW);
        if self.again.is_none() && self.fd_limit.is_none_or(is_full) {
            self.kinds = Some(table.kinds.clone());
            self.top_dirs = Some(table.top_dirs.clone());
            self.held.clear();
        }
    }

    /// Learns which peers the process has connected to so far. Those that it connected to shortly
    /// before the first failure, and not since, are out of its reach while it gets no sockets; a
    /// connection that comes about all the same says until when.
    pub(super) fn learn_peers(&mut self, peers: &Peers) {
        if self.failed_calls(FdSource::Socket) == 0 {
            return;
        }
        let first = self.first.at;
        for row in &mut self.unreached {
            let seen = peers.get(row.remote).filter(|seen| seen.last > first);
            row.reached_again = row.reached_again.or(seen.map(|seen| seen.last));
        }
        for seen in peers.iter().filter(|seen| seen.last <= first) {
            let is_known = self.unreached.iter().any(|row| row.remote == seen.remote);
            if !is_known && first.since(seen.last) <= PEER_AGE {
                self.unreached.push(UnreachedPeer {
                    remote: seen.remote,
                    connects_before: seen.count,
                    last_connect: seen.last,
                    reached_again: None,
                });
            }
        }
        self.unreached.sort_by_key(|row| {
            (
                row.reached_again,
                std::cmp::Reverse(row.connects_before),
                row.remote,
            )
        });
        self.unreached.truncate(limits::PEERS_PER_GROUP);
    }

    /// Whether a burst of the same process can have led to it.
    pub(super) fn follows(&self, burst: &Burst, thresholds: &Thresholds) -> bool {
        burst.before.ts <= self.first.at
            && self.first.at.since(burst.last.ts) <= thresholds.burst_follow
    }

    /// Every pattern that is still needed.
    pub(super) fn patterns(&self) -> impl Iterator<Item = PatternId> {
        self.held.keys().copied()
    }

    /// The limit that was met. A process that failed far below the one that was looked up had changed
    /// it meanwhile, and its table was full of what it held; a few may be held back by calls that wait.
    fn limit_met(&self, peak: Option<u64>) -> Option<u64> {
        let is_stale = |peak: u64, limit: u64| {
            self.first.errno == EMFILE && peak < limit.saturating_sub(limit / FEW)
        };
        match (peak, self.fd_limit) {
            (Some(peak), Some(limit)) if is_stale(peak, limit) => Some(peak),
            (_, limit) => limit,
        }
    }

    /// What is told of it.
    pub(super) fn describe(&self, descriptors: &Descriptors) -> FdExhaustion {
        let calls = FdSource::ALL.into_iter().filter_map(|source| {
            let count = self.calls[source as usize];
            (count > 0).then_some((source.name(), count))
        });
        let mut threads: Vec<_> = self
            .threads
            .iter()
            .map(|(tid, thread, count)| ThreadCount {
                tid: *tid,
                thread: thread.to_string(),
                count: *count,
            })
            .collect();
        threads.sort_by_key(|thread| (std::cmp::Reverse(thread.count), thread.tid));
        let peak = descriptors.open_at(self.peak_fds_net);
        FdExhaustion {
            calls: calls.collect(),
            first_failure: self.first.clone(),
            threads,
            fds_peak: peak,
            fd_limit: self.limit_met(peak),
            kinds: self.kinds.clone().unwrap_or_default(),
            top_dirs: self.top_dirs.clone().unwrap_or_default(),
            top_peers: self.top_peers.clone().unwrap_or_default(),
            unreached_peers: self.unreached.clone(),
            recovered: self.over.filter(|_| self.again.is_some()),
            burst: self.burst.clone(),
        }
    }
}
