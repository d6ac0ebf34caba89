//! The ports between the guest and this program: one stream each way out for stdout, stderr, the
//! files and the control words; it never lets a slow reader lose bytes.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::streams::Marked;
use super::{Output, Vm};

/// The names that the guest knows the ports by, which are also those of the sockets.
pub const NAMES: [&str; 4] = ["control", "stdout", "stderr", "files"];

/// How often a port that is not open yet is looked at.
const POLL: Duration = Duration::from_millis(5);

/// How long the emulator may take to open the ports.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the guest tells.
pub enum Event {
    /// It has booted and starts the command.
    Ready,
    /// The command ended with this exit code.
    Exit(i32),
    /// The stream of a port ended.
    Ended(Ended),
}

/// How the stream of a port ended.
pub struct Ended {
    /// The port's name.
    pub port: &'static str,
    /// What came, if it was to be kept in memory.
    pub captured: Vec<u8>,
    /// What went wrong with passing the stream on.
    pub result: io::Result<()>,
}

/// Ports that nobody has opened yet.
pub struct Ports(Vec<UnixListener>);

impl Ports {
    /// Makes the ports' sockets in `folder`.
    pub fn listen(folder: &Path) -> Result<Self> {
        let listeners = NAMES.iter().map(|name| {
            let listener = UnixListener::bind(folder.join(name))?;
            // The emulator may die before it connects, and waiting must be able to see that.
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        let listeners = listeners
            .collect::<io::Result<_>>()
            .with_context(|| format!("cannot make the guest's ports in {}", folder.display()))?;
        Ok(Self(listeners))
    }

    /// Waits until `emulator` has opened all ports, then reads each in a thread of its own. The
    /// events end when all streams have. Fails when the emulator ends first.
    pub fn read(self, vm: &Vm, mark: &str, emulator: &mut Child) -> Result<Receiver<Event>> {
        let (sender, events) = channel();
        for (port, listener) in NAMES.into_iter().zip(&self.0) {
            let stream = accept(listener, emulator)?;
            let events = sender.clone();
            if port == NAMES[0] {
                thread::spawn(move || read_control(port, stream, &events));
            } else {
                let sink = Sink::new(port, vm);
                let stream = Marked::new(stream, mark);
                thread::spawn(move || read_stream(port, stream, sink, &events));
            }
        }
        Ok(events)
    }
}

fn accept(listener: &UnixListener, emulator: &mut Child) -> Result<UnixStream> {
    let began = Instant::now();
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot open a port of the guest"),
        }
        if let Some(status) = emulator.try_wait()? {
            bail!("the emulator ended at once ({status}); what it said stands above");
        }
        if began.elapsed() > TIMEOUT {
            bail!("the emulator opened no port in {} s", TIMEOUT.as_secs());
        }
        thread::sleep(POLL);
    }
}

/// Turns the guest's words into events, up to the command's exit code.
fn read_control(port: &'static str, stream: UnixStream, events: &Sender<Event>) {
    let mut result = Ok(());
    for line in BufReader::new(stream).lines() {
        let event = match line.as_deref().map(str::trim) {
            Ok("ready") => Event::Ready,
            Ok(line) => match line.strip_prefix("exit ").map(str::parse) {
                Some(Ok(code)) => Event::Exit(code),
                _ => continue,
            },
            Err(error) => {
                result = Err(io::Error::from(error.kind()));
                break;
            }
        };
        let last = matches!(event, Event::Exit(_));
        // Nobody listens any more when the run was given up.
        let _ = events.send(event);
        if last {
            break;
        }
    }
    let _ = events.send(Event::Ended(Ended {
        port,
        captured: Vec::new(),
        result,
    }));
}

fn read_stream(
    port: &'static str,
    stream: Marked<UnixStream>,
    mut sink: Sink,
    events: &Sender<Event>,
) {
    let result = sink.fill(stream);
    let captured = sink.captured();
    let _ = events.send(Event::Ended(Ended {
        port,
        captured,
        result,
    }));
}

/// Where a port's bytes go.
enum Sink {
    Memory(Vec<u8>),
    Stdout,
    Stderr,
    Folder(PathBuf, Option<Unpacker>),
    Nowhere,
}

impl Sink {
    fn new(port: &str, vm: &Vm) -> Self {
        match (port, vm.output, &vm.out) {
            ("stdout", Output::Stream, _) => Self::Stdout,
            ("stderr", Output::Stream, _) => Self::Stderr,
            ("stdout" | "stderr", Output::Capture, _) => Self::Memory(Vec::new()),
            (_, _, Some(folder)) => Self::Folder(folder.clone(), None),
            _ => Self::Nowhere,
        }
    }

    /// Takes all of a stream. One that was cut off is the guest's end, which is told elsewhere.
    fn fill(&mut self, mut stream: Marked<UnixStream>) -> io::Result<()> {
        while let Some(bytes) = stream.next()? {
            self.take(&bytes)?;
        }
        match self {
            Self::Folder(_, unpacker) => unpacker.take().map_or(Ok(()), Unpacker::finish),
            _ => Ok(()),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(memory) => memory.extend(bytes),
            Self::Stdout => write_now(&mut io::stdout(), bytes)?,
            Self::Stderr => write_now(&mut io::stderr(), bytes)?,
            Self::Folder(_, Some(unpacker)) => unpacker.input.write_all(bytes)?,
            Self::Folder(folder, unpacker) => {
                unpacker
                    .insert(Unpacker::start(folder)?)
                    .input
                    .write_all(bytes)?;
            }
            Self::Nowhere => {}
        }
        Ok(())
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

/// The program that unpacks the guest's files as they come.
struct Unpacker {
    child: Child,
    input: ChildStdin,
}

impl Unpacker {
    fn start(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut child = Command::new("tar")
            .args(["-x", "--no-same-owner", "-C"])
            .arg(folder)
            .stdin(Stdio::piped())
            .spawn()?;
        let input = child
            .stdin
            .take()
            .ok_or_else(|| io::Error::other("tar has no stdin"))?;
        Ok(Self { child, input })
    }

    fn finish(mut self) -> io::Result<()> {
        drop(self.input);
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!(
                "tar could not unpack the files ({status})"
            )))
        }
    }
}
