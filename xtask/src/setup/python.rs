//! A Python of its own with the packages that open traces in tests; it never touches the system's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Lock, apt};
use crate::bpf::cache_dir;
use crate::command::{output_of, which};
use crate::progress::Progress;

/// What the tests of exports, of metrics and of what deploys tracer use, each in the version that they were
/// written with.
const PACKAGES: [&str; 7] = [
    "compose-spec==0.2.1",
    "duckdb==2.0.0",
    "kubernetes-validate==1.37.0",
    "pandas==3.1.1",
    "polars==2.1.0",
    "prometheus_client==0.26.0",
    "pyarrow==26.0.1",
];

/// Finds or makes it; gives the path of its interpreter.
pub fn python() -> Result<PathBuf> {
    let environment = cache_dir().join("python");
    let interpreter = environment.join("bin/python3");
    if has_packages(&interpreter) {
        return Ok(interpreter);
    }
    let _lock = Lock::take()?;
    if has_packages(&interpreter) {
        return Ok(interpreter);
    }
    let progress = Progress::start("Python packages", "open traces as their users would");
    make(&environment)?;
    let mut install = Command::new(&interpreter);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .args(PACKAGES);
    output_of(&mut install)?;
    progress.done(&format!("installed {}", PACKAGES.join(" ")));
    Ok(interpreter)
}

/// Makes an environment without packages. Debian has its `ensurepip` in a package apart.
fn make(environment: &Path) -> Result<()> {
    let venv = || {
        let system = which("python3").context("there is no python3 in PATH")?;
        let mut venv = Command::new(system);
        output_of(venv.args(["-m", "venv", "--clear"]).arg(environment))
    };
    if venv().is_err() {
        apt::install(&["python3", "python3-venv"])?;
        venv()?;
    }
    Ok(())
}

/// Whether an interpreter is there and has all packages in their versions.
fn has_packages(interpreter: &Path) -> bool {
    if !interpreter.is_file() {
        return false;
    }
    let mut freeze = Command::new(interpreter);
    freeze.args(["-m", "pip", "freeze", "--disable-pip-version-check"]);
    output_of(&mut freeze).is_ok_and(|installed| {
        PACKAGES
            .iter()
            .all(|package| installed.lines().any(|line| line == *package))
    })
}
