//! A program that changes its descriptor table in one way and then holds still, so that what is told of
//! it can be held against what /proc shows; it never closes what it has at the end itself.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File, FileType},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, IntoRawFd, OwnedFd},
        unix::{fs::FileTypeExt as _, net::UnixStream, process::CommandExt as _},
    },
    process::{self, Command},
    sync::mpsc,
    thread,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use rustix::{
    event::EventfdFlags,
    io::dup,
    pipe::pipe,
    process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit},
};
use serde_json::{Value, json};

use super::{handover, stage::Stage};

/// What is opened: there everywhere, readable by everybody.
const FILE: &str = "/proc/self/stat";

/// The limit that a process gives itself when it has opened most of that.
const LOWERED: u64 = 64;

/// A descriptor table that changes in one way. Tells `met` once its process has done something.
#[derive(Args)]
pub struct Table {
    /// The way
    #[arg(long, value_enum)]
    way: Way,
}

/// What changes a table.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Opens and closes.
    Open,
    /// dup2(2) onto numbers that are in use: as many as before.
    Dup2Over,
    /// `close_range(2)` over some that are open and some that are not.
    CloseRange,
    /// execve(2), which closes most of what is open.
    CloseOnExec,
    /// The program after that.
    #[value(hide = true)]
    AfterExec,
    /// recvmsg(2) with `SCM_RIGHTS`, kept.
    Received,
    /// fork(2): the child has all, closes some and opens others.
    Inherited,
    /// Threads, which share one table.
    Threads,
    /// Gets and closes some of each kind.
    EachKind,
    /// clone(2) with `CLONE_FILES`: two processes that share one table.
    Shared,
    /// setrlimit(2): most of what may be open is, from then on.
    LowerLimit,
}

impl Table {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        if self.way == Way::AfterExec {
            return hold(stage, &[process::id()]);
        }
        stage.ready()?;
        let met = files(3)?;
        stage.reach("met", Value::Null)?;
        let own = process::id();
        match self.way {
            Way::Open => {
                let _kept = files(5)?;
                drop(files(4)?);
                drop(met);
                hold(stage, &[own])
            }
            Way::Dup2Over => {
                let over = files(4)?;
                for (from, to) in met.iter().zip(&over) {
                    // SAFETY: the number stays its owner's, who closes what it refers to by then.
                    let result = unsafe { libc::dup2(from.as_raw_fd(), to.as_raw_fd()) };
                    ensure!(result >= 0, io::Error::last_os_error());
                }
                hold(stage, &[own])
            }
            Way::CloseRange => {
                let given: Vec<i32> = files(20)?.into_iter().map(IntoRawFd::into_raw_fd).collect();
                let (first, last) = (given.get(8), given.last());
                let (first, last) = first.zip(last).context("twenty were opened")?;
                // SAFETY: these numbers were given away, and nothing is open beyond the last.
                let result =
                    unsafe { libc::syscall(libc::SYS_close_range, *first, *last + 100, 0) };
                ensure!(result == 0, io::Error::last_os_error());
                hold(stage, &[own])
            }
            Way::CloseOnExec => exec(&files(6)?),
            Way::AfterExec => Ok(()),
            Way::Received => {
                let (to, from) = UnixStream::pair()?;
                let mut kept = Vec::new();
                for file in &met {
                    handover::send(&from, file.as_fd())?;
                    kept.push(handover::receive(&to)?);
                }
                hold(stage, &[own])
            }
            Way::Inherited => inherit(stage, met),
            Way::Threads => {
                let (tell, told) = mpsc::channel();
                for _ in 0..4 {
                    let tell = tell.clone();
                    thread::spawn(move || tell.send(files(3)));
                }
                let kept: Vec<_> = told.iter().take(4).collect::<Result<_>>()?;
                hold(stage, &[own])?;
                drop(kept);
                Ok(())
            }
            Way::EachKind => {
                let _kept = (files(2)?, pipe()?, UnixStream::pair()?, eventfd()?);
                drop((met, pipe()?, UnixStream::pair()?, eventfd()?));
                hold(stage, &[own])
            }
            Way::Shared => share(stage),
            Way::LowerLimit => {
                let _kept = files(50)?;
                let maximum = getrlimit(Resource::Nofile).maximum;
                let current = Some(LOWERED);
                setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
                hold(stage, &[own])
            }
        }
    }
}

