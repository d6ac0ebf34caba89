//! Starts the emulator, passes on what the guest says and stops it; it never leaves a process or
//! a file behind, however the run ends.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::streams::Marked;
use super::{Finished, Output, Root, Vm, initrd};
use crate::command::last_lines;
use crate::setup::{self, Kernel};

/// How many of the console's lines an error shows.
const CONSOLE_LINES: usize = 30;

/// How often the emulator's start is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How long the emulator may take to open its ports.
const PORTS_TIMEOUT: Duration = Duration::from_secs(20);

/// A program that ends when this one does, however this one ends.
struct Dependent(Child);

impl Dependent {
    fn start(program: &Path, configure: impl FnOnce(&mut Command)) -> Result<Self> {
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .stdin(Stdio::null());
        configure(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {} by setpriv", program.display()))?;
        Ok(Self(child))
    }
}

impl Drop for Dependent {
    fn drop(&mut self) {
        // Both fail only where the program has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The ports between the guest and this program, by the names that the guest knows them by.
const PORTS: [&str; 4] = ["control", "stdout", "stderr", "files"];

/// What the threads that read the ports tell.
enum Event {
    /// The guest has booted and starts the command.
    Ready,
    /// The command ended.
    Exit(i32),
    /// A port's stream ended.
    Ended(Ended),
}

/// How the stream of a port ended.
struct Ended {
    port: &'static str,
    captured: Vec<u8>,
    whole: io::Result<bool>,
}

pub(super) fn run(vm: &Vm, kernel: &Kernel, command: &[String]) -> Result<Finished> {
    let began = Instant::now();
    let qemu = setup::qemu()?;
    let folder = tempfile::Builder::new().prefix("tracer-vm-").tempdir()?;
    let mark = mark()?;
    let archive = folder.path().join("initrd");
    initrd::write(&archive, vm, kernel, command, &mark)?;
    let share = (vm.root == Root::Host)
        .then(|| share_root(folder.path()))
        .transpose()?;
    let console = File::create_new(folder.path().join("console"))
        .and_then(|_| File::open(folder.path().join("console")))
        .context("cannot create the file for the guest's console")?;
    let listeners = listen(folder.path())?;
    let mut emulator = Dependent::start(&qemu, |command| {
        arguments(command, vm, kernel, folder.path());
    })?;
    let streams = accept(&listeners, &mut emulator)?;
    let (sender, events) = channel();
    let out = vm.out.as_deref();
    for (port, stream) in PORTS.into_iter().zip(streams) {
        read_port(port, stream, vm.output, out, &mark, sender.clone())?;
    }
    // Only the threads' senders count: when the last thread ends, so do the events.
    drop(sender);
    let mut running = Running {
        began,
        folder: Some(folder),
        console,
        emulator,
        share,
        events,
    };
    running.follow(vm.timeout)
}

/// A machine that was started.
struct Running {
    began: Instant,
    /// Deleted once the guest runs: it needs none of the files then, and this program may be
    /// killed at any time.
    folder: Option<TempDir>,
    console: File,
    emulator: Dependent,
    share: Option<Dependent>,
    events: Receiver<Event>,
}

impl Running {
    /// Waits for all that the guest has to say.
    fn follow(&mut self, timeout: Duration) -> Result<Finished> {
        let mut finished = None;
        let mut boot = None;
        let mut ended = Vec::new();
        while ended.len() < PORTS.len() {
            let left = timeout.saturating_sub(self.began.elapsed());
            match self.events.recv_timeout(left) {
                Ok(Event::Ready) => {
                    boot = Some(self.began.elapsed());
                    self.folder = None;
                }
                Ok(Event::Exit(code)) => finished = Some(code),
                Ok(Event::Ended(end)) => {
                    if let Err(error) = end.whole {
                        bail!(
                            "cannot pass on what the guest wrote to {}: {error}",
                            end.port
                        );
                    }
                    ended.push(end);
                }
                Err(RecvTimeoutError::Timeout) => {
                    let state = if boot.is_some() {
                        "the command ran"
                    } else {
                        "the guest booted"
                    };
                    bail!(
                        "time was up after {} s, while {state}; {}",
                        timeout.as_secs(),
                        self.console_end()
                    );
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.conclude(finished, boot, ended)
    }

    fn conclude(
        &mut self,
        code: Option<i32>,
        boot: Option<Duration>,
        ended: Vec<Ended>,
    ) -> Result<Finished> {
        let (Some(code), Some(boot)) = (code, boot) else {
            let console = self.console_end();
            let what = if console.contains("Kernel panic") {
                "panicked"
            } else {
                "stopped"
            };
            bail!("the guest {what} before the command ended; {console}");
        };
        let mut finished = Finished {
            code,
            stdout: Vec::new(),
            stderr: Vec::new(),
            boot,
        };
        for end in ended {
            match end.port {
                "stdout" => finished.stdout = end.captured,
                "stderr" => finished.stderr = end.captured,
                _ => {}
            }
        }
        Ok(finished)
    }

    /// The end of the kernel's log, as part of an error's sentence.
    fn console_end(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self
            .console
            .rewind()
            .and_then(|()| self.console.read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        match read {
            Ok(_) if text.trim().is_empty() => "the console is empty".to_owned(),
            Ok(_) => {
                format!(
                    "the console's last lines:\n{}",
                    last_lines(text.trim_end(), CONSOLE_LINES)
                )
            }
            Err(error) => format!("the console cannot be read: {error}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The emulator before the server of its files, or it complains.
        let _ = self.emulator.0.kill();
        self.share = None;
    }
}

/// Bytes that no command writes at its end by chance.
fn mark() -> Result<String> {
    let mut random = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

/// Starts the server through which the guest reads this machine's files.
fn share_root(folder: &Path) -> Result<Dependent> {
    let socket = folder.join("share");
    let log = File::create(folder.join("share.log"))?;
    let mut server = Dependent::start(&setup::virtiofsd()?, |command| {
        command
            .arg(format!("--socket-path={}", socket.display()))
            .args([
                "-o",
                "source=/",
                "-o",
                "cache=always",
                "-o",
                "sandbox=chroot",
            ])
            .stdout(Stdio::null())
            .stderr(log);
    })?;
    let began = Instant::now();
    while !socket.exists() {
        if server.0.try_wait()?.is_some() || began.elapsed() > PORTS_TIMEOUT {
            let log = fs::read_to_string(folder.join("share.log")).unwrap_or_default();
            bail!(
                "virtiofsd did not start; it said:\n{}",
                last_lines(&log, CONSOLE_LINES)
            );
        }
        thread::sleep(POLL);
    }
    Ok(server)
}

/// Sets the emulator's command line.
fn arguments(command: &mut Command, vm: &Vm, kernel: &Kernel, folder: &Path) {
    let memory = vm.memory_mib;
    let (accelerator, cpus) = if vm.counted_clock {
        ("tcg", 1)
    } else {
        ("tcg,thread=multi", vm.cpus)
    };
    command
        .args(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"])
        .args(["-machine", "q35,memory-backend=ram", "-accel", accelerator])
        // Some kernels panic at boot where the emulator claims these two features.
        .args(["-cpu", "max,-la57,-cx16"])
        .args(["-smp", &cpus.to_string()])
        .args(["-m", &format!("{memory}M")])
        // Shared memory is what virtiofs needs to work at all.
        .args(["-object", &format!("memory-backend-memfd,id=ram,size={memory}M,share=on")])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(folder.join("initrd"))
        .args(["-append", &kernel_arguments(vm)])
        .args(["-serial", &format!("file:{}", folder.join("console").display())])
        .args(["-device", "virtio-serial-pci"]);
    for port in PORTS {
        let path = folder.join(port);
        command
            .args([
                "-chardev",
                &format!("socket,id={port},path={}", path.display()),
            ])
            .args([
                "-device",
                &format!("virtserialport,chardev={port},name={port}"),
            ]);
    }
    if vm.counted_clock {
        command.args(["-icount", "shift=0,sleep=off"]);
    }
    if vm.root == Root::Host {
        let socket = folder.join("share");
        command
            .args([
                "-chardev",
                &format!("socket,id=share,path={}", socket.display()),
            ])
            .args(["-device", "vhost-user-fs-pci,chardev=share,tag=host"]);
    }
}

fn kernel_arguments(vm: &Vm) -> String {
    // An oops ends the run: a test that hurt the kernel must not pass.
    let base = "console=ttyS0 quiet panic=-1 oops=panic random.trust_cpu=on rdinit=/.vm/init";
    format!("{base} {}", vm.append).trim_end().to_owned()
}

fn listen(folder: &Path) -> Result<Vec<UnixListener>> {
    PORTS
        .iter()
        .map(|port| {
            let listener = UnixListener::bind(folder.join(port))?;
            // The emulator may die before it connects: waiting must be able to see that.
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
        .collect::<io::Result<_>>()
        .with_context(|| format!("cannot open the guest's ports in {}", folder.display()))
}

/// Waits until the emulator has opened all ports.
fn accept(listeners: &[UnixListener], emulator: &mut Dependent) -> Result<Vec<UnixStream>> {
    let began = Instant::now();
    let mut streams = Vec::new();
    while streams.len() < listeners.len() {
        match listeners[streams.len()].accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                streams.push(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if let Some(status) = emulator.0.try_wait()? {
                    bail!("the emulator ended at once ({status}); what it said stands above");
                }
                if began.elapsed() > PORTS_TIMEOUT {
                    bail!(
                        "the emulator did not open its ports in {} s",
                        PORTS_TIMEOUT.as_secs()
                    );
                }
                thread::sleep(POLL);
            }
            Err(error) => return Err(error).context("cannot open a port of the guest"),
        }
    }
    Ok(streams)
}

/// Reads a port in a thread of its own until it ends, and tells `events` what came.
fn read_port(
    port: &'static str,
    stream: UnixStream,
    output: Output,
    out: Option<&Path>,
    mark: &str,
    events: Sender<Event>,
) -> Result<()> {
    let marked = Marked::new(stream.try_clone()?, mark);
    let mut sink = Sink::new(port, output, out)?;
    thread::spawn(move || {
        let whole = if port == "control" {
            read_control(stream, &events)
        } else {
            sink.fill(marked)
        };
        // Nobody listens any more when the run was given up.
        let _ = events.send(Event::Ended(Ended {
            port,
            captured: sink.captured(),
            whole,
        }));
    });
    Ok(())
}

fn read_control(stream: UnixStream, events: &Sender<Event>) -> io::Result<bool> {
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let event = match line.split_once(' ') {
            Some(("exit", code)) => code.parse().ok().map(Event::Exit),
            _ => (line == "ready").then_some(Event::Ready),
        };
        let last = matches!(event, Some(Event::Exit(_)));
        if let Some(event) = event {
            let _ = events.send(event);
        }
        if last {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where a port's bytes go.
enum Sink {
    Memory(Vec<u8>),
    Stdout,
    Stderr,
    Unpacker(Child, Option<ChildStdin>),
    Nowhere,
}

impl Sink {
    fn new(port: &str, output: Output, out: Option<&Path>) -> Result<Self> {
        Ok(match (port, output, out) {
            ("stdout", Output::Stream, _) => Self::Stdout,
            ("stderr", Output::Stream, _) => Self::Stderr,
            ("stdout" | "stderr", Output::Capture, _) => Self::Memory(Vec::new()),
            ("files", _, Some(folder)) => Self::unpack_into(folder)?,
            _ => Self::Nowhere,
        })
    }

    fn unpack_into(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let mut unpacker = Command::new("tar")
            .args(["-x", "--no-same-owner", "-C"])
            .arg(folder)
            .stdin(Stdio::piped())
            .spawn()
            .context("cannot start tar to unpack the guest's files")?;
        let input = unpacker.stdin.take();
        Ok(Self::Unpacker(unpacker, input))
    }

    /// Takes all of a stream, and says whether it was whole.
    fn fill(&mut self, mut stream: Marked<UnixStream>) -> io::Result<bool> {
        while let Some(bytes) = stream.next()? {
            match self {
                Self::Memory(memory) => memory.extend(bytes),
                Self::Stdout => write_now(&mut io::stdout(), &bytes)?,
                Self::Stderr => write_now(&mut io::stderr(), &bytes)?,
                Self::Unpacker(_, Some(input)) => input.write_all(&bytes)?,
                Self::Unpacker(_, None) | Self::Nowhere => {}
            }
        }
        if let Self::Unpacker(unpacker, input) = self {
            drop(input.take());
            let status = unpacker.wait()?;
            if stream.is_whole() && !status.success() {
                return Err(io::Error::other(format!("tar ended with {status}")));
            }
        }
        Ok(stream.is_whole())
    }

    fn captured(self) -> Vec<u8> {
        match self {
            Self::Memory(memory) => memory,
            _ => Vec::new(),
        }
    }
}

fn write_now(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}
