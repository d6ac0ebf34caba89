//! Builds tracer as users get it, one static binary with the kernel half inside, and that half
//! alone; it never builds anything for tests.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Error, Result, ensure};

use crate::bpf::PACKAGE;
use crate::command::run_shown;
use crate::setup;
use crate::workspace;

/// The profile that users' binaries are built with.
const PROFILE: &str = "dist";

/// Builds the kernel half and prints the path of its object.
pub fn bpf() -> Result<()> {
    let target = workspace::target().join("bpf");
    let object = setup::bpf_toolchain()?
        .build(workspace::root(), &target, PACKAGE)
        .map_err(Error::msg)?;
    println!("{}", object.display());
    Ok(())
}

/// Builds the binary, checks that it needs nothing of its host, says how large it is, and returns
/// its path, `dist/tracer` in the target folder.
pub fn tracer() -> Result<PathBuf> {
    setup::bpf_toolchain()?;
    let built = standalone("tracer", "tracer")?;
    let path = workspace::target().join("dist/tracer");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Removed first: the old one may be running, and then could not be written to.
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let bytes = fs::copy(&built, &path)
        .with_context(|| format!("cannot copy {} to {}", built.display(), path.display()))?;
    eprintln!(
        "       ok {}: static, {:.1} MB",
        path.display(),
        bytes as f64 / 1e6
    );
    Ok(path)
}

/// Builds the program that measures costs in a guest, and returns its path.
pub fn cost() -> Result<PathBuf> {
    standalone("tracer-cost", "cost")
}

/// Builds a binary that needs nothing of its host, as users get it.
fn standalone(package: &str, binary: &str) -> Result<PathBuf> {
    let mut cargo = workspace::cargo("build");
    cargo.args(["--profile", PROFILE, "--package", package, "--bin", binary]);
    let target = workspace::make_static(&mut cargo);
    run_shown(&mut cargo)?;
    let built = workspace::target().join(target).join(PROFILE).join(binary);
    ensure!(
        setup::is_static(&built),
        "{} needs libraries of its host: a dependency must have brought a shared one in",
        built.display()
    );
    Ok(built)
}
