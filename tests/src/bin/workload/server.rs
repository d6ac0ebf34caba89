//! A server that answers requests, or closes first; it never sends what was not asked for.
//!
//! A request is a line that begins with the number of bytes wanted in the answer.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use rustix::net::{
    AddressFamily, SocketAddrV6, SocketType, bind, ipproto, listen, socket, sockopt,
};

use super::stage::Stage;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// A server.
#[derive(Args)]
pub struct Serve {
    /// Where to listen
    #[arg(long)]
    port: u16,
    /// The socket's family
    #[arg(long, value_enum, default_value_t)]
    family: Family,
    /// Close each connection as soon as it is accepted
    #[arg(long)]
    close_first: bool,
}

#[derive(Clone, Copy, Default, ValueEnum)]
enum Family {
    /// IPv6 with IPv4 mapped into it, as every Java server listens.
    #[default]
    Dual,
    /// IPv4.
    V4,
    /// IPv4, and reachable from this machine only.
    Loopback,
}

impl Serve {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let listener = self
            .listen()
            .with_context(|| format!("cannot listen on {}", self.port))?;
        stage.ready()?;
        loop {
            let (stream, _) = listener.accept()?;
            if self.close_first {
                drop(stream);
                continue;
            }
            thread::Builder::new()
                .name("serve-conn".to_owned())
                .spawn(move || {
                    // A client that goes away ends its own connection only.
                    let _ = answer(&stream);
                })?;
        }
    }

    fn listen(&self) -> Result<TcpListener> {
        match self.family {
            Family::Dual => {}
            Family::V4 => return Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port))?),
            Family::Loopback => return Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?),
        }
        let fd = socket(AddressFamily::INET6, SocketType::STREAM, Some(ipproto::TCP))?;
        sockopt::set_ipv6_v6only(&fd, false)?;
        sockopt::set_socket_reuseaddr(&fd, true)?;
        bind(
            &fd,
            &SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, self.port, 0, 0),
        )?;
        listen(&fd, BACKLOG)?;
        Ok(TcpListener::from(fd))
    }
}

/// Answers requests until the client closes or sends something else.
fn answer(stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        lines.read_line(&mut line)?;
        let wanted = line
            .strip_suffix('\n')
            .and_then(|line| line.split(' ').next()?.parse().ok());
        let Some(wanted) = wanted else { return Ok(()) };
        (&mut &*stream).write_all(&vec![b'a'; wanted])?;
    }
}
