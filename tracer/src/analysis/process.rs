//! The table of processes: who each is and what it did in all; never judges it.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use tracer_common::ProcessCounters;

use crate::model::{
    Ancestor, Comm, DescriptorFact, Event, Nanos, Netns, Pid, ProcessFact, ProcessSeen, Tid,
    is_same_start,
};

use super::{
    connection::Owner,
    descriptors::Descriptors,
    limits,
    peers::Peers,
    place::{Place, Shared},
    report::{FdContent, Identity, ProcessRow},
    stacks::Stack,
    tally::Tally,
    thresholds::Thresholds,
    totals::{Detail, GroupLabel},
};

/// Events of a process may come so late after its end; later ones are of another with its pid.
const LATE_EVENTS: Nanos = Nanos::from_secs(1);

/// One process for good, as pids are used again. Ordered by first sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ProcessKey {
    serial: u32,
    pid: Pid,
}

impl ProcessKey {
    /// Its pid.
    pub(super) const fn pid(self) -> Pid {
        self.pid
    }
}

/// One process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) start: Option<Nanos>,
    ns_pid: Option<u32>,
    comm: Option<String>,
    /// The name as the kernel has it, for a parent's group of children.
    kernel_comm: Comm,
    exe: Option<String>,
    cmdline: Option<String>,
    user: Option<String>,
    place: Option<Arc<Place>>,
    hostname: Option<Arc<str>>,
    netns: Option<Netns>,
    ppid: Option<Pid>,
    parent_comm: Option<Comm>,
    ancestors: Option<Arc<[Ancestor]>>,
    ended: Option<Nanos>,
    last_activity: Nanos,
    /// What it did in all.
    pub(super) tally: Tally,
    pub(super) connects_failed: u64,
    pub(super) connections_ended: u64,
    pub(super) connections_open: u64,
    pub(super) descriptors: Descriptors,
    /// Whom it connected to lately.
    pub(super) peers: Peers,
    /// How often it was told anew who it is.
    changes: u32,
    /// How many programs it has replaced.
    pub(super) programs: u32,
}

