//! Runs the user's command for verdicts, or tells the user's server of them, within bounds of number, rate
//! and time; never waits for one, and never runs what a verdict says.

mod webhook;

use std::{
    io,
    os::fd::AsFd as _,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::http::Server;
use crate::{
    analysis::report::{Identity, Verdict},
    cli::{ActionArgs, HttpUrl},
    model::Session,
    sink::json,
};
use webhook::Webhook;

/// What became of the verdicts that a command was to be run for, or a server to be told of.
#[derive(Debug, Default)]
pub(super) struct Counts {
    ended_well: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    too_soon: AtomicU64,
    too_many: AtomicU64,
}

impl Counts {
    /// Each outcome and its number, by the names in metrics.
    pub(super) fn all(&self) -> [(&'static str, u64); 5] {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            ("ended_well", of(&self.ended_well)),
            ("failed", of(&self.failed)),
            ("timed_out", of(&self.timed_out)),
            ("too_soon", of(&self.too_soon)),
            ("too_many", of(&self.too_many)),
        ]
    }
}

/// What is done for a verdict.
enum Deed {
    /// This command is run by the shell.
    Command(String),
    /// This server is to be told.
    Server(Server),
    /// It is told.
    Webhook(Webhook),
}

/// What the user wants to be done for verdicts.
pub(super) struct Action {
    deed: Deed,
    time_max: Duration,
    pause: Duration,
    slots: Arc<Semaphore>,
    last_begun: Option<Instant>,
    counts: Arc<Counts>,
}

impl Action {
    /// What these options ask for, if anything. Fails where a server can never be reached.
    pub(super) fn new(args: &ActionArgs) -> Result<Option<Self>> {
        let Some(deed) = &args.on_verdict else {
            return Ok(None);
        };
        let deed = match HttpUrl::parse(deed) {
            Some(url) => Deed::Server(Server::new(url)?),
            None => Deed::Command(deed.clone()),
        };
        Ok(Some(Self {
            deed,
            time_max: args.on_verdict_timeout,
            pause: args.on_verdict_pause,
            slots: Arc::new(Semaphore::new(args.on_verdict_at_once as usize)),
            last_begun: None,
            counts: Arc::default(),
        }))
    }

    /// Starts what it takes to tell a server: a thread, which does `first` what it is given.
    pub(super) fn start(&mut self, first: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if let Deed::Server(server) = &self.deed {
            let counts = self.counts();
            let webhook = Webhook::start(server.clone(), self.time_max, counts, first)?;
            self.deed = Deed::Webhook(webhook);
        }
        Ok(())
    }

    /// Whether it starts programs, which have the rights of the thread that starts them.
    pub(super) fn runs_commands(&self) -> bool {
        matches!(self.deed, Deed::Command(_))
    }

    /// What became of verdicts so far, now and later.
    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Does it for each verdict that is new.
    pub(super) fn verdicts(&mut self, session: &Session, verdicts: &[Verdict]) {
        for verdict in verdicts.iter().filter(|verdict| verdict.update == 0) {
            self.verdict(session, verdict);
        }
    }

    fn verdict(&mut self, session: &Session, verdict: &Verdict) {
        let is_early = |last: Instant| last.elapsed() < self.pause;
        if self.last_begun.is_some_and(is_early) {
            self.counts.too_soon.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            self.counts.too_many.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.last_begun = Some(Instant::now());
        let input = json::verdict(session, verdict);
        match &self.deed {
            Deed::Command(command) => match start(command, verdict) {
                Ok(child) => {
                    let (counts, time_max) = (Arc::clone(&self.counts), self.time_max);
                    tokio::spawn(follow(child, input, time_max, counts, slot));
                }
                Err(error) => {
                    self.counts.failed.fetch_add(1, Ordering::Relaxed);
                    log::error!("the command of --on-verdict cannot be run: {error}");
                }
            },
            Deed::Webhook(webhook) => webhook.post(input, slot),
            // The watch has not begun.
            Deed::Server(_) => {}
        }
    }
}

fn start(command: &str, verdict: &Verdict) -> io::Result<Child> {
    // Its words belong into the log: standard output is for JSON lines.
    let log = io::stderr().as_fd().try_clone_to_owned()?;
    Command::new("sh")
        .args(["-c", command])
        .envs(environment(verdict))
        .stdin(Stdio::piped())
        .stdout(log)
        // So that what it starts can be ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// The main fields. What a process has chosen itself, such as its name, may hold anything: the shell
/// takes a variable's value for what it is, as long as it is in quotes.
pub(super) fn environment(verdict: &Verdict) -> Vec<(&'static str, String)> {
    let Identity {
        pid,
        ns_pid,
        comm,
        container,
        unit,
        tid,
        thread,
        ..
    } = &verdict.who;
    let number = |number: Option<u32>| number.map(|number| number.to_string());
    let tid = tid.map(|tid| tid.0);
    let fields = [
        ("VERDICT_NAME", Some(verdict.finding.name().to_owned())),
        ("VERDICT_ID", Some(verdict.id.to_string())),
        ("VERDICT_PID", number(pid.map(|pid| pid.0))),
        ("VERDICT_NS_PID", number(*ns_pid)),
        ("VERDICT_COMM", Some(comm.clone())),
        ("VERDICT_TID", number(tid)),
        ("VERDICT_NID", tid.map(|tid| format!("0x{tid:x}"))),
        ("VERDICT_THREAD", thread.clone()),
        ("VERDICT_CONTAINER", container.as_deref().map(str::to_owned)),
        ("VERDICT_UNIT", unit.as_deref().map(str::to_owned)),
    ];
    // One that is not known is empty, so that nothing is taken over from tracer's own surroundings.
    fields
        .into_iter()
        .map(|(name, value)| (name, value.unwrap_or_default().replace('\0', "")))
        .collect()
}

async fn follow(
    mut child: Child,
    input: String,
    time_max: Duration,
    counts: Arc<Counts>,
    slot: OwnedSemaphorePermit,
) {
    let pid = child.id();
    let outcome = timeout(time_max, feed_and_wait(&mut child, &input)).await;
    let count = match outcome {
        Ok(Ok(status)) if status.success() => &counts.ended_well,
        Ok(ended) => {
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            log::warn!("the command of --on-verdict failed: {how}");
            &counts.failed
        }
        Err(_) => {
            log::warn!("the command of --on-verdict took longer than its time and was killed");
            let group = pid.and_then(|pid| Pid::from_raw(pid.cast_signed()));
            // It may have ended just now.
            let _ = group.map(|group| kill_process_group(group, Signal::KILL));
            let _ = child.wait().await;
            &counts.timed_out
        }
    };
    count.fetch_add(1, Ordering::Relaxed);
    drop(slot);
}

async fn feed_and_wait(child: &mut Child, input: &str) -> io::Result<ExitStatus> {
    if let Some(mut stdin) = child.stdin.take() {
        // Whoever has no use for it may have closed it.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    child.wait().await
}

#[cfg(test)]
pub(super) mod tests;
