//! The ways to attach: each by itself, as on a kernel that lacks the other.

use anyhow::Result;
use libtest_mimic::Failed;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("attach::kprobes_do_as_well", kprobe),
        Test::new("attach::a_verdict_can_be_an_exit_code", verdict_code),
        Test::new("attach::fentry_alone_says_what_is_missing", fentry),
    ]
}

const PORT: u16 = 2181;

static KPROBES: Shared<Watched> = Shared::new(|log| watch(log, "kprobe", "--fail-on-verdict"));
static FENTRY: Shared<Watched> = Shared::new(|log| watch(log, "fentry", ""));

struct Watched {
    run: Run,
    flap: u32,
    burst: u32,
}

fn watch(log: &Log, how: &str, more: &str) -> Result<Watched> {
    let tracer = Tracer::watch(log, &format!("--attach {how} {more}"))?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let words = format!("flap --port {PORT} --count 8 --period-ms 100 --send 5 --thread flapper");
    let mut flap = Workload::stepwise(log, &words)?;
    flap.act()?;
    let (burst, _) = run_workload(log, "burst --dir /tmp/shop/WEB-INF/lib --files 228")?;
    Ok(Watched { run: tracer.interrupt()?, flap: flap.pid(), burst })
}

/// What must be found whatever the way.
fn main_jobs(checks: &mut Checks<'_>, watched: &Watched) {
    let run = &watched.run;
    let found = checks.some("flapping", run.verdict("flapping", watched.flap));
    checks.is(found, "thread", "flapper");
    checks.is(found, "count", 8);
    checks.is(found, "tx_bytes", 40);
    checks.is(found, "closed_by.local", 1.0);
    let rows: Vec<_> =
        run.of_type("time_wait").filter(|row| row["pid"] == watched.flap).collect();
    checks.same("TIME_WAIT sockets", &rows.len(), &8);
    let found = checks.some("burst", run.verdict("fd_burst", watched.burst));
    checks.is(found, "opens", 228);
    checks.is(found, "top_dirs/0/pattern", "/tmp/shop/WEB-INF/lib/*.jar");
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
}

/// The hooks of a run that are attached in another way than these.
fn others<'a>(run: &'a Run, ways: &[&str]) -> Vec<&'a serde_json::Value> {
    let hooks = run.the("start")["hooks"].as_array();
    hooks
        .into_iter()
        .flatten()
        .filter(|hook| !hook["attached"].as_str().is_some_and(|way| ways.contains(&way)))
        .collect()
}

fn kprobe() -> Result<(), Failed> {
    let watched = KPROBES.get()?;
    let mut checks = Checks::of(&watched.run);
    main_jobs(&mut checks, watched);
    let others = others(&watched.run, &["kprobe", "kretprobe", "raw_tracepoint"]);
    checks.same("hooks attached otherwise", &others, &Vec::new());
    checks.end()
}

fn verdict_code() -> Result<(), Failed> {
    let watched = KPROBES.get()?;
    let mut checks = Checks::of(&watched.run);
    checks.same("exit code", &watched.run.code, &Some(3));
    checks.end()
}

fn fentry() -> Result<(), Failed> {
    let watched = FENTRY.get()?;
    let mut checks = Checks::of(&watched.run);
    main_jobs(&mut checks, watched);
    let others = others(&watched.run, &["fentry", "fexit", "raw_tracepoint"]);
    for hook in &others {
        checks.is(hook, "attached", serde_json::Value::Null);
        checks.that("the reason is told", hook["reason"].is_string());
    }
    checks.is(watched.run.the("end"), "complete", others.is_empty());
    checks.same("exit code", &watched.run.code, &Some(0));
    checks.end()
}
