//! Applies made-up loads to parts of tracer and prints what that cost, a JSON object; never compares
//! it with anything.

mod engine;
mod flight;
mod traces;
mod usage;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracer_bench::Mix;

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
    /// Write a load as a trace; print how large it is.
    Write {
        /// What the host's programs do.
        #[arg(long, value_enum)]
        mix: Mix,
        /// How many inputs.
        #[arg(long, default_value_t = 1_000_000)]
        inputs: usize,
        /// Where to; nowhere if it is not told.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read a trace without an engine; print the processor time that took.
    Read {
        /// The trace.
        file: PathBuf,
    },
    /// Have a tracer replay a trace on one processor; print the processor time that took.
    Replay {
        /// The program.
        #[arg(long, value_name = "PROGRAM")]
        tracer: PathBuf,
        /// How many inputs the trace has.
        #[arg(long)]
        inputs: usize,
        /// The trace.
        file: PathBuf,
    },
    /// Keep the last minutes of a load in a flight recorder; print the memory that took.
    Flight {
        /// What the host's programs do.
        #[arg(long, value_enum)]
        mix: Mix,
        /// How many seconds are kept.
        #[arg(long, default_value_t = 60)]
        window_secs: u64,
        /// How many times that long the load lasts.
        #[arg(long, default_value_t = 10)]
        windows: u64,
        /// How many bytes are kept.
        #[arg(long)]
        bound_bytes: usize,
    },
}

fn main() -> Result<()> {
    let line = match Cli::parse().command {
        Command::Engine { mix, inputs, told } => engine::run(mix, inputs, told)?,
        Command::Write {
            mix,
            inputs,
            output,
        } => traces::write(mix, inputs, output.as_deref())?,
        Command::Read { file } => traces::read(&file)?,
        Command::Replay {
            tracer,
            inputs,
            file,
        } => traces::replay(&tracer, &file, inputs)?,
        Command::Flight {
            mix,
            window_secs,
            windows,
            bound_bytes,
        } => flight::run(mix, window_secs, windows, bound_bytes)?,
    };
    println!("{line}");
    Ok(())
}
