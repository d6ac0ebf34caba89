//! The kernel half's tables of processes and connections, made small, with more of both than they hold:
//! what finds no room is told as lost, what found some stays exact, and room that is given back is used
//! again; never a full ring, which is `overflow`'s.

use anyhow::{Result, ensure};
use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bpf,
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload, wait_for},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "full::processes_beyond_the_table_are_told_as_lost",
            processes,
        ),
        Test::new("full::ends_that_could_not_be_told_make_room", ends),
        Test::new(
            "full::connections_beyond_the_table_are_told_as_lost",
            connections,
        ),
        Test::new("full::older_connections_leave_no_place_taken", older),
    ]
}

/// Of each table.
const PLACES: u64 = 64;
/// Processes that are not the test's, at most.
const OTHERS: u64 = 8;

const PROCESSES: u64 = 200;
/// Files that each opens, and looks for in vain.
const OPENS: u64 = 5;
const MISSES: u64 = 2;
/// Opens of who comes when there is room again.
const LATER: u64 = 50;

const CONNECTIONS: u64 = 100;
/// Both ends of a connection take a place.
const FITTING: u64 = PLACES / 2;
const PORT: u16 = 2192;
const FLAP_PORT: u16 = 2193;
const COUNT: u64 = 8;

/// What each process of a crowd does: the field of its totals, and the kind of these events.
struct Did {
    field: &'static str,
    kind: &'static str,
    of_each: u64,
}

const OPENED: Did = Did {
    field: "opens",
    kind: "fd_install",
    of_each: OPENS,
};

const MISSED: Did = Did {
    field: "opens_failed",
    kind: "fd_open_failed",
    of_each: MISSES,
};

static CROWDED: Shared<Crowded> = Shared::new(crowd);

struct Crowded {
    run: Run,
    pids: Vec<u32>,
    /// Opens nothing of its own accord.
    idle: u32,
    later: u32,
}

fn pids_of(told: &Value) -> Vec<u32> {
    let pids = told["pids"].as_array().into_iter().flatten();
    pids.filter_map(|pid| u32::try_from(pid.as_u64()?).ok())
        .collect()
}

fn crowd(log: &Log) -> Result<Crowded> {
    let tracer = Tracer::watch(log, &format!("--no-tcp --map-entries {PLACES}"))?;
    let (idle, _) = run_workload(log, "storm --opens 0")?;
    let words = format!("crowd --processes {PROCESSES} --opens {OPENS} --misses {MISSES}");
    let mut crowd = Workload::stepwise(log, &words)?;
    let pids = pids_of(&crowd.act()?);
    crowd.end()?;
    let (later, _) = run_workload(log, &format!("storm --opens {LATER}"))?;
    let run = tracer.interrupt()?;
    Ok(Crowded {
        run,
        pids,
        idle,
        later,
    })
}

/// The run has ended well, and tells all that it lost, by kinds and in all.
fn accounts(checks: &mut Checks<'_>, run: &Run) {
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    let stats = run.the("stats");
    let lost: u64 = ["ring_full", "map_full", "read_failed"]
        .map(|cause| of_all_kinds(run, cause))
        .iter()
        .sum();
    let lost = lost + stats["kernel_skipped"].as_u64().unwrap_or_default();
    for line in [stats, run.the("end")] {
        checks.is(line, "lost", lost);
        checks.is(line, "complete", lost == 0);
    }
}

fn of_all_kinds(run: &Run, outcome: &str) -> u64 {
    let kinds = run.the("stats")["events"].as_object().into_iter().flatten();
    kinds.map(|(kind, _)| run.counter(kind, outcome)).sum()
}

/// How many of these processes have totals. Those are exact, and what the others did is told as lost because
/// there was no room; but for what the kernel skipped.
fn fitted(checks: &mut Checks<'_>, run: &Run, pids: &[u32], did: &[Did]) -> u64 {
    let fitted: Vec<_> = pids.iter().filter_map(|pid| run.process(*pid)).collect();
    for did in did {
        let counted = fitted
            .iter()
            .filter_map(|totals| totals[did.field].as_u64());
        let most = counted.clone().max().unwrap_or_default();
        checks.same(format_args!("{} of each", did.field), &most, &did.of_each);
        // As none has more, this is all of each where nothing was skipped.
        let counted: u64 = counted.sum();
        checks.but_for_skipped(
            format_args!("{} counted", did.field),
            counted,
            fitted.len() as u64 * did.of_each,
        );
        let lost = run.counter(did.kind, "map_full");
        checks.but_for_skipped(
            format_args!("{} counted or lost", did.field),
            counted + lost,
            pids.len() as u64 * did.of_each,
        );
    }
    fitted.len() as u64
}

/// Who comes when there is room again is counted as if there always had been.
fn later(checks: &mut Checks<'_>, run: &Run, idle: u32, later: u32) {
    let own = checks.some("idle process", run.process(idle))["opens"].as_u64();
    let totals = checks.some("process that came later", run.process(later));
    let opens = totals["opens"].as_u64().unwrap_or_default();
    checks.but_for_skipped("opens afterwards", opens, LATER + own.unwrap_or_default());
}