impl Process {
    fn new(at: Nanos) -> Self {
        Self {
            start: None,
            ns_pid: None,
            comm: None,
            kernel_comm: Comm::default(),
            exe: None,
            cmdline: None,
            user: None,
            place: None,
            hostname: None,
            netns: None,
            ppid: None,
            parent_comm: None,
            ancestors: None,
            ended: None,
            last_activity: at,
            tally: Tally::new(at),
            connects_failed: 0,
            connections_ended: 0,
            connections_open: 0,
            descriptors: Descriptors::default(),
            peers: Peers::default(),
            changes: 0,
            programs: 0,
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// When it ended, once it has.
    pub(super) fn end(&self) -> Option<Nanos> {
        self.ended
    }

    /// Takes note of an event of it.
    fn acted(&mut self, event: &Event) {
        self.last_activity = self.last_activity.max(event.ts);
        // A name from what events told alone, until the process is introduced.
        if self.kernel_comm.is_empty() && self.comm.is_none() && event.pid.0 == event.tid.0 {
            self.kernel_comm = event.thread;
            self.changes = self.changes.wrapping_add(1);
        }
    }

    /// Whether it had ended long before a moment.
    fn ended_before(&self, ts: Nanos) -> bool {
        self.ended
            .is_some_and(|ended| ts.since(ended) > LATE_EVENTS)
    }

    fn introduce(&mut self, seen: &ProcessSeen, shared: &mut Shared) {
        self.changes = self.changes.wrapping_add(1);
        self.start = Some(seen.start);
        self.ns_pid = Some(seen.ns_pid).filter(|ns_pid| *ns_pid != 0);
        self.kernel_comm = seen.comm;
        self.netns = Some(seen.netns).filter(|netns| netns.0 != 0);
        self.hostname = shared.hostname(&seen.hostname);
        if self.ppid != seen.ppid.known() {
            self.ancestors = None;
        }
        self.ppid = seen.ppid.known();
        self.parent_comm = Some(seen.parent_comm).filter(|comm| !comm.is_empty());
        if seen.is_exec {
            // Another program: what was looked up about the old one no longer holds.
            self.comm = None;
            self.exe = None;
            self.cmdline = None;
        }
        if self.cmdline.is_none() && !seen.cmdline.is_empty() {
            self.cmdline = Some(seen.cmdline.clone());
        }
        if self.user.is_none() {
            self.user = Some(seen.uid.to_string());
        }
    }

    fn learn(&mut self, fact: &ProcessFact, shared: &mut Shared) {
        fn replace<T: Clone>(known: &mut Option<T>, told: Option<&T>) {
            if let Some(told) = told {
                *known = Some(told.clone());
            }
        }
        self.changes = self.changes.wrapping_add(1);
        // The kernel half's start is exact, that of /proc is cut to a clock tick.
        self.start = self.start.or(fact.start);
        replace(&mut self.comm, fact.comm.as_ref());
        replace(&mut self.exe, fact.exe.as_ref());
        replace(&mut self.cmdline, fact.cmdline.as_ref());
        replace(&mut self.user, fact.user.as_ref());
        replace(&mut self.ns_pid, fact.ns_pid.as_ref());
        replace(&mut self.netns, fact.netns.as_ref());
        self.place = shared.place(fact).or(self.place.take());
        // Who has started it stays, even where that has ended and another stands for it.
        self.ppid = self.ppid.or(fact.ppid);
        if fact.parents.first().map(|parent| parent.pid) == self.ppid {
            self.ancestors = shared.ancestors(&fact.parents);
        }
    }

    fn name(&self) -> &str {
        let comm = self.comm.as_deref();
        comm.unwrap_or_else(|| self.kernel_comm.as_str())
    }

    /// What is told of it; a process that has ended holds nothing.
    fn row(&self, who: Identity, at: Nanos) -> ProcessRow {
        let lives = self.ended.is_none();
        let tally = &self.tally;
        ProcessRow {
            who,
            connects: tally.connects(),
            connects_failed: self.connects_failed,
            accepts: tally.accepts(),
            connections_ended: self.connections_ended,
            connections_open: self.connections_open,
            opens: tally.opens().max(self.descriptors.opens()),
            opens_failed: tally.opens_failed(),
            fds_got: tally.fds_got(),
            fds_closed: tally.fds_closed(),
            fds_refused: tally.fds_refused(),
            fd_rates: lives.then(|| tally.fd_rates(at)),
            fds_open: self.descriptors.open_now().filter(|_| lives),
            fds_peak: self.descriptors.peak(),
            fd_limit: self.descriptors.soft_limit(),
            fd_hard_limit: self.descriptors.hard_limit(),
            fds_corrected: self.descriptors.corrected(),
            content: FdContent::default(),
            not_streamed: tally.not_streamed(),
        }
    }
}

/// All processes, ended ones included.
#[derive(Debug, Default)]
pub(super) struct Processes {
    /// Each by itself: a table of large rows has nearly as much room for none, and is copied as it grows.
    table: FxHashMap<ProcessKey, Box<Process>>,
    current: FxHashMap<Pid, ProcessKey>,
    next_serial: u32,
    shared: Shared,
    /// Processes forgotten for want of room.
    pub(super) evicted: u64,
    /// Processes that somebody should look up, in the order of asking.
    wanted: Vec<Pid>,
}

impl Processes {
    /// The process with this key, unless it was forgotten.
    pub(super) fn get(&self, key: ProcessKey) -> Option<&Process> {
        self.table.get(&key).map(Box::as_ref)
    }

    /// The process with this key, unless it was forgotten.
    pub(super) fn get_mut(&mut self, key: ProcessKey) -> Option<&mut Process> {
        self.table.get_mut(&key).map(Box::as_mut)
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.table.values().map(Box::as_ref)
    }

    /// The process that has this pid now.
    pub(super) fn current(&self, pid: Pid) -> Option<ProcessKey> {
        self.current.get(&pid).copied()
    }

    /// Each process with its key, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (ProcessKey, &Process)> {
        self.table.iter().map(|(key, process)| (*key, &**process))
    }

    /// What a process is counted under; `None` where it was forgotten.
    pub(super) fn label(&self, key: ProcessKey, detail: Detail) -> Option<GroupLabel> {
        let process = self.table.get(&key)?;
        Some(GroupLabel::new(
            process.name(),
            process.place.as_deref(),
            process.hostname.as_ref(),
            detail.pid.then_some(key.pid),
            process.cmdline.as_deref().filter(|_| detail.cmdline),
        ))
    }

    /// A process's name; empty where none is known.
    pub(super) fn name(&self, key: ProcessKey) -> &str {
        self.get(key).map_or("", Process::name)
    }

    /// The name of the process that has this pid now; empty where none is known.
    pub(super) fn name_now(&self, pid: Pid) -> &str {
        self.current(pid).map_or("", |key| self.name(key))
    }

    /// The process that acts in this event, met for the first time if need be.
    pub(super) fn acting(&mut self, event: &Event) -> Option<ProcessKey> {
        let pid = event.pid.known()?;
        if let Some(key) = self.current.get(&pid)
            && let Some(process) = self.table.get_mut(key)
            // What the kernel does later for a process that has ended bears no thread's name.
            && (event.thread.is_empty() || !process.ended_before(event.ts))
        {
            process.acted(event);
            return Some(*key);
        }
        let key = self.add(pid, event.ts);
        if let Some(process) = self.table.get_mut(&key) {
            process.acted(event);
        }
        Some(key)
    }

    /// Who acts in this event, or for whom the kernel acts in it, as the owner of a connection.
    pub(super) fn owner(&mut self, event: &Event) -> Option<Owner> {
        let process = self.acting(event)?;
        Some(Owner {
            process,
            tid: event.tid,
            thread: event.thread,
            child_of: self.child_of(process),
            stack: Stack::of(self, process, event),
        })
    }

    /// The owner of a socket of which only the process is known.
    pub(super) fn owner_by_pid(&mut self, pid: Pid, at: Nanos) -> Option<Owner> {
        let process = match self.current.get(&pid.known()?) {
            Some(key) => *key,
            None => self.add(pid, at),
        };
        Some(Owner {
            process,
            tid: Tid(0),
            thread: Comm::default(),
            child_of: None,
            stack: None,
        })
    }

    fn child_of(&self, key: ProcessKey) -> Option<(Pid, Comm)> {
        let process = self.table.get(&key)?;
        (!process.kernel_comm.is_empty()).then_some(())?;
        Some((process.ppid?, process.kernel_comm))
    }

    fn add(&mut self, pid: Pid, at: Nanos) -> ProcessKey {
        self.make_room();
        let key = ProcessKey {
            serial: self.next_serial,
            pid,
        };
        self.next_serial = self.next_serial.wrapping_add(1);
        // The pid is another's from now on, whose end was not seen.
        if let Some(old) = self.current.insert(pid, key)
            && let Some(old) = self.table.get_mut(&old)
        {
            old.ended.get_or_insert(at);
            old.changes = old.changes.wrapping_add(1);
        }
        self.table.insert(key, Box::new(Process::new(at)));
        self.ask_about(pid);
        key
    }

    /// The live process with this pid that started then, met for the first time if need be.
    fn started(&mut self, pid: Pid, start: Option<Nanos>, at: Nanos) -> Option<ProcessKey> {
        let Some(key) = self.current.get(&pid.known()?).copied() else {
            return Some(self.add(pid, at));
        };
        let known = self.table.get(&key)?.start;
        match (known, start) {
            (Some(known), Some(told)) if is_same_start(known, told) => Some(key),
            (Some(known), Some(told)) if told > known => Some(self.add(pid, at)),
            // A fact about one that is no more.
            (Some(_), Some(_)) => None,
            _ => Some(key),
        }
    }

    /// Learns who a process is from its own introduction.
    pub(super) fn introduce(&mut self, event: &Event, seen: &ProcessSeen) -> Option<ProcessKey> {
        let key = self.started(event.pid, Some(seen.start), event.ts)?;
        let process = self.table.get_mut(&key)?;
        process.last_activity = process.last_activity.max(event.ts);
        process.introduce(seen, &mut self.shared);
        process.descriptors.begin_at_zero(event.ts);
        if seen.is_exec {
            process.descriptors.forget_content();
            process.programs = process.programs.wrapping_add(1);
            self.ask_about(event.pid);
        }
        Some(key)
    }

    /// Learns who a process is from a look-up.
    pub(super) fn learn(&mut self, fact: &ProcessFact, at: Nanos) {
        let Some(key) = self.started(fact.pid, fact.start, at) else {
            return;
        };
        if let Some(process) = self.table.get_mut(&key) {
            process.learn(fact, &mut self.shared);
        }
    }

    /// The process that has this pid and started then, if it has not ended.
    pub(super) fn live(&mut self, pid: Pid, start: Option<Nanos>, at: Nanos) -> Option<ProcessKey> {
        let key = self.started(pid, start, at)?;
        self.table.get(&key)?.ended.is_none().then_some(key)
    }

    /// Learns how full a live process's descriptor table is.
    pub(super) fn learn_descriptors(
        &mut self,
        fact: &DescriptorFact,
        at: Nanos,
        thresholds: &Thresholds,
    ) -> Option<ProcessKey> {
        let key = self.started(fact.pid, fact.start, at)?;
        let process = self.table.get_mut(&key)?;
        if process.ended.is_none() {
            process.descriptors.learn(fact, at, thresholds);
        }
        Some(key)
    }

    /// Takes over a process's exact counters.
    pub(super) fn learn_counters(
        &mut self,
        pid: Pid,
        counters: &ProcessCounters,
        at: Nanos,
    ) -> Option<ProcessKey> {
        let start = Some(Nanos(counters.start_ns)).filter(|start| start.0 != 0);
        let key = self.started(pid, start, at)?;
        let process = self.table.get_mut(&key)?;
        if process.start.is_none() {
            process.start = start;
            process.changes = process.changes.wrapping_add(1);
        }
        process.tally.learn(counters);
        Some(key)
    }

    /// Learns that a process ended.
    pub(super) fn end(&mut self, key: ProcessKey, comm: Comm, at: Nanos) {
        if let Some(process) = self.table.get_mut(&key) {
            if process.kernel_comm.is_empty() {
                process.kernel_comm = comm;
            }
            process.ended.get_or_insert(at);
            process.changes = process.changes.wrapping_add(1);
            process.last_activity = process.last_activity.max(at);
            process.tally.forget_rates();
            process.descriptors.forget_content();
            process.peers.clear();
        }
    }

    /// Asks for a look-up of a process.
    pub(super) fn ask_about(&mut self, pid: Pid) {
        if self.wanted.len() < limits::LOOKUPS && !self.wanted.contains(&pid) {
            self.wanted.push(pid);
        }
    }

    /// The look-ups asked for since they were last taken.
    pub(super) fn take_wanted(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.wanted)
    }