fn files(count: usize) -> Result<Vec<File>> {
    (0..count).map(|_| Ok(File::open(FILE)?)).collect()
}

/// Tells what /proc shows of these processes, and holds still.
fn hold(stage: &Stage, pids: &[u32]) -> Result<()> {
    let mut tables = Vec::new();
    for pid in pids {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
            let kind = kind(fs::metadata(entry?.path())?.file_type());
            *kinds.entry(kind).or_default() += 1;
        }
        // Whoever reads its own table sees the descriptor that it reads it by.
        if *pid == process::id() {
            kinds.entry("file").and_modify(|count| *count -= 1);
        }
        let open: u64 = kinds.values().sum();
        tables.push(json!({ "pid": pid, "open": open, "kinds": kinds }));
    }
    stage.done(json!({ "tables": tables }))
}

/// What a descriptor refers to, in tracer's words.
fn kind(of: FileType) -> &'static str {
    match () {
        () if of.is_socket() => "socket",
        () if of.is_fifo() => "pipe",
        () if of.is_char_device() => "device",
        () if of.is_file() || of.is_dir() || of.is_block_device() => "file",
        () => "anonymous",
    }
}

fn eventfd() -> Result<OwnedFd> {
    Ok(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?)
}

/// Runs this program anew. Of these files all are closed by that, of their copies none.
fn exec(files: &[File]) -> Result<()> {
    let mut copies: Vec<OwnedFd> = Vec::new();
    for file in files.iter().take(2) {
        copies.push(dup(file)?);
    }
    let words = env::args_os().skip(1);
    let words = words.map(|word| match word.to_str() {
        Some("close-on-exec") => "after-exec".into(),
        _ => word,
    });
    Err(Command::new(env::current_exe()?).args(words).exec()).context("cannot run this anew")
}

/// Has a child that closes some of what it inherits and opens something else.
fn inherit(stage: &Stage, mut met: Vec<File>) -> Result<()> {
    with_child(stage, 0, move || {
        met.truncate(1);
        files(5)
    })
}

/// Has a child that shares this process's table, and opens in it as many files as this process does.
fn share(stage: &Stage) -> Result<()> {
    let _kept = files(25)?;
    with_child(stage, libc::CLONE_FILES, || files(25))
}

/// Has a child, made with more `flags`, that holds what it opens, and tells of both tables.
fn with_child(stage: &Stage, flags: i32, open: impl FnOnce() -> Result<Vec<File>>) -> Result<()> {
    let (from_child, to_parent) = pipe()?;
    // SAFETY: without a stack of its own the child goes on as after fork(2); there is one thread only,
    // so it may do whatever this process may.
    let child = unsafe { libc::syscall(libc::SYS_clone, flags | libc::SIGCHLD, 0, 0, 0, 0) };
    ensure!(child >= 0, io::Error::last_os_error());
    if child == 0 {
        // Whoever reads what this prints waits until nobody can print any more.
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let _kept = open()?;
        rustix::io::write(&to_parent, b"c")?;
        loop {
            // SAFETY: waits for a signal, which ends this process.
            unsafe { libc::pause() };
        }
    }
    rustix::io::read(&from_child, &mut [0_u8])?;
    let (pid, child) = (u32::try_from(child)?, i32::try_from(child)?);
    let held = hold(stage, &[process::id(), pid]);
    // SAFETY: the child is this process's own and not waited for yet, so nobody else has its pid.
    unsafe { libc::kill(child, libc::SIGKILL) };
    held
}
