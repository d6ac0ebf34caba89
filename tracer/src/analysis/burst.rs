//! A burst of opened files while it is gathered; never finds one (`descriptors` does) nor judges its size
//! (`fd_burst` does).

use std::collections::BTreeMap;

use crate::model::{Comm, Nanos, Tid};

use super::{
    descriptors::Level,
    limits,
    pattern::PatternId,
    stacks::{Stack, StackCounts},
};

/// A file opened lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenedFile {
    pub(super) ts: Nanos,
    pub(super) pattern: PatternId,
    pub(super) tid: Tid,
    pub(super) thread: Comm,
    /// The stack that it was opened with, where that was asked for.
    pub(super) stack: Option<Stack>,
}

/// Many files opened and kept at once.
#[derive(Clone, Debug)]
pub(super) struct Burst {
    /// The first open's time, with the totals just before it.
    pub(super) before: Level,
    /// The last open that raised the number of kept files, with the totals after it.
    pub(super) last: Level,
    /// The most descriptors while it went on.
    pub(super) peak_fds_net: i64,
    /// Opens by pattern, until the burst is over and summarised.
    pub(super) patterns: BTreeMap<PatternId, u64>,
    /// Opens that are counted in a pattern.
    pub(super) with_path: u64,
    /// The patterns' summary, once the burst is over.
    pub(super) summary: Option<Vec<(String, u64)>>,
    /// Losses before it began.
    pub(super) losses_before: u64,
    /// Opens by thread.
    pub(super) threads: Vec<(Tid, Comm, u64)>,
    /// The stacks that they were opened with.
    pub(super) stacks: StackCounts,
    /// Whether it still goes on.
    pub(super) ongoing: bool,
    /// Its verdict, once it has one.
    pub(super) verdict: Option<u64>,
}

impl Burst {
    /// Files opened from its begin to its end.
    pub(super) fn opens(&self) -> u64 {
        self.last.opens.saturating_sub(self.before.opens)
    }

    /// Counts a file of it.
    pub(super) fn add(&mut self, file: OpenedFile) {
        self.stacks.add(file.stack);
        if let Some(count) = self.patterns.get_mut(&file.pattern) {
            *count += 1;
            self.with_path += 1;
        } else if self.patterns.len() < limits::PATTERNS_PER_BURST {
            self.patterns.insert(file.pattern, 1);
            self.with_path += 1;
        }
        if let Some((_, name, count)) = self.threads.iter_mut().find(|(tid, ..)| *tid == file.tid) {
            *name = file.thread;
            *count += 1;
        } else if self.threads.len() < limits::THREADS_PER_BURST {
            self.threads.push((file.tid, file.thread, 1));
        }
    }
}

/// Whether most of what the burst kept has been closed again.
pub(super) fn was_released(burst: &Burst, now: Level) -> bool {
    let kept = burst.last.files_net.saturating_sub(burst.before.files_net);
    let left = now.files_net.saturating_sub(burst.before.files_net);
    left < kept / 2
}
