//! Records what happened over time, beside the engine and in bounded memory whatever the length of
//! the input; never concludes anything.
//!
//! Time is divided into buckets of equal width. When there are too many, each two become one. The
//! busiest processes, and those with verdicts, are recorded by themselves, all others as one sum.

mod sparse;
#[cfg(test)]
mod tests;
mod track;

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use tracer_common::ProcessCounters;

use crate::model::{EventBody, FdAction, HostFact, Input, Losses, Nanos, Netns, TimeWaitListing};

use super::{
    Engine,
    connections::Outcome,
    limits,
    pattern::{PatternId, Patterns},
    process::ProcessKey,
    report::Identity,
};
pub use sparse::{Count, Gauge};
use sparse::{Counts, Level};
use track::Track;

/// How many inputs may come between two looks at how much memory is taken.
const INPUTS_BETWEEN_LOOKS: u32 = 1 << 16;

/// What happened over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// When the first bucket begins.
    pub start: Nanos,
    /// How long each bucket is.
    pub width: Nanos,
    /// How many there are.
    pub buckets: u32,
    /// Processes recorded by themselves: those with verdicts first, then the busiest.
    pub processes: Vec<ProcessSeries>,
    /// All others together; without descriptors, as each table has its own limit.
    pub others: ProcessSeries,
    /// How many processes `others` sums up, where none was met twice.
    pub others_count: u64,
    /// `TIME_WAIT` sockets whose owner nobody knows.
    pub time_wait_unowned: Vec<Gauge>,
    /// Whether `TIME_WAIT` sockets were ever listed.
    pub time_wait_listed: bool,
    /// What was lost, by cause, in the bucket in which it became known.
    pub lost: Vec<(LossCause, Vec<Count>)>,
}

/// What one process did over time.
#[derive(Clone, Debug, Default)]
pub struct ProcessSeries {
    /// Who it is.
    pub who: Identity,
    /// The numbers of the verdicts about it.
    pub verdicts: Vec<u64>,
    /// Open descriptors; empty where its table was never looked at.
    pub fds: Vec<Gauge>,
    /// The soft limit; `None` is unlimited or not known.
    pub fd_limit: Option<u64>,
    /// Files opened, by pattern of directory and extension, the most frequent first.
    pub opens: Vec<(String, Vec<Count>)>,
    /// Files opened in further directories.
    pub opens_elsewhere: Vec<Count>,
    /// Files opened whose path is not known: beyond the budget, or lost.
    pub opens_unknown: Vec<Count>,
    /// Descriptors refused (EMFILE, ENFILE).
    pub refused: Vec<Count>,
    /// Connections established or accepted.
    pub opened: Vec<Count>,
    /// Connections that ended.
    pub closed: Vec<Count>,
    /// Connects that failed, by positive errno; 0 is a connect that the program itself gave up.
    pub failed: Vec<(i32, Vec<Count>)>,
    /// Connects that failed with further errors.
    pub failed_otherwise: Vec<Count>,
    /// Its `TIME_WAIT` sockets, as listed.
    pub time_wait: Vec<Gauge>,
    /// The bucket that it ended in.
    pub ended: Option<u32>,
}

/// Why events, or what is known of processes, were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// The ring buffer was full.
    RingFull,
    /// A table in the kernel was full.
    MapFull,
    /// A kernel structure could not be read.
    ReadFailed,
    /// A record was of an unknown kind or size.
    Undecodable,
    /// The kernel skipped a hook that was hit while it ran.
    KernelSkipped,
    /// A look-up of a process was given up.
    LookupDropped,
}

impl LossCause {
    /// Every cause.
    pub const ALL: [Self; 6] = [
        Self::RingFull,
        Self::MapFull,
        Self::ReadFailed,
        Self::Undecodable,
        Self::KernelSkipped,
        Self::LookupDropped,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::MapFull => "map_full",
            Self::ReadFailed => "read_failed",
            Self::Undecodable => "undecodable",
            Self::KernelSkipped => "kernel_skipped",
            Self::LookupDropped => "lookup_dropped",
        }
    }

    /// How much was lost so far for this cause.
    #[must_use]
    pub fn of(self, losses: &Losses) -> u64 {
        match self {
            Self::RingFull => losses.over_kinds(|stats| stats.ring_full),
            Self::MapFull => losses.over_kinds(|stats| stats.map_full),
            Self::ReadFailed => losses.over_kinds(|stats| stats.read_failed),
            Self::Undecodable => losses.undecodable,
            Self::KernelSkipped => losses.kernel_skipped,
            Self::LookupDropped => losses.lookups_dropped,
        }
    }
}

