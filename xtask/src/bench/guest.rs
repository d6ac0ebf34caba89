//! Runs the program that measures in a guest; never judges what it tells.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::bpf::FLOOR;
use crate::vm::{Output, Pace, Root, Vm};
use crate::{build, setup, workspace};

/// The kernel that peers' figures are known of.
const KERNEL: &str = "6.1";

/// What the guest has beside peers, whose compiler takes hundreds.
const MEMORY_BESIDE_PEERS_MIB: u32 = 2048;

/// How long it may take on a busy machine.
const TIMEOUT: Duration = Duration::from_hours(1);

/// A guest to measure in.
pub struct Guest {
    /// How its processors run.
    pub pace: Pace,
    /// How many it has.
    pub cpus: u32,
}

/// One whose clock counts instructions.
pub const COUNTED: Guest = Guest {
    pace: Pace::Counted,
    cpus: 1,
};

/// One that does two things at the same time.
pub const PARALLEL: Guest = Guest {
    pace: Pace::AtOnce,
    cpus: 2,
};

impl Guest {
    /// Runs this command of it, with tracer; gives each line that it told.
    pub fn measure(&self, command: &str) -> Result<Vec<Value>> {
        let folder = folder()?;
        run(&self.vm(folder.path()), command, &[])
    }

    /// As [`Guest::measure`], with the floor's programs and the peers that the distribution has. Those that
    /// are absent are said to be so here, and told no more.
    pub fn measure_beside_peers(&self, command: &str) -> Result<Vec<Value>> {
        let floor = setup::bpf_toolchain()?
            .build(workspace::root(), &workspace::target().join("bpf"), FLOOR)
            .map_err(Error::msg)?;
        let peers = setup::peers()?;
        let peers = peers.to_str().context("the cache's path is not text")?;
        let folder = folder()?;
        fs::copy(floor, folder.path().join("floor"))?;
        let mut vm = self.vm(folder.path());
        // The peers' files are on this machine.
        vm.root = Root::Host;
        vm.tracefs = true;
        vm.memory_mib = MEMORY_BESIDE_PEERS_MIB;
        let told = run(&vm, command, &["--floor", "floor", "--peers", peers])?;
        Ok(present(told))
    }

    fn vm(&self, folder: &Path) -> Vm {
        let mut vm = Vm::new(KERNEL);
        vm.folder = Some(folder.to_owned());
        vm.pace = self.pace;
        vm.cpus = self.cpus;
        vm.output = Output::Capture;
        vm.timeout = TIMEOUT;
        vm
    }
}

/// A folder with the program that measures and tracer.
fn folder() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::copy(build::tracer()?, folder.path().join("tracer"))?;
    fs::copy(build::cost()?, folder.path().join("cost"))?;
    Ok(folder)
}

fn run(vm: &Vm, command: &str, more: &[&str]) -> Result<Vec<Value>> {
    let words = [&["./cost", command, "--tracer", "./tracer"], more].concat();
    let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
    let finished = vm.run(&words)?;
    let said = String::from_utf8_lossy(&finished.stderr);
    ensure!(
        finished.code == 0,
        "the guest's part ended with exit code {}: {said}",
        finished.code,
    );
    // Why a peer is absent, for one.
    eprint!("{said}");
    String::from_utf8_lossy(&finished.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a result: {line}")))
        .collect()
}

/// What was told of those who are there; who is not is said.
fn present(mut told: Vec<Value>) -> Vec<Value> {
    told.retain(|line| {
        let is_absent = line["absent"] == true;
        if is_absent {
            eprintln!("   absent {}", line["watcher"]);
        }
        !is_absent
    });
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn who_is_absent_has_no_figures() {
        let there = json!({ "watcher": "tracer", "added_ns": 1.0 });
        let absent = json!({ "watcher": "peer", "absent": true });
        assert!(present(vec![absent.clone()]).is_empty());
        assert_eq!(present(vec![absent, there.clone()]), [there]);
    }
}
