//! Connections: one run that watches some ports, with clients and servers that misbehave in
//! different ways among innocent ones.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _};

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload},
    run::{Run, Shared},
    socket_table::{self, Connection},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("connections::a_flapping_client_is_named", client),
        Test::new("connections::its_server_names_the_peer", server),
        Test::new("connections::innocents_are_not_named", innocents),
        Test::new(
            "connections::each_time_wait_socket_has_its_owner",
            time_wait,
        ),
        Test::new(
            "connections::sockets_from_before_the_start_say_so",
            before_start,
        ),
        Test::new(
            "connections::a_server_that_closes_first_owns_its_time_wait",
            closes_first,
        ),
        Test::new(
            "connections::a_connection_ends_long_before_its_close",
            two_step,
        ),
        Test::new("connections::addresses_are_told_plainly", families),
        Test::new(
            "connections::another_network_namespace_is_told",
            network_namespace,
        ),
        Test::new("connections::an_interrupt_ends_it_well", ending),
    ]
}

/// `ZooKeeper`'s.
const PORT: u16 = 2181;
/// Its server closes first.
const CLOSE_FIRST: u16 = 2182;
/// Its client closes in two steps.
const TWO_STEP: u16 = 2183;
/// Its clients come by IPv4 and by IPv6.
const FAMILIES: u16 = 2184;
/// In another network namespace.
const ELSEWHERE: u16 = 2185;
/// Its connections ended before tracer was started.
const EARLY: u16 = 2186;
const EARLY_COUNT: usize = 3;
/// Not watched.
const OTHER: u16 = 9000;

/// The name of the first incident's guilty thread, as the kernel cuts it.
const THREAD: &str = "Thread-3-SendTh";

static RUN: Shared<Watched> = Shared::new(watch);

/// A workload of the run.
struct Part {
    pid: u32,
    done: Value,
}

struct Watched {
    run: Run,
    server: u32,
    closes_first: u32,
    elsewhere_netns: u64,
    flap: Part,
    impatient: Part,
    two_step: Part,
    v4: Part,
    v6: Part,
    elsewhere: Part,
    /// Sockets that the kernel listed before tracer was started.
    before: Vec<Connection>,
    /// What the kernel lists after the run, by port.
    after: Vec<(u16, Vec<Connection>)>,
}

impl Watched {
    fn after(&self, port: u16) -> &[Connection] {
        let found = self.after.iter().find(|(of, _)| *of == port);
        found.map_or(&[], |(_, list)| list.as_slice())
    }
}

