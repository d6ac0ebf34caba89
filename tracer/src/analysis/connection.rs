//! The life of one connection as a state machine over its events; never who else was there.
//!
//! A connection ends where it leaves ESTABLISHED. The close of its descriptor is another event,
//! which may come before, between or seconds after those of the connection, and by then the socket
//! has forgotten its port: so nothing but the socket joins them.

use tracer_common::Role;

use crate::model::{Comm, Cookie, Endpoint, Nanos, Netns, Pid, TcpAction, TcpEvent, TcpState, Tid};

use super::{
    history::Seq,
    process::ProcessKey,
    report::{Closer, Identity},
    stacks::Stack,
};

/// Who connected or accepted, as it was then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// The process.
    pub(super) process: ProcessKey,
    /// The thread; 0 where only the process is known.
    pub(super) tid: Tid,
    /// The thread's name.
    pub(super) thread: Comm,
    /// The process's parent and the process's own name, where both are known.
    pub(super) child_of: Option<(Pid, Comm)>,
    /// The stack that it connected with, where that was asked for.
    pub(super) stack: Option<Stack>,
}

impl Owner {
    /// Whether this is that thread; where only the process is known, any of its threads may be.
    pub(super) fn is(&self, pid: Pid, tid: Tid) -> bool {
        self.process.pid() == pid && (self.tid == tid || self.tid.0 == 0)
    }

    /// This owner as who closed what another had opened.
    pub(super) fn as_closer(&self, opener: &Self) -> Closer {
        let name = self.child_of.map(|(_, comm)| comm);
        let first_thread = (self.tid.0 == self.process.pid().0).then_some(self.thread);
        Closer {
            pid: self.process.pid(),
            comm: name.or(first_thread).unwrap_or_default(),
            tid: self.tid,
            thread: self.thread,
            is_other_process: self.process != opener.process,
        }
    }
}

impl Identity {
    /// The same, with the thread that made a connection.
    pub(super) fn of_thread(self, owner: &Owner) -> Self {
        Self {
            tid: (owner.tid.0 != 0).then_some(owner.tid),
            thread: (!owner.thread.is_empty()).then(|| owner.thread.to_string()),
            ..self
        }
    }
}

/// One end of a connection, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// This one.
    Local,
    /// The peer.
    Remote,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The first SYN is on its way.
    Connecting,
    /// Established, or it was when it was first met.
    Open,
    /// It left ESTABLISHED.
    Ended {
        /// When.
        at: Nanos,
        /// Who closed first.
        closed_by: Side,
    },
}

/// What an event means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing that anybody counts.
    Nothing,
    /// It is established and has an owner.
    Established,
    /// It ended.
    Ended,
    /// It never came about; 0 where the program itself gave up.
    Failed(i32),
}

/// One connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) cookie: Cookie,
    pub(super) netns: Netns,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) role: Role,
    pub(super) owner: Option<Owner>,
    pub(super) start: Option<Nanos>,
    pub(super) phase: Phase,
    pub(super) tx_bytes: u64,
    pub(super) rx_bytes: u64,
    /// No event of it will tell more bytes.
    pub(super) is_final: bool,
    /// Since when only the peer has closed it, while that is so.
    pub(super) close_wait: Option<Nanos>,
    /// When its last descriptor went away.
    pub(super) descriptor_closed: Option<Nanos>,
    /// By whom, where that is another than its owner; few are.
    pub(super) closer: Option<Box<Closer>>,
    /// Its row among the ended ones, once it has one.
    pub(super) ended: Option<Seq>,
    /// Whether its process's gauge of open connections counts it.
    pub(super) counted_open: bool,
    pub(super) last_event: Nanos,
    /// Distinguishes it from others that use the same socket's address.
    pub(super) serial: u64,
}

impl Connection {
    /// A connection met with this event, which has yet to be applied.
    pub(super) fn begin(ts: Nanos, tcp: &TcpEvent, serial: u64) -> Self {
        Self {
            cookie: tcp.cookie,
            netns: tcp.netns,
            local: tcp.local,
            remote: tcp.remote,
            role: tcp.role,
            owner: None,
            start: tcp.start,
            phase: match (tcp.action, tcp.old_state) {
                (TcpAction::Connect | TcpAction::ConnectFailed, _)
                | (TcpAction::State, TcpState::SynSent | TcpState::SynRecv) => Phase::Connecting,
                _ => Phase::Open,
            },
            tx_bytes: 0,
            rx_bytes: 0,
            is_final: false,
            close_wait: None,
            descriptor_closed: None,
            closer: None,
            ended: None,
            counted_open: false,
            last_event: ts,
            serial,
        }
    }

    /// Whether an event of the same socket can be this connection's, or must be another's that came
    /// to use the socket's address. A closed socket has forgotten its addresses, so they only count
    /// while they can be there.
    pub(super) fn is_of(&self, tcp: &TcpEvent) -> bool {
        if let (Some(known), Some(told)) = (self.cookie.known(), tcp.cookie.known()) {
            return known == told;
        }
        tcp.action == TcpAction::Close || tcp.remote == self.remote
    }

