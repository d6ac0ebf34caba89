//! The user stacks behind a verdict: how often each, and what it looks like once that was looked up;
//! never takes or names one itself.

use std::{collections::VecDeque, sync::Arc};

use rustc_hash::FxHashMap;

use crate::model::{Event, FRAMES_MAX, Nanos, Pid, StackFact, StackId, UserStack, is_same_start};

use super::{
    limits,
    process::{ProcessKey, Processes},
};

/// A user stack, and how often it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackCount {
    /// How often.
    pub count: u64,
    /// Its frames, the innermost first.
    pub frames: Arc<[Box<str>]>,
    /// Whether that is all of it, or what is missing.
    pub state: StackState,
}

/// How much of a stack is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackState {
    /// As far as the chain of frame pointers leads.
    Whole,
    /// It is deeper than the kernel takes: the outermost frames are missing.
    Cut,
    /// There is one frame only: that code keeps no frame pointers.
    NoFramePointers,
    /// Nobody has looked yet what it is.
    NotLookedUp,
    /// The process had ended before anybody could look.
    ProcessEnded,
    /// The kernel's table of stacks had no room for it.
    NoRoom,
    /// The kernel could not read it.
    Unreadable,
}

impl StackState {
    /// The name in JSON; `None` where nothing is missing.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Cut => Some("cut"),
            Self::NoFramePointers => Some("no_frame_pointers"),
            Self::NotLookedUp => Some("not_looked_up"),
            Self::ProcessEnded => Some("process_ended"),
            Self::NoRoom => Some("no_room"),
            Self::Unreadable => Some("unreadable"),
        }
    }
}

/// A stack of a process, as long as that runs the same program: in another its addresses mean
/// something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Stack {
    pub(super) process: ProcessKey,
    /// How many programs the process had replaced by then.
    pub(super) program: u32,
    pub(super) user: UserStack,
}

impl Stack {
    /// The stack that a process acted with in this event, where it was asked for.
    pub(super) fn of(processes: &Processes, process: ProcessKey, event: &Event) -> Option<Self> {
        Some(Self {
            process,
            user: event.stack?,
            program: processes.get(process)?.programs,
        })
    }
}

/// How often each stack came.
#[derive(Clone, Debug, Default)]
pub(super) struct StackCounts {
    counts: Vec<(Stack, u64)>,
    /// When they were last asked about.
    asked: Option<Nanos>,
}

impl StackCounts {
    /// Counts one. What is beyond the bound is not counted: the verdict tells how many there are in all.
    pub(super) fn add(&mut self, stack: Option<Stack>) {
        let Some(stack) = stack else {
            return;
        };
        if let Some((_, count)) = self.counts.iter_mut().find(|(known, _)| *known == stack) {
            *count += 1;
        } else if self.counts.len() < limits::STACKS_PER_VERDICT {
            self.counts.push((stack, 1));
        }
    }

    /// Each with its count, the most frequent first.
    fn most_frequent_first(&self) -> Vec<(Stack, u64)> {
        let mut counts = self.counts.clone();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        counts
    }
}

/// What a stack looks like.
#[derive(Debug)]
struct Known {
    frames: Arc<[Box<str>]>,
    /// Frames without a function's name: a runtime may tell of them later.
    unnamed: usize,
}

type Key = (ProcessKey, u32, StackId);

/// A stack that somebody should look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackWanted {
    /// The process.
    pub pid: Pid,
    /// When it started, where that is known.
    pub start: Option<Nanos>,
    /// The stack.
    pub stack: StackId,
}

/// What is known of all stacks.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    known: FxHashMap<Key, Known>,
    order: VecDeque<Key>,
    wanted: Vec<StackWanted>,
    version: u64,
}

