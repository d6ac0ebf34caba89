//! Turns what the live source gives into the engine's inputs, and asks for the look-ups that the
//! engine wants; never shows anything.

use std::collections::HashMap;

use tracer_common::ProcessCounters;

use crate::{
    analysis::Engine,
    host::lookup::{Lookups, Request},
    model::{Event, EventBody, HostFact, Input, Losses, Nanos, Netns, Pid, decode},
    source::live::{Batch, ProcessTable},
};

/// What is kept of a process between its introduction and its end.
struct Known {
    cgroup_id: u64,
    counters: Option<Box<ProcessCounters>>,
    /// The tick at which its counters were last read.
    read_at: Nanos,
}

/// The engine with what feeds it.
pub(super) struct Feed {
    pub(super) engine: Engine,
    processes: HashMap<Pid, Known>,
    own_netns: Option<Netns>,
    undecodable: u64,
    /// The time of the newest event.
    latest: Nanos,
    /// What is later than this belongs to the end of the watch, not to it.
    until: Option<Nanos>,
    /// `None` once the watch comes to its end.
    lookups: Option<Lookups>,
    lookups_dropped: u64,
}

/// Processes remembered here at most: as many as the kernel half counts for.
const PROCESSES_MAX: usize = 16_384;

impl Feed {
    pub(super) fn new(engine: Engine, own_netns: Option<Netns>, lookups: Lookups) -> Self {
        Self {
            engine,
            processes: HashMap::new(),
            own_netns,
            undecodable: 0,
            latest: Nanos::default(),
            until: None,
            lookups: Some(lookups),
            lookups_dropped: 0,
        }
    }

    /// Applies all events of a batch.
    pub(super) fn batch(&mut self, batch: &Batch) {
        for record in batch.records() {
            match decode(record) {
                Ok(event) => self.event(event),
                Err(error) => {
                    if self.undecodable == 0 {
                        log::warn!("{error} came from the kernel half; it is counted");
                    }
                    self.undecodable += 1;
                }
            }
        }
    }

    fn event(&mut self, event: Event) {
        if self.until.is_some_and(|until| event.ts > until) {
            return;
        }
        self.latest = self.latest.max(event.ts);
        match &event.body {
            EventBody::Process(seen) if self.processes.len() < PROCESSES_MAX => {
                let cgroup_id = seen.cgroup_id;
                let known = Known {
                    cgroup_id,
                    counters: None,
                    read_at: event.ts,
                };
                self.processes.insert(event.pid, known);
            }
            EventBody::Exit { .. } => {
                self.processes.remove(&event.pid);
            }
            EventBody::Tcp(tcp) if event.pid.0 != 0 && Some(tcp.netns) != self.own_netns => {
                self.request(Request::Netns {
                    netns: tcp.netns,
                    pid: event.pid,
                });
            }
            _ => {}
        }
        self.engine.apply(&Input::Event(event));
    }

    /// Applies the exact totals of the processes whose totals have changed.
    pub(super) fn counters(&mut self, now: Nanos, table: &ProcessTable) {
        for (pid, counters) in table.read() {
            if let Some(known) = self.processes.get_mut(&pid) {
                known.read_at = now;
                if known.counters.as_deref() == Some(&counters) {
                    continue;
                }
                known.counters = Some(Box::new(counters));
            }
            let fact = HostFact::Counters {
                pid,
                counters: Box::new(counters),
            };
            self.engine.apply(&Input::Host(now, fact));
        }
        // A process that the kernel half no longer counts for has ended; its end may have been lost.
        self.processes
            .retain(|_, known| known.read_at >= now || known.counters.is_none());
    }

    /// Applies what was lost so far.
    pub(super) fn losses(&mut self, mut losses: Losses) {
        losses.undecodable = self.undecodable;
        losses.lookups_dropped = self.lookups_dropped();
        self.engine.apply(&Input::Losses(Box::new(losses)));
    }

    /// Lets the engine conclude, and asks for what it would like to know.
    pub(super) fn tick(&mut self, now: Nanos) {
        self.engine.apply(&Input::Tick(now));
        for pid in self.engine.take_lookups() {
            let cgroup_id = self.processes.get(&pid).map_or(0, |known| known.cgroup_id);
            self.request(Request::Process { pid, cgroup_id });
        }
    }

    /// The time that the events have reached, where those up to `drained_to` have been applied. A
    /// tick must not overtake them: what did not come by then would be taken for lost.
    pub(super) fn reached(&self, drained_to: Nanos) -> Nanos {
        self.latest.max(drained_to)
    }

    /// Ends the look-ups, which answer what waits and list `TIME_WAIT` sockets a last time.
    pub(super) fn end_lookups(&mut self) {
        self.lookups_dropped = self.lookups_dropped();
        self.lookups = None;
    }

    /// Leaves out what happens after this time.
    pub(super) fn end_at(&mut self, until: Nanos) {
        self.until = Some(until);
    }

    fn request(&self, request: Request) {
        if let Some(lookups) = &self.lookups {
            lookups.request(request);
        }
    }

    fn lookups_dropped(&self) -> u64 {
        self.lookups
            .as_ref()
            .map_or(self.lookups_dropped, Lookups::dropped)
    }
}
