//! Descriptors, processes and failures: one run that watches everything, with programs that do each
//! thing an exact number of times.

use std::{collections::BTreeMap, process::Command};

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload, workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("descriptors::a_burst_of_jars_is_told", burst),
        Test::new("descriptors::each_way_to_get_one_counts", ways),
        Test {
            name: "descriptors::what_io_uring_opens_counts",
            needs: Some(has_io_uring),
            check: io_uring,
        },
        Test::new("descriptors::a_full_table_is_counted", exhausted),
        Test::new("processes::short_lived_ones_keep_their_names", names),
        Test::new("processes::children_are_told_by_their_parent", children),
        Test::new("connects::those_refused_are_told", refused),
        Test::new("connects::those_without_a_route_are_told", unreachable),
        Test::new("events::each_kind_is_seen_and_adds_up", kinds),
    ]
}

/// Where the burst's files lie: a mount below the root, so that the path crosses one.
const JARS: &str = "/tmp/srv/shop/WEB-INF/lib";
/// The soft limit of the second incident's process.
const LIMIT: u64 = 4096;
const REFUSED: u16 = 2191;
const UNREACHABLE: u16 = 2192;
const PROBED: u16 = 2193;
const PROBES: u64 = 12;
/// How often each way to get a descriptor is gone.
const ROUNDS: i64 = 3;

/// A way to get a descriptor, and what one round of it adds to a process's totals: opens,
/// descriptors got, connects, accepts. As many as were got are closed.
const WAYS: [(&str, [i64; 4]); 16] = [
    ("open", [1, 1, 0, 0]),
    ("openat", [1, 1, 0, 0]),
    ("openat2", [1, 1, 0, 0]),
    ("creat", [1, 1, 0, 0]),
    ("socket", [0, 1, 0, 0]),
    ("socketpair", [0, 2, 0, 0]),
    ("accept", [0, 2, 1, 1]),
    ("dup", [0, 1, 0, 0]),
    ("fcntl", [0, 1, 0, 0]),
    ("pipe", [0, 2, 0, 0]),
    ("epoll", [0, 1, 0, 0]),
    ("eventfd", [0, 1, 0, 0]),
    ("received", [0, 1, 0, 0]),
    ("close-range", [1, 1, 0, 0]),
    ("dup2", [0, 1, 0, 0]),
    ("missing", [0, 0, 0, 0]),
];

const IO_URING: (&str, [i64; 4]) = ("io-uring", [1, 1, 0, 0]);

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    run: Run,
    burst: u32,
    opened: Value,
    exhaust: u32,
    exhausted: Value,
    refused: u32,
    unreachable: u32,
    named: Vec<u32>,
    script: u32,
    /// Of each way the processes with no round and with some.
    ways: BTreeMap<&'static str, (u32, u32)>,
}

fn has_io_uring() -> bool {
    Command::new(workload())
        .arg("has-io-uring")
        .status()
        .is_ok_and(|status| status.success())
}

fn watch(log: &Log) -> Result<Watched> {
    let tracer = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --port {PROBED}"))?;
    let mut burst = Workload::stepwise(
        log,
        &format!("--fd-limit {LIMIT} burst --over-ms 1000 --files 228 --dir {JARS}"),
    )?;
    burst.go()?;
    let opened = burst.until("opened")?;
    burst.act()?;

    let (exhaust, exhausted) = run_workload(log, "--fd-limit 40 exhaust --port 2190")?;
    let failing = |words: &str, port: u16| {
        let words =
            format!("{words} fail --addr 127.0.0.1 --port {port} --count 8 --period-ms 100");
        run_workload(log, &words)
    };
    let (refused, _) = failing("--time-limit 100", REFUSED)?;
    let (unreachable, _) = failing("--no-network", UNREACHABLE)?;

    let spawn = format!("spawn --count {PROBES} --period-ms 100 --dir /tmp");
    let connect = format!("-- connect --addr 127.0.0.1 --port {PROBED}");
    let (_, named) = run_workload(
        log,
        &format!("{spawn}/named --name probe --numbered {connect}"),
    )?;
    let (script, _) = run_workload(log, &format!("{spawn}/same --name nc {connect}"))?;

    let mut ways = BTreeMap::new();
    for (way, _) in WAYS.iter().chain(has_io_uring().then_some(&IO_URING)) {
        let (none, _) = run_workload(log, &format!("fds --way {way} --rounds 0"))?;
        let (some, _) = run_workload(log, &format!("fds --way {way} --rounds {ROUNDS}"))?;
        ways.insert(*way, (none, some));
    }
    let run = tracer.interrupt()?;
    Ok(Watched {
        run,
        burst: burst.pid(),
        opened,
        exhaust,
        exhausted,
        refused,
        unreachable,
        named: serde_json::from_value(named["pids"].clone())?,
        script,
        ways,
    })
}

