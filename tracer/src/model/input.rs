//! Everything that the engine learns; nothing reaches it in another way.

use serde::{Deserialize, Serialize};
use tracer_common::{EventKind, EventStats};

use super::{Event, HostFact, Nanos, Netns, Pid};

/// One thing learned.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// How, where and what is watched; the first input, once.
    Session(Box<Session>),
    /// Something happened.
    Event(Event),
    /// The clock stands at this time. Detectors conclude on ticks, never between them.
    Tick(Nanos),
    /// What was lost so far, in all since the start.
    Losses(Box<Losses>),
    /// A fact about the host, read at this time.
    Host(Nanos, HostFact),
}

impl Input {
    /// When it happened or was read; losses are told without a time.
    pub const fn time(&self) -> Option<Nanos> {
        match self {
            Self::Session(session) => Some(session.start),
            Self::Event(event) => Some(event.ts),
            Self::Tick(at) | Self::Host(at, _) => Some(*at),
            Self::Losses(_) => None,
        }
    }
}

/// How, where and what is watched. What an older version did not tell is told as nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// When watching began.
    pub start: Nanos,
    /// Nanoseconds to add to `CLOCK_BOOTTIME` to get the wall clock (UTC, since 1970), as it was
    /// at the start.
    pub wall_offset_ns: i64,
    /// The host's name.
    pub host: String,
    /// The kernel's release.
    pub kernel: String,
    /// The random id of the kernel's boot: events of two sessions compare only within one.
    pub boot_id: String,
    /// tracer's version.
    pub version: String,
    /// What the user selected.
    pub selection: Selection,
    /// Whether user stacks are taken.
    pub stacks: bool,
    /// Each hook and whether it is attached.
    pub hooks: Vec<HookState>,
}

/// What the user selected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Selection {
    /// Ports of either side; empty for all.
    pub ports: Vec<u16>,
    /// Processes; empty for all.
    pub pids: Vec<Pid>,
    /// The network namespace; `None` for all.
    pub netns: Option<Netns>,
    /// Whether connections are watched.
    pub tcp: bool,
    /// Whether descriptors are watched.
    pub fds: bool,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            ports: Vec::new(),
            pids: Vec::new(),
            netns: None,
            tcp: true,
            fds: true,
        }
    }
}

/// A hook and how it is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HookState {
    /// The kernel function or tracepoint.
    pub hook: String,
    /// How it is attached (`fentry`, `kprobe`, …); `None` where it is not.
    pub attached: Option<String>,
    /// What reports lack without it, for a person to read.
    pub provides: String,
    /// Why it is not attached; empty where it is.
    pub reason: String,
}

/// What became of all events since the start, and what was lost on the way to the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The kernel half's counters, summed over CPUs, by [`EventKind`].
    pub by_kind: [EventStats; EventKind::COUNT],
    /// Records that were not of a known kind or size.
    pub undecodable: u64,
    /// Runs that the kernel itself skipped (a hook hit while it was running on the same CPU).
    pub kernel_skipped: u64,
    /// Look-ups of processes that were given up because too many waited.
    pub lookups_dropped: u64,
    /// How long hooks that are attached were found switched off in the kernel, in milliseconds.
    pub hooks_off_ms: u64,
}

impl Losses {
    /// The counters of one kind.
    #[must_use]
    pub fn of(&self, kind: EventKind) -> &EventStats {
        &self.by_kind[kind as usize]
    }

    /// One counter over all kinds.
    #[must_use]
    pub fn over_kinds(&self, of: impl Fn(&EventStats) -> u64) -> u64 {
        self.by_kind.iter().map(of).fold(0, u64::saturating_add)
    }

    /// Events that were wanted and not got, over all kinds and causes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.over_kinds(EventStats::lost)
            .saturating_add(self.undecodable)
            .saturating_add(self.kernel_skipped)
    }
}
