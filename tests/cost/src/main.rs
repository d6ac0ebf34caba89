//! Measures in a guest what watchers add to a connection and to an open and close, what they miss, what
//! tracer takes while nothing happens, and what its memory grows to, and prints a JSON object a line; it
//! never judges that.
//!
//! Where cost is measured the guest has one processor and a clock that counts instructions: what a watcher
//! does in the kernel and in its own process delays the workload alike, so the time that passes is the whole
//! cost.

mod floor;
mod idle;
mod memory;
mod rates;
mod ready;
mod soak;
mod watcher;
mod workload;

use std::{ffi::OsString, path::PathBuf, process, thread, time::Duration};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use serde_json::json;

use watcher::{Programs, Subject, Watcher};
use workload::Workload;

/// Measures what watchers cost.
#[derive(Parser)]
#[command(name = "cost")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure every watcher that is there.
    All {
        #[command(flatten)]
        programs: Programs,
        /// How often each workload does its work.
        #[arg(long, default_value_t = 10_000)]
        count: u32,
        /// Only watchers with this in their name.
        #[arg(long)]
        only: Option<String>,
    },
    /// Measure what watchers miss of ever more, up to as much as can be done.
    Rates {
        #[command(flatten)]
        programs: Programs,
        /// How long each rate goes on.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        /// Only watchers with this in their name.
        #[arg(long)]
        only: Option<String>,
    },
    /// Measure what a watch takes to begin, and while nothing happens.
    Idle {
        /// The program.
        #[arg(long, value_name = "PROGRAM")]
        tracer: PathBuf,
    },
    /// Measure what the service grows to while processes and peers come and go.
    Soak {
        /// The program.
        #[arg(long, value_name = "PROGRAM")]
        tracer: PathBuf,
        /// How often memory is read.
        #[arg(long, default_value_t = 48)]
        rounds: u32,
        /// Processes that come and go between two readings.
        #[arg(long, default_value_t = 2_500)]
        processes: u32,
    },
    /// Run a program again and again until a signal ends it, as one does who looks for somebody.
    Repeat {
        /// How long nothing is done in between.
        pause_ms: u64,
        /// The program and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        words: Vec<OsString>,
    },
    /// Be the floor's reader until a signal ends it.
    Floor {
        /// The programs of the kernel.
        object: PathBuf,
        /// What is watched.
        subject: Subject,
        /// The only port that is wanted.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::All {
            programs,
            count,
            only,
        } => all(&programs, count, only.as_deref()),
        Command::Rates {
            programs,
            seconds,
            only,
        } => rates::run(&programs, Duration::from_secs(seconds), only.as_deref()),
        Command::Repeat { pause_ms, words } => repeat(Duration::from_millis(pause_ms), &words),
        Command::Idle { tracer } => idle::run(&tracer),
        Command::Soak {
            tracer,
            rounds,
            processes,
        } => soak::run(&tracer, rounds, processes),
        Command::Floor {
            object,
            subject,
            port,
        } => floor::read(&object, subject, port),
    }
}

fn all(programs: &Programs, count: u32, only: Option<&str>) -> Result<()> {
    watcher::prepare_peers(programs)?;
    let watchers = Watcher::all(programs)?;
    let workload = Workload::new()?;
    for subject in [Subject::Connections, Subject::Descriptors] {
        // The first round fills caches and tables, which later rounds find filled.
        workload.run(subject, count)?;
        let alone = workload.run(subject, count)?;
        print("nobody", subject, alone, 0.0);
        for watcher in &watchers {
            let is_asked_for = only.is_none_or(|only| watcher.name.contains(only));
            if watcher.subject != subject || !is_asked_for {
                continue;
            }
            if let Some(taken) = watcher.watch(|| workload.run(subject, count))? {
                print(&watcher.name, subject, taken, taken - alone);
            }
        }
    }
    Ok(())
}

fn repeat(pause: Duration, words: &[OsString]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no program")?;
    loop {
        // What it finds is of no interest, nor is that it finds nothing.
        process::Command::new(program).args(arguments).status()?;
        thread::sleep(pause);
    }
}

fn print(watcher: &str, subject: Subject, taken_ns: f64, added_ns: f64) {
    let told = json!({
        "watcher": watcher,
        "workload": subject.name(),
        "ns": taken_ns,
        "added_ns": added_ns,
    });
    println!("{told}");
}
