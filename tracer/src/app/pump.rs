//! The loop of a watch: brings events, facts and ticks to the engine in one order, and what it
//! concludes to the output; never interprets either.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    time::{self, MissedTickBehavior},
};

use super::{
    action::Action,
    calls::{Call, Calls},
    exporter::{Exporter, Exports},
    feed::Feed,
    flight::{FlightRecorder, Tally},
    notify::Notifier,
    otlp::{Deliveries, Delivery},
    output::Output,
    ready_file::ReadyFile,
    recorder::{self, Recorder, Recording, Stopped, Summary},
    reload::Reloads,
    rights,
    stop::Stop,
};
use crate::{
    analysis::{Engine, Report, Thresholds},
    cli::{FlightArgs, ScopeArgs, ServeArgs, Settings, ThresholdArgs},
    confine::{Confinement, Duty},
    host::{
        lookup::{self, Lookups},
        procfs::Procfs,
        session, sock_diag,
        world::{PidsHere, ThisHost, World as _},
    },
    model::{HookState, Input, Session},
    source::live::{self, Drain, Live},
};

/// How often the engine concludes: a verdict is at most so much later than its last cause.
const TICK: Duration = Duration::from_millis(500);

/// How many ticks pass until it is read again which runs of hooks the kernel skipped.
const TICKS_PER_SKIPPED: u32 = 20;

/// How a watch goes on and ends.
pub(super) struct Watch {
    pub(super) thresholds: Thresholds,
    /// How long; `None` is until a signal.
    pub(super) duration: Option<Duration>,
    /// How often the report is shown anew.
    pub(super) interval: Duration,
    pub(super) ready_file: Option<PathBuf>,
    /// What is recorded beside.
    pub(super) recording: Option<Recording>,
    /// What is kept in memory.
    pub(super) flight: Option<FlightArgs>,
    /// Whether there is nothing else to do than to record.
    pub(super) only_records: bool,
    /// What is read again at SIGHUP.
    pub(super) settings: Option<Settings>,
    /// Where metrics are served.
    pub(super) exports: Option<Exports>,
    /// What is run for verdicts.
    pub(super) action: Option<Action>,
    /// Where verdicts are delivered.
    pub(super) deliveries: Option<Deliveries>,
    /// Whether all rights are kept.
    pub(super) keeps_privileges: bool,
    /// The uid of the pod that is watched, where that was told.
    pub(super) pod_uid: Option<String>,
}

impl Watch {
    /// A watch of this scope that nothing is recorded of.
    pub(super) fn new(scope: &ScopeArgs, thresholds: &ThresholdArgs, flight: &FlightArgs) -> Self {
        Self {
            thresholds: thresholds.over(Thresholds::default()),
            duration: scope.duration,
            interval: Duration::from_secs(1),
            ready_file: scope.ready_file.clone(),
            recording: None,
            flight: Some(flight.clone()).filter(|flight| flight.window().is_some()),
            only_records: false,
            settings: None,
            exports: None,
            action: None,
            deliveries: None,
            keeps_privileges: false,
            pod_uid: scope.pod_uid.clone(),
        }
    }
}

/// What a watch came to.
pub(super) struct Ended {
    pub(super) report: Report,
    /// Of the recording, if there was one.
    pub(super) recorded: Option<Summary>,
    /// Of the flight recorder's dumps, if there was one.
    pub(super) dumped: Option<Tally>,
}

/// A watch that is going on.
pub(super) struct Pump<'a> {
    watch: Watch,
    session: Session,
    feed: Feed,
    live: Live,
    kernel_log: Option<EbpfLogger<&'static dyn log::Log>>,
    drain: Drain,
    facts: UnboundedReceiver<Input>,
    output: &'a mut Output,
    /// How many ticks there were.
    ticks: u32,
    /// How many events hooks had seen when totals were last read.
    seen_by_totals: Option<u64>,
}

