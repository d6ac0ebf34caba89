//! User stacks: a run that takes them, by each way to attach, of a client that flaps and a program that
//! opens many files, both built with frame pointers.

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("stacks::the_functions_that_do_it_are_named", best),
        Test::new("stacks::kprobes_take_them_as_well", kprobes),
    ]
}

const PORT: u16 = 2177;
/// Nothing listens there.
const CLOSED: u16 = 2178;

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
