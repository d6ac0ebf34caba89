//! Clients, those that misbehave and those that do not; they never connect more often than asked.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use clap::Args;
use rustix::thread::gettid;
use serde_json::json;

use super::stage::Stage;

/// Where to connect to.
#[derive(Args, Clone, Copy)]
pub struct Target {
    /// The server's address
    #[arg(long, default_value = "::ffff:127.0.0.1")]
    addr: IpAddr,
    /// The server's port
    #[arg(long)]
    port: u16,
}

impl Target {
    pub fn connect(self) -> io::Result<TcpStream> {
        TcpStream::connect((self.addr, self.port))
    }

    /// Listens at that port, by a socket of the address's family.
    pub fn listen(self) -> io::Result<TcpListener> {
        match self.addr {
            IpAddr::V4(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, self.port)),
            IpAddr::V6(_) => TcpListener::bind((Ipv6Addr::UNSPECIFIED, self.port)),
        }
    }
}

/// How often, and how fast.
#[derive(Args, Clone, Copy)]
pub struct Pace {
    /// How often
    #[arg(long)]
    count: u32,
    /// From the begin of one to the begin of the next
    #[arg(long, value_name = "MS", default_value_t = 0)]
    period_ms: u64,
}

impl Pace {
    /// Calls `act` so often, and gives when each call began.
    pub fn each(self, mut act: impl FnMut() -> Result<()>) -> Result<Vec<Instant>> {
        let mut begins = Vec::new();
        for _ in 0..self.count {
            if let Some(last) = begins.last() {
                let next: Instant = *last + Duration::from_millis(self.period_ms);
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            begins.push(Instant::now());
            act()?;
        }
        Ok(begins)
    }
}

/// A client that opens connections and closes them at once.
#[derive(Args, Clone)]
pub struct Flap {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    pace: Pace,
    /// The thread's name
    #[arg(long, value_name = "NAME")]
    thread: String,
    /// Send so many bytes on each
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    send: usize,
    /// Keep each so long
    #[arg(long, value_name = "MS", default_value_t = 0)]
    hold_ms: u64,
    /// End each connection at once, but close its descriptor at the next try only, as a JVM does
    #[arg(long)]
    two_step: bool,
    /// Let the server close first
    #[arg(long)]
    until_eof: bool,
}

impl Flap {
    pub fn run(self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let name = self.thread.clone();
        let flapping = thread::Builder::new()
            .name(name)
            .spawn(move || self.flap())?;
        let facts = flapping
            .join()
            .map_err(|_| anyhow!("the thread panicked"))??;
        stage.done(facts)
    }

    fn flap(&self) -> Result<serde_json::Value> {
        let mut lifetimes = Vec::new();
        let mut ended_but_open = None;
        let begins = self.pace.each(|| {
            ended_but_open = None;
            let begin = Instant::now();
            let mut stream = self.target.connect()?;
            stream.write_all(&vec![b'x'; self.send])?;
            thread::sleep(Duration::from_millis(self.hold_ms));
            if self.until_eof {
                stream.read_to_end(&mut Vec::new())?;
            }
            if self.two_step {
                stream.shutdown(Shutdown::Both)?;
                ended_but_open = Some(stream);
            } else {
                drop(stream);
            }
            lifetimes.push(begin.elapsed());
            Ok(())
        })?;
        let mut periods: Vec<_> = begins
            .windows(2)
            .filter_map(|pair| Some(*pair.get(1)? - *pair.first()?))
            .collect();
        periods.sort_unstable();
        Ok(json!({
            "tid": gettid().as_raw_nonzero().get(),
            "count": begins.len(),
            "period_ms": periods.get(periods.len() / 2).map(|period| millis(*period)),
            "lifetime_max_ms": lifetimes.iter().max().map(|lifetime| millis(*lifetime)),
        }))
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Sends a request of `bytes` for an answer of so many, and reads that.
fn request(stream: &mut TcpStream, bytes: usize, answer: usize) -> io::Result<()> {
    let mut line = format!("{answer} ");
    let padding = bytes.saturating_sub(line.len() + 1);
    line.extend(std::iter::repeat_n('r', padding));
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    stream.read_exact(&mut vec![0; answer])
}

/// A client that keeps its connection.
#[derive(Args)]
pub struct Keep {
    #[command(flatten)]
    target: Target,
    /// From one request to the next
    #[arg(long, value_name = "MS", default_value_t = 500)]
    period_ms: u64,
}

impl Keep {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let mut stream = self.target.connect()?;
        request(&mut stream, 16, 16)?;
        stage.ready()?;
        loop {
            thread::sleep(Duration::from_millis(self.period_ms));
            request(&mut stream, 16, 16)?;
        }
    }
}

/// A client with a pool of connections, which it closes all at once. It is ready once they are open.
#[derive(Args)]
pub struct Pool {
    #[command(flatten)]
    target: Target,
    /// How many
    #[arg(long)]
    connections: usize,
}

impl Pool {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        let mut pool = Vec::new();
        for _ in 0..self.connections {
            let mut stream = self.target.connect()?;
            request(&mut stream, 32, 600)?;
            pool.push(stream);
        }
        stage.ready()?;
        drop(pool);
        stage.done(json!({}))
    }
}

/// A client that asks and is answered.
#[derive(Args)]
pub struct Requests {
    #[command(flatten)]
    target: Target,
    /// How often to begin anew, with new connections.
    #[command(flatten)]
    rounds: Pace,
    /// Connections at the same time
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Requests on each
    #[arg(long = "requests", default_value_t = 1)]
    on_each: usize,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value_t = 32)]
    request_bytes: usize,
    /// Bytes of an answer
    #[arg(long, value_name = "BYTES", default_value_t = 600)]
    answer_bytes: usize,
}

impl Requests {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        self.rounds.each(|| {
            let mut streams = (0..self.connections)
                .map(|_| self.target.connect())
                .collect::<io::Result<Vec<_>>>()?;
            for _ in 0..self.on_each {
                for stream in &mut streams {
                    request(stream, self.request_bytes, self.answer_bytes)?;
                }
            }
            Ok(())
        })?;
        stage.done(json!({}))
    }
}

/// A program that connects once.
#[derive(Args)]
pub struct Connect {
    #[command(flatten)]
    target: Target,
    /// Ask for an answer of so many bytes
    #[arg(long, value_name = "BYTES")]
    answer_bytes: Option<usize>,
}

impl Connect {
    pub fn run(&self) -> Result<()> {
        let mut stream = self.target.connect()?;
        if let Some(bytes) = self.answer_bytes {
            request(&mut stream, 32, bytes)?;
        }
        Ok(())
    }
}

/// A client whose connects all fail.
#[derive(Args)]
pub struct Fail {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    pace: Pace,
}

impl Fail {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let mut errnos = BTreeMap::<i32, u32>::new();
        self.pace.each(|| match self.target.connect() {
            Ok(_) => Err(anyhow!("somebody listens there")),
            Err(error) => {
                *errnos.entry(error.raw_os_error().unwrap_or(0)).or_default() += 1;
                Ok(())
            }
        })?;
        stage.done(json!({ "errnos": errnos }))
    }
}
