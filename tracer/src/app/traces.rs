//! Opens the trace that a command line names, and takes of it what was asked for; never changes what
//! that says.

use anyhow::Result;

use crate::{
    cli::{TraceArgs, exit},
    model::{Input, Nanos, Pid, Session},
    sink::recording,
    trace::{Baseline, Head, Narrow, TraceSet},
};

/// The inputs of a trace, of the wanted ports and processes, from and to the wanted moments.
pub(super) struct Traces {
    set: TraceSet,
    from: Option<Nanos>,
    to: Option<Nanos>,
    /// What was known before the moment to begin at.
    baseline: Option<Box<Baseline>>,
    /// Inputs to be given before any other, the next one last.
    first: Vec<Input>,
    narrow: Narrow,
    is_strict: bool,
}

impl Traces {
    /// Opens the files.
    pub(super) fn open(args: &TraceArgs) -> Result<Self> {
        let set = TraceSet::open(&args.files)?;
        let session = &set.head().session;
        let moment = |moment: crate::cli::Moment| moment.on_clock_of(session);
        Ok(Self {
            from: args.from.map(moment),
            to: args.to.map(moment),
            baseline: args.from.map(|_| Box::default()),
            first: Vec::new(),
            narrow: Narrow::new(
                args.ports.clone(),
                args.pids.iter().copied().map(Pid).collect(),
            ),
            is_strict: args.strict,
            set,
        })
    }

    /// What the trace says of itself.
    pub(super) fn head(&self) -> &Head {
        self.set.head()
    }

    /// What the trace lacks, a sentence each. All of it is known once the inputs are at their end.
    pub(super) fn notes(&self) -> Vec<String> {
        let session = &self.head().session;
        self.set
            .gaps()
            .iter()
            .map(|gap| recording::gap(session, &gap.path, gap.at, &gap.why))
            .collect()
    }

    /// Says on standard error what the trace lacks; gives the code to end with.
    pub(super) fn end(&self, code: u8) -> u8 {
        let notes = self.notes();
        for note in &notes {
            eprintln!("warning: {note}");
        }
        if self.is_strict && !notes.is_empty() {
            return exit::INCOMPLETE;
        }
        code
    }

    /// The next input that is not beyond the end.
    fn within(&mut self) -> Option<Input> {
        let input = self.set.next()?;
        let is_beyond = matches!((input.time(), self.to), (Some(at), Some(to)) if at > to);
        (!is_beyond).then_some(input)
    }
}

impl Iterator for Traces {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        loop {
            let input = self.next_of_all()?;
            if let Some(input) = self.narrow.keep(input) {
                return Some(input);
            }
        }
    }
}

impl Traces {
    /// The next input, whatever port or process it is about.
    fn next_of_all(&mut self) -> Option<Input> {
        if let Some(input) = self.first.pop() {
            return Some(input);
        }
        let (Some(from), Some(mut baseline)) = (self.from, self.baseline.take()) else {
            return self.within();
        };
        let mut session = None;
        while let Some(input) = self.within() {
            match input {
                Input::Session(told) => {
                    session = Some(Session {
                        start: told.start.max(from),
                        ..*told
                    });
                }
                input if input.time().is_none_or(|at| at < from) => baseline.learn(&input),
                input => {
                    self.first.push(input);
                    break;
                }
            }
        }
        self.first.extend(baseline.inputs().into_iter().rev());
        session.map(|session| Input::Session(Box::new(session)))
    }
}