/// One cause's losses as they became known.
#[derive(Debug, Default)]
struct Lost {
    so_far: u64,
    counts: Counts,
}

/// How many `TIME_WAIT` sockets each process has; `None` is nobody.
type TimeWaitCounts = Vec<(Option<ProcessKey>, i64)>;

/// Records what an engine is told.
#[derive(Debug)]
pub struct SeriesRecorder {
    /// When the first bucket begins: with the first input.
    start: Option<Nanos>,
    width: Nanos,
    tracks: FxHashMap<ProcessKey, Track>,
    others: Track,
    others_count: u64,
    patterns: Patterns,
    /// The last listing of each network namespace.
    time_wait: BTreeMap<Netns, TimeWaitCounts>,
    /// Their sum.
    time_wait_now: FxHashMap<Option<ProcessKey>, i64>,
    time_wait_unowned: Level,
    time_wait_listed: bool,
    lost: [Lost; LossCause::ALL.len()],
    inputs_until_look: u32,
}

impl Default for SeriesRecorder {
    fn default() -> Self {
        Self {
            start: None,
            width: limits::SERIES_BUCKET,
            tracks: FxHashMap::default(),
            others: Track::default(),
            others_count: 0,
            patterns: Patterns::default(),
            time_wait: BTreeMap::new(),
            time_wait_now: FxHashMap::default(),
            time_wait_unowned: Level::default(),
            time_wait_listed: false,
            lost: Default::default(),
            inputs_until_look: INPUTS_BETWEEN_LOOKS,
        }
    }
}

impl SeriesRecorder {
    /// Takes in one input that the engine was told just before.
    pub fn observe(&mut self, engine: &Engine, input: &Input) {
        match input {
            Input::Session(session) => {
                self.start.get_or_insert(session.start);
            }
            Input::Event(event) => {
                let bucket = self.bucket(event.ts);
                match &event.body {
                    EventBody::Tcp(_) => self.outcomes(engine, bucket),
                    EventBody::Fd(fd) => {
                        let Some(key) = engine.process_now(event.pid) else {
                            return;
                        };
                        let pattern = match &fd.path {
                            Some(path) if fd.action == FdAction::Installed => {
                                self.pattern(&path.text)
                            }
                            _ => None,
                        };
                        let track = self.track(engine, key);
                        track.descriptor(bucket, fd, pattern);
                    }
                    EventBody::Process(_) => {}
                    EventBody::Exit { counters, .. } => {
                        if let Some(key) = engine.process_now(event.pid)
                            && let Some(track) = self.tracks.get_mut(&key)
                        {
                            track.counters(bucket, counters);
                            track.ended.get_or_insert(bucket);
                        }
                    }
                }
            }
            Input::Tick(now) => {
                let bucket = self.bucket(*now);
                self.outcomes(engine, bucket);
            }
            Input::Losses(losses) => {
                let bucket = self.bucket(engine.latest());
                for (cause, lost) in LossCause::ALL.into_iter().zip(&mut self.lost) {
                    let so_far = cause.of(losses);
                    lost.counts.add(bucket, so_far.saturating_sub(lost.so_far));
                    lost.so_far = lost.so_far.max(so_far);
                }
            }
            Input::Host(at, HostFact::Counters { pid, counters }) => {
                let bucket = self.bucket(*at);
                if let Some(key) = engine.process_now(*pid)
                    && did_anything(counters)
                {
                    let track = self.track(engine, key);
                    track.counters(bucket, counters);
                }
            }
            Input::Host(at, HostFact::TimeWait(listing)) => {
                let bucket = self.bucket(*at);
                self.time_wait(engine, bucket, listing);
            }
            Input::Host(..) => {}
        }
        self.inputs_until_look -= 1;
        if self.inputs_until_look == 0 {
            self.inputs_until_look = INPUTS_BETWEEN_LOOKS;
            self.keep_bounds(engine);
        }
    }