fn burst() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = checks.some("burst", watched.run.verdict("fd_burst", watched.burst));
    checks.is(found, "opens", 228);
    checks.is(
        found,
        "top_dirs",
        json!([{ "pattern": format!("{JARS}/*.jar"), "count": 228 }]),
    );
    checks.is(found, "paths_missing", 0);
    checks.is(found, "thread", "http-nio-8080-e");
    checks.is(found, "tid", watched.opened["tid"].clone());
    checks.is(found, "fd_limit", LIMIT);
    checks.is(found, "fds_before", watched.opened["fds_before"].clone());
    checks.is(found, "fds_peak", watched.opened["fds_peak"].clone());
    checks.is(found, "fds_now", watched.opened["fds_before"].clone());
    checks.lies(found, "window_ms", 900.0, 20_000.0);
    checks.is(found, "comm", "workload");
    checks.end()
}

/// What each round of a way added to the totals of its process.
fn check_way(checks: &mut Checks<'_>, watched: &Watched, (way, wanted): (&str, [i64; 4])) {
    let pids = watched.ways.get(way).copied().unwrap_or_default();
    let none = checks.some(
        format_args!("process with no {way}"),
        watched.run.process(pids.0),
    );
    let some = checks.some(
        format_args!("process with some {way}"),
        watched.run.process(pids.1),
    );
    let added = |field: &str| {
        some[field].as_i64().unwrap_or_default() - none[field].as_i64().unwrap_or_default()
    };
    let [opens, got, connects, accepts] = wanted;
    let fields = [
        ("opens", opens),
        ("fds_got", got),
        ("fds_closed", got),
        ("connects", connects),
        ("accepts", accepts),
        ("opens_failed", i64::from(way == "missing")),
    ];
    for (field, wanted) in fields {
        checks.same(
            format_args!("{way}: {field}"),
            &added(field),
            &(wanted * ROUNDS),
        );
    }
}

fn ways() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    for way in WAYS {
        check_way(&mut checks, watched, way);
    }
    checks.end()
}

fn io_uring() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    check_way(&mut checks, watched, IO_URING);
    checks.end()
}

fn exhausted() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let totals = checks.some("process", watched.run.process(watched.exhaust));
    checks.is(totals, "fds_refused", watched.exhausted["refused"].clone());
    let opens = watched.exhausted["opens"].as_u64().unwrap_or_default();
    // The runtime of the program itself opens one file when it starts.
    checks.lies(totals, "opens", opens as f64, opens as f64 + 1.0);
    let told = watched.run.verdict("fd_exhaustion", watched.exhaust);
    let told = checks.some("exhaustion", told);
    let calls = json!({ "accept": 3, "dup": 3, "open": 4, "pipe": 3, "socket": 3 });
    checks.is(told, "calls", calls);
    checks.is(told, "first_call", "open");
    checks.is(told, "first_errno", "EMFILE");
    checks.is(told, "first_tid", watched.exhaust);
    checks.is(told, "ongoing", false);
    checks.end()
}

fn names() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    checks.same("processes", &(watched.named.len() as u64), &PROBES);
    for (number, pid) in watched.named.iter().enumerate() {
        let name = format!("probe-{number}");
        let found = checks.some(&name, watched.run.process(*pid));
        checks.is(found, "comm", name.clone());
        checks.is(
            found,
            "cmdline",
            format!("/tmp/named/{name} connect --addr 127.0.0.1 --port {PROBED}"),
        );
        checks.is(found, "parent_comm", "workload");
        checks.is(found, "ended", true);
        checks.is(found, "connects", 1);
    }
    checks.end()
}

/// Each child connects once only; together they flap, and their parent is to blame.
fn children() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = watched
        .run
        .verdicts()
        .into_iter()
        .find(|found| found["comm"] == "nc");
    let found = checks.some("verdict on the children", found);
    checks.is(found, "verdict", "flapping");
    checks.is(found, "children", PROBES);
    checks.counts(found, "count", PROBES);
    checks.is(found, "ppid", watched.script);
    checks.is(found, "rport", PROBED);
    checks.end()
}

fn failing(pid: u32, port: u16, errno: &str) -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = checks.some(
        "failing connects",
        watched.run.verdict("failing_connects", pid),
    );
    checks.is(found, "role", "client");
    checks.counts(found, "count", 8);
    checks.is(found, "errnos", json!({ errno: 8 }));
    checks.is(found, "raddr", "127.0.0.1");
    checks.is(found, "rport", port);
    checks.is(found, "thread", "workload");
    checks.lies(found, "period_ms", 90.0, 2000.0);
    let totals = checks.some("process", watched.run.process(pid));
    checks.is(totals, "connects", 8);
    checks.is(totals, "connects_failed", 8);
    checks.end()
}

fn refused() -> Result<(), Failed> {
    failing(RUN.get()?.refused, REFUSED, "ECONNREFUSED")
}

fn unreachable() -> Result<(), Failed> {
    failing(RUN.get()?.unreachable, UNREACHABLE, "ENETUNREACH")
}

fn kinds() -> Result<(), Failed> {
    let run = &RUN.get()?.run;
    let mut checks = Checks::of(run);
    let kinds = run.the("stats")["events"].as_object();
    checks.same("kinds", &kinds.map(serde_json::Map::len), &Some(12));
    for (kind, _) in kinds.into_iter().flatten() {
        checks.that(format_args!("{kind} was streamed or counted"), {
            run.counter(kind, "streamed") + run.counter(kind, "counted_only") > 0
        });
    }
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    checks.nothing_lost();
    checks.end()
}
