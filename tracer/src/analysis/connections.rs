//! All connections by socket, and those that ended lately; never groups or judges them.

mod open;

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use tracer_common::Role;

use crate::model::{
    Cookie, Endpoint, Nanos, Netns, Pid, PortRange, SockId, SocketOwner, SocketRow, TcpAction,
    TcpEvent, TcpState, Tid,
};

use super::{
    connection::{Connection, Owner, Phase, Step},
    ended::{Ended, EndedConnection},
    history::Seq,
    limits,
    port_exhaustion::{Holder, PortUser},
    process::ProcessKey,
    report::Attribution,
};

pub(super) use open::{Peer, PeerCounts, peer_of};

/// How long after the close of a descriptor its connection's end may be told. The close itself
/// makes the kernel end it, so what is not told by then was lost, or that hook is missing.
const END_AFTER_CLOSE: Nanos = Nanos::from_secs(2);

/// How long a connection that ended before it was accepted waits for that.
const ACCEPT_AFTER_END: Nanos = Nanos::from_secs(30);

/// A connect that failed.
#[derive(Clone, Debug)]
pub(super) struct FailedConnect {
    pub(super) owner: Owner,
    pub(super) netns: Netns,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    /// When the process tried.
    pub(super) start: Nanos,
    /// When it was known to have failed.
    pub(super) at: Nanos,
    /// A positive errno; 0 where the program itself gave up.
    pub(super) errno: i32,
    /// The verdict that tells of it.
    pub(super) told_by: Option<u64>,
}

/// What an event or the time did to the connections.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A connection with an owner is open.
    Opened {
        owner: Owner,
        role: Role,
        local: Endpoint,
        remote: Endpoint,
    },
    /// A connection ended; its row is there.
    Ended { seq: Seq, was_open: bool },
    /// An ended connection turned out to have carried more.
    MoreBytes { seq: Seq, tx: u64, rx: u64 },
    /// An ended connection's descriptor was closed by another than had opened it.
    ClosedByOther(Seq),
    /// A connect failed.
    Failed(FailedConnect),
    /// An open connection is no longer followed, and its end was not seen.
    Lost(ProcessKey),
}

/// A connection to look at again when its time has come.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Nanos,
    sock: SockId,
    serial: u64,
}

/// A connection that only the peer has closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct HalfClosed {
    pub(super) owner: Owner,
    pub(super) peer: Peer,
    /// When the peer closed it.
    pub(super) since: Nanos,
}

/// A socket from before the trace.
#[derive(Clone, Copy, Debug)]
struct SocketBefore {
    owner: Owner,
    netns: Netns,
    local: Endpoint,
    remote: Endpoint,
    /// Whether its connection is, or was, among those that are followed.
    is_followed: bool,
    /// Whether only the peer had closed it.
    is_half_closed: bool,
}

/// The connections that are followed and those that ended lately.
#[derive(Debug)]
pub(super) struct Connections {
    table: FxHashMap<SockId, Connection>,
    /// Those whose descriptor is closed and whose end is not known, by time.
    closing: VecDeque<Waiting>,
    /// Those that ended and nobody has accepted, by time.
    unaccepted: VecDeque<Waiting>,
    /// Those that only the peer has closed, by time: first those that became so lately, then those
    /// that have been so for long.
    half_closed: VecDeque<Waiting>,
    half_closed_long: Vec<Waiting>,
    pub(super) ended: Ended,
    /// Sockets from before the trace.
    before: FxHashMap<Cookie, SocketBefore>,
    before_order: VecDeque<Cookie>,
    /// What the kernel gives to those who do not choose a port.
    ephemeral_ports: BTreeMap<Netns, PortRange>,
    next_serial: u64,
    /// Connections forgotten for want of room.
    pub(super) evicted: u64,
}

