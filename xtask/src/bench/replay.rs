//! Measures `tracer replay` on a long trace; it never keeps the trace.

use std::ffi::OsStr;
use std::fs;

use anyhow::Result;

use super::figure::{Figure, Target};
use super::load::Load;
use crate::{build, workspace};

/// The load that is replayed: all that a host can do.
const MIX: &str = "all";

/// Inputs a second that a replay must reach on one processor, decoding included.
pub const MILLIONS_A_SECOND: f64 = 3.0;

/// What a replay may take, whatever the trace's length.
pub const MEGABYTES: f64 = 200.0;

/// Writes a trace of so many inputs, which takes some 30 bytes of disk for each, and replays it with
/// the binary that users get.
pub fn measure(inputs: u64) -> Result<Vec<Figure>> {
    let load = Load::build()?;
    let tracer = build::tracer()?;
    let target = workspace::target();
    fs::create_dir_all(&target)?;
    // Beside what was built: a folder for temporary files may be memory.
    let folder = tempfile::tempdir_in(&target)?;
    let trace = folder.path().join("load.arrows");
    let inputs = inputs.to_string();
    load.run(
        ["write", "--mix", MIX, "--inputs", &inputs, "--output"]
            .map(OsStr::new)
            .into_iter()
            .chain([trace.as_os_str()]),
    )?;
    let read = load.run([OsStr::new("read"), trace.as_os_str()])?;
    let replayed = load.run([
        OsStr::new("replay"),
        OsStr::new("--inputs"),
        OsStr::new(&inputs),
        OsStr::new("--tracer"),
        tracer.as_os_str(),
        trace.as_os_str(),
    ])?;
    Ok(vec![
        Figure::new(
            format!("replay, {MIX}"),
            "speed",
            replayed.speed()?,
            "million inputs/s",
        )
        .held_to(Target::AtLeast(MILLIONS_A_SECOND)),
        Figure::new(format!("replay, {MIX}"), "memory", replayed.memory()?, "MB")
            .held_to(Target::Below(MEGABYTES)),
        Figure::new(
            format!("decode, {MIX}"),
            "speed without the engine",
            read.speed()?,
            "million inputs/s",
        ),
        Figure::new(format!("decode, {MIX}"), "memory", read.memory()?, "MB"),
    ])
}
