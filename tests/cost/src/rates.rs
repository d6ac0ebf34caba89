//! What watchers miss while several threads do ever more of what they watch, up to as much as they can;
//! never what watching costs.

use std::{collections::BTreeMap, process, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::{
    watcher::{self, Programs, Subject, Watcher},
    workload::Workload,
};

/// Threads that do it: twice as many as there are processors.
const THREADS: u8 = 4;

/// What is done of what can be done while nobody watches.
const SHARES: [f64; 4] = [0.05, 0.1, 0.25, 0.5];

/// How long tracer must bear as much as can be done.
const STORM: Duration = Duration::from_mins(1);

/// Whose losses are measured.
struct Entry {
    name: &'static str,
    subject: Subject,
    line: &'static str,
    /// Which lines it prints of a thing done, and how many; `None` of tracer, which tells its losses.
    lines: Option<(&'static str, u64)>,
}

/// Lines of connections name the program, those of files the file. A connection has two ends: tcplife tells
/// of each when it is closed, tcptracer also of its begin.
const ENTRIES: [Entry; 6] = [
    Entry {
        name: "tracer",
        subject: Subject::Connections,
        line: "{tracer} watch --format json --no-fds --port {port}",
        lines: None,
    },
    Entry {
        name: "tcplife",
        subject: Subject::Connections,
        line: "{peer} tcplife",
        lines: Some((" cost ", 2)),
    },
    Entry {
        name: "tcptracer",
        subject: Subject::Connections,
        line: "{peer} tcptracer",
        lines: Some((" cost ", 4)),
    },
    Entry {
        name: "tracer, selected",
        subject: Subject::Descriptors,
        line: "{tracer} watch --format json --no-tcp --pid {pid}",
        lines: None,
    },
    Entry {
        name: "tracer, counted",
        subject: Subject::Descriptors,
        line: "{tracer} watch --format json --no-tcp",
        lines: None,
    },
    Entry {
        name: "opensnoop",
        subject: Subject::Descriptors,
        line: "{peer} opensnoop",
        lines: Some((".jar", 1)),
    },
];

/// Measures each for so long at each rate, and prints what it missed.
pub fn run(programs: &Programs, lasts: Duration, only: Option<&str>) -> Result<()> {
    watcher::prepare_peers(programs)?;
    let workload = Workload::with_threads(THREADS)?;
    for subject in [Subject::Connections, Subject::Descriptors] {
        let most = workload.run_for(subject, lasts, None)?.rate();
        println!(
            "{}",
            json!({ "watcher": "nobody", "workload": subject.plural(), "per_s": most })
        );
        for entry in &ENTRIES {
            let is_asked_for = only.is_none_or(|only| entry.name.contains(only));
            if entry.subject == subject && is_asked_for {
                measure(entry, &workload, most, lasts, programs)?;
            }
        }
    }
    Ok(())
}

/// Measures one of them, where `most` a second can be done.
fn measure(
    entry: &Entry,
    workload: &Workload,
    most: f64,
    lasts: Duration,
    programs: &Programs,
) -> Result<()> {
    let watcher = Watcher::new(entry.name, entry.subject, entry.line, programs)?;
    let storm = if entry.lines.is_none() { STORM } else { lasts };
    let paced = SHARES.map(|share| (lasts, Some(share)));
    for (lasts, share) in paced.into_iter().chain([(storm, None)]) {
        let work = || workload.run_for(entry.subject, lasts, share.map(|share| share * most));
        let Some(done) = watcher.watch(work)? else {
            break;
        };
        let said = watcher::said();
        let mut told = match entry.lines {
            None => missed_by_tracer(&said, entry.subject, done.count)?,
            Some(lines) => missed_by_peer(&said, lines, done.count),
        };
        told.extend([
            ("watcher", json!(entry.name)),
            ("workload", json!(entry.subject.plural())),
            ("share", json!(share)),
            ("per_s", json!(done.rate())),
        ]);
        println!("{}", json!(told));
    }
    Ok(())
}

type Told = BTreeMap<&'static str, Value>;

fn missed_by_peer(said: &str, (marker, lines): (&str, u64), done: u64) -> Told {
    let told = said.lines().filter(|line| line.contains(marker)).count();
    // What the few other programs of the guest did may be among it.
    let missed = 1.0 - told as f64 / (done * lines) as f64;
    Told::from([("missed", json!(missed.max(0.0)))])
}

/// tracer tells what it lost: `missed` is the share of what was asked for, `unnamed` how many events are
/// missing among what became of those that it saw, and `inexact` by how much its totals of this process
/// are wrong.
fn missed_by_tracer(said: &str, subject: Subject, done: u64) -> Result<Told> {
    let lines: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    // The last report holds.
    let stats = lines.iter().rev().find(|line| line["type"] == "stats");
    let stats = stats.with_context(|| format!("tracer told no stats: {said}"))?;
    let is_own = |line: &&Value| line["type"] == "process" && line["pid"] == process::id();
    let own = lines.iter().rev().find(is_own);
    let own = own.context("tracer told nothing of this process")?;
    let number = |value: &Value| value.as_u64().context("a number is missing");
    let (mut wanted, mut unnamed) = (0, 0);
    for (_, counters) in stats["events"].as_object().into_iter().flatten() {
        let seen = number(&counters["seen"])?;
        // All counters beside it are what became of what was seen.
        let mut named = 0;
        for (name, count) in counters.as_object().into_iter().flatten() {
            if name != "seen" {
                named += number(count)?;
            }
        }
        wanted += seen - number(&counters["filtered"])?;
        unnamed += seen.abs_diff(named);
    }
    let totals = match subject {
        Subject::Connections => ["connects", "accepts"],
        Subject::Descriptors => ["fds_got", "fds_closed"],
    };
    let mut inexact = 0;
    for total in totals {
        inexact += number(&own[total])?.abs_diff(done);
    }
    let lost = number(&stats["lost"])?;
    Ok(Told::from([
        ("missed", json!(lost as f64 / wanted.max(1) as f64)),
        ("unnamed", json!(unnamed)),
        ("inexact", json!(inexact)),
    ]))
}
