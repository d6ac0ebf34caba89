//! Many processes, or many connections, of one program: all at once, or each for a moment; it never ends
//! before they have.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, TcpStream},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rustix::{
    pipe::pipe,
    process::{Signal, set_parent_process_death_signal},
};
use serde_json::json;

use super::{client::Target, stage::Stage};

/// What is opened: there everywhere, readable by everybody.
const FILE: &str = "/proc/self/stat";
/// What is not there.
const MISSING: &str = "/proc/self/missing";

/// A program that forks, and whose children do little.
#[derive(Args)]
pub struct Crowd {
    /// How many children
    #[arg(long)]
    processes: usize,
    /// Files that each opens and closes
    #[arg(long)]
    opens: u32,
    /// Files that each looks for in vain
    #[arg(long, default_value_t = 0)]
    misses: u32,
    /// Where each connects to once, on loopback
    #[arg(long)]
    port: Option<u16>,
    /// Have each end at once, instead of all living until the end
    #[arg(long)]
    brief: bool,
}

impl Crowd {
    /// Brief children that there are at the same time.
    const AT_ONCE: usize = 32;

    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let mut pids = Vec::with_capacity(self.processes);
        if self.brief {
            while pids.len() < self.processes {
                let count = Self::AT_ONCE.min(self.processes - pids.len());
                let begun = (0..count)
                    .map(|_| fork(|| self.act()))
                    .collect::<Result<Vec<_>>>()?;
                for pid in begun {
                    let status = wait(pid)?;
                    ensure!(status == 0, "child {pid} ended with status {status}");
                    pids.push(pid);
                }
            }
            return stage.done(json!({ "pids": pids }));
        }
        let (from_child, to_parent) = pipe()?;
        for _ in 0..self.processes {
            pids.push(fork(|| {
                // Whoever reads what this prints waits until nobody can print any more.
                set_parent_process_death_signal(Some(Signal::KILL))?;
                self.act()?;
                rustix::io::write(&to_parent, b"c")?;
                loop {
                    // SAFETY: waits for a signal, which ends this process.
                    unsafe { libc::pause() };
                }
            })?);
            // One after the other, so that who comes first is no chance.
            rustix::io::read(&from_child, &mut [0_u8])?;
        }
        stage.done(json!({ "pids": pids }))?;
        for pid in pids {
            // SAFETY: the child is this process's own and not waited for yet, so nobody else has its pid.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            wait(pid)?;
        }
        Ok(())
    }

    fn act(&self) -> Result<()> {
        for _ in 0..self.opens {
            File::open(FILE)?;
        }
        for _ in 0..self.misses {
            ensure!(File::open(MISSING).is_err(), "{MISSING} is there");
        }
        if let Some(port) = self.port {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        }
        Ok(())
    }
}

/// Has a child that does this, and ends without a word about what it inherited.
fn fork(act: impl FnOnce() -> Result<()>) -> Result<i32> {
    // SAFETY: there is one thread only, so the child may do whatever this process may.
    let child = unsafe { libc::fork() };
    ensure!(child >= 0, io::Error::last_os_error());
    if child == 0 {
        let code = match act() {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("workload: {error:#}");
                1
            }
        };
        // SAFETY: ends this process.
        unsafe { libc::_exit(code) };
    }
    Ok(child)
}

/// Waits for a child's end.
fn wait(pid: i32) -> Result<i32> {
    let mut status = 0;
    // SAFETY: the status is written to a number of its kind.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    ensure!(waited == pid, io::Error::last_os_error());
    Ok(status)
}

/// A program that has both ends of many connections, then closes one connection after the other, the
/// client's end first. Tells `held` once all are there.
#[derive(Args)]
pub struct Pairs {
    #[command(flatten)]
    target: Target,
    /// How many connections
    #[arg(long)]
    count: usize,
}

impl Pairs {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let listener = self.target.listen().context("cannot listen")?;
        stage.ready()?;
        let mut held = Vec::with_capacity(self.count);
        for _ in 0..self.count {
            let client = self.target.connect()?;
            let (server, _) = listener.accept()?;
            held.push((client, server));
        }
        stage.reach("held", json!({}))?;
        for (client, server) in held {
            drop(client);
            drop(server);
        }
        stage.done(json!({}))
    }
}
