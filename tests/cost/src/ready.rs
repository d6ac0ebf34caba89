//! Starts programs, and waits for tracer until every hook of it is attached; never ends one.

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

/// Starts a program; `None` where there is no such program.
pub fn spawn(command: &mut Command) -> Result<Option<Child>> {
    match command.spawn() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        child => {
            let program = command.get_program().display();
            Ok(Some(
                child.with_context(|| format!("cannot start {program}"))?,
            ))
        }
    }
}

/// Starts tracer by this command; `None` where there is no such program. Fails where it ends instead.
pub fn start(command: &mut Command) -> Result<Option<Child>> {
    if Path::new(READY).exists() {
        fs::remove_file(READY)?;
    }
    let Some(mut child) = spawn(command.args(["--ready-file", READY]))? else {
        return Ok(None);
    };
    while !Path::new(READY).exists() {
        let ended = child.try_wait()?;
        ensure!(ended.is_none(), "tracer ended: {ended:?}");
        thread::sleep(POLL);
    }
    Ok(Some(child))
}
