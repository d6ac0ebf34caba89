//! Has the kernel check programs before they are attached, in a thread of its own: a check takes the
//! processor, while to attach one is mostly to wait. Never attaches a program.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::mpsc::{Receiver, channel},
    thread,
};

use aya::{
    Ebpf,
    programs::{Program, ProgramError},
};

use super::kernel::Kernel;

/// What came of a check.
type Outcome<'e> = (&'e mut Program, Result<(), ProgramError>);

/// The programs of an opened object, each to be taken once.
pub(super) struct Checks<'e> {
    kernel: &'e Kernel,
    /// The names of those that are checked ahead, in that order, and what comes of them.
    ahead: VecDeque<&'static str>,
    outcomes: Receiver<Outcome<'e>>,
    others: HashMap<&'e str, &'e mut Program>,
}

impl<'e> Checks<'e> {
    /// A program that the kernel has checked for this function; `None` where the object has no such
    /// program, or it was taken before.
    pub(super) fn take(&mut self, name: &str, function: &str) -> Option<Outcome<'e>> {
        if let Some(program) = self.others.remove(name) {
            let outcome = check(program, function, self.kernel);
            return Some((program, outcome));
        }
        self.ahead.pop_front_if(|next| *next == name)?;
        self.outcomes.recv().ok()
    }
}

/// Calls `attach` while a thread has the kernel check programs for functions, `first` those that `attach`
/// will take first, in its order. Fails where there can be no such thread.
pub(super) fn ahead<T>(
    ebpf: &mut Ebpf,
    first: impl IntoIterator<Item = (&'static str, &'static str)>,
    kernel: &Kernel,
    attach: impl FnOnce(Checks<'_>) -> T,
) -> io::Result<T> {
    let mut others: HashMap<_, _> = ebpf.programs_mut().collect();
    let first: Vec<_> = first
        .into_iter()
        .filter_map(|(name, function)| Some((name, function, others.remove(name)?)))
        .collect();
    let ahead = first.iter().map(|(name, ..)| *name).collect();
    let (sender, outcomes) = channel();
    thread::scope(|scope| {
        let check_all = move || {
            for (_, function, program) in first {
                let outcome = check(program, function, kernel);
                // Nobody takes any more where tracing programs are refused.
                if sender.send((program, outcome)).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("check".to_owned());
        thread.spawn_scoped(scope, check_all)?;
        Ok(attach(Checks {
            kernel,
            ahead,
            outcomes,
            others,
        }))
    })
}

/// Has the kernel check a program for this function, unless it has already.
pub(super) fn check(
    program: &mut Program,
    function: &str,
    kernel: &Kernel,
) -> Result<(), ProgramError> {
    if program.fd().is_ok() {
        return Ok(());
    }
    log::debug!(
        "loading the {:?} program of {function}",
        program.prog_type()
    );
    match program {
        Program::FEntry(program) => program.load(function, &kernel.btf),
        Program::FExit(program) => program.load(function, &kernel.btf),
        Program::KProbe(program) => program.load(),
        Program::BtfTracePoint(program) => program.load(function, &kernel.btf),
        Program::RawTracePoint(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    }
}
