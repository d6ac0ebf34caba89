//! What a watch of everything takes on a host where nothing happens, and how long it takes to begin; never
//! what it takes beyond that.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{memory, ready};

/// What follows the start is over by then.
const SETTLING: Duration = Duration::from_secs(5);

/// How long nothing happens.
const IDLE: Duration = Duration::from_mins(1);

/// Starts the watch, leaves it alone, and prints what it took.
pub fn run(tracer: &Path) -> Result<()> {
    let began = Instant::now();
    let mut command = Command::new(tracer);
    command.arg("watch");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut watch = ready::start(&mut command)?.context("there is no such program")?;
    let start = began.elapsed();
    thread::sleep(SETTLING);
    let before = processor_time(watch.id())?;
    thread::sleep(IDLE);
    let taken = processor_time(watch.id())?.saturating_sub(before);
    let told = json!({
        "start_ms": start.as_secs_f64() * 1e3,
        "idle_us_per_s": taken.as_secs_f64() * 1e6 / IDLE.as_secs_f64(),
        "peak_rss_kib": memory::kib(watch.id(), "VmHWM")?,
    });
    println!("{told}");
    kill(Pid::from_raw(watch.id().cast_signed()), Signal::SIGINT)?;
    watch.wait()?;
    Ok(())
}

/// What all threads of a process have run so far (`schedstat`, Documentation/scheduler/sched-stats.rst).
fn processor_time(pid: u32) -> Result<Duration> {
    let mut taken_ns = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        let running_ns = text.split_whitespace().next();
        taken_ns += running_ns.context("no time")?.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(taken_ns))
}