    /// A number that changes with all that [`Self::identity`] tells; `None` where that depends on
    /// other processes.
    pub(super) fn identity_version(&self, key: ProcessKey) -> Option<u32> {
        let Some(process) = self.table.get(&key) else {
            return Some(u32::MAX);
        };
        let knows_parent = process.parent_comm.is_some() || process.ancestors.is_some();
        (knows_parent || process.ppid.is_none()).then_some(process.changes)
    }

    /// All that is known of who a process is; only its pid where it was forgotten.
    pub(super) fn identity(&self, key: ProcessKey) -> Identity {
        let Some(process) = self.table.get(&key) else {
            return Identity {
                pid: Some(key.pid),
                ..Identity::default()
            };
        };
        let parent_comm = process
            .parent_comm
            .or_else(|| {
                process
                    .ancestors
                    .as_ref()?
                    .first()
                    .map(|parent| parent.comm)
            })
            .map(|comm| comm.to_string())
            .or_else(|| {
                let parent = self.current.get(&process.ppid?)?;
                Some(self.table.get(parent)?.name().to_owned())
            });
        let place = process.place.as_deref();
        Identity {
            pid: Some(key.pid),
            ns_pid: process.ns_pid.filter(|ns_pid| *ns_pid != key.pid.0),
            start: process.start,
            comm: process.name().to_owned(),
            exe: process.exe.clone(),
            cmdline: process.cmdline.clone(),
            user: process.user.clone(),
            container: place.and_then(|place| place.container.clone()),
            runtime: place.and_then(|place| place.runtime.clone()),
            pod_uid: place.and_then(|place| place.pod_uid.clone()),
            unit: place.and_then(|place| place.unit.clone()),
            hostname: process.hostname.clone(),
            netns: process.netns,
            ppid: process.ppid,
            parent_comm,
            parents: process.ancestors.clone(),
            tid: None,
            thread: None,
            children: None,
            ended: process.ended.is_some(),
        }
    }

