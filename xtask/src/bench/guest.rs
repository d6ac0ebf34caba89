//! Runs the program that measures in a guest whose clock counts instructions; never judges what it tells.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::build;
use crate::vm::{Output, Pace, Vm};

/// The kernel that peers' figures are known of.
const KERNEL: &str = "6.1";

/// How long it may take on a busy machine.
const TIMEOUT: Duration = Duration::from_hours(1);

/// Runs it with these words, `tracer` and these other files beside it; gives each line that it told.
pub fn measure(words: &[&str], files: &[(&str, &Path)]) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    fs::copy(build::tracer()?, folder.path().join("tracer"))?;
    fs::copy(build::cost()?, folder.path().join("cost"))?;
    for (name, file) in files {
        fs::copy(file, folder.path().join(name))?;
    }
    let mut vm = Vm::new(KERNEL);
    vm.folder = Some(folder.path().to_owned());
    vm.pace = Pace::Counted;
    vm.cpus = 1;
    vm.output = Output::Capture;
    vm.timeout = TIMEOUT;
    let command: Vec<_> = [&["./cost"], words].concat();
    let finished = vm.run(&command.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
    ensure!(
        finished.code == 0,
        "the guest's part ended with exit code {}: {}",
        finished.code,
        String::from_utf8_lossy(&finished.stderr)
    );
    String::from_utf8_lossy(&finished.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a result: {line}")))
        .collect()
}
