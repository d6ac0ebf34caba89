//! Records in the ring that are none of tracer's own: they are counted, and what comes after them is told
//! as if they were not there.

use anyhow::Result;
use libtest_mimic::Failed;

use crate::{
    bpf,
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload},
    run::Run,
};

pub fn tests() -> Vec<Test> {
    vec![Test::new(
        "foreign::records_of_no_kind_or_size_are_counted",
        counted,
    )]
}

const PORT: u16 = 2191;
const COUNT: u64 = 8;

/// Where a record's head has its kind.
const KIND: u8 = 16;
/// A number that no kind has.
const UNKNOWN: u8 = 200;
/// The number of `tcp_connect`.
const CONNECT: u8 = 0;
/// Bytes and kind: a kind that is not known, less than a head, less than a connect.
const RECORDS: [(u8, u8); 3] = [(64, UNKNOWN), (3, UNKNOWN), (40, CONNECT)];

fn watch(log: &Log) -> Result<(Run, u32)> {
    let mut tracer = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let ring = bpf::map(c"EVENTS")?;
    for (bytes, kind) in RECORDS {
        bpf::write_record(&ring, bytes, KIND, kind)?;
    }
    let words = format!("flap --port {PORT} --count {COUNT} --period-ms 100 --thread client");
    let (pid, _) = run_workload(log, &words)?;
    tracer.until_flapping(pid)?;
    Ok((tracer.interrupt()?, pid))
}

fn counted() -> Result<(), Failed> {
    let log = Log::default();
    let (run, client) = watch(&log).map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let mut checks = Checks::of(&run);
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    let stats = run.the("stats");
    checks.is(stats, "undecodable", RECORDS.len());
    let skipped = stats["kernel_skipped"].as_u64().unwrap_or_default();
    for line in [stats, run.the("end")] {
        checks.is(line, "lost", skipped + RECORDS.len() as u64);
        checks.is(line, "complete", false);
    }
    let found = checks.some("flapping", run.verdict("flapping", client));
    checks.counts(found, "count", COUNT);
    checks.end()
}