    /// All processes, the busiest first.
    ///
    /// `content` tells what a live one's table holds.
    pub(super) fn rows(
        &self,
        at: Nanos,
        mut content: impl FnMut(ProcessKey, &Process) -> FdContent,
    ) -> Vec<ProcessRow> {
        let mut rows: Vec<_> = self
            .table
            .iter()
            .map(|(key, process)| {
                let mut row = process.row(self.identity(*key), at);
                if !process.has_ended() {
                    row.content = content(*key, process);
                }
                let activity = [
                    row.connects,
                    row.accepts,
                    row.connections_ended,
                    row.fds_got,
                ]
                .into_iter()
                .chain([row.opens, row.opens_failed, row.fds_refused])
                .fold(0, u64::saturating_add);
                (std::cmp::Reverse(activity), *key, row)
            })
            .collect();
        rows.sort_unstable_by_key(|(activity, key, _)| (*activity, *key));
        rows.into_iter().map(|(_, _, row)| row).collect()
    }

    fn make_room(&mut self) {
        if self.table.len() < limits::PROCESSES {
            return;
        }
        let ages = self
            .table
            .iter()
            .map(|(key, process)| (process.ended.is_none(), process.last_activity, *key));
        for (_, _, key) in limits::to_evict(ages.collect(), limits::PROCESSES) {
            self.table.remove(&key);
            if self.current.get(&key.pid) == Some(&key) {
                self.current.remove(&key.pid);
            }
            self.evicted += 1;
        }
    }

    /// How many processes are known.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
