//! The descriptors of one process over time, and the bursts in them; never judges a burst's size
//! itself (`fd_burst` does) nor names its files (`pattern` does).

use std::collections::{BTreeMap, VecDeque};

use tracer_common::{FdSource, ProcessCounters};

use crate::model::{DescriptorFact, FdAction, FdEvent, Nanos};

use super::{
    burst::{Burst, OpenedFile, was_released},
    content::{Content, Holding},
    fd_burst,
    fd_exhaustion::{Exhaustion, Refusal, Refusals},
    fd_leak::Growth,
    fd_near_limit::{self, NearLimit},
    held::HeldFiles,
    limits,
    pattern::PatternId,
    peers::Peers,
    stacks::StackCounts,
    thresholds::Thresholds,
};

/// A process's running totals at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) ts: Nanos,
    /// Files opened so far.
    pub(super) opens: u64,
    /// Files got less files closed.
    pub(super) files_net: i64,
    /// Descriptors got less descriptors closed.
    pub(super) fds_net: i64,
}

/// What is known of one process's descriptors.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// The latest totals; `None` until the first are known.
    latest: Option<Level>,
    /// Levels within the window that later ones have not undercut, lowest and oldest first.
    minima: VecDeque<Level>,
    /// Files opened within the window, or during the burst since it last grew.
    opened: VecDeque<OpenedFile>,
    /// The burst that goes on.
    burst: Option<Box<Burst>>,
    /// Bursts that are over and still told.
    followed: VecDeque<Burst>,
    /// Open descriptors less the net count, from the last look at the table.
    base: Option<i64>,
    soft_limit: Option<u64>,
    hard_limit: Option<u64>,
    /// The most that were open, of what is known.
    peak: Option<u64>,
    /// How often the table was looked at.
    looks: u64,
    /// When it last was.
    looked_at: Nanos,
    /// The totals then.
    looked_level: Level,
    /// By how many descriptors looks have corrected the count, in all.
    corrected: u64,
    /// From this net count on the table is nearly full, where its limit is known.
    near_from: Option<i64>,
    pub(super) near: Option<Box<NearLimit>>,
    /// Calls that got no descriptor, once there were any.
    pub(super) refusals: Option<Box<Refusals>>,
    /// Whether they become more and more.
    pub(super) growth: Growth,
    /// Files that it most likely holds, of those whose opens were told.
    pub(super) held: HeldFiles,
    /// What it holds, once it was looked at.
    pub(super) holding: Option<Box<Holding>>,
    /// Whether the next tick is known to look at it.
    is_noted: bool,
}

impl Descriptors {
    /// Files opened so far, as far as events and counters told.
    pub(super) fn opens(&self) -> u64 {
        self.now().opens
    }

    /// Whether any totals are known yet.
    pub(super) fn is_known(&self) -> bool {
        self.latest.is_some()
    }

    /// The totals now; zero until the first are known.
    pub(super) fn now(&self) -> Level {
        self.latest.unwrap_or_default()
    }

    /// The soft limit, where it is known and there is one.
    pub(super) fn soft_limit(&self) -> Option<u64> {
        self.soft_limit
    }

    /// The hard limit, where it is known and there is one.
    pub(super) fn hard_limit(&self) -> Option<u64> {
        self.hard_limit
    }

    /// The most descriptors that were open, where the table was ever looked at.
    pub(super) fn peak(&self) -> Option<u64> {
        self.peak
    }

    /// How often the table was looked at.
    pub(super) fn looks(&self) -> u64 {
        self.looks
    }

    /// By how many descriptors looks at the table have corrected the count, in all.
    pub(super) fn corrected(&self) -> u64 {
        self.corrected
    }

    /// Whether the table should be looked at once more, which nothing is told of.
    pub(super) fn wants_look(&self, now: Nanos) -> bool {
        let is_unread = self.looks == 1 && self.holding.is_none();
        let is_old = now.since(self.looked_at) >= limits::RELOOK_AT_REST_PERIOD;
        is_unread || is_old || self.has_moved_since_look()
    }

    /// Whether descriptors were got or closed since the table was looked at.
    fn has_moved_since_look(&self) -> bool {
        let at_rest = |level: Level| Level {
            ts: Nanos::default(),
            ..level
        };
        at_rest(self.now()) != at_rest(self.looked_level)
    }

    /// Open descriptors at a moment with this net count, where the table was ever looked at.
    pub(super) fn open_at(&self, fds_net: i64) -> Option<u64> {
        let open = self.base?.saturating_add(fds_net);
        Some(u64::try_from(open).unwrap_or(0))
    }

    /// Open descriptors now.
    pub(super) fn open_now(&self) -> Option<u64> {
        self.open_at(self.now().fds_net)
    }

