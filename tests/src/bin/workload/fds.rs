//! Every way to get a descriptor, each by itself; what was got is always closed again.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    net::{TcpListener, TcpStream},
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, IntoRawFd as _, OwnedFd},
    os::unix::net::UnixStream,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use io_uring::{IoUring, opcode, types};
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    pipe::pipe,
};
use serde_json::json;

use super::{handover, stage::Stage};

/// What is opened: there everywhere, readable by everybody.
const FILE: &str = "/proc/self/stat";

/// Descriptors got in one way.
#[derive(Args)]
pub struct Fds {
    /// The way
    #[arg(long, value_enum)]
    way: Way,
    /// How often
    #[arg(long)]
    rounds: u32,
}

/// A way to get a descriptor.
#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// open(2), on x86-64 another call than openat.
    Open,
    /// openat(2).
    Openat,
    /// openat2(2).
    Openat2,
    /// creat(2).
    Creat,
    /// socket(2).
    Socket,
    /// socketpair(2): two.
    Socketpair,
    /// accept4(2), with the connect that it takes: two.
    Accept,
    /// dup(2).
    Dup,
    /// fcntl(2) with `F_DUPFD_CLOEXEC`.
    Fcntl,
    /// dup2(2) onto a number that is free.
    Dup2,
    /// pipe2(2): two.
    Pipe,
    /// `epoll_create1(2)`.
    Epoll,
    /// eventfd2(2).
    Eventfd,
    /// recvmsg(2) with `SCM_RIGHTS`.
    Received,
    /// An open by `io_uring`.
    IoUring,
    /// openat(2), then `close_range(2)`.
    CloseRange,
    /// openat(2) of what is not there: none.
    Missing,
}

impl Fds {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let mut means = Means::prepare(self.way)?;
        stage.ready()?;
        for _ in 0..self.rounds {
            get(self.way, &mut means)?;
        }
        stage.done(json!({}))
    }
}

/// What some ways need beforehand.
#[derive(Default)]
struct Means {
    listener: Option<TcpListener>,
    pair: Option<(UnixStream, UnixStream)>,
    ring: Option<IoUring>,
    file: Option<File>,
}

impl Means {
    fn prepare(way: Way) -> Result<Self> {
        let mut means = Self::default();
        match way {
            Way::Accept => means.listener = Some(TcpListener::bind("127.0.0.1:0")?),
            Way::Received => means.pair = Some(UnixStream::pair()?),
            Way::IoUring => means.ring = Some(IoUring::new(2)?),
            _ => {}
        }
        if matches!(way, Way::Dup | Way::Fcntl | Way::Dup2 | Way::Received) {
            means.file = Some(File::open(FILE)?);
        }
        Ok(means)
    }
}

fn get(way: Way, means: &mut Means) -> Result<()> {
    let path = CString::new(FILE)?;
    let file = || means.file.as_ref().context("no file was prepared");
    match way {
        Way::Open => {
            // SAFETY: a NUL-terminated path, and no other pointer.
            drop(owned(unsafe {
                libc::syscall(libc::SYS_open, path.as_ptr(), libc::O_RDONLY)
            })?);
        }
        Way::Openat => drop(File::open(FILE)?),
        Way::Openat2 => {
            drop(openat2(
                CWD,
                FILE,
                OFlags::RDONLY,
                Mode::empty(),
                ResolveFlags::empty(),
            )?);
        }
        Way::Creat => {
            let name = format!("/tmp/creat-{}", std::process::id());
            let path = CString::new(name.as_str())?;
            // SAFETY: a NUL-terminated path, and no other pointer.
            drop(owned(unsafe {
                libc::syscall(libc::SYS_creat, path.as_ptr(), 0o600)
            })?);
            fs::remove_file(name)?;
        }
        Way::Socket => drop(rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        )?),
        Way::Socketpair => drop(UnixStream::pair()?),
        Way::Accept => {
            let listener = means
                .listener
                .as_ref()
                .context("no listener was prepared")?;
            let connecting = TcpStream::connect(listener.local_addr()?)?;
            drop(listener.accept()?);
            drop(connecting);
        }
        Way::Dup => drop(rustix::io::dup(file()?)?),
        Way::Fcntl => drop(rustix::io::fcntl_dupfd_cloexec(file()?, 0)?),
        Way::Dup2 => {
            const FREE: i32 = 100;
            // SAFETY: the number is not in use, so nobody loses a descriptor.
            drop(owned(i64::from(unsafe {
                libc::dup2(file()?.as_raw_fd(), FREE)
            }))?);
        }
        Way::Pipe => drop(pipe()?),
        Way::Epoll => drop(epoll::create(epoll::CreateFlags::CLOEXEC)?),
        Way::Eventfd => drop(eventfd(0, EventfdFlags::CLOEXEC)?),
        Way::Received => {
            let (to, from) = means.pair.as_ref().context("no pair was prepared")?;
            pass(to, from, file()?)?;
        }
        Way::IoUring => {
            drop(open_by_ring(
                means.ring.as_mut().context("no ring was prepared")?,
                &path,
            )?);
        }
        Way::CloseRange => {
            let fd = File::open(FILE)?.into_raw_fd();
            // SAFETY: the range is this one descriptor, which nobody else owns.
            let result = unsafe { libc::syscall(libc::SYS_close_range, fd, fd, 0) };
            ensure!(result == 0, io::Error::last_os_error());
        }
        Way::Missing => ensure!(File::open("/proc/self/missing").is_err(), "it is there"),
    }
    Ok(())
}

/// The descriptor that a system call returned.
fn owned(result: i64) -> Result<OwnedFd> {
    ensure!(result >= 0, io::Error::last_os_error());
    // SAFETY: a descriptor that a call has just returned belongs to nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(result)?) })
}

/// Sends a descriptor from one socket to another, and lets go of what was received.
fn pass(to: &UnixStream, from: &UnixStream, file: &File) -> Result<()> {
    handover::send(from, file.as_fd())?;
    handover::receive(to)?;
    Ok(())
}

fn open_by_ring(ring: &mut IoUring, path: &CString) -> Result<OwnedFd> {
    let entry = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr()).build();
    // SAFETY: the path outlives the request, which is waited for.
    unsafe { ring.submission().push(&entry)? };
    ring.submit_and_wait(1)?;
    let result = ring
        .completion()
        .next()
        .context("no completion came")?
        .result();
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result).into());
    }
    owned(result.into())
}

/// Whether this kernel has `io_uring`, and lets this process use it.
pub fn has_io_uring() -> bool {
    IoUring::new(2).is_ok()
}
