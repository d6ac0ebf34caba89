//! What differs between two traces, by program instead of by process, as rates instead of sums; never
//! judges which of them is better.

mod profile;

use std::collections::{BTreeMap, BTreeSet};

use tracer_common::Role;

use crate::model::{Endpoint, Input, Nanos, Session};

use super::{pattern::Patterns, report::Verdict, thresholds::Thresholds};
use profile::{Profile, Profiler, VerdictKey};

/// A change that lies at least so many standard deviations from none is more than chance would have
/// brought forth in one of some hundred rows, if things happened independently of each other.
pub const NOTABLE: f64 = 3.0;

/// A program: what processes of one name and one executable have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// The processes' name.
    pub comm: String,
    /// Their executable, where that was known of any of them.
    pub exe: Option<String>,
    /// Whether they ran in containers. Which ones says nothing here: a deploy makes new ones.
    pub contained: bool,
}

/// Whom a program has connections with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Whether the program connects or accepts.
    pub role: Side,
    /// The server's side: another's that the program connects to, or its own that it accepts at.
    pub server: Endpoint,
}

/// The part that a program plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It connects.
    Client,
    /// It accepts.
    Server,
}

impl From<Side> for Role {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Server => Self::Server,
        }
    }
}

/// How often something happened in one trace and in the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// How often before.
    pub before: u64,
    /// How often after.
    pub after: u64,
    /// How often a minute before.
    pub before_per_min: f64,
    /// How often a minute after.
    pub after_per_min: f64,
    /// How far the rates are apart, in standard deviations of independent events.
    pub score: f64,
}

impl Change {
    fn of(before: u64, after: u64, spans: (Nanos, Nanos)) -> Self {
        // A trace shorter than a second has no rate worth the name.
        let minutes = |span: Nanos| span.as_secs_f64().max(1.0) / 60.0;
        let (before_minutes, after_minutes) = (minutes(spans.0), minutes(spans.1));
        let before_per_min = before as f64 / before_minutes;
        let after_per_min = after as f64 / after_minutes;
        let variance = before_per_min / before_minutes + after_per_min / after_minutes;
        let score = if variance > 0.0 {
            (after_per_min - before_per_min).abs() / variance.sqrt()
        } else {
            0.0
        };
        Self {
            before,
            after,
            before_per_min,
            after_per_min,
            score,
        }
    }
}

/// One of the two traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// How, where and what was watched.
    pub session: Session,
    /// From its begin to its last input.
    pub length: Nanos,
    /// Events that were lost.
    pub lost: u64,
    /// What did not fit into the memory of this comparison.
    pub forgotten: u64,
}

/// What changed of a program's connections with a peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerChange {
    /// Who.
    pub program: Program,
    /// With whom.
    pub peer: Peer,
    /// Connections begun.
    pub connections: Change,
    /// Connects that failed.
    pub failures: Change,
}

/// What changed of the files that a program opens.
#[derive(Clone, Debug, PartialEq)]
pub struct OpensChange {
    /// Who.
    pub program: Program,
    /// A directory and what its files have in common; `None` for paths that are not known.
    pub pattern: Option<String>,
    /// Files opened.
    pub opens: Change,
}

/// Verdicts of one kind about one program and one target.
#[derive(Clone, Debug, PartialEq)]
pub struct VerdictChange {
    /// Who.
    pub program: Program,
    /// How many there were before.
    pub before: u64,
    /// How many there were after.
    pub after: u64,
    /// The last one of the trace that it is told by: the later one, where that has any.
    pub verdict: Verdict,
}

impl VerdictChange {
    /// Whether the later trace alone has it.
    pub const fn is_gained(&self) -> bool {
        self.before == 0
    }

    /// Whether the earlier trace alone has it.
    pub const fn is_lost(&self) -> bool {
        self.after == 0
    }
}

/// What differs between two traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The earlier trace.
    pub before: Span,
    /// The later trace.
    pub after: Span,
    /// Verdicts: gained ones, then lost ones, then those that both have.
    pub verdicts: Vec<VerdictChange>,
    /// Connections, what changed most first.
    pub peers: Vec<PeerChange>,
    /// Files opened, what changed most first.
    pub opens: Vec<OpensChange>,
}

