//! Applies a made-up load to the engine and tells what that cost; never compares it with anything.

use std::{fs::File, io::BufWriter, io::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use nix::{
    sys::resource::{UsageWho, getrusage},
    time::{ClockId, clock_gettime},
};
use serde_json::json;
use tracer::{
    analysis::{Engine, Thresholds, report::Verdict},
    model::{Input, Pid},
};
use tracer_bench::{Load, Mix};

/// Inputs that are made up before they are applied, so that only the latter is measured.
const BATCH: usize = 8_192;

/// A report is written after so many inputs, where all is written that the engine says.
const REPORTED: usize = 16 * BATCH;

/// Makes up loads for tracer.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Apply a load to the engine; print the processor time that took, and what the engine said.
    Engine {
        /// What the host's programs do.
        #[arg(long, value_enum)]
        mix: Mix,
        /// How many inputs.
        #[arg(long, default_value_t = 1_000_000)]
        inputs: usize,
        /// Write all that the engine says to this file, so that two versions can be compared.
        #[arg(long, value_name = "FILE")]
        told: Option<PathBuf>,
    },
}

fn main() -> Result<()> {
    let Command::Engine { mix, inputs, told } = Cli::parse().command;
    let mut told = told
        .map(|path| {
            let file =
                File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
            anyhow::Ok(BufWriter::new(file))
        })
        .transpose()?;
    let mut engine = Engine::new(Thresholds::default());
    let mut load = Load::new(mix);
    let (mut applied, mut verdicts, mut cpu) = (0, 0, Duration::ZERO);
    let mut batch = Vec::with_capacity(BATCH);
    while applied < inputs {
        batch.clear();
        batch.extend(load.by_ref().take(BATCH.min(inputs - applied)));
        let before = cpu_time()?;
        apply(&mut engine, &batch, |updates, lookups| {
            verdicts += updates.len();
            match &mut told {
                Some(told) => Ok(writeln!(told, "{updates:?} {lookups:?}")?),
                None => Ok(()),
            }
        })?;
        cpu += cpu_time()? - before;
        applied += batch.len();
        if let Some(told) = &mut told
            && (applied.is_multiple_of(REPORTED) || applied == inputs)
        {
            writeln!(told, "{:?}", engine.report())?;
        }
    }
    if let Some(told) = &mut told {
        told.flush()?;
    }
    let report = engine.report();
    let line = json!({
        "mix": mix.name(),
        "inputs": applied,
        "ns_per_input": cpu.as_secs_f64() * 1e9 / applied as f64,
        "verdict_updates": verdicts,
        "verdicts": report.verdicts.len(),
        "processes": report.processes.len(),
        "time_wait": report.time_wait.len(),
        "peak_memory_bytes": peak_memory_bytes()?,
        "trace_seconds": report.at.since(report.session.start).as_secs_f64(),
    });
    println!("{line}");
    Ok(())
}

/// Applies inputs as the pump does. Never inlined, so that a profile can tell the engine from the
/// making up of the load.
#[inline(never)]
fn apply(
    engine: &mut Engine,
    inputs: &[Input],
    mut tell: impl FnMut(&[Verdict], &[Pid]) -> Result<()>,
) -> Result<()> {
    for input in inputs {
        engine.apply(input);
        if matches!(input, Input::Tick(_)) {
            tell(&engine.take_verdict_updates(), &engine.take_lookups())?;
        }
    }
    Ok(())
}

/// The processor time of this thread: what others do on the machine does not count.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The most memory that this process has held.
fn peak_memory_bytes() -> Result<i64> {
    // The kernel tells kB.
    Ok(getrusage(UsageWho::RUSAGE_SELF)?.max_rss() * 1024)
}
