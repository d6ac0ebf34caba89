//! Programs that use up what there is a limit of, slowly or at once: descriptors that are never closed,
//! connections that only the peer closes, ephemeral ports; they never take more than asked.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::json;

use super::{
    client::{Pace, Target},
    stage::Stage,
};

/// A program that opens a file again and again, and closes none.
#[derive(Args)]
pub struct Leak {
    #[command(flatten)]
    pace: Pace,
    /// Files opened at once at the begin, as a cache or a pool does
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    at_once: usize,
}

impl Leak {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let mut kept = Vec::new();
        for _ in 0..self.at_once {
            kept.push(File::open("/proc/self/stat")?);
        }
        self.pace.each(|| {
            if self.at_once == 0 {
                kept.push(File::open("/proc/self/stat")?);
            } else {
                // What has its cache opens and closes as before.
                drop(File::open("/proc/self/stat")?);
            }
            Ok(())
        })?;
        stage.done(json!({ "kept": kept.len() }))
    }
}

/// A client that never closes the connections that its server has closed.
#[derive(Args)]
pub struct HalfClosed {
    #[command(flatten)]
    target: Target,
    /// How many
    #[arg(long)]
    count: usize,
}

impl HalfClosed {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        let mut kept = Vec::new();
        for _ in 0..self.count {
            let mut stream = self.target.connect()?;
            stream.read_to_end(&mut Vec::new())?;
            kept.push(stream);
        }
        stage.done(json!({}))
    }
}

/// A client, and its server, in a network namespace of its own with a small range of ephemeral ports: it
/// connects and closes until no port is left, and some times more.
#[derive(Args)]
pub struct UsePorts {
    /// Where to connect to
    #[arg(long)]
    port: u16,
    /// The range's first port
    #[arg(long)]
    low: u16,
    /// The range's last
    #[arg(long)]
    high: u16,
    /// Connects without a port
    #[arg(long)]
    failures: u32,
}

impl UsePorts {
    /// From one connect without a port to the next.
    const PAUSE: Duration = Duration::from_millis(200);

    pub fn run(&self, stage: &Stage) -> Result<()> {
        let set = |name: &str, value: String| {
            let path = format!("/proc/sys/net/ipv4/{name}");
            fs::write(&path, value).with_context(|| path)
        };
        set("ip_local_port_range", format!("{} {}", self.low, self.high))?;
        // Loopback uses a port in TIME_WAIT again after a second, unless told not to.
        set("tcp_tw_reuse", "0".to_owned())?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port))?;
        thread::spawn(move || {
            for stream in listener.incoming() {
                thread::spawn(move || stream?.read_to_end(&mut Vec::new()));
            }
        });
        stage.ready()?;
        let (mut connected, mut failed) = (0, 0);
        while failed < self.failures {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(_) => connected += 1,
                Err(error) => {
                    ensure!(is_without_port(&error), error);
                    failed += 1;
                    thread::sleep(Self::PAUSE);
                }
            }
        }
        stage.done(json!({ "connected": connected, "failed": failed }))
    }
}

fn is_without_port(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EADDRNOTAVAIL)
}
