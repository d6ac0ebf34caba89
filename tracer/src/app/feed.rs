//! Turns what the live source gives into the engine's inputs, and asks for the look-ups that the
//! engine wants; never shows anything.

use std::collections::{HashMap, HashSet};

use tracer_common::{ProcessCounters, task::announced::ENDED};

use super::{
    exporter::Exporter,
    flight::{FlightRecorder, Tally},
    otlp::Delivery,
    recorder::{Recorder, Summary},
    stack_places::StackPlaces,
};
use crate::{
    analysis::{Engine, StackWanted, report::Verdict},
    host::lookup::{Introduced, Lookups, Request},
    model::{
        Event, EventBody, HostFact, Input, Losses, Nanos, Netns, Pid, Session, StackId, decode,
    },
    source::live::{Batch, ProcessTable},
};

/// What is kept of a process between its introduction and its end.
struct Known {
    introduced: Introduced,
    counters: Option<Box<ProcessCounters>>,
    /// The tick at which its counters were last read.
    read_at: Nanos,
}

/// The totals of all processes at one moment, which the events have yet to reach.
struct Totals {
    at: Nanos,
    by_process: Vec<(Pid, ProcessCounters)>,
    /// Those of them whose end could not be told.
    ended: Vec<Pid>,
    /// Processes whose end came meanwhile.
    ended_since: HashSet<Pid>,
}

/// What the kernel half need not keep any longer.
#[derive(Default)]
pub(super) struct Unneeded {
    /// Processes whose end could not be told: nobody will need their totals again.
    pub(super) ended: Vec<Pid>,
    /// The places of all stacks that somebody may still ask for, where others want room.
    pub(super) stacks_in_use: Option<HashSet<StackId>>,
}

/// The engine with what feeds it, and what is recorded of that.
pub(super) struct Feed {
    pub(super) engine: Engine,
    recorder: Option<Recorder>,
    flight: Option<FlightRecorder>,
    exporter: Option<Exporter>,
    delivery: Option<Delivery>,
    processes: HashMap<Pid, Known>,
    /// What ended since the last tick, for the look-ups that are wanted of it then.
    ended: HashMap<Pid, Introduced>,
    own_netns: Option<Netns>,
    undecodable: u64,
    totals: Option<Totals>,
    /// The time of the newest event.
    latest: Nanos,
    stacks: StackPlaces,
    /// What is later than this belongs to the end of the watch, not to it.
    until: Option<Nanos>,
    /// `None` once the watch comes to its end.
    lookups: Option<Lookups>,
    lookups_dropped: u64,
}

/// Processes remembered here at most: as many as the kernel half counts for.
const PROCESSES_MAX: usize = 16_384;

impl Feed {
    pub(super) fn new(
        engine: Engine,
        recorder: Option<Recorder>,
        flight: Option<FlightRecorder>,
        exporter: Option<Exporter>,
        delivery: Option<Delivery>,
        own_netns: Option<Netns>,
        lookups: Lookups,
    ) -> Self {
        Self {
            engine,
            recorder,
            flight,
            exporter,
            delivery,
            processes: HashMap::new(),
            ended: HashMap::new(),
            own_netns,
            undecodable: 0,
            totals: None,
            latest: Nanos::default(),
            stacks: StackPlaces::new(),
            until: None,
            lookups: Some(lookups),
            lookups_dropped: 0,
        }
    }

    /// Lets the engine learn an input, and the recording have it.
    pub(super) fn apply(&mut self, input: &Input) {
        self.engine.apply(input);
        if let Some(recorder) = &mut self.recorder {
            recorder.push(input);
        }
        if let Some(flight) = &mut self.flight {
            flight.push(input);
        }
        if let Some(exporter) = &mut self.exporter {
            exporter.observe(&self.engine, input);
        }
        if let Some(delivery) = &self.delivery {
            delivery.observe(&self.engine, input);
        }
    }

    /// Begins a watch whose hooks are all attached.
    pub(super) fn begin(&mut self, session: &Session) {
        self.apply(&Input::Session(Box::new(session.clone())));
        if let Some(exporter) = &mut self.exporter {
            exporter.begin(session);
        }
    }

