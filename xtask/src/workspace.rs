//! Knows where the workspace lies and how its cargo is called; it never looks inside.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the workspace.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Where cargo puts what it builds.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |path| root().join(path))
}

/// The cargo that runs this program, in the workspace's folder.
pub fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).arg(subcommand);
    cargo
}

/// Makes a cargo command line build for this machine's processor with the C library linked in, so
/// that the result runs on any kernel and in an empty image. Returns the target's name.
pub fn make_static(cargo: &mut Command) -> String {
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    cargo
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .args(["--target", &target]);
    target
}
