//! Runs the program that measures in a guest; never judges what it tells.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;

use crate::bpf::FLOOR;
use crate::vm::{Output, Pace, Root, Vm};
use crate::{build, setup, workspace};

/// Peers with a compiler take hundreds.
const MEMORY_MIB: u32 = 2048;

/// The kernel that peers' figures are known of.
const KERNEL: &str = "6.1";

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
    /// Runs it with these words, `tracer` and these other files beside it; gives each line that it told.
    pub fn measure(&self, words: &[&str], files: &[(&str, &Path)]) -> Result<Vec<Value>> {
        self.run(words, files, Root::Busybox)
    }

    /// As [`Guest::measure`], with the peers that the distribution has and the floor's programs.
    pub fn measure_beside_peers(&self, command: &str) -> Result<Vec<Value>> {
        let floor = setup::bpf_toolchain()?
            .build(workspace::root(), &workspace::target().join("bpf"), FLOOR)
            .map_err(Error::msg)?;
        let peers = setup::peers()?;
        let peers = peers.to_str().context("the cache's path is not text")?;
        let words = [command, "--floor", "floor", "--tracer", "./tracer"];
        // The peers' files are on this machine.
        self.run(
            &[&words[..], &["--peers", peers]].concat(),
            &[("floor", &floor)],
            Root::Host,
        )
    }

    fn run(&self, words: &[&str], files: &[(&str, &Path)], root: Root) -> Result<Vec<Value>> {
        let folder = tempfile::tempdir()?;
        fs::copy(build::tracer()?, folder.path().join("tracer"))?;
        fs::copy(build::cost()?, folder.path().join("cost"))?;
        for (name, file) in files {
            fs::copy(file, folder.path().join(name))?;
        }
        let mut vm = Vm::new(KERNEL);
        vm.folder = Some(folder.path().to_owned());
        vm.pace = self.pace;
        vm.cpus = self.cpus;
        vm.memory_mib = MEMORY_MIB;
        vm.root = root;
        vm.tracefs = root == Root::Host;
        vm.output = Output::Capture;
        vm.timeout = TIMEOUT;
        let command: Vec<_> = [&["./cost"], words].concat();
        let finished = vm.run(&command.into_iter().map(str::to_owned).collect::<Vec<_>>())?;
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
}
