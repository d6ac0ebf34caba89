//! Boots the guest, follows the command to its end and stops the machine; it never leaves a file
//! behind.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::emulator::{self, Emulator};
use super::ports::{self, Ended, Event, Ports};
use super::{Finished, Vm, initrd};
use crate::command::last_lines;
use crate::setup::Kernel;

/// How many of the console's lines an error shows.
const CONSOLE_LINES: usize = 30;

/// How long a boot may take. On a busy machine, seconds become tens of them.
const BOOT_TIMEOUT: Duration = Duration::from_mins(1);

/// How often a boot is tried. Emulated processors now and then hang or fault in a kernel's first
/// moments; nothing of the command has run then, so trying again hides no failure of it.
const BOOTS: u32 = 3;

/// Runs `command` in a new machine.
pub fn run(vm: &Vm, kernel: &Kernel, command: &[String]) -> Result<Finished> {
    let began = Instant::now();
    for left in (0..BOOTS).rev() {
        let mut machine = Machine::start(vm, kernel, command)?;
        match machine.boot(vm.timeout.min(BOOT_TIMEOUT)) {
            Ok(()) => return machine.follow(vm.timeout, began.elapsed()),
            Err(error) if left == 0 => return Err(error),
            Err(error) => eprintln!("      ... booting kernel {} again: {error:#}", vm.kernel),
        }
    }
    bail!("the guest was not booted")
}

/// A machine that was started.
struct Machine {
    began: Instant,
    /// Deleted once the guest runs: it needs none of the files then, and this program may be
    /// killed at any time.
    folder: Option<TempDir>,
    console: File,
    events: Receiver<Event>,
    _emulator: Emulator,
}

impl Machine {
    fn start(vm: &Vm, kernel: &Kernel, command: &[String]) -> Result<Self> {
        let began = Instant::now();
        let folder = tempfile::Builder::new().prefix("tracer-vm-").tempdir()?;
        let mark = mark()?;
        initrd::write(&emulator::initrd(folder.path()), vm, kernel, command, &mark)?;
        let console = emulator::console(folder.path());
        let console = File::create_new(&console)
            .and_then(|_| File::open(&console))
            .context("cannot create the file for the guest's console")?;
        let ports = Ports::listen(folder.path())?;
        let mut emulator = Emulator::start(vm, kernel, folder.path())?;
        let events = ports.read(vm, &mark, emulator.child())?;
        Ok(Self {
            began,
            folder: Some(folder),
            console,
            events,
            _emulator: emulator,
        })
    }

    /// Waits until the command begins.
    fn boot(&mut self, timeout: Duration) -> Result<()> {
        loop {
            let left = timeout.saturating_sub(self.began.elapsed());
            match self.events.recv_timeout(left) {
                Ok(Event::Ready) => {
                    self.folder = None;
                    return Ok(());
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the guest stopped while it booted; {}", self.console_end())
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("it took longer than {timeout:?}; {}", self.console_end())
                }
            }
        }
    }

    /// Waits for all that the guest has to say.
    fn follow(&mut self, timeout: Duration, boot: Duration) -> Result<Finished> {
        let mut code = None;
        let mut ended = Vec::new();
        while ended.len() < ports::NAMES.len() {
            match self
                .events
                .recv_timeout(timeout.saturating_sub(self.began.elapsed()))
            {
                Ok(Event::Exit(exit)) => code = Some(exit),
                Ok(Event::Ended(end)) => ended.push(checked(end)?),
                Ok(Event::Ready) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    bail!(
                        "the command ran longer than {timeout:?}; {}",
                        self.console_end()
                    )
                }
            }
        }
        let Some(code) = code else {
            bail!(
                "the guest stopped before the command ended; {}",
                self.console_end()
            );
        };
        let mut captured = |port| {
            let end = ended.iter_mut().find(|end| end.port == port);
            end.map(|end| std::mem::take(&mut end.captured))
                .unwrap_or_default()
        };
        Ok(Finished {
            code,
            stdout: captured("stdout"),
            stderr: captured("stderr"),
            boot,
        })
    }

    /// The end of the kernel's log, as part of an error's sentence.
    fn console_end(&mut self) -> String {
        let mut bytes = Vec::new();
        let rewound = self.console.rewind();
        if let Err(error) = rewound.and_then(|()| self.console.read_to_end(&mut bytes)) {
            return format!("its console cannot be read: {error}");
        }
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        match panic_in(&text) {
            Some(panic) => format!("its kernel panicked:\n{panic}"),
            None if text.trim().is_empty() => "its console is empty".to_owned(),
            None => {
                let last = last_lines(text.trim_end(), CONSOLE_LINES);
                format!("its console's last lines:\n{last}")
            }
        }
    }
}

/// A stream that was passed on without an error.
fn checked(end: Ended) -> Result<Ended> {
    match end.result {
        Ok(()) => Ok(Ended {
            result: Ok(()),
            ..end
        }),
        Err(error) => Err(error)
            .with_context(|| format!("cannot pass on what the guest wrote to {}", end.port)),
    }
}

/// The part of a console's text that tells of a kernel panic, and what led to it.
fn panic_in(console: &str) -> Option<String> {
    let lines: Vec<&str> = console.lines().collect();
    let panic = lines
        .iter()
        .position(|line| line.contains("Kernel panic"))?;
    let from = panic.saturating_sub(CONSOLE_LINES / 2);
    let to = lines.len().min(from + CONSOLE_LINES);
    Some(lines[from..to].join("\n"))
}

/// Bytes that no command writes at its end by chance.
fn mark() -> Result<String> {
    let mut random = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random))?;
    Ok(format!("{:032x}", u128::from_ne_bytes(random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_shown_with_what_led_to_it() {
        let before = "line\n".repeat(100);
        let shown = panic_in(&format!(
            "{before}BUG: x\nKernel panic - not syncing\nafter\n"
        ));
        let shown = shown.unwrap();
        assert!(
            shown.contains("BUG: x\nKernel panic - not syncing\nafter"),
            "{shown}"
        );
        assert!(shown.lines().count() <= CONSOLE_LINES);
        assert_eq!(panic_in("all is well\n"), None);
    }

    #[test]
    fn no_two_marks_are_the_same() {
        assert_ne!(mark().unwrap(), mark().unwrap());
    }
}
