//! The tracer that tests run: the one that cargo builds, or another that is named; never one that is
//! installed.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

/// The program as cargo builds it for tests, or the one that `TRACER` names.
pub fn tracer() -> Command {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    Command::new(PATH.get_or_init(|| std::env::var_os("TRACER").map_or_else(built, PathBuf::from)))
}

/// Cargo gives a test the programs of its own package only. Asked for the one program, it would build
/// most dependencies once more: with fewer of their features than all members and tests want together.
fn built() -> PathBuf {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--exclude=tracer-ebpf"])
        .args(["--bins", "--tests", "--message-format=json"])
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "tracer does not build");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            let target = &message["target"];
            let is_tracer = target["name"] == "tracer" && target["kind"][0] == "bin";
            is_tracer && message["profile"]["test"] == false
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo tells where it put the program")
}
