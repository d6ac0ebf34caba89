//! Applies a made-up load to the engine and tells what that cost; never reads a trace.

use std::{fs::File, io::BufWriter, io::Write as _, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tracer::{
    analysis::{Engine, Thresholds, report::Verdict},
    model::{Input, Pid},
};
use tracer_bench::{Load, Mix};

use crate::usage::{cpu_time, peak_memory_bytes};

/// Inputs that are made up before they are applied, so that only the latter is measured.
const BATCH: usize = 8_192;

/// A report is written after so many inputs, where all is written that the engine says.
const REPORTED: usize = 16 * BATCH;

/// Applies so many inputs of a mix; all that the engine says goes to the file `told`, if there is one.
pub fn run(mix: Mix, inputs: usize, told: Option<PathBuf>) -> Result<Value> {
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
        cpu += cpu_time()?.saturating_sub(before);
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
    Ok(json!({
        "mix": mix.name(),
        "inputs": applied,
        "ns_per_input": cpu.as_secs_f64() * 1e9 / applied as f64,
        "verdict_updates": verdicts,
        "verdicts": report.verdicts.len(),
        "processes": report.processes.len(),
        "time_wait": report.time_wait.len(),
        "peak_memory_bytes": peak_memory_bytes()?,
        "trace_seconds": report.at.since(report.session.start).as_secs_f64(),
    }))
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
