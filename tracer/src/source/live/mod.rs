//! The running kernel as a source: loads the BPF object, attaches it, drains its ring buffer and
//! reads its counters. Never looks anything up on the host.

mod attach;
mod btf;
mod check;
mod error;
mod hooks;
mod kernel;
mod maps;
mod offsets;
mod ring;
mod switches;

pub use attach::{Method, Options};
pub use error::AttachError;
pub use hooks::{HOOKS, Hook};
pub use maps::{ProcessTable, StackTable};
pub use ring::{Batch, Drain};
pub use switches::FTRACE;

use std::{collections::HashSet, sync::Arc};

use anyhow::Result;
use aya::Ebpf;

use attach::AttachedProgram;
use switches::Switches;

use crate::model::{HookState, Losses, Nanos, Pid, StackId};

/// The attached programs. Dropping it detaches them.
pub struct Live {
    /// Holds the links; `None` once detached.
    ebpf: Option<Ebpf>,
    attached: Vec<AttachedProgram>,
    /// Runs that the kernel skipped, when that was last read.
    kernel_skipped: u64,
    switches: Switches,
    hooks: Vec<HookState>,
    stats: maps::StatsTable,
    processes: Arc<ProcessTable>,
    ended: maps::EndedTable,
    stack_room: maps::StackRoom,
    stacks: Option<StackTable>,
}

impl Live {
    /// Loads and attaches everything that this kernel lets us attach, and starts draining the ring
    /// buffer into the returned [`Drain`]. Fails, with what is missing and what to do, where
    /// nothing useful can be attached. `clock` is that of the events; the thread that drains does
    /// `first` what it is given.
    pub fn start(
        options: &Options,
        clock: fn() -> Nanos,
        first: impl FnOnce() + Send + 'static,
    ) -> Result<(Self, Drain), AttachError> {
        let mut loaded = attach::load(options)?;
        give_memory_back();
        let ring = maps::take_ring(&mut loaded.ebpf)?;
        let stats = maps::StatsTable::take(&mut loaded.ebpf)?;
        let ended = maps::EndedTable::open(&loaded.ebpf)?;
        let mut processes = ProcessTable::take(&mut loaded.ebpf)?;
        let stack_room = maps::StackRoom::open(&loaded.ebpf)?;
        let stacks = StackTable::take(&mut loaded.ebpf)?;
        // Until the last hook was there, some of what these count was seen and some was not.
        processes.clear();
        let drain = Drain::start(ring, clock, first).map_err(AttachError::Ring)?;
        Ok((
            Self {
                ebpf: Some(loaded.ebpf),
                attached: loaded.programs,
                kernel_skipped: 0,
                switches: Switches::of(&loaded.hooks),
                hooks: loaded.hooks,
                stats,
                processes: Arc::new(processes),
                ended,
                stack_room,
                stacks: Some(stacks),
            },
            drain,
        ))
    }

    /// Each hook and how it is attached.
    pub fn hooks(&self) -> &[HookState] {
        &self.hooks
    }

    /// The kernel half's own log, for [`log`]; `None` (with a message) where it cannot be read.
    pub fn logger(&mut self) -> Option<aya_log::EbpfLogger<&'static dyn log::Log>> {
        aya_log::EbpfLogger::init(self.ebpf.as_mut()?)
            .inspect_err(|error| log::warn!("the BPF programs' own log cannot be read: {error}"))
            .ok()
    }

    /// Detaches every hook: from now on the counters stand still.
    pub fn detach(&mut self) {
        self.ebpf = None;
    }

    /// The exact totals of each process, which other threads may read too.
    pub fn processes(&self) -> Arc<ProcessTable> {
        Arc::clone(&self.processes)
    }

    /// Makes room for others in place of processes whose end could not be told, once their totals have
    /// arrived.
    pub fn forget_ended(&mut self, ended: &[Pid]) {
        self.ended.forget(ended);
    }

    /// The user stacks, for whoever takes them first; none where they are not asked for.
    pub fn take_stacks(&mut self) -> Option<StackTable> {
        self.stacks.take()
    }

    /// Takes the stacks out of their table that are in no place in use; gives their places.
    pub fn free_stacks(&mut self, in_use: &HashSet<StackId>) -> Vec<StackId> {
        self.stack_room.free(in_use)
    }

    /// Reads how many runs of hooks the kernel skipped so far. It puts that into text for each hook, so it
    /// is not for every tick.
    pub fn read_skipped(&mut self) {
        let skipped = self.attached.iter().map(AttachedProgram::skipped_runs);
        self.kernel_skipped = skipped.sum();
    }

    /// Looks whether somebody has switched hooks off that are attached.
    pub fn look_at_switches(&mut self, now: Nanos) {
        self.switches.look(now);
    }

    /// What became of all events so far, but for what only the collector knows; of what the kernel
    /// skipped, as that was last read.
    pub fn losses(&self) -> Result<Losses> {
        Ok(Losses {
            by_kind: self.stats.read()?,
            kernel_skipped: self.kernel_skipped,
            hooks_off_ms: self.switches.off_ms(),
            ..Losses::default()
        })
    }
}

/// Attaching takes much memory for a moment, most of it for the kernel's types, which the allocator would
/// keep for the months of a watch.
fn give_memory_back() {
    // SAFETY: it touches nothing but memory that is not in use.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}
