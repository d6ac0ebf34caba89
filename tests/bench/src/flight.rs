//! Keeps the last minutes of a made-up load in a flight recorder, and tells what that took; never
//! writes a dump.

use anyhow::Result;
use serde_json::{Value, json};
use tracer::{model::Nanos, trace::Flight};
use tracer_bench::{Load, Mix};

use crate::{traces::head, usage::peak_memory_bytes};

/// Records a mix for so many windows.
pub fn run(mix: Mix, window_secs: u64, windows: u64, bound_bytes: usize) -> Result<Value> {
    let mut load = Load::new(mix);
    let head = head(&mut load)?;
    let end = head.session.start + Nanos::from_secs(window_secs * windows);
    let mut flight = Flight::new(head, Nanos::from_secs(window_secs), bound_bytes)?;
    let (mut inputs, mut peak) = (0_u64, 0);
    for input in load {
        if input.time().is_some_and(|at| at > end) {
            break;
        }
        if flight.push(&input)?.is_some() {
            peak = peak.max(flight.bytes());
        }
        inputs += 1;
    }
    Ok(json!({
        "mix": mix.name(),
        "inputs": inputs,
        "bound_bytes": bound_bytes,
        "peak_bytes": peak,
        "peak_memory_bytes": peak_memory_bytes()?,
    }))
}
