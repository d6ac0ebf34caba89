//! What one process did in all, by the kernel half's counters and by single events, whichever is newer,
//! and how fast it does it now; never who it is.

use std::collections::VecDeque;

use tracer_common::{FdSource, ProcessCounters};

use crate::model::{FdAction, FdEvent, Nanos};

/// The time that a rate is taken over: short enough to be of now, and of some readings of the counters.
const RATE_WINDOW: Nanos = Nanos::from_secs(10);

/// Changes nearer to each other than this are one.
const MARK_SPACING: Nanos = Nanos::from_millis(2_500);

/// A rate over less than this would make much of single calls.
const RATE_SPAN_MIN: Nanos = Nanos::from_secs(1);

/// What one process did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counters: Option<Box<ProcessCounters>>,
    seen: Seen,
    /// How much was got and closed by some moments of the window, and by one before it.
    marks: VecDeque<Mark>,
}

/// What single events told, for totals newer than the last counters.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    connects: u64,
    accepts: u64,
    opens_failed: u64,
    fds_got: u64,
    fds_closed: u64,
    fds_refused: u64,
}

/// Descriptors got and closed by a moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Nanos,
    got: u64,
    closed: u64,
}

/// Descriptors got and closed a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FdRates {
    /// Got in any way.
    pub got: f64,
    /// Closed.
    pub closed: f64,
}

impl Tally {
    /// That of a process met for the first time.
    pub(super) fn new(at: Nanos) -> Self {
        let mut tally = Self::default();
        tally.begin_rates(at);
        tally
    }

    /// Counts a connect.
    pub(super) fn connected(&mut self) {
        self.seen.connects += 1;
    }

    /// Counts an accept.
    pub(super) fn accepted(&mut self) {
        self.seen.accepts += 1;
    }

    /// Counts a descriptor's event.
    pub(super) fn count(&mut self, fd: &FdEvent, at: Nanos) {
        match fd.action {
            FdAction::Installed => self.seen.fds_got += 1,
            FdAction::Closed => self.seen.fds_closed += 1,
            FdAction::OpenFailed => self.seen.opens_failed += 1,
            FdAction::Exhausted => self.seen.fds_refused += 1,
        }
        self.mark(at);
    }

    /// Takes over exact counters.
    pub(super) fn learn(&mut self, counters: &ProcessCounters) {
        if let Some(known) = &mut self.counters {
            **known = *counters;
        } else {
            self.counters = Some(Box::new(*counters));
        }
    }

    /// What was done by now is not of now: rates count from here.
    pub(super) fn begin_rates(&mut self, at: Nanos) {
        let now = self.now(at);
        self.marks.clear();
        self.marks.push_back(now);
    }

    /// Nobody asks for rates any more: the process has ended.
    pub(super) fn forget_rates(&mut self) {
        self.marks = VecDeque::new();
    }

    /// Takes note that this is how much was done by now.
    pub(super) fn mark(&mut self, at: Nanos) {
        let now = self.now(at);
        // The first tells what the others began with.
        let has_more = self.marks.len() > 1;
        let last = self.marks.back_mut().filter(|_| has_more);
        if let Some(last) = last.filter(|last| at.since(last.at) < MARK_SPACING) {
            (last.got, last.closed) = (now.got, now.closed);
            return;
        }
        let is_past = |mark: &Mark| at.since(mark.at) >= RATE_WINDOW;
        while self.marks.get(1).is_some_and(is_past) {
            self.marks.pop_front();
        }
        self.marks.push_back(now);
    }

    /// How fast descriptors are got and closed, at a moment.
    pub(super) fn fd_rates(&self, at: Nanos) -> FdRates {
        let is_before = |mark: &&Mark| at.since(mark.at) >= RATE_WINDOW;
        let before = self.marks.iter().rev().find(is_before);
        let Some(begin) = before.or(self.marks.front()) else {
            return FdRates::default();
        };
        let span = at.since(begin.at).clamp(RATE_SPAN_MIN, RATE_WINDOW);
        let now = self.now(at);
        let a_second = |now: u64, begin: u64| now.saturating_sub(begin) as f64 / span.as_secs_f64();
        FdRates {
            got: a_second(now.got, begin.got),
            closed: a_second(now.closed, begin.closed),
        }
    }

    fn now(&self, at: Nanos) -> Mark {
        Mark {
            at,
            got: self.fds_got(),
            closed: self.fds_closed(),
        }
    }

    /// What the counters told last.
    pub(super) fn counters(&self) -> Option<&ProcessCounters> {
        self.counters.as_deref()
    }

    // Counters and events tell of the same things, each up to another moment: the newer is the
    // greater, and adding them would count twice.

    /// Connects begun.
    pub(super) fn connects(&self) -> u64 {
        self.counted(|c| c.connects).max(self.seen.connects)
    }

    /// Connections accepted.
    pub(super) fn accepts(&self) -> u64 {
        self.counted(|c| c.accepts).max(self.seen.accepts)
    }

    /// Files opened, as far as counters told.
    pub(super) fn opens(&self) -> u64 {
        self.counted(|c| c.fds_got[FdSource::Open as usize])
    }

    /// Files that could not be opened.
    pub(super) fn opens_failed(&self) -> u64 {
        self.counted(|c| c.opens_failed).max(self.seen.opens_failed)
    }

    /// Descriptors got in any way.
    pub(super) fn fds_got(&self) -> u64 {
        self.counted(ProcessCounters::all_got)
            .max(self.seen.fds_got)
    }

    /// Descriptors closed.
    pub(super) fn fds_closed(&self) -> u64 {
        self.counted(ProcessCounters::all_closed)
            .max(self.seen.fds_closed)
    }

    /// Descriptors refused (EMFILE, ENFILE).
    pub(super) fn fds_refused(&self) -> u64 {
        self.counted(ProcessCounters::all_refused)
            .max(self.seen.fds_refused)
    }

    /// Descriptor events that were counted but not streamed.
    pub(super) fn not_streamed(&self) -> u64 {
        self.counted(|c| c.not_streamed)
    }

    fn counted(&self, of: impl Fn(&ProcessCounters) -> u64) -> u64 {
        self.counters.as_deref().map_or(0, of)
    }
}
