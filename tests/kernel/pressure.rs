//! A host that leaves tracer little: thousands of processes that end as soon as they have begun, and a
//! processor that something else keeps; never a table or a ring that was made small.

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload},
    run::Run,
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("pressure::thousands_of_brief_processes_are_counted", brief),
        Test::new("pressure::a_processor_kept_by_another_is_survived", kept),
    ]
}

const PORT: u16 = 2194;

/// Several times so many, so that no program is silent for long on a slow machine.
const ROUNDS: u64 = 4;
const OF_ROUND: u64 = 750;
const PROCESSES: u64 = ROUNDS * OF_ROUND;
/// Files that each opens; each connects once.
const OPENS: u64 = 2;

/// Connections of the client, and the processor that it does not get.
const COUNT: u64 = 8;
const PROCESSOR: u32 = 1;

fn watch_brief(log: &Log) -> Result<(Run, Vec<u32>)> {
    let tracer = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let words = format!("crowd --brief --processes {OF_ROUND} --opens {OPENS} --port {PORT}");
    let mut pids = Vec::new();
    for _ in 0..ROUNDS {
        let (_, done) = run_workload(log, &words)?;
        let told = done["pids"].as_array().into_iter().flatten();
        pids.extend(told.filter_map(|pid| u32::try_from(pid.as_u64()?).ok()));
    }
    Ok((tracer.interrupt()?, pids))
}

fn brief() -> Result<(), Failed> {
    let log = Log::default();
    let (run, pids) = watch_brief(&log).map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    checks.same("processes", &(pids.len() as u64), &PROCESSES);
    let stats = run.the("stats");
    checks.is(stats, "evicted.processes", 0);
    let lost = stats["lost"].as_u64().unwrap_or_default();
    for line in [stats, run.the("end")] {
        checks.is(line, "complete", lost == 0);
    }
    let (mut opens, mut connects, mut nameless) = (0, 0, 0);
    for process in pids.iter().filter_map(|pid| run.process(*pid)) {
        checks.lies(process, "opens", 0.0, OPENS as f64);
        checks.lies(process, "connects", 0.0, 1.0);
        opens += process["opens"].as_u64().unwrap_or_default();
        connects += process["connects"].as_u64().unwrap_or_default();
        match &process["comm"] {
            Value::Null => nameless += 1,
            name => checks.same("name", &name.as_str(), &Some("workload")),
        }
    }
    // What is not in the totals was told as lost, each by itself.
    for (what, told, wanted) in [
        ("opens", opens, PROCESSES * OPENS),
        ("connects", connects, PROCESSES),
    ] {
        checks.that(
            format_args!("{told} of {wanted} {what}, with {lost} events lost"),
            (wanted.saturating_sub(lost)..=wanted).contains(&told),
        );
    }
    checks.that(
        format_args!("{nameless} without a name, with {lost} events lost"),
        nameless <= lost,
    );
    checks.end()
}

fn watch_kept(log: &Log) -> Result<(Run, u32, Value)> {
    let mut tracer = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let mut keeper = Workload::stepwise(log, &format!("spin --cpu {PROCESSOR}"))?;
    keeper.go()?;
    keeper.until("spinning")?;
    let words = format!("flap --port {PORT} --count {COUNT} --period-ms 100 --thread client");
    let (pid, _) = run_workload(log, &words)?;
    tracer.until_flapping(pid)?;
    let spun = keeper.act()?;
    keeper.end()?;
    Ok((tracer.interrupt()?, pid, spun))
}

fn kept() -> Result<(), Failed> {
    let log = Log::default();
    let watched = watch_kept(&log);
    let (run, client, spun) = watched.map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    let found = checks.some("flapping", run.verdict("flapping", client));
    checks.counts(found, "count", COUNT);
    checks.nothing_lost();
    // Otherwise nothing was shown: the kernel leaves a twentieth to others.
    checks.is(&spun, "elsewhere", 0);
    let passed = spun["passed_ms"].as_f64().unwrap_or(f64::MAX);
    checks.lies(&spun, "had_ms", passed / 2.0, passed);
    checks.end()
}