fn watch(log: &Log) -> Result<Watched> {
    let server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let _early_server = Workload::start(log, &format!("serve --port {EARLY}"))?;
    run_workload(
        log,
        &format!("flap --port {EARLY} --count {EARLY_COUNT} --thread early"),
    )?;
    let before = socket_table::all_time_wait(server.pid(), EARLY, EARLY_COUNT)?;

    let ports =
        [PORT, CLOSE_FIRST, TWO_STEP, FAMILIES, ELSEWHERE, EARLY].map(|port| port.to_string());
    let tracer = Tracer::watch(log, &format!("--port {}", ports.join(",")))?;
    // The first server waited in accept when tracer came; that one call is not seen returning.
    let _keep = Workload::start(log, &format!("keep --port {PORT}"))?;
    let closes_first = Workload::start(log, &format!("serve --close-first --port {CLOSE_FIRST}"))?;
    let _two_step_server = Workload::start(log, &format!("serve --port {TWO_STEP}"))?;
    let _families_server = Workload::start(log, &format!("serve --port {FAMILIES}"))?;
    let elsewhere_server = Workload::start(log, &format!("--new-netns serve --port {ELSEWHERE}"))?;
    let _other_server = Workload::start(log, &format!("serve --port {OTHER}"))?;

    let netns = format!("--netns-of {}", elsewhere_server.pid());
    let words = [
        format!("flap --port {PORT} --count 20 --period-ms 150 --send 5 --thread {THREAD}"),
        format!("flap --port {CLOSE_FIRST} --count 10 --period-ms 200 --until-eof --thread reader"),
        format!("flap --port {TWO_STEP} --count 6 --period-ms 1200 --two-step --thread {THREAD}"),
        format!("flap --addr 127.0.0.1 --port {FAMILIES} --count 6 --period-ms 300 --thread v4"),
        format!("flap --addr ::1 --port {FAMILIES} --count 7 --period-ms 300 --thread v6"),
        format!(
            "flap --addr 127.0.0.1 --port {ELSEWHERE} --count 8 --period-ms 300 --thread away {netns}"
        ),
        format!("requests --port {OTHER} --count 20 --period-ms 100"),
    ];
    let mut clients = words
        .iter()
        .map(|words| Workload::stepwise(log, words))
        .collect::<Result<Vec<_>>>()?;
    clients.iter_mut().try_for_each(Workload::go)?;
    let mut told = clients
        .iter_mut()
        .map(|part| {
            Ok(Part {
                pid: part.pid(),
                done: part.until("done")?,
            })
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter();
    let mut next = || {
        told.next()
            .ok_or_else(|| anyhow::anyhow!("fewer clients than started"))
    };

    let run = tracer.interrupt()?;
    let list = |pid: u32, port: u16| Ok((port, socket_table::time_wait(pid, port)?));
    let after = [PORT, CLOSE_FIRST, TWO_STEP, FAMILIES, EARLY]
        .into_iter()
        .map(|port| list(server.pid(), port))
        .chain([list(elsewhere_server.pid(), ELSEWHERE)])
        .collect::<Result<_>>()?;
    Ok(Watched {
        run,
        server: server.pid(),
        closes_first: closes_first.pid(),
        elsewhere_netns: fs::metadata(format!("/proc/{}/ns/net", elsewhere_server.pid()))?.ino(),
        flap: next()?,
        impatient: next()?,
        two_step: next()?,
        v4: next()?,
        v6: next()?,
        elsewhere: next()?,
        before,
        after,
    })
}

fn client() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let Part { pid, done } = &watched.flap;
    let found = checks.some(
        "flapping of the client",
        watched.run.verdict("flapping", *pid),
    );
    checks.is(found, "tid", done["tid"].clone());
    checks.is(
        found,
        "nid",
        done["tid"].as_u64().map(|tid| format!("{tid:#x}")),
    );
    checks.is(found, "thread", THREAD);
    checks.is(found, "comm", "workload");
    checks.is(
        found,
        "exe",
        fs::canonicalize("workload")
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok()),
    );
    checks.that(
        "the command line is told",
        found["cmdline"]
            .as_str()
            .is_some_and(|line| line.ends_with(&format!("--thread {THREAD}"))),
    );
    checks.is(found, "ppid", std::process::id());
    checks.is(found, "user", "root");
    checks.is(found, "container", Value::Null);
    checks.is(found, "role", "client");
    checks.is(found, "raddr", "127.0.0.1");
    checks.is(found, "rport", PORT);
    checks.is(found, "laddr", "127.0.0.1");
    only_peer(&mut checks, found, "127.0.0.1", 20);
    checks.counts(found, "count", 20);
    checks.counts(found, "tx_bytes", 100);
    checks.counts(found, "rx_bytes", 0);
    checks.is(found, "closed_by.local", 1.0);
    checks.is(found, "closed_by.remote", 0.0);
    checks.is(found, "failed", 0);
    checks.is(found, "time_wait_now", watched.after(PORT).len());
    checks.is(found, "ongoing", true);
    // What was lost may have been lost after its last connection.
    if watched.run.the("stats")["lost"] == 0 {
        checks.is(found, "lossy", false);
    }
    times(&mut checks, found, done);
    checks.end()
}

/// All connections were with one peer.
fn only_peer(checks: &mut Checks<'_>, found: &Value, address: &str, connections: u64) {
    checks.same("peers", &found["peers"].as_array().map(Vec::len), &Some(1));
    checks.is(found, "peers.0.addr", address);
    checks.counts(found, "peers.0.count", connections);
}

/// The period and the lifetimes, held against those that the workload itself took.
fn times(checks: &mut Checks<'_>, found: &Value, done: &Value) {
    /// A histogram's buckets, and a tick of the scheduler.
    const SLACK_MS: f64 = 5.0;
    let period = done["period_ms"].as_f64().unwrap_or_default();
    checks.lies(found, "period_ms", period * 0.8, period * 1.25);
    // The workload's begins before the connection and ends after it.
    let longest = done["lifetime_max_ms"].as_f64().unwrap_or_default() * 1.1 + SLACK_MS;
    checks.lies(found, "lifetime_p50_ms", 0.001, longest);
    // Where the kernel skipped a hook, one connection's end may have been seen by a later event.
    if found["lossy"] == false {
        checks.lies(found, "lifetime_p99_ms", 0.001, longest);
    }
}

