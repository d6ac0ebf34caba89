//! What is watched: connections on loopback, and opens and closes of a file, as fast as one thread
//! can; never anything that varies from run to run.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::watcher::Subject;

/// The port that watchers are asked for.
pub const PORT: u16 = 2181;

/// How long sockets stay in `TIME_WAIT`, and a second (`TCP_TIMEWAIT_LEN` in `include/net/tcp.h`).
/// With a clock that counts instructions waiting takes no time.
const TIME_WAIT: Duration = Duration::from_secs(61);

/// What is opened: a path as deep as those of class loaders.
const FOLDER: &str = "/tmp/opt/application/lib/plugins";

/// The workloads, ready to run.
pub struct Workload {
    listener: TcpListener,
    file: String,
}

impl Workload {
    pub fn new() -> Result<Self> {
        fs::create_dir_all(FOLDER)?;
        let file = format!("{FOLDER}/library-1.0.jar");
        fs::write(&file, "nothing")?;
        Ok(Self {
            listener: TcpListener::bind((Ipv4Addr::LOCALHOST, PORT))?,
            file,
        })
    }

    /// Nanoseconds that one connection, or one open and close, takes in the mean of so many.
    pub fn run(&mut self, subject: Subject, count: u32) -> Result<f64> {
        if subject == Subject::Connections {
            // Those of the run before would be listed in this one.
            thread::sleep(TIME_WAIT);
        }
        let began = Instant::now();
        for _ in 0..count {
            match subject {
                Subject::Connections => self.connect()?,
                Subject::Descriptors => drop(File::open(&self.file)?),
            }
        }
        Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(count))
    }

    /// A connection whose client closes it first.
    fn connect(&self) -> Result<()> {
        let client = TcpStream::connect(self.listener.local_addr()?)?;
        let (server, _) = self.listener.accept()?;
        drop(client);
        drop(server);
        Ok(())
    }
}
