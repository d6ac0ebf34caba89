//! Runs a command as root under a chosen kernel, in a virtual machine that lives as long as the
//! command; it never gives the guest a network, nor write access to this machine's files.

mod cpio;
mod emulator;
mod initrd;
mod machine;
mod ports;
mod streams;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::setup::Kernel;

/// What the guest sees as its root file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Root {
    /// A small one in memory, with BusyBox as all its programs.
    #[default]
    Busybox,
    /// This machine's own files, read through virtiofs; writes stay in the guest's memory.
    Host,
}

/// How the guest's processors run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Pace {
    /// At the same time.
    #[default]
    AtOnce,
    /// In turn: slower, and safe for a kernel that changes its code under load. Otherwise one of them may
    /// go on executing, for ever, a breakpoint that another has taken out again.
    InTurn,
    /// There is one alone, and the guest's clock counts its instructions: slower still, and timings repeat
    /// exactly.
    Counted,
}

/// Where the command's stdout and stderr go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// To this process's own, as they come.
    Stream,
    /// Into [`Finished`].
    Capture,
}

/// A virtual machine to run one command in. Several may run at the same time.
#[derive(Clone, Debug)]
pub struct Vm {
    /// The kernel, by the first numbers of its version: `6.1`, or `7` for the newest.
    pub kernel: String,
    /// A folder whose content the guest gets as its working directory, `/work`. It is a copy:
    /// nothing of what the guest does to it comes back.
    pub folder: Option<PathBuf>,
    /// Where the files go that the command leaves in `/out`.
    pub out: Option<PathBuf>,
    /// The guest's memory, in MiB.
    pub memory_mib: u32,
    /// The guest's processors.
    pub cpus: u32,
    /// How they run.
    pub pace: Pace,
    /// More words for the kernel's command line.
    pub append: String,
    /// How long the whole run may take.
    pub timeout: Duration,
    /// The guest's root file system.
    pub root: Root,
    /// Whether tracefs and debugfs are mounted. Containers lack them, so the default is not.
    pub tracefs: bool,
    /// Whether the guest may be suspended to memory and woken, once; a word on its kernel's command line says
    /// so. It boots some seconds later.
    pub can_suspend: bool,
    /// Where the command's output goes.
    pub output: Output,
}

/// How a command ended that ran to its end in a virtual machine.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command's exit code; 128 and the signal's number where a signal ended it.
    pub code: i32,
    /// What it wrote to stdout, if that was captured.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, if that was captured.
    pub stderr: Vec<u8>,
    /// From the start until the command began.
    pub boot: Duration,
}

impl Vm {
    /// A machine of 1 GiB and two processors that shows its output and may take five minutes.
    pub fn new(kernel: impl Into<String>) -> Self {
        Self {
            kernel: kernel.into(),
            folder: None,
            out: None,
            memory_mib: 1024,
            cpus: 2,
            pace: Pace::default(),
            append: String::new(),
            timeout: Duration::from_mins(5),
            root: Root::Busybox,
            tracefs: false,
            can_suspend: false,
            output: Output::Stream,
        }
    }

    /// Boots, runs `command`, and returns how it ended. A single word is a line for the shell;
    /// several are a program and its arguments. Installs what is missing first. Fails when the
    /// kernel panics, when the time is up, and when the machine cannot be started; the error then
    /// shows the last lines of the kernel's console.
    pub fn run(&self, command: &[String]) -> Result<Finished> {
        let kernel = Kernel::with_prefix(&self.kernel)?;
        machine::run(self, &kernel, command)
    }
}
