//! What a computation has cost, as the kernel counted it; never a wall clock.

use std::{io, path::Path, process::Command, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::{
        resource::{Usage, UsageWho, getrusage},
        time::TimeValLike as _,
    },
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// The processor time of this thread: what others do on the machine does not count.
pub fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The most memory that this process has held.
pub fn peak_memory_bytes() -> Result<i64> {
    Ok(memory_bytes(&getrusage(UsageWho::RUSAGE_SELF)?))
}

/// The processor time of a program on one processor, and the most memory that it held. Its standard
/// output is not looked at. Fails where the program does, and where it is not this process's first.
pub fn of_program(program: &Path, arguments: &[&Path]) -> Result<(Duration, i64)> {
    // What the kernel tells of children is of all that there were.
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    ensure!(before.max_rss() == 0, "another program has run before");
    // A program inherits where it may run.
    sched_setaffinity(Pid::this(), &one_processor()?)?;
    let shown = program.display();
    let status = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    ensure!(status.success(), "{shown} failed ({status})");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let times = [usage.user_time(), usage.system_time()];
    let cpu = times.map(|time| Duration::from_micros(time.num_microseconds().cast_unsigned()));
    Ok((cpu.iter().sum(), memory_bytes(&usage)))
}

/// The first of the processors that this process may run on.
fn one_processor() -> Result<CpuSet> {
    let all = sched_getaffinity(Pid::this())?;
    let first = (0..CpuSet::count()).find(|number| all.is_set(*number) == Ok(true));
    let mut one = CpuSet::new();
    one.set(first.ok_or_else(|| io::Error::other("there is no processor to run on"))?)?;
    Ok(one)
}

fn memory_bytes(usage: &Usage) -> i64 {
    // The kernel tells kB.
    usage.max_rss() * 1024
}
