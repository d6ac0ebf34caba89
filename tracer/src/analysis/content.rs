//! What fills a descriptor table, as a look at /proc has told it; never whose table it is.

use std::collections::BTreeMap;

use tracer_common::FdKind;

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
