//! Builds and runs the program that makes up loads, `tests/bench`; it never judges what that tells.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{output_of, run_shown};
use crate::workspace;

/// The program that makes up loads.
pub struct Load {
    program: PathBuf,
}

/// What it told of a load.
pub struct Told(Value);

impl Load {
    /// Builds it as users' binaries are built.
    pub fn build() -> Result<Self> {
        let mut cargo = workspace::cargo("build");
        cargo.args(["--profile", "dist", "--package", "tracer-bench"]);
        run_shown(&mut cargo)?;
        Ok(Self {
            program: workspace::target().join("dist/load"),
        })
    }

    /// Runs it, in a process of its own each time: memory is told of a whole process.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Told> {
        let mut command = Command::new(&self.program);
        let text = output_of(command.args(arguments))?;
        Ok(Told(serde_json::from_str(&text)?))
    }
}

impl Told {
    /// A number by its name.
    pub fn number(&self, name: &str) -> Result<f64> {
        let number = self.0[name].as_f64();
        number.with_context(|| format!("the load did not tell {name}: {}", self.0))
    }

    /// Million inputs a second of processor time.
    pub fn speed(&self) -> Result<f64> {
        Ok(1e3 / self.number("ns_per_input")?)
    }

    /// Megabytes that the process held at most.
    pub fn memory(&self) -> Result<f64> {
        Ok(self.number("peak_memory_bytes")? / 1e6)
    }
}
