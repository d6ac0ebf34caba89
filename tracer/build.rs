//! Builds the kernel half and hands it to the compiler as one file; never installs anything.

#[path = "../xtask/src/bpf.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "xtask uses more of it than is used here"
)]
mod bpf;

use std::{env, fs, path::PathBuf, process::ExitCode};

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=../tracer-ebpf");
    println!("cargo::rerun-if-changed=../tracer-common");
    println!("cargo::rerun-if-changed=../xtask/src/bpf.rs");
    // Without the feature nothing is attached, so nothing need be built.
    if env::var_os("CARGO_FEATURE_LIVE").is_none() {
        return ExitCode::SUCCESS;
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or(format!("cargo set no {name}"))
    };
    let out = folder("OUT_DIR")?;
    let root = folder("CARGO_MANIFEST_DIR")?.join("..");
    let object = bpf::Toolchain::find()?.build(&root, &out.join("bpf"), bpf::PACKAGE)?;
    fs::copy(&object, out.join("tracer-ebpf.o"))
        .map(drop)
        .map_err(|error| format!("cannot copy {}: {error}", object.display()))
}
