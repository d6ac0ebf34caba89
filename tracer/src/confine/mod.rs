//! Gives up the rights that a watch no longer needs once its hooks are attached, each thread for itself;
//! never ends a watch because the kernel cannot take one back.
//!
//! What runs in one process shares its memory, so what a thread keeps must not be of use to another: the
//! one that may look at other processes can write no file, and those that write files can look at no
//! process. Nobody can start a program, trace another, or load something into the kernel.
//!
//! Before that, [`where_no_file_opens`] keeps a library from a file that it would read in vain.

mod capabilities;
mod files;
mod syscalls;

use std::{
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use rustix::thread::CapabilitySet;

pub use capabilities::is_enough;
pub use files::{Place, Strictness};

/// What a thread goes on to do, which decides what it keeps.
#[derive(Clone, Debug)]
pub enum Duty {
    /// Copies, or answers clients: it keeps nothing.
    Plain,
    /// Looks at other processes, with these capabilities. Landlock would hide all of them from it, so
    /// system calls that write files are what it is refused instead.
    Looks(CapabilitySet),
    /// Writes files in these places, with these capabilities.
    Writes(Vec<Place>, CapabilitySet),
}

/// The threads of a watch, which are confined one by one.
pub struct Confinement {
    is_wanted: bool,
    /// Dropped by each thread once it is confined, or cannot be.
    pending: Sender<()>,
    confined: Receiver<()>,
}

impl Confinement {
    /// For the threads of one watch; without effect where that is not wanted.
    #[must_use]
    pub fn new(is_wanted: bool) -> Self {
        let (pending, confined) = channel();
        Self {
            is_wanted,
            pending,
            confined,
        }
    }

    /// What a thread with this duty has to do first.
    pub fn of(&self, duty: Duty) -> impl FnOnce() + Send + 'static {
        let (is_wanted, pending) = (self.is_wanted, self.pending.clone());
        move || {
            if is_wanted {
                confine(&duty);
            }
            drop(pending);
        }
    }

    /// Confines this thread, unless it has no such duty, and waits until all others are confined, too.
    pub fn finish(self, duty: impl FnOnce() -> Option<Duty>) {
        if !self.is_wanted {
            return;
        }
        if let Some(duty) = duty() {
            confine(&duty);
        }
        drop(self.pending);
        // Nobody ever sends: this ends when the last thread has dropped its end.
        let _ = self.confined.recv();
        log::info!("rights that are no longer needed were given up");
    }
}

/// Confines this thread. What cannot be given up is kept, and logged.
fn confine(duty: &Duty) {
    let (capabilities, places) = match duty {
        Duty::Plain => (CapabilitySet::empty(), Some(&[][..])),
        Duty::Looks(capabilities) => (*capabilities, None),
        Duty::Writes(places, capabilities) => (*capabilities, Some(&**places)),
    };
    let may_write = matches!(duty, Duty::Writes(..));
    told("capabilities", capabilities::keep(capabilities));
    // Each of the two asks for no_new_privs, too.
    let written = places.map_or(Ok(Strictness::Full), files::write_only_to);
    told("files that it may write (Landlock)", written);
    told("system calls (seccomp)", syscalls::refuse(may_write));
}

fn told<T>(what: &str, outcome: Result<T, String>) {
    if let Err(why) = outcome {
        let thread = thread::current();
        let name = thread.name().unwrap_or_default();
        log::debug!("thread {name} keeps all its {what}: {why}");
    }
}

/// What `make` gives in a thread that can open no file, for what would read one that nobody wants. Where
/// there is no such thread, or the kernel cannot refuse that, it opens them as ever.
pub fn where_no_file_opens<T: Send>(make: impl Fn() -> T + Sync) -> T {
    let confined = || {
        told("files open", syscalls::refuse_to_open());
        make()
    };
    thread::scope(|scope| {
        let spawned = thread::Builder::new().spawn_scoped(scope, confined);
        spawned.ok()?.join().ok()
    })
    .unwrap_or_else(make)
}

/// What this kernel takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offers {
    /// System calls, by seccomp; or why not.
    pub syscalls: Result<(), String>,
    /// The right to write files, by Landlock; or why not.
    pub files: Result<Strictness, String>,
}

/// Tries it out, in a thread that ends with that.
#[must_use]
pub fn offers() -> Offers {
    let trial = || Offers {
        files: files::write_only_to(&[]),
        syscalls: syscalls::refuse(false),
    };
    thread::spawn(trial).join().unwrap_or_else(|_| {
        let failed = "it could not be tried".to_owned();
        Offers {
            syscalls: Err(failed.clone()),
            files: Err(failed),
        }
    })
}

#[cfg(test)]
mod tests;
