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

use crate::workload::PORT;

/// A port that nobody uses.
const OTHER_PORT: u16 = 9;

/// A pid that nobody has.
const OTHER_PID: &str = "999999";

/// How long a watcher that does not tell when it is ready is given. With a clock that counts
/// instructions that is a fixed amount of work, and more than any of them needs.
const UNTIL_READY: Duration = Duration::from_secs(5);

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
        use Subject::{Connections, Descriptors};
        let own = env::current_exe()?;
        let (own, tracer) = (own.display(), tracer.display());
        let floor = floor.display();
        let pid = std::process::id();
        let lines = [
            (
                "floor",
                Connections,
                format!("{own} floor {floor} connections"),
            ),
            (
                "floor, another port",
                Connections,
                format!("{own} floor {floor} connections --port {OTHER_PORT}"),
            ),
            (
                "tracer",
                Connections,
                format!("{tracer} watch --no-fds --port {PORT}"),
            ),
            (
                STOPPED,
                Connections,
                format!("{tracer} watch --no-fds --port {PORT}"),
            ),
            (
                "tracer, another port",
                Connections,
                format!("{tracer} watch --no-fds --port {OTHER_PORT}"),
            ),
            (
                "tracer, descriptors too",
                Connections,
                format!("{tracer} watch --port {PORT}"),
            ),
            (
                "tracer, stacks",
                Connections,
                format!("{tracer} watch --no-fds --port {PORT} --stacks"),
            ),
            (
                "tracer, recording",
                Connections,
                format!("{tracer} watch --no-fds --port {PORT} --record /tmp/cost.arrows"),
            ),
            (
                "tracer, flight recorder",
                Connections,
                format!(
                    "{tracer} watch --no-fds --port {PORT} --flight 5m --dump-dir /tmp/cost-dumps --on fd_leak"
                ),
            ),
            ("tcplife", Connections, "tcplife".to_owned()),
            (
                "tcplife, by port",
                Connections,
                format!("tcplife -L {PORT}"),
            ),
            ("tcptracer", Connections, "tcptracer".to_owned()),
            ("tcplife.bt", Connections, "tcplife.bt".to_owned()),
            ("strace", Connections, format!("strace -f -p {pid}")),
            (
                "floor",
                Descriptors,
                format!("{own} floor {floor} descriptors"),
            ),
            (
                "floor, another port",
                Descriptors,
                format!("{own} floor {floor} descriptors --port {OTHER_PORT}"),
            ),
            (
                "tracer, selected",
                Descriptors,
                format!("{tracer} watch --no-tcp --pid {pid}"),
            ),
            (
                STOPPED,
                Descriptors,
                format!("{tracer} watch --no-tcp --pid {pid}"),
            ),
            (
                "tracer, counted",
                Descriptors,
                format!("{tracer} watch --no-tcp"),
            ),
            (
                "tracer, another pid",
                Descriptors,
                format!("{tracer} watch --no-tcp --pid {OTHER_PID}"),
            ),
            (
                "tracer, stacks",
                Descriptors,
                format!("{tracer} watch --no-tcp --pid {pid} --stacks"),
            ),
            (
                "tracer, recording",
                Descriptors,
                format!("{tracer} watch --no-tcp --pid {pid} --record /tmp/cost-fds.arrows"),
            ),
            ("opensnoop", Descriptors, "opensnoop".to_owned()),
            (
                "opensnoop, another pid",
                Descriptors,
                format!("opensnoop -p {OTHER_PID}"),
            ),
            ("opensnoop.bt", Descriptors, "opensnoop.bt".to_owned()),
            ("strace", Descriptors, format!("strace -f -p {pid}")),
        ];
        Ok(lines
            .into_iter()
            .map(|(name, subject, line)| {
                let mut words = line.split(' ').map(str::to_owned);
                Self {
                    name: name.to_owned(),
                    subject,
                    program: words.next().unwrap_or_default().into(),
                    arguments: words.collect(),
                }
            })
            .collect())
    }

    /// Starts it, and returns when it watches; `None` where it is not installed.
    pub fn start(&self) -> Result<Option<Running>> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        let ready = self.name.starts_with("tracer").then(|| {
            let path = PathBuf::from("/tmp/cost-ready");
            command.arg("--ready-file").arg(&path);
            path
        });
        // As a reader that keeps up: what is printed costs its printing, not its showing.
        let output = File::create("/tmp/cost-output")?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child.with_context(|| format!("cannot start {}", self.name))?,
        };
        let mut running = Running { child };
        match ready {
            Some(path) => {
                while !path.exists() {
                    running.must_live()?;
                    thread::sleep(Duration::from_millis(10));
                }
            }
            None => thread::sleep(UNTIL_READY),
        }
        running.must_live()?;
        if self.name == STOPPED {
            running.signal(Signal::SIGSTOP)?;
        }
        Ok(Some(running))
    }
}

/// A watcher that watches.
pub struct Running {
    child: Child,
}

impl Running {
    fn must_live(&mut self) -> Result<()> {
        let ended = self.child.try_wait()?;
        ensure!(
            ended.is_none(),
            "a watcher ended: {}",
            fs::read_to_string("/tmp/cost-output").unwrap_or_default()
        );
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