fn server() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = watched.run.verdict("flapping", watched.server);
    let found = checks.some("flapping at the server", found);
    checks.is(found, "role", "server");
    checks.is(found, "lport", PORT);
    checks.is(found, "laddr", "127.0.0.1");
    checks.is(found, "raddr", "127.0.0.1");
    only_peer(&mut checks, found, "127.0.0.1", 20);
    checks.counts(found, "count", 20);
    checks.counts(found, "tx_bytes", 0);
    checks.counts(found, "rx_bytes", 100);
    checks.is(found, "closed_by.local", 0.0);
    checks.is(found, "closed_by.remote", 1.0);
    checks.is(found, "time_wait_now", 0);
    checks.end()
}

/// Each misbehaving client and its server, each once; not who keeps a connection, nor port 9000.
fn innocents() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let verdicts = watched.run.verdicts();
    let told: Vec<_> = verdicts
        .iter()
        .map(|found| {
            (
                found["verdict"].as_str(),
                found["role"].as_str(),
                found["pid"].as_u64(),
            )
        })
        .collect();
    let clients = [
        &watched.flap,
        &watched.impatient,
        &watched.two_step,
        &watched.v4,
        &watched.v6,
        &watched.elsewhere,
    ];
    let wanted: BTreeSet<_> = clients.map(|part| Some(u64::from(part.pid))).into();
    let by_role = |role: &str| -> BTreeSet<_> {
        told.iter()
            .filter(|(_, of, _)| *of == Some(role))
            .map(|(.., pid)| *pid)
            .collect()
    };
    checks.same("clients", &by_role("client"), &wanted);
    // The server of both families has two peers.
    checks.same("verdicts", &told.len(), &(clients.len() + 6));
    checks.that(
        "all are flapping",
        told.iter().all(|(name, ..)| *name == Some("flapping")),
    );
    checks.end()
}

/// The row that tracer tells of a connection.
fn row(run: &Run, connection: Connection) -> Option<&Value> {
    let is = |row: &Value, addr: &str, port: &str, (wanted, number): (std::net::IpAddr, u16)| {
        row[addr] == wanted.to_string() && row[port] == number
    };
    run.of_type("time_wait").find(|row| {
        is(row, "laddr", "lport", connection.local) && is(row, "raddr", "rport", connection.remote)
    })
}

/// How owners are found on this kernel: the helper for it came with 5.12.
fn attribution() -> &'static str {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if release.starts_with("5.10.") {
        "tuple"
    } else {
        "cookie"
    }
}

/// Of connections that one client closed, the kernel keeps a `TIME_WAIT` socket each, less those
/// whose port it has used again: on loopback it may do so after a second (`tcp_tw_reuse`).
fn nearly_all(checks: &mut Checks<'_>, sockets: &[Connection], connections: u64) {
    let least = connections * 3 / 4;
    checks.that(
        format_args!("{least} to {connections} sockets: {sockets:?}"),
        (least..=connections).contains(&(sockets.len() as u64)),
    );
}

/// Each of these sockets is told with this owner.
fn owned(checks: &mut Checks<'_>, run: &Run, sockets: &[Connection], pid: u32, thread: &str) {
    for connection in sockets {
        let found = checks.some(
            format_args!("row for {connection:?}"),
            row(run, *connection),
        );
        checks.is(found, "pid", pid);
        checks.is(found, "comm", "workload");
        checks.is(found, "thread", thread);
        // Where the kernel skipped the hook that asks for the cookie, the addresses must do.
        if found["attribution"] != "tuple" || !run.skipped_hooks() {
            checks.is(found, "attribution", attribution());
        }
    }
}

fn time_wait() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let sockets = watched.after(PORT);
    nearly_all(&mut checks, sockets, 20);
    owned(&mut checks, &watched.run, sockets, watched.flap.pid, THREAD);
    for row in watched
        .run
        .of_type("time_wait")
        .filter(|row| row["pid"] == watched.flap.pid)
    {
        checks.is(row, "tid", watched.flap.done["tid"].clone());
    }
    let two_step = watched.after(TWO_STEP);
    nearly_all(&mut checks, two_step, 6);
    owned(
        &mut checks,
        &watched.run,
        two_step,
        watched.two_step.pid,
        THREAD,
    );
    checks.end()
}

