//! What happens to a host while tracer watches: another tracer comes, the clock is set back, a processor
//! is taken away, a network namespace goes, tracer itself is killed, the host sleeps; never what programs do
//! wrong.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Failed;
use rustix::{
    process::Signal,
    time::{ClockId, Timespec, clock_gettime, clock_settime},
};
use serde_json::Value;

use crate::{
    bpf,
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload, wait_for},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("survival::several_tracers_tell_the_same", several),
        Test::new("survival::a_clock_set_back_confuses_nothing", clock),
        Test::new("survival::a_processor_taken_away_is_survived", processor),
        Test::new("survival::a_network_that_goes_is_survived", network),
        Test::new("survival::a_killed_tracer_leaves_nothing_behind", killed),
        Test {
            name: "survival::a_host_that_sleeps_is_survived",
            needs: Some(may_suspend),
            check: suspended,
        },
    ]
}

const PORT: u16 = 2179;
/// Where nothing listens.
const CLOSED: u16 = 2180;
/// Connections of each client.
const COUNT: u64 = 8;
/// Connects of the process whose network goes with it.
const FAILURES: u64 = 8;

/// A processor that can be taken away.
const PROCESSOR: &str = "/sys/devices/system/cpu/cpu1/online";

const HOUR: i64 = 3600;

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    /// Both watch from before the begin; the second goes on for longer.
    runs: [Run; 2],
    /// Who flaps before anything happens, when the clock is set back and a processor gone, and when only
    /// one tracer is left.
    before: u32,
    meanwhile: u32,
    last: u32,
    in_namespace: u32,
    is_processor_gone: bool,
}

/// The clock and the processors as they were, once it is dropped.
struct Host {
    began: Instant,
    time: Timespec,
}

impl Host {
    fn disturb() -> Result<Self> {
        let time = clock_gettime(ClockId::Realtime);
        let host = Self {
            began: Instant::now(),
            time,
        };
        let earlier = Timespec {
            tv_sec: time.tv_sec - HOUR,
            ..time
        };
        clock_settime(ClockId::Realtime, earlier).context("cannot set the clock")?;
        if fs::exists(PROCESSOR)? {
            fs::write(PROCESSOR, "0").context(PROCESSOR)?;
        }
        Ok(host)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let passed = i64::try_from(self.began.elapsed().as_secs()).unwrap_or(0);
        let now = Timespec {
            tv_sec: self.time.tv_sec + passed,
            ..self.time
        };
        // The tests that come next only want a time that goes on, and a processor.
        let _ = clock_settime(ClockId::Realtime, now);
        let _ = fs::write(PROCESSOR, "1");
    }
}

fn flap(log: &Log) -> Result<u32> {
    let words = format!("flap --port {PORT} --count {COUNT} --period-ms 100 --thread client");
    let (pid, _) = run_workload(log, &words)?;
    Ok(pid)
}

fn watch(log: &Log) -> Result<Watched> {
    let mut first = Tracer::watch(log, "")?;
    let mut second = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let before = flap(log)?;
    let host = Host::disturb()?;
    let is_processor_gone = fs::read_to_string(PROCESSOR).is_ok_and(|text| text.trim() == "0");
    let meanwhile = flap(log)?;
    let in_namespace = Workload::run_to_end(
        log,
        &format!("--new-netns fail --port {CLOSED} --count {FAILURES}"),
    )?;
    for tracer in [&mut first, &mut second] {
        tracer.until_flapping(meanwhile)?;
    }
    drop(host);
    let first = first.interrupt()?;
    let last = flap(log)?;
    second.until_flapping(last)?;
    Ok(Watched {
        runs: [first, second.interrupt()?],
        before,
        meanwhile,
        last,
        in_namespace,
        is_processor_gone,
    })
}

fn several() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let [first, second] = &watched.runs;
    for run in [first, second] {
        let mut checks = Checks::of(run);
        checks.same("exit code", &run.code, &Some(0));
        checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
        let found = run.verdict("flapping", watched.before);
        let found = checks.some("flapping", found);
        checks.counts(found, "count", COUNT);
        checks.is(found, "closed_by.local", 1.0);
        checks.end()?;
    }
    let mut checks = Checks::of(second);
    let found = second.verdict("flapping", watched.last);
    let found = checks.some("flapping when the other tracer has ended", found);
    checks.counts(found, "count", COUNT);
    checks.end()
}

