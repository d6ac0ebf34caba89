//! Measures how large traces are, and how fast they are written; it never reads one.

use anyhow::Result;

use super::figure::{Figure, Target};
use super::load::Load;

/// The workloads that a trace must be small of: those of the two incidents.
const MIXES: [&str; 2] = ["flapping", "burst"];

/// What an event may take on disk, with the share of all else that is in a trace.
const BYTES_AN_EVENT: f64 = 20.0;

/// Writes so many inputs of each load.
pub fn measure(inputs: u64) -> Result<Vec<Figure>> {
    let load = Load::build()?;
    let inputs = inputs.to_string();
    let mut figures = Vec::new();
    for mix in MIXES {
        let told = load.run(["write", "--mix", mix, "--inputs", &inputs])?;
        figures.push(
            Figure::new(
                format!("trace size, {mix}"),
                "all by the number of events",
                told.number("bytes_per_event")?,
                "bytes/event",
            )
            .held_to(Target::Below(BYTES_AN_EVENT)),
        );
        figures.push(Figure::new(
            format!("trace size, {mix}"),
            "all by the number of inputs",
            told.number("bytes_per_input")?,
            "bytes/input",
        ));
        figures.push(Figure::new(
            format!("recording, {mix}"),
            "speed without the engine",
            told.speed()?,
            "million inputs/s",
        ));
    }
    Ok(figures)
}
