//! Measures the engine alone, on loads that are made up as they are applied; it never reads a trace.

use anyhow::Result;

use super::figure::{Figure, Target};
use super::load::Load;
use super::replay::{MEGABYTES, MILLIONS_A_SECOND};

/// The loads that the program has.
const MIXES: [&str; 5] = ["flapping", "burst", "busy-server", "processes", "all"];

/// Applies so many inputs of each load. A replay decodes as well, so that the engine alone must do
/// better than a replay has to.
pub fn measure(inputs: u64) -> Result<Vec<Figure>> {
    let load = Load::build()?;
    let inputs = inputs.to_string();
    let mut figures = Vec::new();
    for mix in MIXES {
        let told = load.run(["engine", "--mix", mix, "--inputs", &inputs])?;
        figures.push(
            Figure::new(
                format!("engine, {mix}"),
                "speed",
                told.speed()?,
                "million inputs/s",
            )
            .held_to(Target::AtLeast(MILLIONS_A_SECOND)),
        );
        figures.push(
            Figure::new(
                format!("engine, {mix}"),
                "memory, the load's included",
                told.memory()?,
                "MB",
            )
            .held_to(Target::Below(MEGABYTES)),
        );
    }
    Ok(figures)
}