impl<'a> Pump<'a> {
    /// Begins a watch with what is attached already.
    pub(super) fn start(
        options: &live::Options,
        mut watch: Watch,
        (mut live, drain): (Live, Drain),
        exporter: Option<Exporter>,
        confinement: &Confinement,
        output: &'a mut Output,
    ) -> Result<Self> {
        let session = Session {
            start: session::now(),
            wall_offset_ns: session::wall_offset_ns(),
            host: session::host_name(),
            kernel: session::kernel_release(),
            boot_id: session::boot_id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            selection: options.selection.clone(),
            stacks: options.stacks,
            hooks: live
                .hooks()
                .iter()
                .cloned()
                .chain(no_sock_diag(options))
                .collect(),
        };
        let stacks = live.take_stacks();
        let addresses = move |stack| {
            let addresses = stacks.as_ref().map(|stacks| stacks.addresses(stack));
            addresses.unwrap_or_default()
        };
        let table = live.processes();
        let pids_here: Option<PidsHere> = if options.has_hosts_pids {
            None
        } else {
            Some(Box::new(move |pid| table.pid_here(pid)))
        };
        let world = ThisHost::new(Procfs::of_this_host(), Box::new(addresses), pids_here);
        let own_netns = world.own_netns();

        // Unbounded, as the look-ups are: they answer a bounded queue of requests.
        let (sender, facts) = mpsc::unbounded_channel();
        let processes = live.processes();
        let duty = rights::of_lookups(options, rights::to_read_maps(&live));
        let lookups = Lookups::start(
            world,
            lookup::Options {
                time_wait_interval: options.selection.tcp.then_some(Duration::from_secs(1)),
                ports: options.selection.ports.clone(),
                pids: options.selection.pids.clone(),
                netns: options.selection.netns,
                pod_uid: watch.pod_uid.clone(),
                ..lookup::Options::default()
            },
            move |pid| processes.net_fds(pid),
            move |input| {
                // Nobody listens any more once the watch has ended.
                let _ = sender.send(input);
            },
            confinement.of(duty),
        )
        .context("cannot start the thread for look-ups")?;
        let head = recorder::head(&session, serde_json::to_value(watch.thresholds)?);
        let recorder = watch.recording.clone();
        let recorder = recorder.map(|recording| Recorder::create(recording, head.clone()));
        let flight = watch.flight.clone();
        let flight = flight.and_then(|args| Some((args.window()?, args)));
        let flight = flight.map(|(window, args)| FlightRecorder::start(args, window, head.clone()));
        let delivery = watch.deliveries.clone();
        let delivery = delivery
            .map(|to| Delivery::start(to, &session, confinement.of(Duty::Plain)))
            .transpose()
            .context("cannot start the thread that tells the collector")?;
        if let Some(action) = &mut watch.action {
            action
                .start(confinement.of(Duty::Plain))
                .context("cannot start the thread that tells the server of --on-verdict")?;
        }
        let engine = Engine::new(watch.thresholds);
        let mut feed = Feed::new(
            engine,
            recorder.transpose()?,
            flight.transpose()?,
            exporter,
            delivery,
            own_netns,
            lookups,
        );
        feed.begin(&session);
        let kernel_log = live.logger();
        Ok(Self {
            watch,
            session,
            feed,
            live,
            kernel_log,
            drain,
            facts,
            output,
            ticks: 0,
            seen_by_totals: None,
        })
    }

