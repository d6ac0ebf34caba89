//! The two programs that the tests run, tracer and the workloads, and the handshakes with them;
//! nothing here waits for a time, only for lines and ends, with a generous limit.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, getuid, kill_process};
use serde_json::Value;

use crate::run::Run;

/// How long anything may take: an emulated machine beside others is slow.
const LIMIT: Duration = Duration::from_mins(3);

/// How often is looked for what nobody announces.
const POLL: Duration = Duration::from_millis(50);

/// Looks for what nobody announces until it is there.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        ensure!(began.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        thread::park_timeout(POLL);
    }
}

pub fn tracer() -> OsString {
    env::var_os("TRACER").unwrap_or_else(|| "./tracer".into())
}

pub fn workload() -> OsString {
    env::var_os("WORKLOAD").unwrap_or_else(|| "./workload".into())
}

/// Whether both programs are there, and this is root as in a machine of the test's own.
pub fn are_here() -> bool {
    getuid().is_root()
        && [tracer(), workload()]
            .iter()
            .all(|path| Path::new(path).is_file())
}

/// All that the programs of one run print, in the order that it came.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    fn line(&self, who: &str, line: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a string does not fail.
        let _ = writeln!(text, "{who}: {line}");
    }

    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// A program that runs; it is killed when dropped.
struct Running {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    followers: Vec<JoinHandle<()>>,
    log: Log,
}

impl Running {
    fn start(command: &mut Command, name: &str, log: &Log) -> Result<Self> {
        log.line(name, &format!("{command:?}"));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        let (sender, lines) = channel();
        let mut followers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // Nobody takes the lines of a program that is to be killed.
            let pass = move |line| drop(sender.send(line));
            followers.push(follow(stdout, name.to_owned(), log.clone(), pass));
        }
        if let Some(stderr) = child.stderr.take() {
            let name = format!("{name} (stderr)");
            followers.push(follow(stderr, name, log.clone(), drop));
        }
        Ok(Self {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            child,
            lines,
            followers,
            log: log.clone(),
        })
    }

    /// The next line of its standard output; `None` once that is closed.
    fn line(&self) -> Result<Option<String>> {
        match self.lines.recv_timeout(LIMIT) {
            Ok(line) => Ok(Some(line)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{} said nothing for {LIMIT:?}", self.name)
            }
        }
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().cast_signed()).context("no pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that ended by itself, and not well, is often why a test fails.
        if let Ok(Some(status)) = self.child.try_wait()
            && !status.success()
        {
            self.log.line(&self.name, &format!("ended with {status}"));
        }
        // It may have ended by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The next program inherits, and at its exec closes, what is still open here.
        for follower in self.followers.drain(..) {
            let _ = follower.join();
        }
    }
}

/// Passes on each line that comes out of a pipe, in a thread that ends with the pipe.
fn follow(
    pipe: impl Read + Send + 'static,
    name: String,
    log: Log,
    each: impl Fn(String) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            log.line(&name, &line);
            each(line);
        }
    })
}

/// A workload.
pub struct Workload(Running);

impl Workload {
    /// Starts one that goes on by itself, and waits until it is ready. `words` are its command line,
    /// separated by spaces.
    pub fn start(log: &Log, words: &str) -> Result<Self> {
        let mut started = Self::launch(log, words)?;
        started.until("ready")?;
        Ok(started)
    }

    /// Starts one that waits at each step for [`Self::go`], and waits until it is ready.
    pub fn stepwise(log: &Log, words: &str) -> Result<Self> {
        Self::start(log, &format!("--step {words}"))
    }

    /// Starts one by this command, and waits until it is ready.
    pub fn of_command(log: &Log, mut command: Command, name: &str) -> Result<Self> {
        let name = format!("workload {name}");
        let mut started = Running::start(&mut command, &name, log).map(Self)?;
        started.until("ready")?;
        Ok(started)
    }

    fn launch(log: &Log, words: &str) -> Result<Self> {
        let part = words
            .split(' ')
            .find(|word| !word.starts_with("--"))
            .unwrap_or_default();
        let mut command = Command::new(workload());
        Running::start(
            command.args(words.split(' ')),
            &format!("workload {part}"),
            log,
        )
        .map(Self)
    }

    pub fn pid(&self) -> u32 {
        self.0.child.id()
    }

