//! Dumps the flight recorder: at a verdict, at SIGUSR1, or when `tracer dump` asks; never holds up the
//! watch while a dump is written.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::sync::oneshot;

use super::{
    recorder::create_file,
    spill::{Leftover, Spill},
};
use crate::{
    analysis::report::Verdict,
    cli::{FlightArgs, nanos},
    model::{Input, Nanos, Session},
    sink::recording,
    trace::{Excerpt, Flight, Head, Segment},
};

/// The flight recorder of a watch, and the dumps that are being written.
pub(super) struct FlightRecorder {
    flight: Flight,
    /// What outlives this tracer, if that is wanted.
    spill: Option<Spill>,
    /// What other tracers have left, until it is dumped.
    leftovers: Vec<Leftover>,
    args: FlightArgs,
    dumps: Vec<ActiveDump>,
    /// When a verdict last began one.
    last_begun: Option<Nanos>,
    now: Nanos,
    tally: Tally,
}

/// What became of all dumps.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Traces that were written.
    pub(super) written: Vec<PathBuf>,
    /// Verdicts that came while a dump for another was being written, which has them too.
    pub(super) joined: u64,
    /// Verdicts that made no dump because the last one was too short a time ago.
    pub(super) held_back: u64,
    /// Why dumps could not be written.
    pub(super) failed: Vec<String>,
}

/// Whoever asked for a dump by hand, and is told its path, or why there is none.
pub(super) type Asker = oneshot::Sender<Result<PathBuf, String>>;

/// A dump whose thread goes on.
struct ActiveDump {
    /// Segments to come; dropped when there are none.
    segments: Option<Sender<Arc<Segment>>>,
    /// When it has all that it is to have.
    until: Nanos,
    for_verdict: bool,
    thread: JoinHandle<Result<PathBuf, String>>,
    asker: Option<Asker>,
}

impl FlightRecorder {
    /// Begins to keep what happens. The folder must be there, or be one that can be made.
    pub(super) fn start(args: FlightArgs, window: Duration, head: Head) -> Result<Self> {
        let dir = args.dump_dir();
        fs::create_dir_all(dir)
            .with_context(|| format!("cannot make the folder for dumps, {}", dir.display()))?;
        let mut leftovers = Vec::new();
        let mut spill = None;
        if args.spill {
            leftovers = Leftover::all(dir);
            spill = Some(Spill::start(dir, window, args.flight_size, head.clone())?);
        }
        let bytes_max = usize::try_from(args.flight_size).unwrap_or(usize::MAX);
        let now = head.session.start;
        let flight = Flight::new(head, nanos(window), bytes_max);
        Ok(Self {
            flight: flight.context("cannot keep what happens")?,
            spill,
            leftovers,
            args,
            dumps: Vec::new(),
            last_begun: None,
            now,
            tally: Tally::default(),
        })
    }

    /// Keeps an input.
    pub(super) fn push(&mut self, input: &Input) {
        if let Input::Tick(now) = input {
            self.now = *now;
        }
        if let Some(spill) = &mut self.spill {
            spill.push(input);
        }
        match self.flight.push(input) {
            Ok(segment) => self.pass_on(segment),
            Err(error) => log::error!("the flight recorder cannot keep what happens: {error}"),
        }
    }

    /// A tick: ends the dumps that have all, and begins one if one of the new verdicts calls for it.
    pub(super) fn tick(&mut self, session: &Session, verdicts: &[Verdict]) {
        for leftover in std::mem::take(&mut self.leftovers) {
            log::warn!(
                "another tracer was killed here, or its host went down: dumping what it has left"
            );
            let dir = self.args.dump_dir().to_owned();
            let write = move || leftover.dump(&dir).map_err(|error| format!("{error:#}"));
            self.spawn(self.now, None, None, write);
        }
        let reasons: Vec<_> = verdicts
            .iter()
            .filter(|verdict| verdict.update == 0 && self.is_wanted(verdict))
            .map(|verdict| recording::reason(session, verdict))
            .collect();
        if !reasons.is_empty() {
            self.verdicts(&reasons);
        }
        let now = self.now;
        if self.dumps.iter().any(|dump| dump.lacks_until(now)) {
            self.flush();
        }
        for dump in &mut self.dumps {
            if dump.until <= now {
                dump.segments = None;
            }
        }
        self.reap(false);
    }

    /// Dumps for other verdicts, or longer, from now on, and tells other thresholds.
    pub(super) fn take_over(&mut self, args: &FlightArgs, thresholds: serde_json::Value) {
        let FlightArgs {
            on,
            dump_after,
            dump_pause,
            ..
        } = args.clone();
        self.args = FlightArgs {
            on,
            dump_after,
            dump_pause,
            ..self.args.clone()
        };
        self.flight.set_thresholds(thresholds);
    }

    /// Begins a dump of what there is until now, and tells the asker when it is written.
    pub(super) fn dump_now(&mut self, reason: &str, asker: Option<Asker>) {
        self.begin(reason, self.now, asker);
        // It lacks nothing any more.
        if let Some(dump) = self.dumps.last_mut() {
            dump.segments = None;
        }
    }

    /// Makes sure that what outlives this tracer has all that there is so far.
    pub(super) fn flush_spill(&mut self) {
        if let Some(spill) = &mut self.spill {
            spill.flush();
        }
    }

