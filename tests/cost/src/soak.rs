//! What a watch takes that goes on while processes, peers, folders and flapping connections come and go
//! by the thousand; never how fast it is.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    libc,
    sys::{
        prctl,
        signal::{Signal, kill},
        wait::{WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork},
};
use serde_json::json;

use crate::{memory, ready};

/// Where something listens.
const PORT: u16 = 2181;

/// Peers that refuse: more than tracer tells apart for a process.
const CLOSED_PORTS: u32 = 20_000;
const FIRST_CLOSED: u32 = 10_000;

/// What one process does before it ends.
const CONNECTS: u32 = 1;
const FAILURES: u32 = 1;
const OPENS: u32 = 2;

/// Starts the service, has so many processes come and go in each round, and prints after each what its
/// process takes.
pub fn run(tracer: &Path, rounds: u32, processes: u32) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?;
    let mut service = start(tracer)?;
    let mut started = 0;
    for round in 1..=rounds {
        for _ in 0..processes {
            started += 1;
            one(started)?;
            for _ in 0..CONNECTS {
                drop(listener.accept()?);
            }
        }
        // What was told last is judged, listed and let go by then.
        thread::sleep(Duration::from_secs(5));
        let ended = service.try_wait()?;
        ensure!(ended.is_none(), "the service ended: {ended:?}");
        let kib = memory::kib(service.id(), "VmRSS")?;
        println!(
            "{}",
            json!({ "round": round, "processes": started, "rss_kib": kib })
        );
    }
    kill(Pid::from_raw(service.id().cast_signed()), Signal::SIGTERM)?;
    let ended = service.wait()?;
    ensure!(ended.success(), "the service failed: {ended}");
    Ok(())
}

/// With a flight recorder whose bytes are used up in the first rounds.
fn start(tracer: &Path) -> Result<Child> {
    let mut command = Command::new(tracer);
    command.args(["serve", "--metrics", "127.0.0.1:9740", "--quiet"]);
    command.args(["--dump-dir", "/tmp/soak-dumps", "--flight-size", "4M"]);
    command.args(["--on", "fd_leak"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    ready::start(&mut command)?.context("there is no such program")
}

/// A process with a name, a folder and peers that others do not have. It ends before this returns.
fn one(number: u32) -> Result<()> {
    // SAFETY: there is one thread, so the child may do whatever this process may.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            let ended = waitpid(child, None)?;
            ensure!(
                ended == WaitStatus::Exited(child, 0),
                "it failed: {ended:?}"
            );
            Ok(())
        }
        ForkResult::Child => {
            let code = i32::from(act(number).is_err());
            // SAFETY: ends this process, and leaves what the parent has to flush to the parent.
            unsafe { libc::_exit(code) }
        }
    }
}

fn act(number: u32) -> Result<()> {
    let name = std::ffi::CString::new(format!("job-{number}"))?;
    prctl::set_name(&name)?;
    let folder = format!("/tmp/soak/{number}");
    fs::create_dir_all(&folder)?;
    let file = format!("{folder}/data");
    File::create(&file)?;
    for _ in 0..OPENS {
        File::open(&file)?;
    }
    for _ in 0..CONNECTS {
        TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    }
    for failure in 0..FAILURES {
        let port = number.wrapping_mul(FAILURES).wrapping_add(failure) % CLOSED_PORTS;
        let port = u16::try_from(FIRST_CLOSED + port)?;
        // Refused, as nobody listens there.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    }
    fs::remove_dir_all(folder)?;
    Ok(())
}
