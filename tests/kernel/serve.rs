//! tracer as a service: its metrics and health while it watches, its settings read again, and its end;
//! never what a verdict says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use anyhow::{Result, anyhow, ensure};
use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, wait_for},
    run::{Run, Shared},
};

const PORT: u16 = 2179;
const METRICS: &str = "127.0.0.1:9740";
/// Where verdicts are posted.
const WEBHOOK: &str = "127.0.0.1:9741";
const SETTINGS: &str = "/tmp/serve.toml";

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("serve::it_is_healthy_and_ready", health),
        Test::new("serve::metrics_tell_who_flaps", metrics),
        Test::new("serve::settings_are_read_again", settings),
        Test::new("serve::a_verdict_is_posted", posted),
        Test::new("serve::it_ends_in_order", end),
    ]
}

/// The words of the series that counts what the clients closed.
const CLOSED: [&str; 2] = ["tracer_connections_closed_total{", "\"client\""];

struct Served {
    run: Run,
    health: [String; 2],
    metrics: String,
    /// The first verdict that was posted.
    posted: String,
    /// Whom all of them connect to.
    server: u32,
    /// Of the client that flapped while that took more tries.
    quiet: u32,
    /// Of the one that flapped after.
    told: u32,
}

static SERVED: Shared<Served> = Shared::new(serve);

fn get(path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(METRICS)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: tracer\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Takes one request with a line in it, and says that it is well.
fn take_post(webhook: &TcpListener) -> Result<String> {
    let (stream, _) = webhook.accept()?;
    let mut reader = BufReader::new(&stream);
    let mut request = String::new();
    while !request.ends_with("}\n") {
        ensure!(reader.read_line(&mut request)? > 0, "cut: {request}");
    }
    write!(&stream, "HTTP/1.1 204 No Content\r\n\r\n")?;
    Ok(request)
}

/// Waits until tracer's log has these words.
fn until_said(log: &Log, words: &str) -> Result<()> {
    wait_for(words, || Ok(log.text().contains(words).then_some(())))
}

fn flap(log: &Log) -> Result<Workload> {
    let words = format!("flap --port {PORT} --count 6 --thread flapper");
    let mut flap = Workload::stepwise(log, &words)?;
    flap.act()?;
    Ok(flap)
}

fn serve(log: &Log) -> Result<Served> {
    fs::write(SETTINGS, format!("port = {PORT}\nflap-count = 100\n"))?;
    let webhook = TcpListener::bind(WEBHOOK)?;
    let posted = thread::spawn(move || take_post(&webhook));
    let words = format!(
        "serve --config {SETTINGS} --metrics {METRICS} --on-verdict http://{WEBHOOK}/verdicts"
    );
    let tracer = Tracer::until_ready_file(log, &words)?;
    let server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let quiet = flap(log)?;
    // What has been judged before the settings change, which may come at any time between two ticks.
    wait_for("the first connections in the metrics", || {
        let closed = value(&get("/metrics")?, &CLOSED);
        Ok((closed >= Some(6)).then_some(()))
    })?;

    fs::write(SETTINGS, format!("port = {PORT}\nflap-count = five\n"))?;
    tracer.signal(Signal::HUP)?;
    until_said(log, "the settings stay as they were")?;
    fs::write(SETTINGS, "port = 80\nflap-count = 5\n")?;
    tracer.signal(Signal::HUP)?;
    until_said(log, "taken over: --flap-count")?;

    let told = flap(log)?;
    let metrics = wait_for("the verdict in the metrics", || {
        let metrics = get("/metrics")?;
        let of = |words: &[&str]| value(&metrics, words);
        let is_there = of(&["tracer_verdicts_ongoing{", "\"flapping\""]) > Some(0)
            && of(&CLOSED) >= Some(12)
            && of(&["tracer_time_wait_sockets{", "\"workload\""]) > Some(0);
        Ok(is_there.then_some(metrics))
    })?;
    let posted = posted.join().map_err(|_| anyhow!("nothing was posted"))??;
    let health = [get("/healthz")?, get("/readyz")?];
    tracer.signal(Signal::TERM)?;
    Ok(Served {
        run: tracer.end()?,
        health,
        metrics,
        posted,
        server: server.pid(),
        quiet: quiet.pid(),
        told: told.pid(),
    })
}

/// The value of the first series whose line has all these words.
fn value(metrics: &str, words: &[&str]) -> Option<u64> {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    let line = metrics.lines().find(has_all)?;
    line.rsplit(' ').next()?.parse().ok()
}

fn health() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    for answer in &served.health {
        checks.that("it is well", answer.starts_with("HTTP/1.1 200 "));
    }
    checks.end()
}

fn metrics() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    let peer = format!("server=\"127.0.0.1:{PORT}\"");
    let client = ["comm=\"workload\"", "role=\"client\"", &peer];
    let of = |name: &str, more: &[&str]| {
        let words: Vec<_> = [&[name], &client[..], more].concat();
        value(&served.metrics, &words)
    };
    checks.same(
        "opened",
        &of("tracer_connections_opened_total{", &[]),
        &Some(12),
    );
    let closed = of("tracer_connections_closed_total{", &["closed_by=\"local\""]);
    checks.same("closed by the client", &closed, &Some(12));
    let lifetimes = of("tracer_connection_lifetime_seconds_count{", &[]);
    checks.same("lifetimes", &lifetimes, &Some(12));
    let time_wait = value(
        &served.metrics,
        &["tracer_time_wait_sockets{", "comm=\"workload\""],
    );
    checks.that("TIME_WAIT sockets have an owner", time_wait > Some(0));
    checks.that("no pid is told", !served.metrics.contains("pid="));
    checks.that("it is whole", served.metrics.ends_with("# EOF\n"));
    checks.end()
}

fn settings() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    let log = served.run.log.to_string();
    let left = "takes a restart, and is as before: --port";
    checks.that("the port takes a restart", log.contains(left));
    let verdict = |pid| served.run.verdict("flapping", pid).is_some();
    checks.that("a hundred tries are not made", !verdict(served.quiet));
    checks.that("five are enough then", verdict(served.told));
    checks.end()
}

fn posted() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    let (head, line) = served.posted.split_once("\r\n\r\n").unwrap_or_default();
    checks.that(
        "it is a post",
        head.starts_with("POST /verdicts HTTP/1.1\r\n"),
    );
    let verdict: Value = serde_json::from_str(line).unwrap_or_default();
    checks.is(&verdict, "verdict", "flapping");
    // The server's is the sooner of the two where a tick falls among the connections: it had those of
    // the quiet client, too.
    let flapping = [served.server, served.told];
    let pid = verdict["pid"].as_u64();
    let is_known = flapping.iter().any(|of| Some(u64::from(*of)) == pid);
    checks.that(format_args!("{pid:?} is one of {flapping:?}"), is_known);
    checks.end()
}

fn end() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    checks.same("exit code", &served.run.code, &Some(0));
    checks.same("last lines", &served.run.of_type("end").count(), &1);
    checks.end()
}
