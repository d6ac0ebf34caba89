//! What runs out: descriptors, connections that nobody closes, ports; and that the number of open
//! descriptors is what /proc shows, whatever changes the table. One run, with thresholds that need no
//! quarter of an hour.

use std::{cell::RefCell, collections::BTreeSet};

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new(
            "exhaustion::the_number_of_descriptors_is_what_proc_shows",
            tables,
        ),
        Test::new(
            "exhaustion::what_a_table_holds_is_what_proc_shows",
            contents,
        ),
        Test::new(
            "exhaustion::what_no_hook_tells_is_seen_at_the_next_look",
            looked_again,
        ),
        Test::new(
            "exhaustion::what_filled_a_table_before_the_start_is_told",
            filled_before,
        ),
        Test::new("exhaustion::a_host_without_files_is_told", of_host),
        Test::new("exhaustion::a_leak_is_told_and_a_cache_is_not", leak),
        Test::new(
            "exhaustion::connections_that_nobody_closes_are_told",
            half_closed,
        ),
        Test::new("exhaustion::ports_that_run_out_are_told", ports),
    ]
}

/// What changes a descriptor table.
const WAYS: [&str; 8] = [
    "open",
    "dup2-over",
    "close-range",
    "close-on-exec",
    "received",
    "inherited",
    "threads",
    "each-kind",
];

/// What changes a table, or its limit, so that no hook tells all of it.
const UNTOLD: [&str; 2] = ["shared", "lower-limit"];
const LIMIT: u64 = 64;

/// Files that a program holds since before tracer, nearly all that it may have.
const FILLED_BEFORE: u64 = 90;

/// Where a server closes first, and where ports run out.
const CLOSING: u16 = 2198;
const USED_UP: u16 = 2199;

const HALF_CLOSED: u64 = 6;
const LOW: u16 = 40_000;
const HIGH: u16 = 40_099;
/// How many ports lie between them, both included.
const PORTS: u64 = 100;
/// Connects without a port.
const FAILURES: u64 = 7;

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    run: Run,
    /// Each way with what its program told at the end.
    tables: Vec<(&'static str, Value)>,
    /// The same of those that no hook tells all of, with their pids.
    untold: Vec<(&'static str, u32, Value)>,
    filled_before: u32,
    of_host: (u32, Value),
    leaking: (u32, Value),
    caching: u32,
    half_closed: u32,
    ports: (u32, Value),
}

fn watch(log: &Log) -> Result<Watched> {
    // All begin before tracer: what a process holds is only looked at once it has settled.
    let mut changing = Vec::new();
    for way in WAYS {
        changing.push((way, Workload::stepwise(log, &format!("table --way {way}"))?));
    }
    let filled_before = Workload::start(
        log,
        &format!("--fd-limit 100 leak --count 1000000 --period-ms 300 --at-once {FILLED_BEFORE}"),
    )?;
    let mut tracer = Tracer::watch(
        log,
        "--close-wait-count 3 --close-wait-age 1s --leak-fds 8 --leak-window 15s",
    )?;
    tracer.until_verdict(|verdict| {
        verdict["pid"] == filled_before.pid() && !verdict["kinds"]["file"].is_null()
    })?;
    for (_, table) in &mut changing {
        table.go()?;
        table.until("met")?;
    }
    let mut untold = Vec::new();
    for way in UNTOLD {
        let limit = if way == "shared" { LIMIT } else { 1024 };
        let words = format!("--fd-limit {limit} table --way {way}");
        let mut table = Workload::stepwise(log, &words)?;
        table.go()?;
        table.until("met")?;
        untold.push((way, table));
    }
    // Look-ups are answered in order: once the limit of this program is known, so are those tables, and
    // what they show from now on is counted.
    let mut full = Workload::stepwise(log, "--fd-limit 40 exhaust --port 2194")?;
    full.act()?;
    tracer.until_verdict(|verdict| {
        verdict["verdict"] == "fd_exhaustion" && verdict["fd_limit"] == 40
    })?;
    let mut tables = Vec::new();
    for (way, table) in &mut changing {
        tables.push((*way, table.act()?));
    }
    let mut acted = Vec::new();
    for (way, table) in &mut untold {
        let told = table.act()?;
        acted.push((*way, table.pid(), told));
    }
    let mut of_host = Workload::stepwise(log, "exhaust-host")?;
    let refused = of_host.act()?;

    let _server = Workload::start(log, &format!("serve --close-first --port {CLOSING}"))?;
    let mut half_closed = Workload::stepwise(
        log,
        &format!("half-closed --port {CLOSING} --count {HALF_CLOSED}"),
    )?;
    half_closed.act()?;
    let range = format!("--low {LOW} --high {HIGH}");
    let ports = run_workload(
        log,
        &format!("--new-netns use-ports --port {USED_UP} {range} --failures {FAILURES}"),
    )?;
    let mut leaking = Workload::stepwise(log, "leak --count 50 --period-ms 500")?;
    let mut caching = Workload::stepwise(log, "leak --count 50 --period-ms 500 --at-once 30")?;
    leaking.go()?;
    caching.go()?;
    let leaked = leaking.until("done")?;
    caching.until("done")?;
    let to_come = RefCell::new(
        acted
            .iter()
            .map(|(_, pid, _)| *pid)
            .collect::<BTreeSet<_>>(),
    );
    tracer.until_verdict(|verdict| {
        let mut to_come = to_come.borrow_mut();
        if verdict["verdict"] == "fd_near_limit" {
            to_come.retain(|pid| verdict["pid"] != *pid);
        }
        to_come.is_empty()
    })?;
    let run = tracer.interrupt()?;
    Ok(Watched {
        run,
        tables,
        untold: acted,
        filled_before: filled_before.pid(),
        of_host: (of_host.pid(), refused),
        leaking: (leaking.pid(), leaked),
        caching: caching.pid(),
        half_closed: half_closed.pid(),
        ports,
    })
}

/// The process whose table this is.
fn pid_of(table: &Value) -> u32 {
    let pid = table["pid"].as_u64();
    pid.and_then(|pid| u32::try_from(pid).ok())
        .unwrap_or_default()
}

fn tables() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    for (way, told) in &watched.tables {
        let tables = told["tables"].as_array().into_iter().flatten();
        for table in tables {
            let process = watched.run.process(pid_of(table));
            let process = checks.some(format_args!("process of {way}"), process);
            checks.same(
                format_args!("descriptors of {way}"),
                &process["fds_open"],
                &table["open"],
            );
            // Nothing had to be corrected for it, unless the kernel kept something to itself.
            if !watched.run.skipped_hooks() {
                checks.is(process, "fds_corrected", 0);
            }
        }
    }
    checks.end()
}