/// Learns two traces, one after the other.
pub struct Comparison {
    /// Of both traces, so that the same files are called the same.
    patterns: Patterns,
    before: Profiler,
    after: Profiler,
}

impl Comparison {
    /// Verdicts are made by these thresholds in either trace: a threshold that was changed is no
    /// change of what was traced.
    #[must_use]
    pub fn new(thresholds: Thresholds) -> Self {
        Self {
            patterns: Patterns::default(),
            before: Profiler::new(thresholds),
            after: Profiler::new(thresholds),
        }
    }

    /// Learns one thing of the earlier trace.
    pub fn apply_before(&mut self, input: &Input) {
        self.before.apply(input, &mut self.patterns);
    }

    /// Learns one thing of the later trace.
    pub fn apply_after(&mut self, input: &Input) {
        self.after.apply(input, &mut self.patterns);
    }

    /// What differs.
    #[must_use]
    pub fn finish(self) -> Difference {
        let (mut before, mut after) = (self.before.finish(), self.after.finish());
        let known: BTreeSet<Program> = before
            .programs()
            .chain(after.programs())
            .filter(|program| program.exe.is_some())
            .cloned()
            .collect();
        before.unify(&known);
        after.unify(&known);
        let spans = (before.span.length, after.span.length);
        Difference {
            verdicts: verdicts(&before, &after),
            peers: peers(&before, &after, spans),
            opens: opens(&before, &after, spans, &self.patterns),
            before: before.span,
            after: after.span,
        }
    }
}

/// The keys of both maps, each with its values.
fn both<'a, K: Ord, V>(
    before: &'a BTreeMap<K, V>,
    after: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>, Option<&'a V>)> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .map(|key| (key, before.get(key), after.get(key)))
}

fn peers(before: &Profile, after: &Profile, spans: (Nanos, Nanos)) -> Vec<PeerChange> {
    let mut rows: Vec<_> = both(&before.peers, &after.peers)
        .map(|((program, peer), before, after)| {
            let (before, after) = (
                before.copied().unwrap_or_default(),
                after.copied().unwrap_or_default(),
            );
            PeerChange {
                program: program.clone(),
                peer: *peer,
                connections: Change::of(before.connections, after.connections, spans),
                failures: Change::of(before.failures, after.failures, spans),
            }
        })
        .collect();
    // Both sorts are stable: what changed alike stays in the order of names.
    rows.sort_by(|a, b| {
        let score = |row: &PeerChange| row.connections.score.max(row.failures.score);
        score(b).total_cmp(&score(a))
    });
    rows
}

fn opens(
    before: &Profile,
    after: &Profile,
    spans: (Nanos, Nanos),
    patterns: &Patterns,
) -> Vec<OpensChange> {
    let mut rows: Vec<_> = both(&before.opens, &after.opens)
        .map(|((program, pattern), before, after)| OpensChange {
            program: program.clone(),
            pattern: pattern.and_then(|id| patterns.text(id)),
            opens: Change::of(
                before.copied().unwrap_or_default(),
                after.copied().unwrap_or_default(),
                spans,
            ),
        })
        .collect();
    rows.sort_by(|a, b| b.opens.score.total_cmp(&a.opens.score));
    rows
}

fn verdicts(before: &Profile, after: &Profile) -> Vec<VerdictChange> {
    let count = |told: Option<&(u64, Verdict)>| told.map_or(0, |(count, _)| *count);
    let mut rows: Vec<VerdictChange> = both(&before.verdicts, &after.verdicts)
        .filter_map(|(VerdictKey { program, .. }, before, after)| {
            Some(VerdictChange {
                program: program.clone(),
                before: count(before),
                after: count(after),
                verdict: after.or(before)?.1.clone(),
            })
        })
        .collect();
    rows.sort_by_key(|row| match (row.is_gained(), row.is_lost()) {
        (true, _) => 0,
        (_, true) => 1,
        _ => 2,
    });
    rows
}