impl Connections {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            table: FxHashMap::default(),
            closing: VecDeque::new(),
            unaccepted: VecDeque::new(),
            half_closed: VecDeque::new(),
            half_closed_long: Vec::new(),
            ended: Ended::new(),
            before: FxHashMap::default(),
            before_order: VecDeque::new(),
            ephemeral_ports: BTreeMap::new(),
            next_serial: 0,
            evicted: 0,
        }
    }

    /// Takes in one event of the thread `actor`. `owner` tells who that is, and is asked only where it
    /// matters.
    pub(super) fn apply(
        &mut self,
        ts: Nanos,
        sock: SockId,
        tcp: &TcpEvent,
        actor: (Pid, Tid),
        owner: impl FnOnce() -> Option<Owner>,
        outcomes: &mut Vec<Outcome>,
    ) {
        let known = self.table.get_mut(&sock);
        let connection = match known.filter(|known| continues(known, tcp)) {
            Some(connection) => connection,
            None if begins(tcp) => {
                self.forget(sock, outcomes);
                self.make_room(outcomes);
                let connection = Connection::begin(ts, tcp, self.next_serial);
                if tcp.start.is_none()
                    && let Some(before) = self.before.get_mut(&tcp.cookie)
                {
                    before.is_followed = true;
                }
                self.next_serial += 1;
                self.table.entry(sock).or_insert(connection)
            }
            None => return,
        };
        let closes = tcp.action == TcpAction::Close;
        let is_by_other =
            |owner: &Owner| closes && !owner.is(actor.0, actor.1) && actor.0.known().is_some();
        if connection.owner.as_ref().is_none_or(is_by_other) {
            let acting = owner();
            let before = self.before.get(&connection.cookie).map(|known| known.owner);
            connection.owner = connection.owner.or(match (acting, before) {
                // Who held it when watching began has opened it, as far as anybody knows.
                (Some(acting), Some(before)) if closes && acting.process != before.process => {
                    Some(before)
                }
                (Some(acting), _) => Some(acting),
                (None, before) => before,
            });
            if let (Some(opener), Some(closer)) = (&connection.owner, acting)
                && is_by_other(opener)
            {
                connection.closer = Some(Box::new(closer.as_closer(opener)));
                if let Some(seq) = connection.ended {
                    self.ended.set_closer(seq, connection.closer.take());
                    outcomes.push(Outcome::ClosedByOther(seq));
                }
            }
        }
        let (tx, rx) = (connection.tx_bytes, connection.rx_bytes);
        let was_half_closed = connection.close_wait.is_some();
        let step = connection.advance(ts, tcp);
        if connection.close_wait.is_some() && !was_half_closed {
            let serial = connection.serial;
            wait(&mut self.half_closed, ts, sock, serial);
        }
        if let Some(seq) = connection.ended {
            let more_tx = connection.tx_bytes - tx;
            let more_rx = connection.rx_bytes - rx;
            if more_tx > 0 || more_rx > 0 {
                self.ended
                    .set_bytes(seq, connection.tx_bytes, connection.rx_bytes);
                outcomes.push(Outcome::MoreBytes {
                    seq,
                    tx: more_tx,
                    rx: more_rx,
                });
            }
        }
        if tcp.action == TcpAction::Close && !matches!(connection.phase, Phase::Ended { .. }) {
            let serial = connection.serial;
            wait(&mut self.closing, ts + END_AFTER_CLOSE, sock, serial);
        }
        let is_done = connection.is_final && connection.ended.is_some();
        if step != Step::Nothing || is_done {
            self.conclude(sock, step, ts, outcomes);
        }
    }

    /// Does what a step asks for.
    fn conclude(&mut self, sock: SockId, step: Step, now: Nanos, outcomes: &mut Vec<Outcome>) {
        let Some(connection) = self.table.get_mut(&sock) else {
            return;
        };
        match step {
            Step::Nothing => {}
            Step::Established => {
                if let Some(owner) = connection.owner
                    && !connection.counted_open
                {
                    connection.counted_open = true;
                    outcomes.push(Outcome::Opened {
                        owner,
                        role: connection.role,
                        local: connection.local,
                        remote: connection.remote,
                    });
                }
            }
            Step::Failed(errno) => {
                if let (Some(owner), Role::Client) = (connection.owner, connection.role) {
                    outcomes.push(Outcome::Failed(FailedConnect {
                        owner,
                        netns: connection.netns,
                        local: connection.local,
                        remote: connection.remote,
                        start: connection.start.unwrap_or(now),
                        at: now,
                        errno,
                        told_by: None,
                    }));
                }
                self.table.remove(&sock);
                return;
            }
            Step::Ended => {
                if connection.owner.is_none() && connection.role == Role::Server {
                    let serial = connection.serial;
                    wait(&mut self.unaccepted, now + ACCEPT_AFTER_END, sock, serial);
                    return;
                }
                self.remember_end(sock, outcomes);
            }
        }
        if self
            .table
            .get(&sock)
            .is_some_and(|connection| connection.is_final && connection.ended.is_some())
        {
            self.table.remove(&sock);
        }
    }

    fn remember_end(&mut self, sock: SockId, outcomes: &mut Vec<Outcome>) {
        let Some(connection) = self.table.get_mut(&sock) else {
            return;
        };
        let Phase::Ended { at, closed_by } = connection.phase else {
            return;
        };
        let row = EndedConnection {
            owner: connection.owner,
            role: connection.role,
            netns: connection.netns,
            cookie: connection.cookie,
            local: connection.local,
            remote: connection.remote,
            start: connection.start,
            end: at,
            closed_by,
            closer: connection.closer.take(),
            tx_bytes: connection.tx_bytes,
            rx_bytes: connection.rx_bytes,
            told_by: None,
            listed: 0,
        };
        let was_open = std::mem::take(&mut connection.counted_open);
        let (seq, has_evicted) = self.ended.push(row);
        connection.ended = Some(seq);
        self.evicted += u64::from(has_evicted);
        outcomes.push(Outcome::Ended { seq, was_open });
    }

    /// Lets time pass: what should have been told by now is concluded, what is old is forgotten.
    pub(super) fn tick(&mut self, now: Nanos, outcomes: &mut Vec<Outcome>) {
        while let Some(waiting) = pop_due(&mut self.closing, now) {
            if let Some(connection) = self.waiting(waiting) {
                let step = connection.give_up_waiting();
                self.conclude(waiting.sock, step, now, outcomes);
            }
        }
        while let Some(waiting) = pop_due(&mut self.unaccepted, now) {
            if self
                .waiting(waiting)
                .is_some_and(|connection| connection.ended.is_none())
            {
                self.table.remove(&waiting.sock);
            }
        }
        self.ended.expire(now, limits::ENDED_AGE);
    }

    fn waiting(&mut self, waiting: Waiting) -> Option<&mut Connection> {
        self.table
            .get_mut(&waiting.sock)
            .filter(|connection| connection.serial == waiting.serial)
    }

    /// Stops following what used this socket: it is used again.
    fn forget(&mut self, sock: SockId, outcomes: &mut Vec<Outcome>) {
        let lost = self
            .table
            .remove(&sock)
            .filter(|connection| connection.counted_open)
            .and_then(|connection| connection.owner);
        if let Some(owner) = lost {
            outcomes.push(Outcome::Lost(owner.process));
        }
    }

    fn make_room(&mut self, outcomes: &mut Vec<Outcome>) {
        if self.table.len() < limits::CONNECTIONS {
            return;
        }
        let ages = self.table.iter().map(|(sock, known)| {
            let lives = !matches!(known.phase, Phase::Ended { .. });
            (lives, known.last_event, *sock)
        });
        for (_, _, sock) in limits::to_evict(ages.collect(), limits::CONNECTIONS) {
            self.forget(sock, outcomes);
            self.evicted += 1;
        }
    }

    /// Learns who holds a socket from before the trace.
    pub(super) fn learn_before(&mut self, socket: &SocketOwner, owner: Owner) {
        let row = &socket.row;
        let cookie = row.cookie;
        if cookie.known().is_none() {
            return;
        }
        let before = SocketBefore {
            owner,
            netns: socket.netns,
            local: row.local,
            remote: row.remote,
            is_followed: matches!(row.state, TcpState::TimeWait | TcpState::Close),
            is_half_closed: row.state == TcpState::CloseWait,
        };
        if self.before.insert(cookie, before).is_none() {
            self.before_order.push_back(cookie);
        }
        if self.before_order.len() > limits::SOCKETS_BEFORE
            && let Some(oldest) = self.before_order.pop_front()
        {
            self.before.remove(&oldest);
            self.evicted += 1;
        }
    }

    /// Who owned the connection that a listed `TIME_WAIT` socket is left of.
    pub(super) fn owner_of(
        &self,
        netns: Netns,
        socket: &SocketRow,
    ) -> Option<(Owner, Attribution)> {
        if let Some((seq, attribution)) = self.ended.find(netns, socket)
            && let Some(owner) = self.ended.get(seq).and_then(|ended| ended.owner)
        {
            return Some((owner, attribution));
        }
        let owner = self.before.get(&socket.cookie)?.owner;
        Some((owner, Attribution::Cookie))
    }

    /// Connections that only the peer has closed, and that for at least `age`. Told from one moment to
    /// the next, as most are closed by then.
    pub(super) fn half_closed(&mut self, now: Nanos, age: Nanos) -> Vec<HalfClosed> {
        let since = Nanos(now.0.saturating_sub(age.0));
        while let Some(waiting) = pop_due(&mut self.half_closed, since) {
            self.half_closed_long.push(waiting);
        }
        let mut found = Vec::new();
        let table = &self.table;
        self.half_closed_long.retain(|waiting| {
            let connection = table.get(&waiting.sock);
            let connection = connection.filter(|known| known.serial == waiting.serial);
            let Some((connection, since)) = connection.and_then(|c| Some((c, c.close_wait?)))
            else {
                return false;
            };
            if let Some(owner) = connection.owner {
                let peer = peer_of(connection.role, connection.local, connection.remote);
                found.push(HalfClosed { owner, peer, since });
            }
            true
        });
        found
    }

    /// Learns what range a network namespace's ports are taken from.
    pub(super) fn learn_ephemeral_ports(&mut self, netns: Netns, range: PortRange) {
        let is_known = self.ephemeral_ports.contains_key(&netns);
        if is_known || self.ephemeral_ports.len() < limits::TIME_WAIT_LISTINGS {
            self.ephemeral_ports.insert(netns, range);
        }
    }

    /// The range that a network namespace's ports are taken from.
    pub(super) fn ephemeral_ports(&self, netns: Netns) -> Option<PortRange> {
        // Traces of before it was told for each namespace tell one for all.
        let any = || self.ephemeral_ports.get(&Netns::default());
        self.ephemeral_ports.get(&netns).or_else(any).copied()
    }

    /// Clients' connections that hold their port: those that are on their way or established, and
    /// those that only the peer has closed. What this side has closed is listed in `TIME_WAIT`.
    pub(super) fn port_users(&self) -> impl Iterator<Item = PortUser<'_>> {
        let followed = self.table.values().filter(|connection| {
            let is_ended = matches!(connection.phase, Phase::Ended { .. });
            connection.role == Role::Client && (!is_ended || connection.close_wait.is_some())
        });
        let followed = followed.map(|known| {
            let owner = known.owner.map(|owner| owner.process);
            (owner, known.netns, known.local, known.remote)
        });
        let before = self.before.values().filter(|known| !known.is_followed);
        let before = before
            .filter(|known| self.likely_role(known) == Role::Client)
            .map(|known| {
                let owner = Some(known.owner.process);
                (owner, known.netns, known.local, known.remote)
            });
        followed.chain(before).map(|(owner, netns, local, remote)| {
            PortUser::new(netns, local, remote, Holder::Connection(owner))
        })
    }

    /// The least range that any network namespace's ports are taken from.
    pub(super) fn least_ephemeral_ports(&self) -> Option<PortRange> {
        let ranges = self.ephemeral_ports.values().copied();
        ranges.min_by_key(|range| range.ports())
    }

    /// How many sockets from before the trace are known.
    pub(super) fn known_before(&self) -> usize {
        self.before.len()
    }

    /// How many connections are followed.
    pub(super) fn followed(&self) -> usize {
        self.table.len()
    }
}

