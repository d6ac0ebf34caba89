//! Which places of the kernel half's table of stacks are still of use; never touches that table.
//!
//! A stack can be told as long as its process lives: its functions are named from that process's memory.
//! Every program that is started has addresses of its own, so what ended processes leave behind would fill
//! the table for good. Once a stack finds no room, what no live process has used is taken out.

use std::collections::HashSet;

use rustc_hash::FxHashMap;

use crate::model::{Nanos, Pid, StackId, UserStack};

/// An event's stack is taken first, its time a moment later. A place that was given back in between holds
/// what the event does not mean.
const IN_FLIGHT: Nanos = Nanos(10_000_000);

/// Uses remembered before those of ended processes are looked for, whether the table is full or not.
const USES: usize = 16_384;

/// The places in use.
pub(super) struct StackPlaces {
    /// When a process last told of the stack in a place.
    used: FxHashMap<(StackId, Pid), Nanos>,
    /// How many uses are too many.
    uses_max: usize,
    /// Places that were given back, and up to when an event may mean what they held.
    given_back: FxHashMap<StackId, Nanos>,
    /// Whether a stack found no room.
    is_full: bool,
}

impl StackPlaces {
    pub(super) fn new() -> Self {
        Self {
            used: FxHashMap::default(),
            uses_max: USES,
            given_back: FxHashMap::default(),
            is_full: false,
        }
    }

    /// Notes whose stack an event of this time tells. Gives what it tells: a stack that may have been taken
    /// out since is as one that found no room.
    pub(super) fn note(&mut self, ts: Nanos, pid: Pid, stack: UserStack) -> UserStack {
        let UserStack::Taken(place) = stack else {
            self.is_full |= stack.found_no_room();
            return stack;
        };
        if let Some(until) = self.given_back.get(&place) {
            if ts <= *until {
                return UserStack::PLACE_TAKEN;
            }
            self.given_back.remove(&place);
        }
        self.used.insert((place, pid), ts);
        stack
    }

    /// Whether places should be given back.
    pub(super) fn wants_room(&self) -> bool {
        self.is_full || self.used.len() > self.uses_max
    }

    /// The places that must be kept, of the processes that were alive `at` a time that the events have
    /// reached, and of those that acted later.
    pub(super) fn in_use(&mut self, at: Nanos, alive: &HashSet<Pid>) -> HashSet<StackId> {
        self.is_full = false;
        self.given_back.retain(|_, until| *until >= at);
        self.used
            .retain(|(_, pid), used_at| *used_at >= at || alive.contains(pid));
        self.uses_max = USES.max(2 * self.used.len());
        self.used.keys().map(|(place, _)| *place).collect()
    }

    /// These places were given back, the last of them at this time.
    pub(super) fn give_back(&mut self, places: Vec<StackId>, at: Nanos) {
        let until = Nanos(at.0.saturating_add(IN_FLIGHT.0));
        self.given_back
            .extend(places.into_iter().map(|place| (place, until)));
    }
}

#[cfg(test)]
#[path = "stack_places_tests.rs"]
mod tests;
