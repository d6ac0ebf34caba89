//! User stacks: a run that takes them, by each way to attach, of a client that flaps and a program that
//! opens many files, both built with frame pointers; and one in which they want more places than there are.

use std::mem;

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    bpf,
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload, wait_for},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("stacks::the_functions_that_do_it_are_named", best),
        Test::new("stacks::kprobes_take_them_as_well", kprobes),
        Test::new("stacks::ended_processes_leave_their_places", left),
    ]
}

const PORT: u16 = 2177;
/// Nothing listens there.
const CLOSED: u16 = 2178;

/// Places in the kernel half's table.
const PLACES: u32 = 64;

static BEST: Shared<Watched> = Shared::new(|log| watch(log, "auto"));
static KPROBES: Shared<Watched> = Shared::new(|log| watch(log, "kprobe"));

struct Watched {
    run: Run,
    flap: u32,
    fail: u32,
    burst: u32,
}

fn watch(log: &Log, how: &str) -> Result<Watched> {
    let tracer = Tracer::watch(log, &format!("--attach {how} --stacks"))?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let mut burst = Workload::stepwise(log, "burst --dir /tmp/shop/WEB-INF/lib --files 228")?;
    burst.go()?;
    burst.until("opened")?;
    let flap = format!("flap --port {PORT} --count 12 --period-ms 200 --thread flapper");
    let mut flap = Workload::stepwise(log, &flap)?;
    let mut fail = Workload::stepwise(
        log,
        &format!("fail --port {CLOSED} --count 12 --period-ms 200"),
    )?;
    flap.go()?;
    fail.go()?;
    // They stay until they are let go on: their functions are named while they live.
    flap.until("done")?;
    fail.until("done")?;
    Ok(Watched {
        run: tracer.interrupt()?,
        flap: flap.pid(),
        fail: fail.pid(),
        burst: burst.pid(),
    })
}

fn best() -> Result<(), Failed> {
    named(BEST.get()?)
}

fn kprobes() -> Result<(), Failed> {
    named(KPROBES.get()?)
}

fn named(watched: &Watched) -> Result<(), Failed> {
    let run = &watched.run;
    let mut checks = Checks::of(run);
    for (name, pid, function) in [
        (
            "flapping",
            watched.flap,
            "workload::client::Target::connect",
        ),
        (
            "failing_connects",
            watched.fail,
            "workload::client::Target::connect",
        ),
        ("fd_burst", watched.burst, "workload::files::Burst::open"),
    ] {
        let found = checks.some(name, run.verdict(name, pid));
        let top = &found["stacks"][0];
        checks.that(
            format_args!("most of {name} came by one stack: {top}"),
            top["count"].as_u64().is_some_and(|count| count >= 8),
        );
        checks.that(
            format_args!("{function} is in the top stack of {name}: {top}"),
            has_frame(top, &format!("{function} (workload)")),
        );
        checks.is(top, "missing", Value::Null);
    }
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    checks.end()
}

fn has_frame(stack: &Value, frame: &str) -> bool {
    let frames = stack["frames"].as_array();
    frames.is_some_and(|frames| frames.iter().any(|known| known == frame))
}

fn watch_many(log: &Log) -> Result<(Run, u32)> {
    let tracer = Tracer::watch(log, &format!("--stacks --map-entries {PLACES}"))?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let table = bpf::map(c"STACKS")?;
    let mut taken = 0;
    wait_for("places that are given back", || {
        // Each has addresses, and so stacks, of its own.
        run_workload(log, "storm --opens 1")?;
        let before = mem::replace(&mut taken, bpf::entries(&table)?);
        Ok((taken < before).then_some(()))
    })?;
    let flap = format!("flap --port {PORT} --count 30 --period-ms 200 --thread flapper");
    let mut flap = Workload::stepwise(log, &flap)?;
    flap.go()?;
    flap.until("done")?;
    Ok((tracer.interrupt()?, flap.pid()))
}

fn left() -> Result<(), Failed> {
    let log = Log::default();
    let watched = watch_many(&log);
    let (run, flap) = watched.map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    let found = checks.some("flapping", run.verdict("flapping", flap));
    let connects = "workload::client::Target::connect (workload)";
    let stacks = found["stacks"].as_array().into_iter().flatten();
    let named = stacks.filter(|stack| stack["missing"].is_null() && has_frame(stack, connects));
    let named: u64 = named.filter_map(|stack| stack["count"].as_u64()).sum();
    // The first of its connects may be what shows that there is no room.
    checks.that(
        format_args!("most of its connects have a stack: {}", found["stacks"]),
        named >= 15,
    );
    checks.end()
}
