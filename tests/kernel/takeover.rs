//! What was there before tracer: connections and descriptors that it takes over while others come and
//! go all the time.

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload},
    run::{Run, Shared},
    socket_table,
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("takeover::older_connections_have_their_owner", pools),
        Test::new("takeover::no_socket_gets_a_strangers_pid", time_wait),
        Test::new("takeover::nothing_is_lost_by_it", losses),
    ]
}

/// Of the pools, and of those that come and go.
const PORT: u16 = 2200;
const BUSY: u16 = 2201;
/// Connections of each pool, all from before.
const CONNECTIONS: usize = 40;
/// How many of them must be in `TIME_WAIT` at the end.
const LEFT_AT_LEAST: usize = 30;
/// Slow enough for what is left of a minute's connections to find room in the kernel: beyond some
/// thousands (`net.ipv4.tcp_max_tw_buckets`) it drops those of the pools as well.
const PERIOD_MS: u32 = 25;
/// More than can be made while the test runs.
const ENDLESS: u64 = 1_000_000;

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    run: Run,
    pools: [u32; 2],
    churning: u32,
    servers: [u32; 2],
}

fn watch(log: &Log) -> Result<Watched> {
    let servers = [
        Workload::start(log, &format!("serve --port {PORT}"))?,
        Workload::start(log, &format!("serve --port {BUSY}"))?,
    ];
    let pool = format!("pool --port {PORT} --connections {CONNECTIONS}");
    let mut pools = [
        Workload::stepwise(log, &pool)?,
        Workload::stepwise(log, &pool)?,
    ];
    let churning = Workload::start(
        log,
        &format!("requests --port {BUSY} --count {ENDLESS} --period-ms {PERIOD_MS}"),
    )?;
    // Connections are made and closed while the hooks are attached and the older ones are listed.
    let tracer = Tracer::watch(log, &format!("--port {PORT},{BUSY}"))?;
    for pool in &mut pools {
        pool.act()?;
    }
    let pids = pools.each_ref().map(Workload::pid);
    let servers = servers.each_ref().map(Workload::pid);
    // Nearly all: on a busy machine a connection now and then does not come to TIME_WAIT within minutes.
    let left = LEFT_AT_LEAST * pools.len();
    socket_table::all_time_wait(servers[0], PORT, left)?;
    let churning_pid = churning.pid();
    let run = tracer.interrupt()?;
    Ok(Watched {
        run,
        pools: pids,
        churning: churning_pid,
        servers,
    })
}

fn rows_of(run: &Run, pid: u32) -> impl Iterator<Item = &Value> {
    let rows = run.of_type("time_wait");
    rows.filter(move |row| row["pid"] == pid)
}

fn pools() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    for pid in watched.pools {
        let process = checks.some("pool", watched.run.process(pid));
        checks.is(process, "connects", 0);
        checks.is(process, "connections_ended", CONNECTIONS);
        checks.is(process, "connections_open", 0);
        let left = rows_of(&watched.run, pid).count();
        checks.that(
            format_args!("{left} of its {CONNECTIONS} sockets are in TIME_WAIT"),
            (LEFT_AT_LEAST..=CONNECTIONS).contains(&left),
        );
    }
    checks.end()
}

fn time_wait() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let known = [&watched.pools[..], &watched.servers, &[watched.churning]].concat();
    for row in watched.run.of_type("time_wait") {
        let pid = row["pid"].as_u64();
        let is_known = pid.is_none_or(|pid| known.iter().any(|known| u64::from(*known) == pid));
        checks.that(format_args!("of one of the programs: {row}"), is_known);
        // Only what was closed before the hooks were there has no owner.
        checks.same(
            "an owner or the reason for none",
            &row["attribution"].as_str().map(|how| how == "before_start"),
            &Some(pid.is_none()),
        );
    }
    let own = rows_of(&watched.run, watched.churning).count();
    checks.that("the churning client has some", own > 0);
    checks.end()
}

fn losses() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    checks.nothing_lost();
    checks.end()
}