/// Whether an event belongs to the connection that its socket is known for.
fn continues(known: &Connection, tcp: &TcpEvent) -> bool {
    match tcp.action {
        TcpAction::Connect => false,
        TcpAction::Accept | TcpAction::State | TcpAction::TimeWait | TcpAction::Close => {
            known.is_of(tcp)
        }
        TcpAction::ConnectFailed => known.phase == Phase::Connecting && known.is_of(tcp),
    }
}

/// Whether an event of an unknown socket tells enough to follow it from here on: not where its
/// connection is already over.
fn begins(tcp: &TcpEvent) -> bool {
    match tcp.action {
        TcpAction::Connect | TcpAction::ConnectFailed | TcpAction::Accept | TcpAction::TimeWait => {
            true
        }
        TcpAction::State => matches!(
            (tcp.old_state, tcp.new_state),
            (TcpState::Established | TcpState::SynSent, _)
                | (TcpState::SynRecv, TcpState::Established)
        ),
        TcpAction::Close => matches!(tcp.old_state, TcpState::Established | TcpState::CloseWait),
    }
}

fn wait(waiting: &mut VecDeque<Waiting>, due: Nanos, sock: SockId, serial: u64) {
    // Without ticks nothing is ever due; what gives way is then told by its later events alone.
    if waiting.len() >= limits::CONNECTIONS {
        waiting.pop_front();
    }
    waiting.push_back(Waiting { due, sock, serial });
}

fn pop_due(waiting: &mut VecDeque<Waiting>, now: Nanos) -> Option<Waiting> {
    waiting
        .front()
        .is_some_and(|first| first.due <= now)
        .then(|| waiting.pop_front())?
}