fn before_start() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    for connection in &watched.before {
        // Where the start took long they are gone; then there is nothing to tell.
        if watched.after(EARLY).contains(connection) {
            let found = row(&watched.run, *connection);
            let found = checks.some(format_args!("row for {connection:?}"), found);
            checks.is(found, "attribution", "before_start");
            checks.is(found, "pid", Value::Null);
            checks.is(found, "thread", Value::Null);
        }
    }
    checks.end()
}

fn closes_first() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let sockets = watched.after(CLOSE_FIRST);
    nearly_all(&mut checks, sockets, 10);
    owned(
        &mut checks,
        &watched.run,
        sockets,
        watched.closes_first,
        "workload",
    );

    let found = watched.run.verdict("flapping", watched.closes_first);
    let found = checks.some("flapping at the server", found);
    checks.is(found, "role", "server");
    checks.counts(found, "count", 10);
    checks.is(found, "closed_by.local", 1.0);
    checks.is(found, "time_wait_now", sockets.len());

    let found = watched.run.verdict("flapping", watched.impatient.pid);
    let found = checks.some("flapping of the client", found);
    checks.is(found, "role", "client");
    checks.counts(found, "count", 10);
    checks.is(found, "thread", "reader");
    checks.is(found, "closed_by.remote", 1.0);
    checks.is(found, "time_wait_now", 0);
    checks.end()
}

/// As a JVM closes: the descriptor goes at the next try only, and by then the port reads 0.
fn two_step() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let Part { pid, done } = &watched.two_step;
    let found = checks.some("flapping", watched.run.verdict("flapping", *pid));
    checks.is(found, "thread", THREAD);
    checks.counts(found, "count", 6);
    checks.is(found, "closed_by.local", 1.0);
    times(&mut checks, found, done);
    checks.lies(found, "lifetime_p99_ms", 0.001, 1000.0);
    let totals = checks.some("process", watched.run.process(*pid));
    checks.is(totals, "connects", 6);
    checks.is(totals, "connections_ended", 6);
    checks.is(totals, "connections_open", 0);
    checks.end()
}

fn families() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let clients = [
        (&watched.v4, "127.0.0.1", 6, "v4"),
        (&watched.v6, "::1", 7, "v6"),
    ];
    for (part, address, count, thread) in clients {
        let found = checks.some(thread, watched.run.verdict("flapping", part.pid));
        checks.is(found, "laddr", address);
        checks.is(found, "raddr", address);
        checks.is(found, "rport", FAMILIES);
        checks.counts(found, "count", count);
        let at_server = watched.run.verdicts().into_iter().find(|found| {
            found["role"] == "server" && found["lport"] == FAMILIES && found["raddr"] == address
        });
        let at_server = checks.some(format_args!("{thread} at the server"), at_server);
        checks.is(at_server, "laddr", address);
        checks.counts(at_server, "count", count);
        let sockets: Vec<_> = watched
            .after(FAMILIES)
            .iter()
            .copied()
            .filter(|socket| socket.local.0.to_string() == address)
            .collect();
        nearly_all(&mut checks, &sockets, count);
        owned(&mut checks, &watched.run, &sockets, part.pid, thread);
    }
    checks.end()
}

fn network_namespace() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = watched.run.verdict("flapping", watched.elsewhere.pid);
    let found = checks.some("flapping", found);
    checks.is(found, "thread", "away");
    checks.counts(found, "count", 8);
    let sockets = watched.after(ELSEWHERE);
    nearly_all(&mut checks, sockets, 8);
    owned(
        &mut checks,
        &watched.run,
        sockets,
        watched.elsewhere.pid,
        "away",
    );
    for socket in sockets {
        if let Some(row) = row(&watched.run, *socket) {
            checks.is(row, "netns", watched.elsewhere_netns);
        }
    }
    checks.end()
}

fn ending() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let run = &watched.run;
    let mut checks = Checks::of(run);
    checks.same("exit code", &run.code, &Some(0));
    let types: Vec<_> = ["start", "stats", "end"]
        .map(|wanted| run.of_type(wanted).count())
        .into();
    checks.same("lines of start, stats and end", &types, &vec![1, 1, 1]);
    checks.that(
        "the first line is start",
        run.text
            .first()
            .is_some_and(|line| line.starts_with(r#"{"type":"start","#)),
    );
    checks.that(
        "the last line is end",
        run.text
            .last()
            .is_some_and(|line| line.starts_with(r#"{"type":"end","#)),
    );
    checks.nothing_lost();
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    checks.end()
}
