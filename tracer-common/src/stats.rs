//! How the kernel half accounts for every event; never holds what became of it in user space.

/// What became of the events of one kind on one CPU. Each seen event has exactly one outcome, so
/// `seen` is the sum of the others; both are counted apart, so that the sum is a check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct EventStats {
    /// Events that the hooks saw.
    pub seen: u64,
    /// Sent to the collector.
    pub streamed: u64,
    /// Only counted, within the per-process totals: beyond the streaming budget.
    pub counted_only: u64,
    /// Not selected by the user.
    pub filtered: u64,
    /// Lost: the ring buffer was full.
    pub ring_full: u64,
    /// Lost: a table in the kernel was full.
    pub map_full: u64,
    /// Lost: a kernel structure could not be read.
    pub read_failed: u64,
}

impl EventStats {
    /// The sum of all outcomes, to be held against `seen`.
    #[must_use]
    pub const fn outcomes(&self) -> u64 {
        self.streamed
            + self.counted_only
            + self.filtered
            + self.ring_full
            + self.map_full
            + self.read_failed
    }

    /// Events that the collector wanted and did not get.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.ring_full + self.map_full + self.read_failed
    }
}

/// The outcomes as the kernel half picks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// [`EventStats::streamed`].
    Streamed,
    /// [`EventStats::counted_only`].
    CountedOnly,
    /// [`EventStats::filtered`].
    Filtered,
    /// [`EventStats::ring_full`].
    RingFull,
    /// [`EventStats::map_full`].
    MapFull,
    /// [`EventStats::read_failed`].
    ReadFailed,
}

const _: () = assert!(size_of::<EventStats>() == 56);
