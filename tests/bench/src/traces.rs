//! Writes made-up loads as traces, reads them, and has tracer replay them, and tells what that cost;
//! never looks into what a trace holds.

use std::{fs::File, hint::black_box, io, io::BufWriter, io::Write, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tracer::{
    model::Input,
    trace::{Batching, Head, TraceSet, Writer},
};
use tracer_bench::{Load, Mix};

use crate::usage::{cpu_time, of_program, peak_memory_bytes};

/// Inputs that are made up before they are written, so that only the latter is measured.
const BATCH: usize = 8_192;

/// Writes so many inputs of a mix to a file, or only counts what would be written.
pub fn write(mix: Mix, inputs: usize, file: Option<&Path>) -> Result<Value> {
    let out: Box<dyn Write> = match file {
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(io::sink()),
    };
    let mut load = Load::new(mix);
    let mut writer = Writer::new(out, &head(&mut load)?, Batching::default())?;
    let (mut events, mut cpu) = (0_u64, Duration::ZERO);
    // The head tells the session, which is the first input.
    let mut load = load.take(inputs.saturating_sub(1));
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        batch.clear();
        batch.extend(load.by_ref().take(BATCH));
        if batch.is_empty() {
            break;
        }
        let before = cpu_time()?;
        for input in &batch {
            writer.push(input)?;
        }
        cpu += cpu_time()?.saturating_sub(before);
        let is_event = |input: &&Input| matches!(input, Input::Event(_));
        events += batch.iter().filter(is_event).count() as u64;
    }
    writer.flush()?;
    let bytes = writer.bytes_written();
    writer.finish()?;
    Ok(json!({
        "mix": mix.name(),
        "inputs": inputs,
        "events": events,
        "ns_per_input": cpu.as_secs_f64() * 1e9 / inputs as f64,
        "bytes": bytes,
        "bytes_per_event": bytes as f64 / events as f64,
        "bytes_per_input": bytes as f64 / inputs as f64,
    }))
}

/// What a trace of a load says of itself; takes the load's first input.
pub fn head(load: &mut Load) -> Result<Head> {
    match load.next() {
        Some(Input::Session(session)) => Ok(Head {
            session: *session,
            ..Head::default()
        }),
        _ => anyhow::bail!("a load begins with its session"),
    }
}

/// Reads a trace as a replay does, and does nothing with its inputs.
pub fn read(file: &Path) -> Result<Value> {
    let mut trace = TraceSet::open(&[file.to_owned()])?;
    let mut inputs = 0_u64;
    let before = cpu_time()?;
    for input in trace.by_ref() {
        black_box(input);
        inputs += 1;
    }
    let cpu = cpu_time()?.saturating_sub(before);
    ensure!(trace.gaps().is_empty(), "the trace is not whole");
    Ok(json!({
        "inputs": inputs,
        "ns_per_input": cpu.as_secs_f64() * 1e9 / inputs as f64,
        "peak_memory_bytes": peak_memory_bytes()?,
    }))
}

/// Has a tracer replay a trace of so many inputs, on one processor.
pub fn replay(tracer: &Path, file: &Path, inputs: usize) -> Result<Value> {
    let arguments = [Path::new("replay"), Path::new("--strict"), file];
    let (cpu, peak) = of_program(tracer, &arguments)?;
    Ok(json!({
        "inputs": inputs,
        "ns_per_input": cpu.as_secs_f64() * 1e9 / inputs as f64,
        "peak_memory_bytes": peak,
    }))
}
