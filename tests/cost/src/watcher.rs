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
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{ready, workload::PORT};

/// A port that nobody uses.
const OTHER_PORT: u16 = 9;

/// A pid that nobody has.
const OTHER_PID: &str = "999999";

/// How long a watcher that does not tell when it is ready is given. With a clock that counts
/// instructions that is a fixed amount of work, and more than any of them needs.
const UNTIL_READY: Duration = Duration::from_secs(5);

/// Where what a watcher prints goes.
const OUTPUT: &str = "/tmp/cost-output";

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
}

/// Who watches connections: a name and a command line, with names in braces for what is only known where it
/// runs.
const OF_CONNECTIONS: [(&str, &str); 14] = [
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
    ("tcplife", "tcplife"),
    ("tcplife, by port", "tcplife -L {port}"),
    ("tcptracer", "tcptracer"),
    ("tcplife.bt", "tcplife.bt"),
    ("strace", "strace -f -p {pid}"),
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
    ("opensnoop", "opensnoop"),
    ("opensnoop, another pid", "opensnoop -p {other_pid}"),
    ("opensnoop.bt", "opensnoop.bt"),
    ("strace", "strace -f -p {pid}"),
];

/// A program and how it is asked.
pub struct Watcher {
    pub name: String,
    pub subject: Subject,
    program: PathBuf,
    arguments: Vec<String>,
}

impl Watcher {
    /// All of them. `floor` is what its reader loads, `tracer` the program.
    pub fn all(floor: &Path, tracer: &Path) -> Result<Vec<Self>> {
        let known = [
            ("{own}", env::current_exe()?.display().to_string()),
            ("{tracer}", tracer.display().to_string()),
            ("{programs}", floor.display().to_string()),
            ("{pid}", std::process::id().to_string()),
            ("{other_pid}", OTHER_PID.to_owned()),
            ("{port}", PORT.to_string()),
            ("{other_port}", OTHER_PORT.to_string()),
        ];
        let fill = |word: &str| {
            let filled = |word: String, (name, value): &(_, String)| word.replace(name, value);
            known.iter().fold(word.to_owned(), filled)
        };
        let watcher = |subject: Subject, (name, line): (&str, &str)| {
            let mut words = line.split(' ').map(fill);
            Self {
                name: name.to_owned(),
                subject,
                program: words.next().unwrap_or_default().into(),
                arguments: words.collect(),
            }
        };
        let connections = OF_CONNECTIONS.map(|line| watcher(Subject::Connections, line));
        let descriptors = OF_DESCRIPTORS.map(|line| watcher(Subject::Descriptors, line));
        Ok(connections.into_iter().chain(descriptors).collect())
    }

    /// Starts it, and returns when it watches; `None` where it is not installed.
    pub fn start(&self) -> Result<Option<Running>> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        // As a reader that keeps up: what is printed costs its printing, not its showing.
        let output = File::create(OUTPUT)?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = if self.name.starts_with("tracer") {
            ready::start(&mut command).with_context(said)?
        } else {
            ready::spawn(&mut command)?.inspect(|_| thread::sleep(UNTIL_READY))
        };
        let Some(child) = child else {
            return Ok(None);
        };
        let mut running = Running { child };
        running.must_live()?;
        if self.name == STOPPED {
            running.signal(Signal::SIGSTOP)?;
        }
        Ok(Some(running))
    }
}

/// What a watcher has printed.
fn said() -> String {
    fs::read_to_string(OUTPUT).unwrap_or_default()
}

/// A watcher that watches.
pub struct Running {
    child: Child,
}

impl Running {
    fn must_live(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(ended.is_none(), "a watcher ended: {}", said());
        Ok(())
    }

    /// Ends it as Ctrl-C does.
    pub fn end(mut self) -> Result<()> {
        self.signal(Signal::SIGINT)?;
        self.signal(Signal::SIGCONT)?;
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(self.child.id().cast_signed()), signal)?)
    }
}