    /// Whether there is anything that the next tick must look at.
    fn is_busy(&self) -> bool {
        self.has_tellable() || !self.opened.is_empty() || self.minima.len() > 1
    }

    /// Whether there is anything that is told.
    pub(super) fn has_tellable(&self) -> bool {
        self.burst.is_some()
            || !self.followed.is_empty()
            || self.near.is_some()
            || self.growth.leak.is_some()
            || self.exhaustion().is_some()
    }

    /// The exhaustion that goes on, if one does.
    pub(super) fn exhaustion(&self) -> Option<&Exhaustion> {
        self.refusals.as_ref()?.current.as_ref()
    }

    /// Whether it is busy and was not noted as such before.
    pub(super) fn becomes_busy(&mut self) -> bool {
        let is_new = !self.is_noted && self.is_busy();
        self.is_noted |= is_new;
        is_new
    }

    /// Whether the next tick must look at it as well. What was only needed while it was busy gives
    /// its memory back: there may be many processes that are not.
    pub(super) fn stays_busy(&mut self) -> bool {
        self.is_noted = self.is_busy();
        if !self.is_noted {
            self.opened.shrink_to_fit();
            self.minima.shrink_to_fit();
        }
        self.is_noted
    }

    /// The counts begin here, at zero.
    pub(super) fn begin_at_zero(&mut self, ts: Nanos) {
        if self.latest.is_none() {
            let zero = Level {
                ts,
                ..Level::default()
            };
            self.latest = Some(zero);
            self.minima.push_back(zero);
        }
    }

    /// Learns from a look at the table.
    pub(super) fn learn(&mut self, fact: &DescriptorFact, at: Nanos, thresholds: &Thresholds) {
        let net = fact.net.unwrap_or(self.now().fds_net);
        let open = i64::try_from(fact.open).unwrap_or(i64::MAX);
        let base = open.saturating_sub(net);
        if let (Some(told), Some(_)) = (self.base, fact.net) {
            self.corrected = self.corrected.saturating_add(told.abs_diff(base));
        }
        self.base = Some(base);
        self.looked_at = at;
        self.looked_level = self.now();
        self.soft_limit = fact.soft_limit;
        self.hard_limit = fact.hard_limit;
        self.peak = self.peak.max(Some(fact.open));
        self.looks += 1;
        let begins_at = fact
            .soft_limit
            .and_then(|limit| fd_near_limit::begins_at(limit, thresholds));
        self.near_from = begins_at.map(|open| {
            let open = i64::try_from(open).unwrap_or(i64::MAX);
            open.saturating_sub(base)
        });
        if let Some(refusals) = &mut self.refusals
            && let Some(exhaustion) = &mut refusals.current
        {
            exhaustion.learn_limit(fact.soft_limit);
        }
        self.note_near(Level {
            ts: at,
            ..self.now()
        });
    }

    /// Learns what fills the table, where that is told of.
    pub(super) fn learn_content(&mut self, table: &Content) {
        if let Some(near) = &mut self.near {
            near.learn_table(table);
        }
        let refusals = self.refusals.as_mut();
        if let Some(exhaustion) = refusals.and_then(|refusals| refusals.current.as_mut()) {
            exhaustion.learn_table(table);
        }
    }

    /// Whether it would be of use to know what the table holds.
    pub(super) fn wants_content(&self) -> bool {
        self.near.is_some() || self.exhaustion().is_some()
    }

    /// Takes in that a call got no descriptor.
    pub(super) fn refuse(&mut self, refusal: Refusal, level: Level) {
        let held = || self.held.counts(Nanos(0));
        let refusals = self.refusals.get_or_insert_default();
        if refusals.refuse(refusal, level, self.soft_limit, held) {
            self.leave_near_to_exhaustion();
        }
    }

    /// Learns whom the process had connected to when no socket was to be had.
    pub(super) fn learn_peers(&mut self, peers: &Peers) {
        let refusals = self.refusals.as_mut();
        if let Some(exhaustion) = refusals.and_then(|refusals| refusals.current.as_mut()) {
            exhaustion.learn_peers(peers);
        }
    }

    /// Takes in how many calls got no descriptor so far, exactly. `is_first` tells that what was
    /// refused up to now happened before anybody watched.
    pub(super) fn learn_refused(
        &mut self,
        counters: &ProcessCounters,
        at: Nanos,
        level: Level,
        is_first: bool,
    ) {
        if self.refusals.is_none() && counters.fds_refused.iter().all(|refused| *refused == 0) {
            return;
        }
        let refusals = self.refusals.get_or_insert_default();
        if is_first {
            refusals.begin_at(counters, at);
            return;
        }
        let held = || self.held.counts(Nanos(0));
        if refusals.learn(counters, at, level, self.soft_limit, held) {
            self.leave_near_to_exhaustion();
        }
    }