    /// All that was recorded, each process as the engine knows it now.
    pub fn series(&self, engine: &Engine) -> Series {
        let mut verdicts: FxHashMap<ProcessKey, Vec<u64>> = FxHashMap::default();
        for (id, key) in engine.verdict_processes() {
            verdicts.entry(key).or_default().push(id);
        }
        let mut order: Vec<(&ProcessKey, &Track)> = self.tracks.iter().collect();
        order.sort_unstable_by_key(|(key, track)| {
            let told = verdicts.contains_key(key);
            (!told, std::cmp::Reverse(track.activity), **key)
        });
        let told = order.len().min(limits::SERIES_PROCESSES_TOLD);
        let (told, rest) = order.split_at(told);
        let mut others = self.others.clone();
        for (_, track) in rest {
            others.absorb(track);
        }
        let processes = told.iter().map(|(key, track)| {
            let mut process = self.process(track);
            process.who = engine.processes().identity(**key);
            process.verdicts = verdicts.remove(*key).unwrap_or_default();
            if let Some(known) = engine.processes().get(**key) {
                let open = |net: i32| known.descriptors.open_at(i64::from(net));
                let clamp = |open: u64| i32::try_from(open).unwrap_or(i32::MAX);
                let gauges = track.fds_net.points.iter().filter_map(|point| {
                    Some(Gauge {
                        bucket: point.bucket,
                        peak: clamp(open(point.peak)?),
                        last: clamp(open(point.last)?),
                    })
                });
                process.fds = gauges.collect();
                process.fd_limit = known.descriptors.soft_limit();
            }
            process
        });
        let start = self.start.unwrap_or_default();
        let span = engine.latest().since(start).0 / self.width.0 + 1;
        Series {
            start,
            width: self.width,
            buckets: u32::try_from(span).map_or(limits::SERIES_BUCKETS, |span| {
                span.min(limits::SERIES_BUCKETS)
            }),
            processes: processes.collect(),
            others: self.process(&others),
            others_count: self.others_count + rest.len() as u64,
            time_wait_unowned: self.time_wait_unowned.points.clone(),
            time_wait_listed: self.time_wait_listed,
            lost: LossCause::ALL
                .into_iter()
                .zip(&self.lost)
                .filter(|(_, lost)| lost.counts.total > 0)
                .map(|(cause, lost)| (cause, lost.counts.points.clone()))
                .collect(),
        }
    }

    fn process(&self, track: &Track) -> ProcessSeries {
        let mut opens: Vec<_> = track
            .patterns()
            .filter_map(|(id, counts)| Some((self.patterns.text(id)?, counts)))
            .collect();
        opens.sort_by(|(text, counts), (other_text, other)| {
            other
                .total
                .cmp(&counts.total)
                .then_with(|| text.cmp(other_text))
        });
        let mut failed: Vec<_> = track.failed().collect();
        failed.sort_by_key(|(errno, counts)| (std::cmp::Reverse(counts.total), *errno));
        ProcessSeries {
            who: Identity::default(),
            verdicts: Vec::new(),
            fds: Vec::new(),
            fd_limit: None,
            opens: opens
                .into_iter()
                .map(|(text, counts)| (text, counts.points.clone()))
                .collect(),
            opens_elsewhere: track.elsewhere.points.clone(),
            opens_unknown: track.unknown.points.clone(),
            refused: track.refused.points.clone(),
            opened: track.opened.points.clone(),
            closed: track.closed.points.clone(),
            failed: failed
                .into_iter()
                .map(|(errno, counts)| (errno, counts.points.clone()))
                .collect(),
            failed_otherwise: track.failed_otherwise.points.clone(),
            time_wait: track.time_wait.points.clone(),
            ended: track.ended,
        }
    }

    /// The bucket of a moment. Where it lies beyond the last one, all become wider.
    fn bucket(&mut self, at: Nanos) -> u32 {
        let since = at.since(*self.start.get_or_insert(at)).0;
        loop {
            if let Ok(bucket) = u32::try_from(since / self.width.0)
                && bucket < limits::SERIES_BUCKETS
            {
                return bucket;
            }
            self.halve();
        }
    }

    fn halve(&mut self) {
        self.width = self.width + self.width;
        for track in self.tracks.values_mut() {
            track.halve();
        }
        self.others.halve();
        self.time_wait_unowned.halve();
        for lost in &mut self.lost {
            lost.counts.halve();
        }
    }

    /// The record of a process. One that comes after others were summed up may be one of them, so
    /// that its totals were told already.
    fn track(&mut self, engine: &Engine, key: ProcessKey) -> &mut Track {
        if !self.tracks.contains_key(&key) && self.tracks.len() >= limits::SERIES_PROCESSES {
            self.sum_up(engine, limits::SERIES_PROCESSES / limits::EVICTED_PART);
        }
        let is_new = self.others_count == 0;
        self.tracks.entry(key).or_insert_with(|| {
            if is_new {
                Track::from_zero()
            } else {
                Track::default()
            }
        })
    }