fn processes() -> Result<(), Failed> {
    let crowded = CROWDED.get()?;
    let run = &crowded.run;
    let mut checks = Checks::of(run);
    accounts(&mut checks, run);
    checks.same("children", &(crowded.pids.len() as u64), &PROCESSES);
    let fitted = fitted(&mut checks, run, &crowded.pids, &[OPENED, MISSED]);
    checks.that(
        format_args!("{fitted} processes in {PLACES} places"),
        (PLACES - OTHERS..=PLACES).contains(&fitted),
    );
    let lost = of_all_kinds(run, "map_full");
    let beyond = PROCESSES - fitted;
    checks.but_for_skipped("lost of any kind", lost, beyond * (OPENS + MISSES));
    checks.is(run.the("end"), "complete", false);
    later(&mut checks, run, crowded.idle, crowded.later);
    checks.end()
}

/// Processes end while the ring is full, so that their totals stay in the table for tracer to find.
fn leave_totals(log: &Log) -> Result<Crowded> {
    let words = format!("--no-tcp --map-entries {PLACES} --ring-size 4K");
    let tracer = Tracer::watch(log, &words)?;
    let (idle, _) = run_workload(log, "storm --opens 0")?;
    let table = bpf::map(c"PROCESSES")?;
    tracer.signal(Signal::STOP)?;
    let words = format!("crowd --brief --processes {PROCESSES} --opens {OPENS}");
    let (_, done) = run_workload(log, &words)?;
    ensure!(bpf::entries(&table)? as u64 == PLACES, "there is room");
    tracer.signal(Signal::CONT)?;
    wait_for("room for others", || {
        Ok((bpf::entries(&table)? as u64 <= OTHERS).then_some(()))
    })?;
    let (later, _) = run_workload(log, &format!("storm --opens {LATER}"))?;
    let run = tracer.interrupt()?;
    Ok(Crowded {
        run,
        pids: pids_of(&done),
        idle,
        later,
    })
}

fn ends() -> Result<(), Failed> {
    let log = Log::default();
    let crowded = leave_totals(&log).map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let run = &crowded.run;
    let mut checks = Checks::of(run);
    accounts(&mut checks, run);
    checks.same("children", &(crowded.pids.len() as u64), &PROCESSES);
    // No process's totals are lost with its place.
    let fitted = fitted(&mut checks, run, &crowded.pids, &[OPENED]);
    checks.that(
        format_args!("{fitted} processes had places"),
        fitted >= PLACES - OTHERS,
    );
    let untold = run.counter("exit", "ring_full");
    checks.that(
        format_args!("{untold} ends could not be told"),
        untold >= PLACES - OTHERS,
    );
    later(&mut checks, run, crowded.idle, crowded.later);
    checks.end()
}

fn flap(log: &Log) -> Result<u32> {
    // Of IPv4 alone: the kernel keeps these sockets elsewhere than those of the pairs, and none of them is
    // taken for one of those.
    let _server = Workload::start(log, &format!("serve --family loopback --port {FLAP_PORT}"))?;
    let words = format!("flap --addr 127.0.0.1 --port {FLAP_PORT} --count {COUNT} --thread client");
    let (pid, _) = run_workload(log, &words)?;
    Ok(pid)
}

fn watch_connections(log: &Log) -> Result<(Run, u32, u32)> {
    let tracer = Tracer::watch(log, &format!("--no-fds --map-entries {PLACES}"))?;
    let words = format!("pairs --port {PORT} --count {CONNECTIONS}");
    let mut pairs = Workload::stepwise(log, &words)?;
    pairs.go()?;
    pairs.until("held")?;
    pairs.act()?;
    let flapping = flap(log)?;
    let pid = pairs.pid();
    pairs.end()?;
    Ok((tracer.interrupt()?, pid, flapping))
}

fn connections() -> Result<(), Failed> {
    let log = Log::default();
    let watched = watch_connections(&log);
    let (run, pid, flapping) = watched.map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    accounts(&mut checks, &run);
    let beyond = CONNECTIONS - FITTING;
    for kind in ["tcp_connect", "tcp_accept"] {
        let lost = run.counter(kind, "map_full");
        checks.same(format_args!("{kind} lost"), &lost, &beyond);
    }
    let lost = of_all_kinds(&run, "map_full");
    checks.same("lost of any kind", &lost, &(2 * beyond));
    checks.is(run.the("end"), "complete", false);
    let totals = checks.some("process", run.process(pid));
    checks.is(totals, "connects", CONNECTIONS);
    checks.is(totals, "accepts", CONNECTIONS);
    let found = checks.some("flapping afterwards", run.verdict("flapping", flapping));
    checks.counts(found, "count", COUNT);
    checks.end()
}

fn watch_older(log: &Log) -> Result<(Run, u32)> {
    let words = format!("pairs --port {PORT} --count {CONNECTIONS}");
    let mut pairs = Workload::stepwise(log, &words)?;
    pairs.go()?;
    pairs.until("held")?;
    let tracer = Tracer::watch(log, &format!("--no-fds --map-entries {PLACES}"))?;
    pairs.act()?;
    let flapping = flap(log)?;
    pairs.end()?;
    Ok((tracer.interrupt()?, flapping))
}

fn older() -> Result<(), Failed> {
    let log = Log::default();
    let watched = watch_older(&log);
    let (run, flapping) = watched.map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    accounts(&mut checks, &run);
    // One after the other they need two places.
    checks.same("lost", &of_all_kinds(&run, "map_full"), &0);
    checks.nothing_lost();
    let found = checks.some("flapping", run.verdict("flapping", flapping));
    checks.counts(found, "count", COUNT);
    checks.end()
}