    /// Lets it take its next step.
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.0.stdin.as_mut().context("no pipe to the workload")?;
        writeln!(stdin).with_context(|| format!("{} has ended", self.0.name))
    }

    /// Waits until it has come to a step, and gives what it tells there.
    pub fn until(&mut self, step: &str) -> Result<Value> {
        while let Some(line) = self.0.line()? {
            let told: Value = serde_json::from_str(&line)?;
            if told["at"] == step {
                return Ok(told);
            }
        }
        bail!("{} ended before it was {step}", self.0.name)
    }

    /// Lets it go on from `ready` to `done`, where it waits again, alive.
    pub fn act(&mut self) -> Result<Value> {
        self.go()?;
        self.until("done")
    }

    /// Runs one that takes no steps to its end; gives the pid that it had.
    pub fn run_to_end(log: &Log, words: &str) -> Result<u32> {
        let mut started = Self::launch(log, words)?;
        while started.0.line()?.is_some() {}
        let status = started.0.child.wait()?;
        ensure!(status.success(), "{} ended with {status}", started.0.name);
        Ok(started.pid())
    }

    /// Lets it go on to its end.
    pub fn end(mut self) -> Result<()> {
        self.go()?;
        while self.0.line()?.is_some() {}
        let status = self.0.child.wait()?;
        ensure!(status.success(), "{} ended with {status}", self.0.name);
        Ok(())
    }
}

/// Runs a workload from its begin to its end; gives its pid and what it had done.
pub fn run_workload(log: &Log, words: &str) -> Result<(u32, Value)> {
    let mut workload = Workload::stepwise(log, words)?;
    let done = workload.act()?;
    let pid = workload.pid();
    workload.end()?;
    Ok((pid, done))
}

/// tracer while it watches.
pub struct Tracer {
    running: Running,
    lines: Vec<String>,
}

impl Tracer {
    /// Starts `tracer watch --format json` with more `words`, and waits until every hook is
    /// attached, which is when it prints its first line.
    pub fn watch(log: &Log, words: &str) -> Result<Self> {
        let mut started = Self::launch(log, &format!("watch --format json {words}"))?;
        started.until_first_line()?;
        Ok(started)
    }

    /// Starts one by this command that prints lines, and waits until every hook is attached.
    pub fn until_it_watches(log: &Log, command: Command) -> Result<Self> {
        let mut started = Self::of_command(log, command)?;
        started.until_first_line()?;
        Ok(started)
    }

    fn until_first_line(&mut self) -> Result<()> {
        let first = self.running.line()?;
        self.lines
            .push(first.context("tracer ended before it watched")?);
        Ok(())
    }

    /// Starts `tracer` with `words` and waits until it creates its ready file.
    pub fn until_ready_file(log: &Log, words: &str) -> Result<Self> {
        let path = format!("/tmp/ready-{}", std::process::id());
        if Path::new(&path).exists() {
            // That of the run before.
            fs::remove_file(&path)?;
        }
        let started = Self::launch(log, &format!("{words} --ready-file {path}"))?;
        wait_for("tracer's ready file", || {
            Ok(Path::new(&path).exists().then_some(()))
        })?;
        let pid = fs::read_to_string(&path)?;
        ensure!(
            pid == format!("{}\n", started.running.child.id()),
            "not tracer's pid: {pid}"
        );
        Ok(started)
    }

    /// Starts it without waiting for anything.
    pub fn launch(log: &Log, words: &str) -> Result<Self> {
        let mut command = Command::new(tracer());
        command.args(words.split_whitespace());
        Self::of_command(log, command)
    }

    /// Starts one by this command, without waiting for anything.
    pub fn of_command(log: &Log, mut command: Command) -> Result<Self> {
        let running = Running::start(&mut command, "tracer", log)?;
        Ok(Self {
            running,
            lines: Vec::new(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.running.child.id()
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.running.signal(signal)
    }

    /// Waits until it tells such a verdict.
    pub fn until_verdict(&mut self, is_it: impl Fn(&Value) -> bool) -> Result<()> {
        while let Some(line) = self.running.line()? {
            let told: Value = serde_json::from_str(&line)?;
            self.lines.push(line);
            if told["type"] == "verdict" && is_it(&told) {
                return Ok(());
            }
        }
        bail!("tracer ended before it told the verdict")
    }

    /// Waits until it tells that this process flaps.
    pub fn until_flapping(&mut self, pid: u32) -> Result<()> {
        self.until_verdict(|told| told["verdict"] == "flapping" && told["pid"] == pid)
    }

    /// Ends it as Ctrl-C does, and gives all that it printed.
    pub fn interrupt(self) -> Result<Run> {
        self.signal(Signal::INT)?;
        self.end()
    }

    /// Waits until it has ended by itself, and gives all that it printed.
    pub fn end(mut self) -> Result<Run> {
        while let Some(line) = self.running.line()? {
            self.lines.push(line);
        }
        let code = self.running.child.wait()?.code();
        Ok(Run::new(self.lines, code, self.running.log.clone()))
    }
}
