//! What fills a descriptor table, as a look at /proc has told it and as counts have kept it true since;
//! never whose table it is.

use std::collections::BTreeMap;

use tracer_common::FdKind;

use crate::model::Nanos;

use super::{
    held::HeldFiles,
    limits,
    pattern::{PatternId, Patterns},
    report::FdContent,
};

/// Descriptors of each kind, in the order of [`FdKind::ALL`], by the kinds' names where there are any.
pub(super) fn by_name(kinds: [u64; FdKind::COUNT]) -> BTreeMap<&'static str, u64> {
    let kinds = FdKind::ALL.into_iter().zip(kinds);
    kinds
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| (kind.name(), count))
        .collect()
}

/// What a table holds.
#[derive(Debug)]
pub(super) struct Content {
    /// Descriptors by kind, those that there are.
    pub(super) kinds: BTreeMap<&'static str, u64>,
    /// Files by pattern, the most frequent first.
    pub(super) top_dirs: Vec<(String, u64)>,
}

impl Content {
    /// Descriptors of each kind, in the order of [`FdKind::ALL`], and files by pattern.
    pub(super) fn new(kinds: [u64; FdKind::COUNT], top_dirs: Vec<(String, u64)>) -> Self {
        Self {
            kinds: by_name(kinds),
            top_dirs,
        }
    }

    /// How many descriptors there are.
    pub(super) fn descriptors(&self) -> u64 {
        self.kinds
            .values()
            .fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// What a table holds now.
#[derive(Debug)]
pub(super) struct Holding {
    /// When it was looked at.
    looked: Nanos,
    /// Descriptors of each kind then, less the net counts (got less closed) of that moment.
    base: [i64; FdKind::COUNT],
    /// Files then, by pattern, the most frequent first; at most [`limits::PATTERNS_PER_HOLDING`].
    files: Box<[(PatternId, u64)]>,
}

impl Holding {
    /// What a look has told at a moment at which so many descriptors of each kind were got less closed.
    pub(super) fn new(
        looked: Nanos,
        kinds: [u64; FdKind::COUNT],
        nets: [i64; FdKind::COUNT],
        files: &BTreeMap<PatternId, u64>,
    ) -> Self {
        let mut files: Vec<_> = files.iter().map(|(id, count)| (*id, *count)).collect();
        files.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        files.truncate(limits::PATTERNS_PER_HOLDING);
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            looked,
            base: std::array::from_fn(|kind| signed(kinds[kind]).saturating_sub(nets[kind])),
            files: files.into(),
        }
    }

    /// Every pattern that is still needed.
    pub(super) fn patterns(&self) -> impl Iterator<Item = PatternId> {
        self.files.iter().map(|(id, _)| *id)
    }

    /// What it holds at a moment with these net counts; `held` are the files that were opened lately.
    pub(super) fn describe(
        &self,
        nets: [i64; FdKind::COUNT],
        held: &HeldFiles,
        patterns: &Patterns,
    ) -> FdContent {
        let kinds: [u64; FdKind::COUNT] = std::array::from_fn(|kind| {
            u64::try_from(self.base[kind].saturating_add(nets[kind])).unwrap_or(0)
        });
        let files = self.files(kinds[FdKind::File as usize], held);
        FdContent {
            looked: Some(self.looked),
            kinds: by_name(kinds),
            top_dirs: patterns.summary(&files),
            top_peers: Vec::new(),
        }
    }

    /// Files by pattern, `open` of them at most. Which of those that the look told were closed since is
    /// not known: most likely those of which there were most.
    fn files(&self, open: u64, held: &HeldFiles) -> BTreeMap<PatternId, u64> {
        let newer = held.counts(self.looked);
        let mut known = self.files.iter().map(|(_, count)| count).sum::<u64>();
        known += newer.values().sum::<u64>();
        let mut closed = known.saturating_sub(open);
        let mut files = BTreeMap::new();
        for (id, count) in &self.files {
            let gone = closed.min(*count);
            closed -= gone;
            if *count > gone {
                files.insert(*id, count - gone);
            }
        }
        for (id, count) in newer {
            *files.entry(id).or_default() += count;
        }
        files
    }
}
