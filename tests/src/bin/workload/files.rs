//! Programs that open many files; they never leave any behind.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::fs::FileExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use rustix::{
    event::{EventfdFlags, epoll, eventfd},
    fs::{Mode, OFlags, open},
    net::{AddressFamily, SocketType, socket},
    pipe::pipe,
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities, gettid, set_capabilities},
};
use serde_json::{Value, json};

use super::stage::Stage;

/// A folder of files, removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// Makes the folder, and `count` files in it.
    pub fn with_files(path: &Path, count: usize, extension: &str) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
        let folder = Self(path.to_owned());
        for number in 0..count {
            fs::write(folder.file(number, extension), b"")?;
        }
        Ok(folder)
    }

    /// Where the file with this number lies.
    pub fn file(&self, number: usize, extension: &str) -> PathBuf {
        self.0.join(format!("library-{number}.{extension}"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The guest, or the host's own cleaning, takes what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A class loader that opens every jar at once.
#[derive(Args, Clone)]
pub struct Burst {
    /// Where the files are to be
    #[arg(long)]
    dir: PathBuf,
    /// How many
    #[arg(long, default_value_t = 228)]
    files: usize,
    /// Over how long the opens are spread
    #[arg(long, value_name = "MS", default_value_t = 0)]
    over_ms: u64,
    /// How long they are kept
    #[arg(long, value_name = "MS", default_value_t = 0)]
    hold_ms: u64,
    /// The thread's name
    #[arg(long, value_name = "NAME", default_value = "http-nio-8080-e")]
    thread: String,
}

impl Burst {
    pub fn run(self, stage: &Stage) -> Result<()> {
        let folder = Folder::with_files(&self.dir, self.files, "jar")?;
        let limit = getrlimit(Resource::Nofile).current;
        let before = open_now()?;
        stage.ready()?;
        let hold = Duration::from_millis(self.hold_ms);
        let opening = thread::Builder::new()
            .name(self.thread.clone())
            .spawn(move || self.open(&folder).map(|opened| (gettid(), opened, folder)))?;
        let (tid, files, folder) = opening
            .join()
            .map_err(|_| anyhow!("the thread panicked"))??;
        stage.reach(
            "opened",
            json!({
                "tid": tid.as_raw_nonzero().get(),
                "opens": files.len(),
                "fds_before": before,
                "fds_peak": before + files.len(),
                "fd_limit": limit,
            }),
        )?;
        thread::sleep(hold);
        drop(files);
        drop(folder);
        stage.done(json!({}))
    }

    fn open(&self, folder: &Folder) -> Result<Vec<File>> {
        let begin = Instant::now();
        let over = Duration::from_millis(self.over_ms);
        let mut opened = Vec::with_capacity(self.files);
        for number in 0..self.files {
            let due = begin + over.mul_f64(number as f64 / self.files as f64);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            // Not by the C library, whose code keeps no frame pointers: its callers would be lost.
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            opened.push(open(folder.file(number, "jar"), flags, Mode::empty())?.into());
        }
        Ok(opened)
    }
}

/// Open descriptors of this process, the one that reads them not counted.
fn open_now() -> Result<usize> {
    Ok(fs::read_dir("/proc/self/fd")?.count() - 1)
}

/// A program that has no descriptor left.
#[derive(Args)]
pub struct Exhaust {
    /// Where to listen, on loopback
    #[arg(long)]
    port: u16,
}

impl Exhaust {
    /// How often each way is tried without success.
    const TRIES: usize = 3;

    pub fn run(&self, stage: &Stage) -> Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port))?;
        let _waiting = TcpStream::connect(("127.0.0.1", self.port))?;
        stage.ready()?;
        let mut kept = Vec::new();
        let first = loop {
            match File::open("/proc/self/stat") {
                Ok(file) => kept.push(file),
                Err(error) => break error,
            }
        };
        ensure!(is_exhausted(&first), "{first}");
        let mut refused = 1;
        for _ in 0..Self::TRIES {
            let results = [
                File::open("/proc/self/stat").map(drop),
                socket(AddressFamily::INET, SocketType::STREAM, None)
                    .map(drop)
                    .map_err(Into::into),
                pipe().map(drop).map_err(Into::into),
                rustix::io::fcntl_dupfd_cloexec(&listener, 0)
                    .map(drop)
                    .map_err(Into::into),
                listener.accept().map(drop),
            ];
            for result in results {
                match result {
                    Err(error) if is_exhausted(&error) => refused += 1,
                    Err(error) => return Err(error.into()),
                    Ok(()) => return Err(anyhow!("there was a descriptor left")),
                }
            }
        }
        let opens = kept.len();
        drop(kept);
        stage.done(json!({ "opens": opens, "refused": refused }))
    }
}

fn is_exhausted(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMFILE)
}

/// One way to get a descriptor.
type Get = fn() -> io::Result<OwnedFd>;

/// A program on a host that has no file left for it.
#[derive(Args)]
pub struct ExhaustHost;

impl ExhaustHost {
    /// How often each way is tried without success.
    const TRIES: usize = 3;
    /// More files that the host may have: some of them other programs take.
    const ROOM: u64 = 20;

    pub fn run(stage: &Stage) -> Result<()> {
        // Open before this process may no longer open it.
        let mut limit = File::options()
            .read(true)
            .write(true)
            .open("/proc/sys/fs/file-max")?;
        let mut before = String::new();
        limit.read_to_string(&mut before)?;
        stage.ready()?;
        let in_use = fs::read_to_string("/proc/sys/fs/file-nr")?;
        let in_use = in_use.split_whitespace().next().unwrap_or_default();
        let in_use: u64 = in_use.parse()?;
        // At its begin: anything else the kernel ignores.
        limit.write_all_at((in_use + Self::ROOM).to_string().as_bytes(), 0)?;
        let refused = Self::exhaust();
        limit.write_all_at(before.as_bytes(), 0)?;
        stage.done(json!({ "refused": refused? }))
    }

    /// How many calls of each kind failed.
    fn exhaust() -> Result<Value> {
        // With this right a process gets files all the same.
        let mut held = capabilities(None)?;
        held.effective.remove(CapabilitySet::SYS_ADMIN);
        set_capabilities(None, held)?;
        let mut kept: Vec<OwnedFd> = Vec::new();
        let mut refused = serde_json::Map::new();
        let ways: [(&str, Get); 4] = [
            ("open", || Ok(File::open("/proc/self/stat")?.into())),
            ("socket", || {
                Ok(socket(AddressFamily::INET, SocketType::STREAM, None)?)
            }),
            ("eventfd", || Ok(eventfd(0, EventfdFlags::CLOEXEC)?)),
            ("epoll", || Ok(epoll::create(epoll::CreateFlags::CLOEXEC)?)),
        ];
        for (way, get) in ways {
            for _ in 0..Self::TRIES {
                // Others may have closed a file meanwhile.
                let error = loop {
                    match get() {
                        Ok(fd) => kept.push(fd),
                        Err(error) => break error,
                    }
                };
                ensure!(error.raw_os_error() == Some(libc::ENFILE), "{error}");
            }
            refused.insert(way.to_owned(), Self::TRIES.into());
        }
        Ok(refused.into())
    }
}

/// A program that opens as fast as it can.
#[derive(Args)]
pub struct Storm {
    /// How often
    #[arg(long)]
    opens: u64,
}

impl Storm {
    pub fn run(&self, stage: &Stage) -> Result<()> {
        stage.ready()?;
        for _ in 0..self.opens {
            File::open("/proc/self/stat")?;
        }
        stage.done(Value::Null)
    }
}