    /// Ends all dumps in order, and tells what there is.
    pub(super) fn finish(mut self) -> Tally {
        self.flush();
        for dump in &mut self.dumps {
            dump.segments = None;
        }
        self.reap(true);
        if let Some(spill) = self.spill {
            spill.remove();
        }
        self.tally
    }

    fn is_wanted(&self, verdict: &Verdict) -> bool {
        let wanted = &self.args.on;
        wanted.is_empty() || wanted.iter().any(|name| name == verdict.finding.name())
    }

    fn verdicts(&mut self, reasons: &[String]) {
        if self.dumps.iter().any(|dump| dump.for_verdict) {
            self.tally.joined += reasons.len() as u64;
            return;
        }
        let pause = nanos(self.args.dump_pause);
        let is_early = |last: Nanos| self.now.since(last) < pause;
        if self.last_begun.is_some_and(is_early) {
            self.tally.held_back += reasons.len() as u64;
            log::warn!(
                "no dump for {}: the last one was begun less than {} ago",
                reasons.join(", "),
                humantime::format_duration(self.args.dump_pause)
            );
            return;
        }
        self.last_begun = Some(self.now);
        let until = self.now + nanos(self.args.dump_after);
        self.begin(&reasons.join(", "), until, None);
        if let Some(dump) = self.dumps.last_mut() {
            dump.for_verdict = true;
        }
    }

    fn begin(&mut self, reason: &str, until: Nanos, asker: Option<Asker>) {
        self.flush();
        let excerpt = self.flight.excerpt();
        let name = recording::dump_name(&excerpt.head().session, self.now);
        let path = self.args.dump_dir().join(name);
        let (sender, segments) = channel();
        let reason = reason.to_owned();
        self.spawn(until, Some(sender), asker, move || {
            let written = write(excerpt, &reason, &path, &segments);
            written.map_err(|error| format!("{}: {error:#}", path.display()))?;
            Ok(path)
        });
    }

    /// Starts a thread that writes a dump.
    fn spawn(
        &mut self,
        until: Nanos,
        segments: Option<Sender<Arc<Segment>>>,
        asker: Option<Asker>,
        write: impl FnOnce() -> Result<PathBuf, String> + Send + 'static,
    ) {
        let thread = thread::Builder::new().name("dump".to_owned());
        match thread.spawn(write) {
            Ok(thread) => self.dumps.push(ActiveDump {
                segments,
                until,
                for_verdict: false,
                thread,
                asker,
            }),
            Err(error) => self.tally.failed.push(error.to_string()),
        }
    }

    fn flush(&mut self) {
        match self.flight.flush() {
            Ok(segment) => self.pass_on(segment),
            Err(error) => log::error!("the flight recorder cannot keep what happens: {error}"),
        }
    }

    fn pass_on(&mut self, segment: Option<Arc<Segment>>) {
        let Some(segment) = segment else {
            return;
        };
        for sender in self.dumps.iter().filter_map(|dump| dump.segments.as_ref()) {
            // One whose disk is full takes no more.
            let _ = sender.send(Arc::clone(&segment));
        }
    }

    /// Takes in the dumps that are written, or waits for all of them.
    fn reap(&mut self, waits: bool) {
        let mut has_more = false;
        let is_done = |dump: &mut ActiveDump| waits || dump.thread.is_finished();
        for dump in self.dumps.extract_if(.., is_done) {
            let written = dump.thread.join();
            let written = written.unwrap_or_else(|_| Err("the dump's thread failed".to_owned()));
            match &written {
                Ok(path) => {
                    log::warn!("dumped the minutes before to {}", path.display());
                    self.tally.written.push(path.clone());
                }
                Err(error) => {
                    log::error!("cannot dump to {error}");
                    self.tally.failed.push(error.clone());
                }
            }
            // Whoever asked may have gone.
            let _ = dump.asker.map(|asker| asker.send(written));
            has_more = true;
        }
        if let Some(keep) = self.args.dump_keep.filter(|_| has_more)
            && let Err(error) = keep_newest(self.args.dump_dir(), keep)
        {
            log::warn!("cannot remove old dumps: {error}");
        }
    }
}

impl ActiveDump {
    /// Whether what is not yet in a segment belongs to it as well.
    fn lacks_until(&self, now: Nanos) -> bool {
        self.segments.is_some() && self.until <= now
    }
}

fn write(
    excerpt: Excerpt,
    reason: &str,
    path: &Path,
    segments: &Receiver<Arc<Segment>>,
) -> Result<()> {
    let file = create_file(path)?;
    let mut dump = excerpt.begin(file, reason)?;
    for segment in segments {
        dump.push(&segment)?;
    }
    dump.finish()?;
    Ok(())
}

/// Removes the oldest dumps of a folder beyond so many, whoever wrote them.
fn keep_newest(dir: &Path, keep: u64) -> io::Result<()> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name()));
    let mut dumps = names.collect::<io::Result<Vec<_>>>()?;
    dumps.retain(|name| name.to_str().is_some_and(recording::is_dump_name));
    // Their names sort as their times do.
    dumps.sort();
    let keep = usize::try_from(keep).unwrap_or(usize::MAX);
    for oldest in dumps.iter().rev().skip(keep) {
        let path = dir.join(oldest);
        fs::remove_file(&path)?;
        log::info!("removed an old dump, {}", path.display());
    }
    Ok(())
}
