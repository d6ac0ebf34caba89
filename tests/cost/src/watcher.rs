//! The programs whose cost is measured: the floor, tracer, and its peers where they are installed;
//! never what they print.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::{ready, workload::PORT};

/// A port that nobody uses.
const OTHER_PORT: u16 = 9;

/// A pid that nobody has.
const OTHER_PID: &str = "999999";

/// How long a watcher that does not tell when it is ready is given: more than any of them needs. With a
/// clock that counts instructions that is a fixed amount of work.
const UNTIL_READY: Duration = Duration::from_secs(10);

/// Where what a watcher prints goes.
const OUTPUT: &str = "/tmp/cost-output";

/// Where peers see their own files as the root.
const PEERS: &str = "/tmp/cost-peers";

/// tracer with a collector that is stopped as soon as it watches: what its hooks cost, alone.
const STOPPED: &str = "tracer, in the kernel";

/// What a watcher is asked to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Subject {
    /// Connections.
    Connections,
    /// Descriptors.
    Descriptors,
}

impl Subject {
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connection",
            Self::Descriptors => "open and close",
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Descriptors => "opens and closes",
        }
    }
}

/// Who watches connections: a name and a command line, with names in braces for what is only known where it
/// runs.
const OF_CONNECTIONS: [(&str, &str); 15] = [
    ("floor", "{own} floor {programs} connections"),
    (
        "floor, another port",
        "{own} floor {programs} connections --port {other_port}",
    ),
    ("tracer", "{tracer} watch --no-fds --port {port}"),
    (STOPPED, "{tracer} watch --no-fds --port {port}"),
    (
        "tracer, another port",
        "{tracer} watch --no-fds --port {other_port}",
    ),
    ("tracer, descriptors too", "{tracer} watch --port {port}"),
    (
        "tracer, stacks",
        "{tracer} watch --no-fds --port {port} --stacks",
    ),
    (
        "tracer, recording",
        "{tracer} watch --no-fds --port {port} --record /tmp/cost.arrows",
    ),
    (
        "tracer, flight recorder",
        "{tracer} watch --no-fds --port {port} --flight 5m --dump-dir /tmp/cost-dumps --on fd_leak",
    ),
    ("tcplife", "{peer} tcplife"),
    ("tcplife, by port", "{peer} tcplife -L {port}"),
    ("tcptracer", "{peer} tcptracer"),
    ("tcplife.bt", "{peer} bpftrace /usr/sbin/tcplife.bt"),
    ("strace", "{peer} strace -f -p {pid}"),
    (
        "lsof, each 10 ms",
        "{own} repeat 10 {peer} lsof -nP -iTCP:{port}",
    ),
];

/// The same of descriptors.
const OF_DESCRIPTORS: [(&str, &str); 12] = [
    ("floor", "{own} floor {programs} descriptors"),
    (
        "floor, another port",
        "{own} floor {programs} descriptors --port {other_port}",
    ),
    ("tracer, selected", "{tracer} watch --no-tcp --pid {pid}"),
    (STOPPED, "{tracer} watch --no-tcp --pid {pid}"),
    ("tracer, counted", "{tracer} watch --no-tcp"),
    (
        "tracer, another pid",
        "{tracer} watch --no-tcp --pid {other_pid}",
    ),
    (
        "tracer, stacks",
        "{tracer} watch --no-tcp --pid {pid} --stacks",
    ),
    (
        "tracer, recording",
        "{tracer} watch --no-tcp --pid {pid} --record /tmp/cost-fds.arrows",
    ),
    ("opensnoop", "{peer} opensnoop"),
    ("opensnoop, another pid", "{peer} opensnoop -p {other_pid}"),
    ("opensnoop.bt", "{peer} bpftrace /usr/sbin/opensnoop.bt"),
    ("strace", "{peer} strace -f -p {pid}"),
];

/// A program and how it is asked.
pub struct Watcher {
    pub name: String,
    pub subject: Subject,
    program: PathBuf,
    arguments: Vec<String>,
}

/// Where the programs are.
#[derive(clap::Args)]
pub struct Programs {
    /// The programs of the kernel that make the floor.
    #[arg(long, value_name = "FILE")]
    floor: PathBuf,
    /// The program.
    #[arg(long, value_name = "PROGRAM")]
    tracer: PathBuf,
    /// The root of a file system with tracer's peers; without it there are none.
    #[arg(long, value_name = "FOLDER")]
    peers: Option<PathBuf>,
}

