//! What is watched: connections on loopback, and opens and closes of a file, as fast as one thread can or as
//! several are told to; never anything else.

use std::{
    env,
    fs::{self, File},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::watcher::Subject;

/// The port that watchers are asked for.
pub const PORT: u16 = 2181;

/// How long sockets stay in `TIME_WAIT`, and a second (`TCP_TIMEWAIT_LEN` in `include/net/tcp.h`).
/// With a clock that counts instructions waiting takes no time.
const TIME_WAIT: Duration = Duration::from_secs(61);

/// Where what is opened lies, below the working directory, which is in memory: as deep as what class loaders
/// open.
const FOLDER: &str = "opt/application/lib/plugins";

/// How often a thread that keeps a pace looks at the clock.
const PACED: Duration = Duration::from_millis(2);

/// The workloads, ready to run.
pub struct Workload {
    /// One for each thread, at an address of its own.
    listeners: Vec<TcpListener>,
    file: PathBuf,
}

/// What was done by all threads.
pub struct Done {
    pub count: u64,
    took: Duration,
}

impl Done {
    /// How often a second.
    pub fn rate(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}

impl Workload {
    /// For one thread.
    pub fn new() -> Result<Self> {
        Self::with_threads(1)
    }

    /// For so many threads.
    pub fn with_threads(threads: u8) -> Result<Self> {
        let folder = env::current_dir()?.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let file = folder.join("library-1.0.jar");
        fs::write(&file, "nothing")?;
        let listeners = (1..=threads).map(|number| {
            let address = Ipv4Addr::new(127, 0, 0, number);
            TcpListener::bind((address, PORT))
        });
        let listeners = listeners.collect::<Result<_, _>>()?;
        Ok(Self { listeners, file })
    }

    /// Nanoseconds that one connection, or one open and close, takes a single thread in the mean of so many.
    pub fn run(&self, subject: Subject, count: u32) -> Result<f64> {
        if subject == Subject::Connections {
            // Those of the run before would be listed in this one.
            thread::sleep(TIME_WAIT);
        }
        let began = Instant::now();
        for _ in 0..count {
            self.act(subject, &self.listeners[0])?;
        }
        Ok(began.elapsed().as_secs_f64() * 1e9 / f64::from(count))
    }

    /// Has all threads do it for so long, so often a second in all, or as often as they can.
    pub fn run_for(&self, subject: Subject, lasts: Duration, per_s: Option<f64>) -> Result<Done> {
        let began = Instant::now();
        let per_s = per_s.map(|per_s| per_s / self.listeners.len() as f64);
        let count = thread::scope(|scope| {
            let threads: Vec<_> = self
                .listeners
                .iter()
                .map(|listener| {
                    scope.spawn(move || self.run_one(subject, listener, (began, lasts), per_s))
                })
                .collect();
            let mut count = 0;
            for thread in threads {
                count += thread.join().map_err(|_| anyhow!("a thread panicked"))??;
            }
            anyhow::Ok(count)
        })?;
        Ok(Done {
            count,
            took: began.elapsed(),
        })
    }

    fn run_one(
        &self,
        subject: Subject,
        listener: &TcpListener,
        (began, lasts): (Instant, Duration),
        per_s: Option<f64>,
    ) -> Result<u64> {
        let mut count = 0;
        loop {
            let elapsed = began.elapsed();
            if elapsed >= lasts {
                return Ok(count);
            }
            if per_s.is_some_and(|per_s| count as f64 > per_s * elapsed.as_secs_f64()) {
                thread::sleep(PACED);
                continue;
            }
            self.act(subject, listener)?;
            count += 1;
        }
    }

    fn act(&self, subject: Subject, listener: &TcpListener) -> Result<()> {
        match subject {
            Subject::Connections => connect(listener),
            Subject::Descriptors => {
                File::open(&self.file)?;
                Ok(())
            }
        }
    }
}

/// A connection whose client closes it first.
fn connect(listener: &TcpListener) -> Result<()> {
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    drop(client);
    drop(server);
    Ok(())
}