fn clock() -> Result<(), Failed> {
    let watched = RUN.get()?;
    for run in &watched.runs {
        let mut checks = Checks::of(run);
        let mut seen = Vec::new();
        for pid in [watched.before, watched.meanwhile] {
            let found = checks.some("flapping", run.verdict("flapping", pid));
            checks.counts(found, "count", COUNT);
            for field in ["first_seen", "last_seen"] {
                seen.extend(found[field].as_str());
            }
        }
        checks.that(
            format_args!("times that go on: {seen:?}"),
            seen.is_sorted() && seen.len() == 4,
        );
        checks.end()?;
    }
    Ok(())
}

fn processor() -> Result<(), Failed> {
    let watched = RUN.get()?;
    for run in &watched.runs {
        let mut checks = Checks::of(run);
        checks.that("it was taken away", watched.is_processor_gone);
        let found = run.verdict("flapping", watched.meanwhile);
        let found = checks.some("flapping without it", found);
        checks.counts(found, "count", COUNT);
        checks.end()?;
    }
    Ok(())
}

fn network() -> Result<(), Failed> {
    let watched = RUN.get()?;
    for run in &watched.runs {
        let mut checks = Checks::of(run);
        let found = run.verdict("failing_connects", watched.in_namespace);
        let found = checks.some("failing connects", found);
        checks.counts(found, "count", FAILURES);
        checks.end()?;
    }
    Ok(())
}

/// Whether the machine that this one runs in survives that.
fn may_suspend() -> bool {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    words.split_whitespace().any(|word| word == "vm.suspend")
}

/// How long this host has slept since it was started.
fn slept() -> Duration {
    let times = [ClockId::Boottime, ClockId::Monotonic].map(clock_gettime);
    let [boot, awake] = times.map(|time| Duration::try_from(time).unwrap_or_default());
    boot.saturating_sub(awake)
}

/// Suspends this host to memory until its clock wakes it.
fn sleep() -> Result<()> {
    let before = slept();
    // An alarm that is set must be taken back first.
    for (file, text) in [
        ("/sys/class/rtc/rtc0/wakealarm", "0"),
        ("/sys/class/rtc/rtc0/wakealarm", "+4"),
        ("/sys/power/state", "mem"),
    ] {
        fs::write(file, text).with_context(|| format!("cannot write {text} to {file}"))?;
    }
    let span = slept().saturating_sub(before);
    ensure!(span > Duration::from_secs(1), "it did not sleep: {span:?}");
    Ok(())
}

fn suspended() -> Result<(), Failed> {
    let log = Log::default();
    let watch = || -> Result<(Run, [u32; 2])> {
        let mut tracer = Tracer::watch(&log, "")?;
        let _server = Workload::start(&log, &format!("serve --port {PORT}"))?;
        let before = flap(&log)?;
        tracer.until_flapping(before)?;
        sleep()?;
        let after = flap(&log)?;
        tracer.until_flapping(after)?;
        Ok((tracer.interrupt()?, [before, after]))
    };
    let (run, flapping) = watch().map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    let mut seen = Vec::new();
    for pid in flapping {
        let found = checks.some("flapping", run.verdict("flapping", pid));
        checks.counts(found, "count", COUNT);
        seen.extend([&found["first_seen"], &found["last_seen"]].map(Value::as_str));
    }
    checks.that(
        format_args!("times that go on: {seen:?}"),
        seen.is_sorted() && !seen.contains(&None),
    );
    checks.end()
}

fn killed() -> Result<(), Failed> {
    let log = Log::default();
    (|| -> Result<()> {
        // What earlier tests left may still be let go of.
        let before = bpf::held()?;
        let tracer = Tracer::watch(&log, "")?;
        let meanwhile = bpf::held()?;
        tracer.signal(Signal::KILL)?;
        let run = tracer.end()?;
        ensure!(run.code.is_none(), "not killed: {:?}", run.code);
        // The kernel lets go of them some time later.
        wait_for("the kernel to hold no more than before", || {
            let now = bpf::held()?;
            let is_less = |than: &[usize; 3]| now.iter().zip(than).all(|(now, than)| now < than);
            let is_back = now.iter().zip(&before).all(|(now, before)| now <= before);
            Ok((is_back && is_less(&meanwhile)).then_some(()))
        })?;
        let again = Tracer::watch(&log, "")?.interrupt()?;
        ensure!(again.code == Some(0), "exit code {:?}", again.code);
        Ok(())
    })()
    .map_err(|error| format!("{error:#}\n{}", log.text()).into())
}