    /// A tick is over, and these verdicts were made or have changed.
    pub(super) fn turn(&mut self, session: &Session, verdicts: &[Verdict]) {
        if let Some(flight) = &mut self.flight {
            flight.tick(session, verdicts);
        }
        if let Some(exporter) = &mut self.exporter {
            exporter.verdicts(verdicts);
            exporter.turn(&self.engine);
        }
        if let Some(delivery) = &self.delivery {
            delivery.verdicts(verdicts);
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

    fn event(&mut self, mut event: Event) {
        if self.until.is_some_and(|until| event.ts > until) {
            return;
        }
        if let Some(stack) = &mut event.stack {
            *stack = self.stacks.note(event.ts, event.pid, *stack);
        }
        self.latest = self.latest.max(event.ts);
        match &event.body {
            EventBody::Process(seen) if self.processes.len() < PROCESSES_MAX => {
                let known = Known {
                    introduced: Introduced {
                        start: seen.start,
                        cgroup_id: seen.cgroup_id,
                        ppid: seen.ppid,
                        uid: seen.uid,
                        netns: seen.netns,
                    },
                    counters: None,
                    read_at: event.ts,
                };
                self.processes.insert(event.pid, known);
            }
            EventBody::Exit { .. } => {
                if let Some(known) = self.processes.remove(&event.pid) {
                    self.ended.insert(event.pid, known.introduced);
                }
                if let Some(totals) = &mut self.totals {
                    totals.ended_since.insert(event.pid);
                }
            }
            EventBody::Tcp(tcp) => {
                if let Some(lookups) = &self.lookups {
                    lookups.note_connection();
                }
                if event.pid.0 != 0 && Some(tcp.netns) != self.own_netns {
                    self.request(Request::Netns {
                        netns: tcp.netns,
                        pid: event.pid,
                    });
                }
            }
            _ => {}
        }
        self.apply(&Input::Event(event));
    }

    /// Reads the exact totals of all processes, to be applied once the events have come so far.
    pub(super) fn read_totals(&mut self, at: Nanos, table: &ProcessTable) {
        let mut ended = Vec::new();
        let tell = |(pid, counters): (Pid, ProcessCounters)| {
            if counters.announced == ENDED {
                ended.push(pid);
            }
            (pid, counters.told())
        };
        let by_process = table.read().map(tell).collect();
        self.totals = Some(Totals {
            at,
            by_process,
            ended,
            ended_since: HashSet::new(),
        });
    }

    /// Applies the totals that were read last, where the events have reached their time: totals that
    /// went ahead would leave the events that they count with nothing new to tell.
    pub(super) fn apply_totals(&mut self, reached: Nanos) -> Unneeded {
        let Some(Totals {
            at,
            by_process,
            ended,
            ended_since,
        }) = self.totals.take_if(|totals| totals.at <= reached)
        else {
            return Unneeded::default();
        };
        let mut alive = self.stacks.wants_room().then(HashSet::new);
        for (pid, counters) in by_process {
            // Its end told its last totals.
            if ended_since.contains(&pid) {
                continue;
            }
            if let Some(alive) = &mut alive {
                alive.insert(pid);
            }
            if let Some(known) = self.processes.get_mut(&pid) {
                known.read_at = at;
                if known.counters.as_deref() == Some(&counters) {
                    continue;
                }
                known.counters = Some(Box::new(counters));
            }
            let fact = HostFact::Counters {
                pid,
                counters: Box::new(counters),
            };
            self.apply(&Input::Host(at, fact));
        }
        // A process that the kernel half no longer counts for has ended; its end may have been lost.
        self.processes
            .retain(|_, known| known.read_at >= at || known.counters.is_none());
        let stacks_in_use = alive.map(|mut alive| {
            for pid in &ended {
                alive.remove(pid);
            }
            self.stacks.in_use(at, &alive)
        });
        Unneeded {
            ended,
            stacks_in_use,
        }
    }

    /// The kernel half gave back these places of stacks, the last of them at this time.
    pub(super) fn stacks_freed(&mut self, places: Vec<StackId>, at: Nanos) {
        self.stacks.give_back(places, at);
    }

    /// Whether totals were read that the events have not reached yet.
    pub(super) fn awaits_totals(&self) -> bool {
        self.totals.is_some()
    }

    /// Applies what was lost so far.
    pub(super) fn losses(&mut self, mut losses: Losses) {
        losses.undecodable = self.undecodable;
        losses.lookups_dropped = self.lookups_dropped();
        self.apply(&Input::Losses(Box::new(losses)));
    }

    /// Lets the engine conclude, and asks for what it would like to know.
    pub(super) fn tick(&mut self, now: Nanos) {
        self.apply(&Input::Tick(now));
        for pid in self.engine.take_lookups() {
            let lives = self.processes.get(&pid).map(|known| known.introduced);
            let introduced = lives.or_else(|| self.ended.get(&pid).copied());
            self.request(Request::Process { pid, introduced });
        }
        for StackWanted { pid, start, stack } in self.engine.take_stack_lookups() {
            self.request(Request::Stack { pid, start, stack });
        }
        self.ended.clear();
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

    /// The recording, if there is one.
    pub(super) const fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The flight recorder, if there is one.
    pub(super) const fn flight(&mut self) -> Option<&mut FlightRecorder> {
        self.flight.as_mut()
    }

    /// Ends the flight recorder's dumps, if there is one.
    pub(super) fn end_flight(&mut self) -> Option<Tally> {
        self.flight.take().map(FlightRecorder::finish)
    }

    /// Ends the deliveries to a collector with the last verdicts, if there are any.
    pub(super) fn end_delivery(&mut self, verdicts: &[Verdict]) {
        if let Some(delivery) = self.delivery.take() {
            delivery.verdicts(verdicts);
            delivery.finish();
        }
    }

    /// Makes sure that what was recorded so far stays.
    pub(super) fn flush_recording(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.flush();
        }
        if let Some(flight) = &mut self.flight {
            flight.flush_spill();
        }
    }

    /// Ends the recording, if there is one.
    pub(super) fn end_recording(&mut self) -> Option<Summary> {
        self.recorder.take().map(Recorder::finish)
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
