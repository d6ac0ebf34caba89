//! Programs that look busy and do nothing wrong: one run that must hold its tongue, but for the one
//! that opens a connection for each request.

use anyhow::Result;
use libtest_mimic::Failed;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("innocents::raise_no_verdict", silence),
        Test::new("innocents::churn_is_named_apart", churn),
    ]
}

const PORT: u16 = 2200;
const CHURNED: u16 = 2201;
const REQUESTS: u64 = 80;

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    run: Run,
    churn: u32,
}

fn watch(log: &Log) -> Result<Watched> {
    let tracer = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --family v4 --port {PORT}"))?;
    let _churned = Workload::start(log, &format!("serve --port {CHURNED}"))?;
    let _keep = Workload::start(log, &format!("keep --addr 127.0.0.1 --port {PORT}"))?;
    let to = format!("--addr 127.0.0.1 --port {PORT}");
    let words = [
        format!("requests --port {CHURNED} --count {REQUESTS} --answer-bytes 600"),
        // A connection pool, and a web client that keeps its connections alive.
        format!("requests {to} --count 1 --connections 8 --requests 25"),
        format!("requests {to} --count 3 --connections 2 --requests 40"),
        // A monitor that asks by a new process each time.
        format!(
            "spawn --count 3 --period-ms 10000 --name monitor --dir /tmp/monitor -- \
             connect {to} --answer-bytes 20"
        ),
        // A shell script with many short children, and a build.
        "spawn --count 25 --name sed --dir /tmp/script -- storm --opens 3".to_owned(),
        "compile --children 10 --files 300".to_owned(),
    ];
    let mut parts = words
        .iter()
        .map(|words| Workload::stepwise(log, words))
        .collect::<Result<Vec<_>>>()?;
    for part in &mut parts {
        part.go()?;
    }
    for part in &mut parts {
        part.until("done")?;
    }
    let churn = parts.first().map_or(0, Workload::pid);
    Ok(Watched {
        run: tracer.interrupt()?,
        churn,
    })
}

fn silence() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let told: Vec<_> = watched
        .run
        .verdicts()
        .into_iter()
        .filter(|found| found["pid"] != watched.churn)
        .map(|found| found["text"].clone())
        .collect();
    checks.same("verdicts on innocents", &told, &Vec::new());
    checks.nothing_lost();
    checks.end()
}

fn churn() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let of_it: Vec<_> = watched
        .run
        .verdicts()
        .into_iter()
        .filter(|found| found["pid"] == watched.churn)
        .collect();
    checks.same("verdicts", &of_it.len(), &1);
    let found = checks.some("churn", of_it.first().copied());
    checks.is(found, "verdict", "churn");
    checks.counts(found, "count", REQUESTS);
    checks.is(found, "role", "client");
    checks.is(found, "rport", CHURNED);
    checks.counts(found, "tx_bytes", REQUESTS * 32);
    checks.counts(found, "rx_bytes", REQUESTS * 600);
    checks.is(found, "closed_by.local", 1.0);
    checks.end()
}