    /// Takes in one event that [`Self::is_of`] this connection.
    pub(super) fn advance(&mut self, ts: Nanos, tcp: &TcpEvent) -> Step {
        self.last_event = self.last_event.max(ts);
        self.learn(tcp);
        let waits = tcp.new_state == TcpState::CloseWait && tcp.action != TcpAction::Close;
        self.close_wait = waits.then(|| self.close_wait.unwrap_or(ts));
        match tcp.action {
            TcpAction::Connect => Step::Nothing,
            TcpAction::ConnectFailed => Step::Failed(tcp.errno),
            TcpAction::Accept => self.accepted(ts, tcp),
            TcpAction::State => self.changed(ts, tcp),
            TcpAction::TimeWait => {
                self.is_final = true;
                // Only the side that closed first comes here.
                self.end(ts, Side::Local)
            }
            TcpAction::Close => {
                self.descriptor_closed = Some(ts);
                // The peer closed first and has all data: nothing more will be told.
                self.is_final |=
                    (tcp.old_state, tcp.new_state) == (TcpState::CloseWait, TcpState::LastAck);
                match (self.phase, tcp.old_state) {
                    // It waited for an owner, and whoever closes it had accepted it: by a call
                    // that was already waiting when watching began, so that no event told it.
                    (Phase::Ended { .. }, _) if self.ended.is_none() => Step::Ended,
                    (_, TcpState::CloseWait) => self.end(ts, Side::Remote),
                    // The close itself took it out of ESTABLISHED. Older traces tell that by an event of
                    // its own, behind the close.
                    (_, TcpState::Established) if tcp.new_state != tcp.old_state => {
                        self.end(ts, Side::Local)
                    }
                    _ => Step::Nothing,
                }
            }
        }
    }

    /// Concludes what should have followed the close of the descriptor and did not.
    pub(super) fn give_up_waiting(&mut self) -> Step {
        let Some(closed_at) = self.descriptor_closed else {
            return Step::Nothing;
        };
        match self.phase {
            Phase::Connecting => Step::Failed(0),
            Phase::Open => {
                self.is_final = true;
                self.end(closed_at, Side::Local)
            }
            Phase::Ended { .. } => Step::Nothing,
        }
    }

    fn learn(&mut self, tcp: &TcpEvent) {
        self.tx_bytes = self.tx_bytes.max(tcp.tx_bytes);
        self.rx_bytes = self.rx_bytes.max(tcp.rx_bytes);
        if self.cookie.known().is_none() {
            self.cookie = tcp.cookie;
        }
        if self.local.port == 0 && tcp.local.port != 0 {
            self.local = tcp.local;
        }
        if self.role == Role::Unknown {
            self.role = tcp.role;
        }
        self.start = self.start.or(tcp.start);
    }

    fn accepted(&mut self, ts: Nanos, tcp: &TcpEvent) -> Step {
        self.role = Role::Server;
        if self.phase == Phase::Connecting {
            self.phase = Phase::Open;
        }
        match (self.phase, tcp.new_state) {
            // The end came before the process took it, and waited for an owner until now.
            (Phase::Ended { .. }, _) if self.ended.is_none() => Step::Ended,
            (Phase::Ended { .. }, _) => Step::Nothing,
            // Its process cannot have closed what it had not yet.
            (_, TcpState::CloseWait | TcpState::LastAck | TcpState::Close) => {
                self.is_final = tcp.new_state == TcpState::Close;
                self.end(ts, Side::Remote)
            }
            _ => Step::Established,
        }
    }

    fn changed(&mut self, ts: Nanos, tcp: &TcpEvent) -> Step {
        let (old, new) = (tcp.old_state, tcp.new_state);
        self.is_final |= new == TcpState::Close;
        if new == TcpState::Established {
            return match self.phase {
                Phase::Connecting => {
                    self.phase = Phase::Open;
                    Step::Established
                }
                Phase::Open | Phase::Ended { .. } => Step::Nothing,
            };
        }
        if self.phase == Phase::Connecting && old != TcpState::Established {
            return if new == TcpState::Close {
                Step::Failed(tcp.errno)
            } else {
                Step::Nothing
            };
        }
        // Left ESTABLISHED now, or the event that told it was lost and the states tell who it was.
        let closed_by = match (old, new) {
            (_, TcpState::CloseWait | TcpState::LastAck)
            | (TcpState::CloseWait | TcpState::LastAck, _) => Side::Remote,
            // Cut off: with an error by the peer or the network, without one by this side.
            (TcpState::Established, TcpState::Close) if tcp.errno != 0 => Side::Remote,
            _ => Side::Local,
        };
        self.end(ts, closed_by)
    }

    /// The first end counts.
    fn end(&mut self, at: Nanos, closed_by: Side) -> Step {
        if matches!(self.phase, Phase::Ended { .. }) {
            return Step::Nothing;
        }
        self.phase = Phase::Ended { at, closed_by };
        Step::Ended
    }
}