    /// Takes in what an event tells of the table's content.
    pub(super) fn note_content(&mut self, ts: Nanos, fd: &FdEvent, pattern: Option<PatternId>) {
        if fd.action != FdAction::Installed {
            return;
        }
        if let Some(refusals) = &mut self.refusals
            && let Some(exhaustion) = &mut refusals.current
        {
            exhaustion.got_again(ts);
        }
        if let (Some(number), Some(pattern), FdSource::Open) = (fd.fd, pattern, fd.source) {
            self.held.open(number, pattern, ts, fd.files_net);
        }
    }

    /// An exhaustion that begins says all that a nearly full table would.
    fn leave_near_to_exhaustion(&mut self) {
        if let Some(near) = &mut self.near
            && near.verdict.is_none()
        {
            near.is_told_by_exhaustion = true;
        }
    }

    /// Notes whether the table is nearly full.
    fn note_near(&mut self, level: Level) {
        if self.near_from.is_none_or(|from| level.fds_net < from) {
            return;
        }
        let (Some(open), Some(limit)) = (self.open_at(level.fds_net), self.soft_limit) else {
            return;
        };
        if let Some(near) = &mut self.near {
            near.add(level.ts, open);
            return;
        }
        let held = self.held.counts(Nanos(0));
        let mut near = NearLimit::begin(level.ts, open, limit, held);
        near.is_told_by_exhaustion = self.exhaustion().is_some();
        self.near = Some(Box::new(near));
    }

    /// The process ended, or its program was replaced: what stays open is not known.
    pub(super) fn forget_content(&mut self) {
        self.held.clear();
        self.holding = None;
    }

    /// Takes in the totals at a moment, with those that held until just before it where that is
    /// known, and the file that was opened then.
    pub(super) fn sample(
        &mut self,
        mut level: Level,
        held_before: Option<Level>,
        opened: Option<OpenedFile>,
        thresholds: &Thresholds,
    ) {
        let latest = self.now();
        let is_counted = opened.is_some() && level.opens == latest.opens;
        if level.opens < latest.opens || is_counted {
            // Counters, or another CPU's record, were faster: only the file's name is new.
            if let Some(file) = opened {
                self.remember(file);
            }
            return;
        }
        // Records of different CPUs may arrive slightly out of order.
        level.ts = level.ts.max(latest.ts);
        self.finish_if_silent(level.ts, thresholds);
        if self
            .burst
            .as_ref()
            .is_some_and(|burst| was_released(burst, held_before.unwrap_or(level)))
        {
            self.finish();
        }
        let held_net = self.latest.unwrap_or(level).fds_net;
        self.latest = Some(level);
        self.peak = self.peak.max(self.open_at(level.fds_net));
        self.note_near(level);
        self.growth.note(level, held_net, thresholds);
        self.held.drop_beyond(level.files_net);
        if let Some(mut held) = held_before {
            held.ts = held.ts.max(latest.ts);
            self.growth.note(held, held_net, thresholds);
            self.add_minimum(held, thresholds);
        }
        self.add_minimum(level, thresholds);
        if let Some(file) = opened {
            let ts = level.ts;
            self.opened.push_back(OpenedFile { ts, ..file });
            if self.opened.len() > limits::PATHS_PER_PROCESS {
                self.opened.pop_front();
            }
        }
        match &mut self.burst {
            Some(burst) => {
                burst.peak_fds_net = burst.peak_fds_net.max(level.fds_net);
                if level.files_net > burst.last.files_net {
                    burst.last = level;
                    for file in self.opened.drain(..) {
                        burst.add(file);
                    }
                }
            }
            None => self.begin_if_grown(thresholds),
        }
    }

    /// Lets time pass; `ended` is when the process ended.
    pub(super) fn tick(&mut self, now: Nanos, ended: Option<Nanos>, thresholds: &Thresholds) {
        let (level, open, limit) = (self.now(), self.open_now(), self.soft_limit);
        if let Some(near) = &mut self.near {
            near.tick(level, open, limit, ended, thresholds);
        }
        if let Some(refusals) = &mut self.refusals
            && let Some(exhaustion) = &mut refusals.current
        {
            exhaustion.tick(now, ended, thresholds);
        }
        if self.growth.leak.is_some() {
            self.growth.roll(now, level.fds_net, thresholds);
        }
        if let (Some(leak), Some(_)) = (&mut self.growth.leak, ended) {
            leak.over = ended;
        }
        self.finish_if_silent(now, thresholds);
        self.expire(now, thresholds);
        if self.burst.is_none() {
            // The limit may have become known since the last event.
            self.begin_if_grown(thresholds);
        }
        self.followed.retain(|burst| {
            burst.verdict.is_none() || now.since(burst.last.ts) <= thresholds.burst_follow
        });
    }

