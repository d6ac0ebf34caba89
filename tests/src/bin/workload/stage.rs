//! The handshake between a workload and whoever runs it: lines out, lines in, a ready file; it never
//! waits for a time.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    path::PathBuf,
    process,
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Map, Value, json};

/// How a workload and its caller wait for each other.
#[derive(Args)]
pub struct StageArgs {
    /// Wait for a line on standard input after each step that is told
    #[arg(long, global = true)]
    step: bool,
    /// Create this file once everything is prepared
    #[arg(long, global = true, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

/// Tells the steps of a workload as they are reached.
pub struct Stage(StageArgs);

impl Stage {
    pub fn new(args: StageArgs) -> Self {
        Self(args)
    }

    /// Everything is prepared; what is told from now on may be watched.
    pub fn ready(&self) -> Result<()> {
        if let Some(path) = &self.0.ready_file {
            fs::write(path, format!("{}\n", process::id()))
                .with_context(|| format!("cannot create {}", path.display()))?;
        }
        self.reach("ready", json!({}))
    }

    /// What was really done, at the end.
    pub fn done(&self, facts: Value) -> Result<()> {
        self.reach("done", facts)
    }

    /// Tells a step, and waits for leave to go on where that was asked for.
    pub fn reach(&self, at: &str, facts: Value) -> Result<()> {
        let mut line = Map::new();
        line.insert("at".to_owned(), at.into());
        line.insert("pid".to_owned(), process::id().into());
        if let Value::Object(facts) = facts {
            line.extend(facts);
        }
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{}", Value::Object(line))?;
        stdout.flush()?;
        if self.0.step {
            io::stdin().lock().read_line(&mut String::new())?;
        }
        Ok(())
    }
}
