//! Measures the engine alone, on loads that are made up as they are applied; it never reads a trace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use super::figure::{Figure, Target};
use crate::command::{output_of, run_shown};
use crate::workspace;

/// The loads that the program has.
const MIXES: [&str; 5] = ["flapping", "burst", "busy-server", "processes", "all"];

/// Inputs a second that a replay must reach, decoding included; the engine alone must be faster.
const MILLIONS_A_SECOND: f64 = 3.0;

/// What a replay may take, whatever the trace's length; the engine alone must take less.
const MEGABYTES: f64 = 200.0;

/// Applies so many inputs of each load.
pub fn measure(inputs: u64) -> Result<Vec<Figure>> {
    let program = build()?;
    let mut figures = Vec::new();
    for mix in MIXES {
        let mut command = Command::new(&program);
        command.args(["engine", "--mix", mix, "--inputs", &inputs.to_string()]);
        let line: Value = serde_json::from_str(&output_of(&mut command)?)?;
        let number = |name: &str| {
            let number = line[name].as_f64();
            number.with_context(|| format!("the load did not tell {name}: {line}"))
        };
        figures.push(Figure {
            name: format!("engine, {mix}: speed"),
            value: 1e3 / number("ns_per_input")?,
            unit: "million inputs/s",
            target: Target::AtLeast(MILLIONS_A_SECOND),
        });
        figures.push(Figure {
            name: format!("engine, {mix}: memory, the load's included"),
            value: number("peak_memory_bytes")? / 1e6,
            unit: "MB",
            target: Target::Below(MEGABYTES),
        });
    }
    Ok(figures)
}

/// Builds the program that makes up loads, as users' binaries are built.
fn build() -> Result<PathBuf> {
    let mut cargo = workspace::cargo("build");
    cargo.args(["--profile", "dist", "--package", "tracer-bench"]);
    run_shown(&mut cargo)?;
    Ok(workspace::target().join("dist/load"))
}
