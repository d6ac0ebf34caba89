//! Which descriptor tables should be looked at once more, as counting alone goes astray over time:
//! tables that processes share, limits that change, hooks that the kernel skips; never looks itself.

use std::collections::VecDeque;

use crate::model::{Nanos, Pid};

use super::{
    limits,
    process::{ProcessKey, Processes},
};

/// The processes whose tables were looked at, the one whose turn is next first.
#[derive(Debug, Default)]
pub(super) struct Relooks {
    queue: VecDeque<(Nanos, ProcessKey)>,
}

impl Relooks {
    /// A table was looked at for the first time.
    pub(super) fn add(&mut self, key: ProcessKey, looked: Nanos) {
        self.queue.push_back((looked + limits::RELOOK_PERIOD, key));
    }

    /// The processes that should be looked at by now: those that got or closed descriptors since they
    /// were, those that were too young for it, and from time to time all others. Some at a time, as a
    /// look at a big table costs milliseconds.
    pub(super) fn due(&mut self, now: Nanos, processes: &Processes) -> Vec<Pid> {
        let mut due = Vec::new();
        // Each process once: at the end of time its next turn is no later than this one.
        for _ in 0..self.queue.len() {
            if due.len() == limits::RELOOKS_PER_TICK {
                break;
            }
            let Some((_, key)) = self.queue.pop_front_if(|(at, _)| *at <= now) else {
                break;
            };
            let Some(process) = processes.get(key).filter(|process| !process.has_ended()) else {
                continue;
            };
            self.queue.push_back((now + limits::RELOOK_PERIOD, key));
            if process.descriptors.wants_look(now) {
                due.push(key.pid());
            }
        }
        due
    }
}
