//! What those may look at who keep their own account of what the engine is told; never changes it.

use crate::model::{Losses, Nanos, Pid, TimeWaitListing};

use super::super::{
    connection::Owner,
    connections::Outcome,
    ended::EndedConnection,
    history::Seq,
    process::{ProcessKey, Processes},
    report::Evicted,
    time_wait,
};
use super::Engine;

impl Engine {
    /// What the last input did to connections.
    pub(in crate::analysis) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// A connection that ended.
    pub(in crate::analysis) fn ended(&self, seq: Seq) -> Option<&EndedConnection> {
        self.connections.ended.get(seq)
    }

    /// Whose a connection was that ended.
    pub(in crate::analysis) fn owner_of_ended(&self, seq: Seq) -> Option<Owner> {
        self.connections.ended.get(seq)?.owner
    }

    /// The latest time that any input told.
    pub(in crate::analysis) fn latest(&self) -> Nanos {
        self.latest
    }

    /// The process that has this pid now.
    pub(in crate::analysis) fn process_now(&self, pid: Pid) -> Option<ProcessKey> {
        self.processes.current(pid)
    }

    /// All processes.
    pub(in crate::analysis) fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The number of each verdict and the process that it is about.
    pub(in crate::analysis) fn verdict_processes(&self) -> impl Iterator<Item = (u64, ProcessKey)> {
        self.verdicts.processes()
    }

    /// The process of each listed `TIME_WAIT` socket that is selected; `None` where nobody knows.
    pub(in crate::analysis) fn time_wait_processes(
        &self,
    ) -> impl Iterator<Item = Option<ProcessKey>> {
        self.time_wait
            .processes(&self.connections, &self.session.selection)
    }

    /// What became of all events, and what the engine had to forget.
    pub(in crate::analysis) fn gaps(&self) -> (Losses, Evicted) {
        (self.losses.latest().clone(), self.evicted())
    }

    /// Whose each selected socket of a listing is; `None` where nobody knows.
    pub(in crate::analysis) fn time_wait_owners(
        &self,
        listing: &TimeWaitListing,
    ) -> impl Iterator<Item = Option<ProcessKey>> {
        time_wait::owners(listing, &self.connections, &self.session.selection)
    }
}