    /// Bursts that are told, the one that goes on last.
    pub(super) fn bursts(&self) -> impl Iterator<Item = &Burst> {
        self.followed.iter().chain(self.burst.as_deref())
    }

    /// Bursts that are told, the one that goes on last.
    pub(super) fn bursts_mut(&mut self) -> impl Iterator<Item = &mut Burst> {
        self.followed.iter_mut().chain(self.burst.as_deref_mut())
    }

    /// Every pattern that is still needed.
    pub(super) fn patterns(&self) -> impl Iterator<Item = PatternId> {
        let told = self
            .bursts()
            .flat_map(|burst| burst.patterns.keys().copied());
        told.chain(self.opened.iter().map(|file| file.pattern))
            .chain(self.exhaustion().into_iter().flat_map(Exhaustion::patterns))
            .chain(self.near.iter().flat_map(|near| near.patterns()))
            .chain(self.held.patterns())
            .chain(self.holding.iter().flat_map(|holding| holding.patterns()))
    }

    /// Forgets what is over and told.
    pub(super) fn drop_over(&mut self) {
        if let Some(refusals) = &mut self.refusals {
            refusals.current.take_if(|current| current.over.is_some());
        }
        self.near.take_if(|near| near.over.is_some());
        self.growth.leak.take_if(|leak| leak.over.is_some());
    }

    /// Remembers a file whose open the totals already count.
    fn remember(&mut self, file: OpenedFile) {
        match &mut self.burst {
            Some(burst) if burst.with_path < burst.opens() => burst.add(file),
            _ => self.opened.push_back(file),
        }
        if self.opened.len() > limits::PATHS_PER_PROCESS {
            self.opened.pop_front();
        }
    }

    fn add_minimum(&mut self, level: Level, thresholds: &Thresholds) {
        self.expire(level.ts, thresholds);
        while let Some(last) = self.minima.back()
            && last.files_net >= level.files_net
        {
            self.minima.pop_back();
        }
        // A higher level a moment after a lower one can only matter in the moment between the
        // expiry of the two, so one of each moment is enough.
        let moment = thresholds.burst_window.0 / limits::LEVELS_PER_PROCESS as u64;
        let is_apart = self
            .minima
            .back()
            .is_none_or(|last| level.ts.since(last.ts).0 > moment);
        if is_apart {
            self.minima.push_back(level);
        }
    }

    /// Forgets what lies before the window. The latest level still holds, however old it is.
    fn expire(&mut self, now: Nanos, thresholds: &Thresholds) {
        let window = thresholds.burst_window;
        while let Some(first) = self.minima.front()
            && now.since(first.ts) > window
        {
            self.minima.pop_front();
        }
        if self.minima.is_empty()
            && let Some(latest) = self.latest
        {
            self.minima.push_back(Level { ts: now, ..latest });
        }
        if self.burst.is_none() {
            while self
                .opened
                .front()
                .is_some_and(|file| now.since(file.ts) > window)
            {
                self.opened.pop_front();
            }
        }
    }

    fn begin_if_grown(&mut self, thresholds: &Thresholds) {
        let (Some(before), Some(latest)) = (self.minima.front().copied(), self.latest) else {
            return;
        };
        let kept = latest.files_net.saturating_sub(before.files_net);
        if !fd_burst::is_burst(kept, self.soft_limit, thresholds) {
            return;
        }
        let mut burst = Burst {
            before,
            last: latest,
            peak_fds_net: latest.fds_net,
            patterns: BTreeMap::new(),
            with_path: 0,
            summary: None,
            losses_before: 0,
            threads: Vec::new(),
            stacks: StackCounts::default(),
            ongoing: true,
            verdict: None,
        };
        for file in self.opened.drain(..).filter(|file| file.ts >= before.ts) {
            burst.add(file);
        }
        self.burst = Some(Box::new(burst));
    }

    fn finish_if_silent(&mut self, now: Nanos, thresholds: &Thresholds) {
        if self
            .burst
            .as_ref()
            .is_some_and(|burst| now.since(burst.last.ts) > thresholds.burst_gap)
        {
            self.finish();
        }
    }

    /// The burst is over; the next must grow from here.
    fn finish(&mut self) {
        let Some(mut burst) = self.burst.take() else {
            return;
        };
        burst.ongoing = false;
        if self.followed.len() >= limits::FOLLOWED_BURSTS {
            self.followed.pop_front();
        }
        self.followed.push_back(*burst);
        self.minima.clear();
        self.minima.extend(self.latest);
        self.opened.clear();
    }
}
