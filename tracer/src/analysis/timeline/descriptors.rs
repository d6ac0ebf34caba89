//! What timelines tell of full descriptor tables; never checks anything itself.

use tracer_common::{FdKind, FdSource};

use crate::{
    analysis::report::{FdExhaustion, FdNearLimit, Finding, Verdict},
    model::{FdAction, HostFact, Pid, TableFact},
};

use super::{Timeline, Who};

impl Timeline {
    /// A call gets no descriptor; its event is streamed.
    pub(in crate::analysis) fn refuse(&mut self, by: Who, source: FdSource) -> &mut Self {
        self.count_refused(by.pid, source, 1);
        self.fd_failed(by, FdAction::Exhausted, source, 24)
    }

    /// A call gets no descriptor, as the host has no more files.
    pub(in crate::analysis) fn refuse_of_host(&mut self, by: Who, source: FdSource) -> &mut Self {
        self.count_refused(by.pid, source, 1);
        self.fd_failed(by, FdAction::Exhausted, source, 23)
    }

    /// The same call gets no descriptor again and again.
    pub(in crate::analysis) fn refuse_many(
        &mut self,
        by: Who,
        source: FdSource,
        count: usize,
        interval_ms: f64,
    ) -> &mut Self {
        for _ in 0..count {
            self.refuse(by, source).after_ms(interval_ms);
        }
        self
    }

    /// Calls get no descriptors, which is only counted.
    pub(in crate::analysis) fn count_refused(
        &mut self,
        pid: u32,
        source: FdSource,
        count: u64,
    ) -> &mut Self {
        self.counters_of(pid).fds_refused[source as usize] += count;
        self
    }

    /// A file cannot be opened for this reason.
    pub(in crate::analysis) fn open_fails(&mut self, by: Who, errno: i32) -> &mut Self {
        self.counters_of(by.pid).opens_failed += 1;
        self.fd_failed(by, FdAction::OpenFailed, FdSource::Open, errno)
    }

    /// Descriptors of one kind are got, which is only counted.
    pub(in crate::analysis) fn count_many(
        &mut self,
        pid: u32,
        source: FdSource,
        kind: FdKind,
        count: usize,
    ) -> &mut Self {
        for _ in 0..count {
            self.count_install(pid, source, kind);
        }
        self
    }

    /// The collector reads what a process's table holds: so many descriptors of each kind, and files.
    pub(in crate::analysis) fn look_at_table(
        &mut self,
        pid: u32,
        kinds: [u64; FdKind::COUNT],
        paths: &[(&str, u64)],
    ) -> &mut Self {
        let nets = Some(self.counters_of(pid).nets());
        let paths = paths
            .iter()
            .map(|(path, count)| ((*path).to_owned(), *count));
        self.fact(HostFact::Table(Box::new(TableFact {
            pid: Pid(pid),
            start: None,
            kinds,
            nets,
            paths: paths.collect(),
        })))
    }

    /// The verdicts of this name, in the order of being made.
    pub(in crate::analysis) fn named(&self, name: &str) -> Vec<Verdict> {
        let mut verdicts = self.report().verdicts;
        verdicts.retain(|verdict| verdict.finding.name() == name);
        verdicts.sort_by_key(|verdict| verdict.id);
        verdicts
    }

    /// The only verdict of this name.
    pub(in crate::analysis) fn only(&self, name: &str) -> Verdict {
        let mut verdicts = self.named(name);
        assert_eq!(verdicts.len(), 1, "{:#?}", self.report().verdicts);
        verdicts.remove(0)
    }
}

/// What a verdict tells of a full table.
pub(in crate::analysis) fn exhaustion(verdict: &Verdict) -> &FdExhaustion {
    match &verdict.finding {
        Finding::FdExhaustion(told) => told,
        other => panic!("about a full table: {other:?}"),
    }
}

/// What a verdict tells of a nearly full table.
pub(in crate::analysis) fn near_limit(verdict: &Verdict) -> &FdNearLimit {
    match &verdict.finding {
        Finding::FdNearLimit(told) => told,
        other => panic!("about a nearly full table: {other:?}"),
    }
}