fn contents() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    for (way, told) in &watched.tables {
        // The first is the program itself; a child of it is too young for a look.
        let table = &told["tables"][0];
        let process = watched.run.process(pid_of(table));
        let process = checks.some(format_args!("process of {way}"), process);
        checks.same(
            format_args!("what the table of {way} holds"),
            &process["kinds"],
            &table["kinds"],
        );
        let is_named = process["top_dirs"][0]["pattern"].is_string();
        checks.that(format_args!("files of {way} are named"), is_named);
    }
    checks.end()
}

fn looked_again() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    for (way, pid, told) in &watched.untold {
        let found = watched.run.verdict("fd_near_limit", *pid);
        let found = checks.some(format_args!("near the limit of {way}"), found);
        checks.is(found, "fd_limit", LIMIT);
        let process = watched.run.process(*pid);
        let process = checks.some(format_args!("process of {way}"), process);
        checks.same(
            format_args!("descriptors of {way}"),
            &process["fds_open"],
            &told["tables"][0]["open"],
        );
        checks.is(process, "fd_limit", LIMIT);
    }
    let (_, shared, _) = &watched.untold[0];
    let corrected = watched.run.process(*shared);
    let corrected = corrected.map(|process| &process["fds_corrected"]);
    let is_corrected = corrected.and_then(Value::as_u64).is_some_and(|by| by > 0);
    checks.that("what was corrected is told", is_corrected);
    checks.end()
}

fn filled_before() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let pid = watched.filled_before;
    let found = watched.run.verdict("fd_near_limit", pid);
    let found = checks.some("near the limit since before the start", found);
    checks.is(found, "fd_limit", 100);
    let (least, most) = (FILLED_BEFORE as f64, (FILLED_BEFORE + 1) as f64);
    checks.lies(found, "kinds.file", least, most);
    checks.is(found, "top_dirs.0.pattern", format!("/proc/{pid}/stat"));
    checks.lies(found, "top_dirs.0.count", least, most);
    checks.end()
}

fn of_host() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let (pid, told) = &watched.of_host;
    let found = watched.run.verdict("fd_exhaustion", *pid);
    let found = checks.some("exhaustion by the host", found);
    checks.is(found, "first_errno", "ENFILE");
    checks.same("calls", &found["calls"], &told["refused"]);
    checks.end()
}

fn leak() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let (pid, leaked) = &watched.leaking;
    let found = checks.some("leak", watched.run.verdict("fd_leak", *pid));
    checks.is(found, "ongoing", true);
    checks.lies(found, "rate_per_min", 30.0, 150.0);
    let kept = leaked["kept"].as_f64().unwrap_or_default();
    checks.lies(found, "grown", 8.0, kept);
    checks.is(found, "top_dirs.0.pattern", format!("/proc/{pid}/*"));
    checks.that("the time to the limit is told", found["eta"].is_string());
    let cache = watched.run.verdict("fd_leak", watched.caching);
    checks.same("leaks of a cache", &cache, &None);
    checks.end()
}

fn half_closed() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = watched.run.verdict("close_wait_leak", watched.half_closed);
    let found = checks.some("CLOSE_WAIT leak", found);
    checks.is(found, "count", HALF_CLOSED);
    checks.is(found, "ongoing", true);
    checks.is(found, "threads.0.tid", watched.half_closed);
    checks.is(found, "top_peers.0.port", CLOSING);
    checks.is(found, "top_peers.0.count", HALF_CLOSED);
    checks.end()
}

fn ports() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let (pid, told) = &watched.ports;
    let found = checks.some("verdict", watched.run.verdict("port_exhaustion", *pid));
    checks.is(found, "laddr", "127.0.0.1");
    checks.is(found, "raddr", "127.0.0.1");
    checks.is(found, "rport", USED_UP);
    checks.is(found, "port_low", LOW);
    checks.is(found, "port_high", HIGH);
    checks.is(found, "ports_total", PORTS);
    // A late reset ends a TIME_WAIT socket, and its port is used once more.
    let held = told["connected"].as_u64().map(|count| count.min(PORTS));
    checks.is(found, "ports_peak", held);
    checks.is(found, "owners.0.pid", *pid);
    checks.is(found, "owners.0.ports", held);
    checks.counts(found, "failed", FAILURES);
    let failing = watched.run.verdict("failing_connects", *pid);
    let failing = checks.some("failing connects", failing);
    checks.is(failing, "errnos.EADDRNOTAVAIL", FAILURES);
    checks.is(failing, "caused_by.0", found["id"].clone());
    checks.end()
}
