//! A thread that keeps a processor for itself; it never runs on another, nor after it was told to end.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use rustix::{
    thread::{CpuSet, sched_getcpu, sched_setaffinity},
    time::{ClockId, Timespec, clock_gettime},
};
use serde_json::{Value, json};

use super::stage::Stage;

/// A real-time thread that spins. Tells `spinning` once it has its processor.
#[derive(Args)]
pub struct Spin {
    /// The processor
    #[arg(long)]
    cpu: usize,
}

impl Spin {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let ends = Arc::new(AtomicBool::new(false));
        let (tell, told) = mpsc::channel();
        let (cpu, to_end) = (self.cpu, Arc::clone(&ends));
        let spinning = thread::spawn(move || spin(cpu, &to_end, &tell));
        // Where it cannot have the processor, what it says at its end is why.
        if told.recv().is_ok() {
            stage.reach("spinning", json!({}))?;
        }
        ends.store(true, Ordering::Relaxed);
        let facts = spinning
            .join()
            .map_err(|_| anyhow!("the thread panicked"))??;
        stage.done(facts)
    }
}

/// Spins until it is to end, and tells how much of that time it had.
fn spin(cpu: usize, ends: &AtomicBool, tell: &mpsc::Sender<()>) -> Result<Value> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).with_context(|| format!("cannot have processor {cpu}"))?;
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads the parameters, of this thread.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) };
    if result != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot be a real-time thread");
    }
    let begin = [ClockId::Monotonic, ClockId::ThreadCPUTime].map(clock_gettime);
    tell.send(())?;
    let mut elsewhere = 0_u64;
    while !ends.load(Ordering::Relaxed) {
        elsewhere += u64::from(sched_getcpu() != cpu);
    }
    let end = [ClockId::Monotonic, ClockId::ThreadCPUTime].map(clock_gettime);
    let [passed, had] = [0, 1].map(|clock: usize| {
        let span = |times: [Timespec; 2]| Duration::try_from(times[clock]).unwrap_or_default();
        span(end).saturating_sub(span(begin)).as_secs_f64() * 1e3
    });
    Ok(json!({ "passed_ms": passed, "had_ms": had, "elsewhere": elsewhere }))
}
