//! Starts tracer and waits until every hook of it is attached; never ends it.

use std::{
    fs, io,
    path::Path,
    process::{Child, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// How often it is looked whether it is ready: what a start takes is told that exactly.
const POLL: Duration = Duration::from_millis(1);

/// The file that tells it.
const READY: &str = "/tmp/tracer-ready";

/// Starts tracer by this command; `None` where there is no such program. Fails where it ends instead.
pub fn start(command: &mut Command) -> Result<Option<Child>> {
    if Path::new(READY).exists() {
        fs::remove_file(READY)?;
    }
    let mut child = match command.args(["--ready-file", READY]).spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        child => {
            child.with_context(|| format!("cannot start {}", command.get_program().display()))?
        }
    };
    while !Path::new(READY).exists() {
        let ended = child.try_wait()?;
        ensure!(ended.is_none(), "tracer ended: {ended:?}");
        thread::sleep(POLL);
    }
    Ok(Some(child))
}