    /// Gives up the rights that are no longer needed, then pumps until the time is over or a signal comes;
    /// gives the last report. `stop` has listened for signals since before.
    pub(super) async fn run(
        mut self,
        stop: Option<Stop>,
        confinement: Confinement,
    ) -> Result<Ended> {
        let stop = stop.map_or_else(Stop::new, Ok)?;
        let mut stop = stop.within(self.watch.duration);
        let is_service = self.watch.settings.is_some();
        let mut reloads = Reloads::listen(self.watch.settings.take())?;
        let mut calls = Calls::listen(self.watch.flight.as_ref()).await?;
        // Before the rest: afterwards it may only be removed.
        let _ready = self
            .watch
            .ready_file
            .as_deref()
            .map(ReadyFile::create)
            .transpose()?;
        confinement.finish(|| {
            let to_read_maps = rights::to_read_maps(&self.live);
            rights::of_collector(&self.watch, reloads.file(), to_read_maps)
        });
        self.output.begin(&self.session)?;
        let mut notifier = is_service.then(Notifier::ready);

        let mut tick = time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refresh = time::interval(self.watch.interval);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // A tick takes in what waits in the ring, but events that never stop coming must
                // not keep it from its turn.
                biased;
                () = stop.wait() => break,
                _ = tick.tick() => {
                    self.conclude()?;
                    if let Some(notifier) = &mut notifier {
                        notifier.turn();
                    }
                    if self.watch.only_records && self.recording_stopped().is_some() {
                        break;
                    }
                }
                batch = self.drain.next() => match batch {
                    Some(batch) => self.feed.batch(&batch),
                    None => anyhow::bail!("the ring buffer can no longer be read"),
                },
                Some(fact) = self.facts.recv() => self.feed.apply(&fact),
                call = calls.next() => self.dump(call),
                args = reloads.next() => self.take_over(&args)?,
                _ = refresh.tick(), if self.output.refreshes() => {
                    self.output.refresh(&self.feed.engine.report())?;
                }
            }
        }
        drop(notifier);
        Box::pin(self.finish()).await
    }

    /// A tick: events up to its time first, then the exact totals of the tick before and the losses,
    /// so that conclusions know of them.
    fn conclude(&mut self) -> Result<()> {
        if let Some(kernel_log) = &mut self.kernel_log {
            kernel_log.flush();
        }
        let drained_to = self.drain.drained_to();
        while let Some(batch) = self.drain.try_next() {
            self.feed.batch(&batch);
        }
        let now = self.feed.reached(drained_to);
        let unneeded = self.feed.apply_totals(now);
        self.live.forget_ended(&unneeded.ended);
        if let Some(in_use) = unneeded.stacks_in_use {
            let freed = self.live.free_stacks(&in_use);
            self.feed.stacks_freed(freed, session::now());
        }
        self.ticks = self.ticks.wrapping_add(1);
        if self.ticks.is_multiple_of(TICKS_PER_SKIPPED) {
            self.live.read_skipped();
        }
        self.live.look_at_switches(session::now());
        let losses = self.live.losses()?;
        let seen = Some(losses.over_kinds(|stats| stats.seen));
        self.feed.losses(losses);
        self.feed.tick(now);
        // For the next tick, unless those before still wait for their events, or no hook has seen
        // anything since: the kernel walks its whole table of processes, however few they are.
        if !self.feed.awaits_totals() && seen != self.seen_by_totals {
            self.feed
                .read_totals(session::now(), &self.live.processes());
            self.seen_by_totals = seen;
        }
        self.tell()
    }

    /// Tells the verdicts that are new or have changed. Exactly once a tick, whichever that is: a
    /// replay knows no other moments, and has to tell the same.
    fn tell(&mut self) -> Result<()> {
        let verdicts = self.feed.engine.take_verdict_updates();
        // What leads to a new verdict is what the recording is for: no crash shall lose it.
        if verdicts.iter().any(|verdict| verdict.update == 0) {
            self.feed.flush_recording();
        }
        self.feed.turn(&self.session, &verdicts);
        if let Some(action) = &mut self.watch.action {
            action.verdicts(&self.session, &verdicts);
        }
        Ok(self.output.verdicts(&self.session, &verdicts)?)
    }

    /// The last conclusion, with all that is still on its way.
    async fn finish(mut self) -> Result<Ended> {
        // What began now would be killed at once.
        self.watch.action = None;
        // Who came since the last tick is still looked up.
        self.conclude()?;
        // The last listing and the last totals come before the end, so that every connection and
        // descriptor in them has its events.
        self.feed.end_lookups();
        let end = session::now();
        self.feed.read_totals(end, &self.live.processes());
        // Detaching takes its time, hook by hook: what it sees half is left out, but counted.
        self.feed.end_at(end);
        self.live.detach();
        self.drain.stop();
        while let Some(batch) = self.drain.next().await {
            self.feed.batch(&batch);
        }
        while let Some(fact) = self.facts.recv().await {
            self.feed.apply(&fact);
        }
        self.feed.apply_totals(end);
        self.live.read_skipped();
        self.feed.losses(self.live.losses()?);
        self.feed.tick(end);
        self.tell()?;
        let verdicts = self.feed.engine.take_last_verdict_updates();
        self.feed.end_delivery(&verdicts);
        self.output.verdicts(&self.session, &verdicts)?;
        Ok(Ended {
            report: self.feed.engine.report(),
            recorded: self.feed.end_recording(),
            dumped: self.feed.end_flight(),
        })
    }

    fn dump(&mut self, call: Call) {
        let Some(flight) = self.feed.flight() else {
            return;
        };
        match call {
            Call::Signal => flight.dump_now("SIGUSR1", None),
            Call::Asked(asker) => flight.dump_now("tracer dump", Some(asker)),
        }
    }

    /// Goes on with other settings, as far as they can change on the way.
    fn take_over(&mut self, args: &ServeArgs) -> Result<()> {
        let thresholds = args.thresholds.over(Thresholds::default());
        self.feed.engine.change_thresholds(thresholds);
        if let Some(flight) = self.feed.flight() {
            flight.take_over(&args.flight, serde_json::to_value(thresholds)?);
        }
        Ok(())
    }

    fn recording_stopped(&self) -> Option<&Stopped> {
        self.feed.recorder().and_then(Recorder::stopped)
    }
}

/// Where sockets are wanted and cannot be listed: the tables that would be empty must say so.
fn no_sock_diag(options: &live::Options) -> Option<HookState> {
    if !options.selection.tcp {
        return None;
    }
    let error = sock_diag::probe().err()?;
    Some(HookState {
        hook: "sock_diag".to_owned(),
        attached: None,
        provides: "TIME_WAIT sockets and connections from before the start".to_owned(),
        reason: error.to_string(),
    })
}