impl Watcher {
    /// All of them.
    pub fn all(programs: &Programs) -> Result<Vec<Self>> {
        let of = |subject: Subject, lines: &[(&str, &str)]| {
            let watchers = lines.iter();
            let watchers = watchers.map(|(name, line)| Self::new(name, subject, line, programs));
            watchers.collect::<Result<Vec<_>>>()
        };
        let mut all = of(Subject::Connections, &OF_CONNECTIONS)?;
        all.extend(of(Subject::Descriptors, &OF_DESCRIPTORS)?);
        Ok(all)
    }

    /// One that is asked by this line.
    pub fn new(name: &str, subject: Subject, line: &str, programs: &Programs) -> Result<Self> {
        // One that is nowhere is absent.
        let peer = if programs.peers.is_some() {
            format!("chroot {PEERS}")
        } else {
            "absent".to_owned()
        };
        let known = [
            ("{own}", env::current_exe()?.display().to_string()),
            ("{tracer}", programs.tracer.display().to_string()),
            ("{programs}", programs.floor.display().to_string()),
            ("{peer}", peer),
            ("{pid}", std::process::id().to_string()),
            ("{other_pid}", OTHER_PID.to_owned()),
            ("{port}", PORT.to_string()),
            ("{other_port}", OTHER_PORT.to_string()),
        ];
        let fill = |line: String, (name, value): &(_, String)| line.replace(name, value);
        let line = known.iter().fold(line.to_owned(), fill);
        let mut words = line.split(' ');
        Ok(Self {
            name: name.to_owned(),
            subject,
            program: words.next().unwrap_or_default().into(),
            arguments: words.map(str::to_owned).collect(),
        })
    }

    /// Whether it is tracer, of whose end more is known than of its peers'.
    fn is_tracer(&self) -> bool {
        self.name.starts_with("tracer")
    }

    /// Has it watch some work; `None`, and a line that says so, where it is not installed or does not run
    /// here until the work is done.
    pub fn watch<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        if let Some(child) = self.start()? {
            let done = work()?;
            if self.end(child)? {
                return Ok(Some(done));
            }
        }
        println!("{}", json!({ "watcher": self.name, "absent": true }));
        Ok(None)
    }

    /// Starts it, and returns when it watches.
    fn start(&self) -> Result<Option<Child>> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        // As a reader that keeps up: what is printed costs its printing, not its showing.
        let output = File::create(OUTPUT)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = if self.is_tracer() {
            ready::start(&mut command).with_context(said)?
        } else {
            ready::spawn(&mut command)?.inspect(|_| thread::sleep(UNTIL_READY))
        };
        let Some(mut child) = child else {
            return Ok(None);
        };
        if self.has_ended(&mut child)? {
            return Ok(None);
        }
        if self.name == STOPPED {
            signal(&child, Signal::SIGSTOP)?;
        }
        Ok(Some(child))
    }

    /// Ends it as Ctrl-C does. False where it has ended before: then it has not watched all of it.
    fn end(&self, mut child: Child) -> Result<bool> {
        if self.has_ended(&mut child)? {
            return Ok(false);
        }
        signal(&child, Signal::SIGINT)?;
        signal(&child, Signal::SIGCONT)?;
        child.wait()?;
        Ok(true)
    }

    /// Whether it has ended by itself, which is said; tracer must not.
    fn has_ended(&self, child: &mut Child) -> Result<bool> {
        let Some(status) = child.try_wait()? else {
            return Ok(false);
        };
        let ended = format!("{} ended by itself, {status}: {}", self.name, said());
        ensure!(!self.is_tracer(), "{ended}");
        eprintln!("{ended}");
        Ok(true)
    }
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    Ok(kill(Pid::from_raw(child.id().cast_signed()), signal)?)
}

/// Lets peers find their own files below their root, and the kernel's beside them.
pub fn prepare_peers(programs: &Programs) -> Result<()> {
    let Some(peers) = &programs.peers else {
        return Ok(());
    };
    let bind = |from: &Path, to: &Path| {
        fs::create_dir_all(to)?;
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, None::<&str>, flags, None::<&str>)
            .with_context(|| format!("cannot mount {} to {}", from.display(), to.display()))
    };
    let root = Path::new(PEERS);
    bind(peers, root)?;
    for folder in ["proc", "sys", "dev"] {
        bind(&Path::new("/").join(folder), &root.join(folder))?;
    }
    Ok(())
}

/// What a watcher has printed.
pub fn said() -> String {
    fs::read_to_string(OUTPUT).unwrap_or_default()
}
