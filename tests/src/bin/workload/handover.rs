//! A server that accepts connections and lets another process close them, which it passes them to over
//! a Unix socket; it never closes the last descriptor of one itself.

use std::{
    env,
    io::{IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::{Ipv4Addr, TcpListener},
    os::{
        fd::{AsFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde_json::json;

use super::stage::Stage;

/// A server that hands its connections on.
#[derive(Args)]
pub struct HandOver {
    /// Where to listen
    #[arg(long)]
    port: u16,
    /// How many connections
    #[arg(long)]
    count: u32,
}

impl HandOver {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port))?;
        let (mut own, theirs) = UnixStream::pair()?;
        let mut child = Command::new(env::current_exe()?)
            .arg0("closer")
            .arg("close-passed")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()?;
        stage.ready()?;
        for _ in 0..self.count {
            let (connection, _) = listener.accept()?;
            send(&own, connection.as_fd())?;
            drop(connection);
            // Only now the other's is the last one.
            own.write_all(b"c")?;
            own.read_exact(&mut [0])?;
        }
        stage.done(json!({ "closer": child.id() }))?;
        drop(own);
        ensure!(child.wait()?.success(), "the closer failed");
        Ok(())
    }
}

/// Closes what comes over the socket that is its standard input, until that is closed.
pub fn close_passed() -> Result<()> {
    // SAFETY: standard input is open from the begin of a process, and nothing else here uses it.
    let mut from = UnixStream::from(unsafe { OwnedFd::from_raw_fd(0) });
    while let Some(connection) = receive(&from)? {
        from.read_exact(&mut [0])?;
        drop(connection);
        from.write_all(b"c")?;
    }
    Ok(())
}

/// Sends a descriptor.
pub fn send(over: &UnixStream, fd: BorrowedFd<'_>) -> Result<()> {
    let fds = [fd];
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut outgoing = SendAncillaryBuffer::new(&mut room);
    ensure!(
        outgoing.push(SendAncillaryMessage::ScmRights(&fds)),
        "no room for the descriptor"
    );
    sendmsg(
        over,
        &[IoSlice::new(b"x")],
        &mut outgoing,
        SendFlags::empty(),
    )?;
    Ok(())
}

/// Receives a descriptor; `None` once the other side is closed.
pub fn receive(over: &UnixStream) -> Result<Option<OwnedFd>> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut incoming = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    let got = recvmsg(
        over,
        &mut [IoSliceMut::new(&mut byte)],
        &mut incoming,
        RecvFlags::empty(),
    )?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let fd = incoming.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fd.context("no descriptor came").map(Some)
}
