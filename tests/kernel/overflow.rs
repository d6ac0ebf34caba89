//! A ring buffer that is made to overflow: what was lost is told to the last event, and totals stay
//! exact.

use anyhow::Result;
use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("overflow::the_loss_is_exact", loss),
        Test::new("overflow::totals_stay_exact", totals),
    ]
}

const OPENS: u64 = 5000;
const OPENS_OF_ENDED: u64 = 1000;

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    run: Run,
    /// Opens nothing of its own accord.
    idle: u32,
    /// Lives on after the ring had overflowed.
    storm: u32,
    /// Ended before.
    ended: u32,
}

fn watch(log: &Log) -> Result<Watched> {
    let tracer = Tracer::watch(log, "--no-tcp --ring-size 4K --fd-budget 1000000")?;
    let (idle, _) = run_workload(log, "storm --opens 0")?;
    tracer.signal(Signal::STOP)?;
    let mut storm = Workload::stepwise(log, &format!("storm --opens {OPENS}"))?;
    storm.act()?;
    let (ended, _) = run_workload(log, &format!("storm --opens {OPENS_OF_ENDED}"))?;
    tracer.signal(Signal::CONT)?;
    Ok(Watched {
        run: tracer.interrupt()?,
        idle,
        storm: storm.pid(),
        ended,
    })
}

fn loss() -> Result<(), Failed> {
    let run = &RUN.get()?.run;
    let mut checks = Checks::of(run);
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    let lost = run.counter("fd_install", "ring_full");
    // The ring holds some tens of records; each process's name may be among what is lost.
    checks.that(
        format_args!("{lost} opens were lost"),
        lost > OPENS * 9 / 10,
    );
    let kinds = run.the("stats")["events"].as_object();
    let lost: u64 = kinds
        .into_iter()
        .flatten()
        .flat_map(|(kind, _)| {
            ["ring_full", "map_full", "read_failed"].map(|cause| run.counter(kind, cause))
        })
        .sum();
    let skipped = run.the("stats")["kernel_skipped"].as_u64();
    let lost = lost + skipped.unwrap_or_default();
    for line in [run.the("stats"), run.the("end")] {
        checks.is(line, "lost", lost);
        checks.is(line, "complete", false);
    }
    checks.end()
}

fn totals() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let idle = watched
        .run
        .process(watched.idle)
        .and_then(|totals| totals["opens"].as_u64());
    let own = idle.unwrap_or_default();
    for (pid, opens) in [(watched.storm, OPENS), (watched.ended, OPENS_OF_ENDED)] {
        let totals = checks.some("process", watched.run.process(pid));
        checks.is(totals, "opens", opens + own);
    }
    checks.end()
}
