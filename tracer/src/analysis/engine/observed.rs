//! What those may look at who keep their own account of what the engine is told; never changes it.

use crate::model::{Nanos, Pid, TimeWaitListing};

use super::super::{
    connection::Owner,
    connections::Outcome,
    history::Seq,
    process::{ProcessKey, Processes},
    time_wait,
};
use super::Engine;

impl Engine {
    /// What the last input did to connections.
    pub(in crate::analysis) fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
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

    /// Whose each selected socket of a listing is; `None` where nobody knows.
    pub(in crate::analysis) fn time_wait_owners(
        &self,
        listing: &TimeWaitListing,
    ) -> impl Iterator<Item = Option<ProcessKey>> {
        time_wait::owners(listing, &self.connections, &self.session.selection)
    }
}