impl Stacks {
    /// A number that changes with all that is told of stacks but for how many they are.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Learns what a stack of a live process looks like. An answer that knows less than the one before
    /// is dropped: the process may have ended, or moved its code.
    pub(super) fn learn(&mut self, fact: &StackFact, processes: &Processes) {
        let process = processes.current(fact.pid);
        let Some((key, process)) = process.and_then(|key| Some((key, processes.get(key)?))) else {
            return;
        };
        if let (Some(known), Some(told)) = (process.start, fact.start)
            && !is_same_start(known, told)
        {
            return;
        }
        let key = (key, process.programs, fact.stack);
        let unnamed = fact.frames.iter().filter(|frame| !frame.is_named).count();
        let is_better = self.known.get(&key).is_none_or(|known| {
            known.frames.is_empty() || (!fact.frames.is_empty() && unnamed < known.unnamed)
        });
        if !is_better {
            return;
        }
        let frames = fact.frames.iter().take(FRAMES_MAX);
        let known = Known {
            frames: frames.map(|frame| frame.text.as_str().into()).collect(),
            unnamed,
        };
        self.version += 1;
        if self.known.insert(key, known).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > limits::STACKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Asks what the most frequent of these look like, and from time to time again while some of their
    /// frames have no name: a runtime may have told of its code since.
    /// `alive` gives the programs that a process has replaced, and its start, where it is known.
    pub(super) fn ask(
        &mut self,
        counts: &mut StackCounts,
        now: Nanos,
        alive: impl Fn(ProcessKey) -> Option<(u32, Option<Nanos>)>,
    ) {
        let is_due = |at: Nanos| now.since(at) >= limits::LOOKUP_PERIOD;
        if counts.counts.is_empty() || !counts.asked.is_none_or(is_due) {
            return;
        }
        counts.asked = Some(now);
        for (stack, _) in counts
            .most_frequent_first()
            .into_iter()
            .take(limits::STACKS_ASKED)
        {
            let UserStack::Taken(id) = stack.user else {
                continue;
            };
            let is_complete = self
                .known
                .get(&(stack.process, stack.program, id))
                .is_some_and(|known| known.unnamed == 0);
            let Some((program, start)) = alive(stack.process) else {
                continue;
            };
            let wanted = StackWanted {
                pid: stack.process.pid(),
                start,
                stack: id,
            };
            if !is_complete
                && program == stack.program
                && self.wanted.len() < limits::LOOKUPS
                && !self.wanted.contains(&wanted)
            {
                self.wanted.push(wanted);
            }
        }
    }

    /// The stacks asked about since they were last taken.
    pub(super) fn take_wanted(&mut self) -> Vec<StackWanted> {
        std::mem::take(&mut self.wanted)
    }

    /// The most frequent stacks, those that look the same counted together.
    pub(super) fn top(&self, counts: &StackCounts) -> Vec<StackCount> {
        let mut rows: Vec<StackCount> = Vec::new();
        for (stack, count) in counts.most_frequent_first() {
            let (frames, state) = self.describe(stack);
            let same = |row: &&mut StackCount| row.state == state && row.frames == frames;
            if let Some(row) = rows.iter_mut().find(same) {
                row.count += count;
            } else {
                rows.push(StackCount {
                    count,
                    frames,
                    state,
                });
            }
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.count));
        rows.truncate(limits::STACK_ROWS);
        rows
    }

    fn describe(&self, stack: Stack) -> (Arc<[Box<str>]>, StackState) {
        let id = match stack.user {
            UserStack::Taken(id) => id,
            stack if stack.found_no_room() => return (Arc::default(), StackState::NoRoom),
            UserStack::Missing(_) => return (Arc::default(), StackState::Unreadable),
        };
        let Some(known) = self.known.get(&(stack.process, stack.program, id)) else {
            return (Arc::default(), StackState::NotLookedUp);
        };
        let state = match known.frames.len() {
            0 => StackState::ProcessEnded,
            1 => StackState::NoFramePointers,
            FRAMES_MAX.. => StackState::Cut,
            _ => StackState::Whole,
        };
        (Arc::clone(&known.frames), state)
    }
}