    /// Adds the least busy processes to the others.
    fn sum_up(&mut self, engine: &Engine, count: usize) {
        let mut told: Vec<_> = engine.verdict_processes().map(|(_, key)| key).collect();
        told.sort_unstable();
        let mut order: Vec<_> = self
            .tracks
            .iter()
            .map(|(key, track)| (told.binary_search(key).is_ok(), track.activity, *key))
            .collect();
        order.sort_unstable();
        for (_, _, key) in order.into_iter().take(count) {
            if let Some(track) = self.tracks.remove(&key) {
                self.others.absorb(&track);
                self.others_count += 1;
            }
        }
    }

    fn keep_bounds(&mut self, engine: &Engine) {
        let points = |recorder: &Self| recorder.tracks.values().map(Track::points).sum::<usize>();
        while points(self) > limits::SERIES_POINTS {
            if self.tracks.len() > limits::SERIES_PROCESSES_TOLD {
                self.sum_up(engine, self.tracks.len() / 4);
            } else {
                self.halve();
            }
        }
    }

    /// The number of a path's pattern. Where the table is full, what nothing holds is dropped first.
    fn pattern(&mut self, path: &str) -> Option<PatternId> {
        if let Some(id) = self.patterns.of(path) {
            return Some(id);
        }
        let tracks = self.tracks.values().chain([&self.others]);
        let mut held: Vec<_> = tracks
            .flat_map(|track| track.patterns().map(|(id, _)| id))
            .collect();
        held.sort_unstable();
        held.dedup();
        self.patterns.keep_only(&held);
        self.patterns.of(path)
    }

    /// What the last input did to connections.
    fn outcomes(&mut self, engine: &Engine, bucket: u32) {
        for outcome in engine.outcomes() {
            match outcome {
                Outcome::Opened { owner, .. } => {
                    let track = self.track(engine, owner.process);
                    track.activity += 1;
                    track.opened.add(bucket, 1);
                }
                Outcome::Ended { seq, .. } => {
                    if let Some(owner) = engine.owner_of_ended(*seq) {
                        let track = self.track(engine, owner.process);
                        track.activity += 1;
                        track.closed.add(bucket, 1);
                    }
                }
                Outcome::Failed(failed) => {
                    let track = self.track(engine, failed.owner.process);
                    track.connect_failed(bucket, failed.errno);
                }
                Outcome::Lost(process) => {
                    let track = self.track(engine, *process);
                    track.closed.add(bucket, 1);
                }
                Outcome::MoreBytes { .. } | Outcome::ClosedByOther(_) => {}
            }
        }
    }

    fn time_wait(&mut self, engine: &Engine, bucket: u32, listing: &TimeWaitListing) {
        self.time_wait_listed = true;
        if !self.time_wait.contains_key(&listing.netns)
            && self.time_wait.len() >= limits::TIME_WAIT_LISTINGS
        {
            return;
        }
        let mut counts: FxHashMap<Option<ProcessKey>, i64> = FxHashMap::default();
        for owner in engine.time_wait_owners(listing) {
            *counts.entry(owner).or_default() += 1;
        }
        let before = self.time_wait.remove(&listing.netns).unwrap_or_default();
        let mut changed: Vec<_> = before.iter().map(|(owner, _)| *owner).collect();
        for (owner, count) in before {
            *self.time_wait_now.entry(owner).or_default() -= count;
        }
        for (owner, count) in &counts {
            *self.time_wait_now.entry(*owner).or_default() += count;
            changed.push(*owner);
        }
        changed.sort_unstable();
        changed.dedup();
        for owner in changed {
            let now = self.time_wait_now.get(&owner).copied().unwrap_or(0);
            if now == 0 {
                self.time_wait_now.remove(&owner);
            }
            match owner {
                None => self.time_wait_unowned.set(bucket, now),
                Some(key) => self.track(engine, key).time_wait.set(bucket, now),
            }
        }
        if !counts.is_empty() {
            self.time_wait
                .insert(listing.netns, counts.into_iter().collect());
        }
    }
}

/// Whether there is anything to record of a process.
fn did_anything(counters: &ProcessCounters) -> bool {
    let refused = counters.fds_refused.iter().any(|count| *count > 0);
    refused || counters.fds_got.iter().any(|count| *count > 0)
}
