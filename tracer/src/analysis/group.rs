//! What groups connections are counted in, and one group's recent past; never judges it.
//!
//! A client's connection belongs to three groups: those of its thread, of its process, and of all
//! processes of the same name under the same parent. The finest that is conspicuous is told, and a
//! connection that was told is not told again by a coarser one.

use std::{collections::VecDeque, net::IpAddr};

use crate::model::{Comm, Endpoint, Nanos, Pid, Tid};

use super::{
    connection::Owner,
    connections::FailedConnect,
    episode::{ConnectionsEpisode, FailingEpisode, Tries},
    history::{History, Seq},
    limits,
    process::ProcessKey,
    thresholds::Thresholds,
};

/// Whose connections they are, the finest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subject {
    /// One thread's.
    Thread(ProcessKey, Tid),
    /// One process's.
    Process(ProcessKey),
    /// Those of a parent's children of one name, each of which may live for one connection only.
    Children(Pid, Comm),
}

/// What the connections have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Target {
    /// They go to this port. Not to one address: an ensemble's client tries its members in turn.
    To(u16),
    /// They come to this port from this peer.
    From {
        /// The port here.
        port: u16,
        /// The peer.
        peer: IpAddr,
    },
}

/// A group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct GroupKey {
    pub(super) subject: Subject,
    pub(super) target: Target,
}

impl GroupKey {
    /// A client's groups, the finest first.
    pub(super) fn of_client(owner: &Owner, remote: Endpoint) -> impl Iterator<Item = Self> {
        let target = Target::To(remote.port);
        let thread = (owner.tid.0 != 0).then_some(Subject::Thread(owner.process, owner.tid));
        let children = owner
            .child_of
            .map(|(parent, comm)| Subject::Children(parent, comm));
        [thread, Some(Subject::Process(owner.process)), children]
            .into_iter()
            .flatten()
            .map(move |subject| Self { subject, target })
    }

    /// A server's only group.
    pub(super) fn of_server(owner: &Owner, local: Endpoint, remote: Endpoint) -> Self {
        Self {
            subject: Subject::Process(owner.process),
            target: Target::From {
                port: local.port,
                peer: remote.addr,
            },
        }
    }

    /// The finer subject that an owner's connection counts for within this group; `None` where
    /// there is no finer one.
    pub(super) fn part(&self, owner: &Owner) -> Option<(ProcessKey, Tid)> {
        match (self.subject, self.target) {
            (Subject::Thread(..), _) | (_, Target::From { .. }) => None,
            (Subject::Process(_), _) => Some((owner.process, owner.tid)),
            (Subject::Children(..), _) => Some((owner.process, Tid(0))),
        }
    }
}

/// Connections and failed connects of one group.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Ended connections within the window, by the time of their end.
    pub(super) ended: VecDeque<(Nanos, Seq)>,
    /// Failed connects lately.
    pub(super) failed: VecDeque<Seq>,
    /// Failures from this one on came without a success between them.
    pub(super) failing_from: Seq,
    pub(super) flapping: Option<Box<ConnectionsEpisode>>,
    pub(super) churn: Option<Box<ConnectionsEpisode>>,
    pub(super) failing: Option<Box<FailingEpisode>>,
    /// Since when a coarse group has enough of each to be told, but waits for finer ones.
    pub(super) flapping_since: Option<Nanos>,
    pub(super) churn_since: Option<Nanos>,
    pub(super) failing_since: Option<Nanos>,
    /// Whether a verdict of it could not be made, which is counted once.
    pub(super) was_refused: bool,
    /// Whether the next tick must look at it.
    pub(super) is_dirty: bool,
    pub(super) last_activity: Nanos,
}

impl Group {
    /// Whether a verdict of it still goes on.
    pub(super) fn is_live(&self) -> bool {
        self.flapping.is_some() || self.churn.is_some() || self.failing.is_some()
    }

    /// Whether it could be told, and waits for finer groups.
    pub(super) fn is_waiting(&self) -> bool {
        self.flapping_since.is_some() || self.churn_since.is_some() || self.failing_since.is_some()
    }

    /// What the verdicts of it that go on tell of.
    pub(super) fn tries_mut(&mut self) -> impl Iterator<Item = &mut Tries> {
        let connections = [&mut self.flapping, &mut self.churn];
        let connections = connections.into_iter().flatten();
        let failing = self.failing.iter_mut();
        connections
            .map(|episode| &mut episode.tries)
            .chain(failing.map(|episode| &mut episode.tries))
    }

    /// Forgets the episodes that are over.
    pub(super) fn drop_ended(&mut self) {
        self.flapping = self
            .flapping
            .take()
            .filter(|episode| !episode.tries.is_over);
        self.churn = self.churn.take().filter(|episode| !episode.tries.is_over);
        self.failing = self.failing.take().filter(|episode| !episode.tries.is_over);
    }

    /// Whether it holds enough for any verdict to begin.
    pub(super) fn may_begin(&self, thresholds: &Thresholds) -> bool {
        let enough = thresholds.flapping_count.min(thresholds.churn_count);
        let enough = enough.min(thresholds.churn_server_count);
        self.ended.len() as u64 >= enough || self.failed.len() as u64 >= thresholds.failing_count
    }

    /// Puts an ended connection into the window, and drops what fell out of it.
    pub(super) fn push_ended(&mut self, seq: Seq, end: Nanos, thresholds: &Thresholds) {
        let mut window = thresholds.flapping_window.max(thresholds.churn_window);
        if self.is_waiting() {
            // What is found conspicuous already is to be told from its begin.
            window = window + window + window;
        }
        let known = self.ended.iter().rev();
        let later = known.take_while(|(known, _)| *known > end).count();
        self.ended.insert(self.ended.len() - later, (end, seq));
        let newest = self.ended.back().map_or(end, |(end, _)| *end);
        while self.ended.len() > limits::WINDOW_RECORDS
            || self
                .ended
                .front()
                .is_some_and(|(end, _)| newest.since(*end) > window)
        {
            self.ended.pop_front();
        }
    }

    /// Remembers a failed connect, and forgets those older than `age`.
    pub(super) fn push_failed(
        &mut self,
        seq: Seq,
        at: Nanos,
        age: Nanos,
        rows: &History<FailedConnect>,
    ) {
        self.failed.push_back(seq);
        let is_old = |seq: &Seq| rows.get(*seq).is_none_or(|row| at.since(row.at) > age);
        while self.failed.len() > limits::WINDOW_RECORDS || self.failed.front().is_some_and(is_old)
        {
            self.failed.pop_front();
        }
    }
}
