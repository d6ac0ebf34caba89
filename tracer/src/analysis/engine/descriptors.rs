//! What events and facts about descriptors mean for their process; never judges it.

use std::collections::BTreeMap;

use tracer_common::{FdKind, FdSource, ProcessCounters};

use crate::model::{DescriptorFact, Event, FdAction, FdEvent, Nanos, Pid, TableFact};

use super::super::{
    burst::OpenedFile,
    connections::PeerCounts,
    content::{Content, Holding},
    descriptors::Level,
    fd_exhaustion::{ENFILE, Refusal},
    limits,
    pattern::PatternId,
    process::ProcessKey,
    report::{FdContent, ProcessRow},
    stacks::Stack,
};
use super::Engine;

/// How often the kernel half's counters are told: what they add may have happened since then.
const COUNTERS_PERIOD: Nanos = Nanos::from_secs(1);

impl Engine {
    pub(super) fn descriptor_event(&mut self, event: &Event, fd: &FdEvent) {
        let Some(key) = self.processes.acting(event) else {
            return;
        };
        let pattern = fd
            .path
            .as_ref()
            .filter(|_| fd.action == FdAction::Installed)
            .and_then(|path| self.pattern(&path.text));
        let stack = Stack::of(&self.processes, key, event);
        let Some(process) = self.processes.get_mut(key) else {
            return;
        };
        process.tally.count(fd, event.ts);
        let level = Level {
            ts: event.ts,
            opens: fd.opens,
            files_net: fd.files_net,
            fds_net: fd.fds_net,
        };
        let is_open = fd.source == FdSource::Open;
        let held_before =
            (fd.action == FdAction::Installed && fd.kind == FdKind::File).then(|| Level {
                ts: event.ts,
                opens: fd.opens.saturating_sub(u64::from(is_open)),
                files_net: fd.files_net.saturating_sub(1),
                fds_net: fd.fds_net.saturating_sub(1),
            });
        let opened = pattern.map(|pattern| OpenedFile {
            ts: event.ts,
            pattern,
            tid: event.tid,
            thread: event.thread,
            stack,
        });
        let is_refused = match fd.action {
            FdAction::Exhausted => true,
            FdAction::OpenFailed => fd.errno == ENFILE,
            FdAction::Installed | FdAction::Closed => false,
        };
        let descriptors = &mut process.descriptors;
        if is_refused {
            let refusal = Refusal {
                ts: event.ts,
                source: fd.source,
                tid: event.tid,
                thread: event.thread,
                errno: fd.errno,
                is_in_totals: fd.action == FdAction::Exhausted,
            };
            descriptors.refuse(refusal, level);
            // Now, as by the next tick it may have connected again.
            if fd.source == FdSource::Socket {
                descriptors.learn_peers(&process.peers);
            }
        } else {
            descriptors.note_content(event.ts, fd, pattern);
        }
        descriptors.sample(level, held_before, opened, &self.thresholds);
        if descriptors.becomes_busy() {
            self.busy.push(key);
        }
    }

    /// The number of a path's pattern. Where the table is full, what nothing holds is dropped first.
    fn pattern(&mut self, path: &str) -> Option<PatternId> {
        if let Some(id) = self.patterns.of(path) {
            return Some(id);
        }
        // To look through all that is held costs too much to be done for nothing at each open.
        if std::mem::replace(&mut self.has_dropped_patterns, true) {
            return None;
        }
        let mut held: Vec<_> = self
            .processes
            .iter()
            .flat_map(|process| process.descriptors.patterns())
            .collect();
        held.sort_unstable();
        held.dedup();
        self.patterns.keep_only(&held);
        self.has_dropped_patterns = held.len() > limits::PATTERNS / 2;
        self.patterns.of(path)
    }

    pub(super) fn learn_counters(
        &mut self,
        pid: Pid,
        counters: &ProcessCounters,
        at: Nanos,
    ) -> Option<ProcessKey> {
        let key = self.processes.learn_counters(pid, counters, at)?;
        // A trace that begins in the middle tells first what happened before.
        let is_of_now = at >= self.session.start;
        let process = self.processes.get_mut(key)?;
        if is_of_now {
            process.tally.mark(at);
        } else {
            process.tally.begin_rates(at);
        }
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let file = FdKind::File as usize;
        let got = counters.fds_got_of_kind[file];
        let closed = counters.fds_closed_of_kind[file];
        let level = Level {
            ts: at,
            opens: counters.fds_got[FdSource::Open as usize],
            files_net: signed(got) - signed(closed),
            fds_net: signed(counters.all_got()) - signed(counters.all_closed()),
        };
        if level.opens < process.descriptors.now().opens {
            // Read before events that have already been told.
            return Some(key);
        }
        // What was not streamed happened after what was last known, and since the last counters.
        let before = process.descriptors.now();
        let is_followed = process.descriptors.is_known() && is_of_now;
        let held_before = is_followed.then(|| Level {
            ts: before.ts.max(Nanos(at.0.saturating_sub(COUNTERS_PERIOD.0))),
            ..before
        });
        process
            .descriptors
            .learn_refused(counters, at, level, !is_followed);
        process
            .descriptors
            .sample(level, held_before, None, &self.thresholds);
        if process.descriptors.becomes_busy() {
            self.busy.push(key);
        }
        Some(key)
    }

    pub(super) fn learn_descriptors(&mut self, fact: &DescriptorFact, at: Nanos) {
        let key = self.processes.learn_descriptors(fact, at, &self.thresholds);
        if let Some(key) = key
            && let Some(process) = self.processes.get_mut(key)
        {
            if process.descriptors.looks() == 1 {
                self.relooks.add(key, at);
            }
            if process.descriptors.becomes_busy() {
                self.busy.push(key);
            }
        }
    }

    pub(super) fn learn_table(&mut self, fact: &TableFact, at: Nanos) {
        let Some(key) = self.processes.live(fact.pid, fact.start, at) else {
            return;
        };
        let mut files = BTreeMap::new();
        for (path, count) in &fact.paths {
            if let Some(pattern) = self.pattern(path) {
                *files.entry(pattern).or_default() += count;
            }
        }
        let Some(process) = self.processes.get_mut(key) else {
            return;
        };
        let counters = process.tally.counters();
        let nets = fact.nets.or(counters.map(ProcessCounters::nets));
        let holding = Holding::new(at, fact.kinds, nets.unwrap_or_default(), &files);
        process.descriptors.holding = Some(Box::new(holding));
        if process.descriptors.wants_content() {
            let content = Content::new(fact.kinds, self.patterns.summary(&files));
            process.descriptors.learn_content(&content);
        }
    }

    /// All processes with what their tables hold, the busiest first.
    pub(super) fn process_rows(&self) -> Vec<ProcessRow> {
        let mut peers = self.connections.peers_by_process();
        self.processes.rows(self.latest, |key, process| {
            let descriptors = &process.descriptors;
            let nets = process.tally.counters().map(ProcessCounters::nets);
            let nets = nets.unwrap_or_default();
            let holding = descriptors.holding.as_ref();
            let content =
                holding.map(|holding| holding.describe(nets, &descriptors.held, &self.patterns));
            FdContent {
                top_peers: peers.remove(&key).map(PeerCounts::top).unwrap_or_default(),
                ..content.unwrap_or_default()
            }
        })
    }

    /// Asks for looks at tables whose counts may have gone astray.
    pub(super) fn ask_for_looks(&mut self) {
        for pid in self.relooks.due(self.now, &self.processes) {
            self.processes.ask_about(pid);
        }
    }
}
