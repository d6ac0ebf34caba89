//! Connections that ended lately, and which of them the kernel still lists in `TIME_WAIT`; never
//! groups or judges them.
//!
//! Sockets in `TIME_WAIT` are many and listed once a second, and few of them change meanwhile. So
//! each is joined with its connection once, when it is listed or when its connection ends, whichever
//! comes later.

use rustc_hash::FxHashMap;
use tracer_common::Role;

use crate::model::{Cookie, Endpoint, Nanos, Netns, SocketRow};

use super::{
    connection::{Owner, Side},
    history::{History, Seq},
    limits,
    report::{Attribution, Closer},
};

/// A connection that ended.
#[derive(Clone, Debug)]
pub(super) struct EndedConnection {
    pub(super) owner: Option<Owner>,
    pub(super) role: Role,
    pub(super) netns: Netns,
    pub(super) cookie: Cookie,
    pub(super) local: Endpoint,
    pub(super) remote: Endpoint,
    pub(super) start: Option<Nanos>,
    pub(super) end: Nanos,
    pub(super) closed_by: Side,
    /// Who closed its descriptor, where that is another than its owner.
    pub(super) closer: Option<Box<Closer>>,
    pub(super) tx_bytes: u64,
    pub(super) rx_bytes: u64,
    /// The verdict that tells of it.
    pub(super) told_by: Option<u64>,
    /// Sockets that are left of it and listed: one, or none.
    pub(super) listed: u32,
}

/// The addresses that a socket without a known cookie is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tuple {
    netns: Netns,
    local: Endpoint,
    remote: Endpoint,
}

/// The connections that ended lately.
#[derive(Debug)]
pub(super) struct Ended {
    rows: History<EndedConnection>,
    by_cookie: FxHashMap<Cookie, Seq>,
    by_tuple: FxHashMap<Tuple, Seq>,
    /// Listed sockets whose connection's end was not told yet, or never will be.
    unowned: FxHashMap<Tuple, Cookie>,
    /// Listed sockets left of each verdict's connections.
    of_verdict: FxHashMap<u64, u64>,
}

impl Ended {
    /// None yet.
    pub(super) fn new() -> Self {
        Self {
            rows: History::new(limits::ENDED_CONNECTIONS),
            by_cookie: FxHashMap::default(),
            by_tuple: FxHashMap::default(),
            unowned: FxHashMap::default(),
            of_verdict: FxHashMap::default(),
        }
    }

    /// The connection with this number, unless it was forgotten.
    pub(super) fn get(&self, seq: Seq) -> Option<&EndedConnection> {
        self.rows.get(seq)
    }

    /// Remembers a connection. Gives its number, and whether another had to give way.
    pub(super) fn push(&mut self, row: EndedConnection) -> (Seq, bool) {
        let (cookie, tuple) = (row.cookie, tuple_of(&row));
        let (seq, evicted) = self.rows.push(row);
        let has_evicted = evicted.is_some();
        if let Some((seq, row)) = evicted {
            self.unindex(seq, &row);
        }
        // Whoever had the same addresses before has nothing left of it.
        let mut listed = 0;
        let (same_cookie, same_tuple) = match cookie.known() {
            Some(cookie) => (
                self.by_cookie.insert(cookie, seq),
                self.by_tuple.remove(&tuple),
            ),
            None => (None, self.by_tuple.insert(tuple, seq)),
        };
        for older in [same_cookie, same_tuple].into_iter().flatten() {
            listed += self.unlist_all(older);
        }
        if self
            .unowned
            .get(&tuple)
            .is_some_and(|listed| cookie.known().is_none_or(|cookie| cookie == *listed))
        {
            self.unowned.remove(&tuple);
            listed += 1;
        }
        self.list_as(seq, listed);
        (seq, has_evicted)
    }

    /// Forgets what ended longer ago than `age`.
    pub(super) fn expire(&mut self, now: Nanos, age: Nanos) {
        while self
            .rows
            .oldest()
            .is_some_and(|row| now.since(row.end) > age)
        {
            if let Some((seq, row)) = self.rows.pop_oldest() {
                self.unindex(seq, &row);
            }
        }
    }

    /// A connection turned out to have carried more: so much in all.
    pub(super) fn set_bytes(&mut self, seq: Seq, tx: u64, rx: u64) {
        if let Some(row) = self.rows.get_mut(seq) {
            (row.tx_bytes, row.rx_bytes) = (tx, rx);
        }
    }

    /// A connection's descriptor was closed by another than its owner.
    pub(super) fn set_closer(&mut self, seq: Seq, closer: Option<Box<Closer>>) {
        if let Some(row) = self.rows.get_mut(seq) {
            row.closer = closer;
        }
    }

    /// A verdict tells of a connection from now on.
    pub(super) fn tell(&mut self, seq: Seq, verdict: u64) {
        if let Some(row) = self.rows.get_mut(seq) {
            row.told_by = Some(verdict);
            if row.listed > 0 {
                *self.of_verdict.entry(verdict).or_default() += u64::from(row.listed);
            }
        }
    }

    /// A socket is listed from now on.
    pub(super) fn list(&mut self, netns: Netns, socket: &SocketRow) {
        if let Some((seq, _)) = self.find(netns, socket) {
            self.list_as(seq, 1);
        } else {
            self.unowned
                .insert(tuple_of_socket(netns, socket), socket.cookie);
        }
    }

    /// A socket is listed no more.
    pub(super) fn unlist(&mut self, netns: Netns, socket: &SocketRow) {
        if let Some((seq, _)) = self.find(netns, socket)
            && let Some(row) = self.rows.get_mut(seq)
            && let Some(left) = row.listed.checked_sub(1)
        {
            row.listed = left;
            uncount(&mut self.of_verdict, row.told_by, 1);
        } else {
            self.unowned.remove(&tuple_of_socket(netns, socket));
        }
    }

    /// How many listed sockets are left of a verdict's connections.
    pub(super) fn time_wait_of(&self, verdict: u64) -> u64 {
        self.of_verdict.get(&verdict).copied().unwrap_or(0)
    }

    /// The connection that a listed socket is left of.
    pub(super) fn find(&self, netns: Netns, socket: &SocketRow) -> Option<(Seq, Attribution)> {
        if let Some(seq) = self.by_cookie.get(&socket.cookie) {
            return Some((*seq, Attribution::Cookie));
        }
        if self.by_tuple.is_empty() {
            return None;
        }
        let seq = self.by_tuple.get(&tuple_of_socket(netns, socket))?;
        Some((*seq, Attribution::Tuple))
    }

    fn list_as(&mut self, seq: Seq, sockets: u32) {
        if let Some(row) = self.rows.get_mut(seq) {
            row.listed = row.listed.saturating_add(sockets);
            if let Some(verdict) = row.told_by {
                *self.of_verdict.entry(verdict).or_default() += u64::from(sockets);
            }
        }
    }

    fn unlist_all(&mut self, seq: Seq) -> u32 {
        let Some(row) = self.rows.get_mut(seq) else {
            return 0;
        };
        let listed = std::mem::take(&mut row.listed);
        uncount(&mut self.of_verdict, row.told_by, listed);
        listed
    }

    fn unindex(&mut self, seq: Seq, row: &EndedConnection) {
        uncount(&mut self.of_verdict, row.told_by, row.listed);
        if self.by_cookie.get(&row.cookie) == Some(&seq) {
            self.by_cookie.remove(&row.cookie);
        }
        let tuple = tuple_of(row);
        if self.by_tuple.get(&tuple) == Some(&seq) {
            self.by_tuple.remove(&tuple);
        }
    }

    /// How many connections are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

fn uncount(of_verdict: &mut FxHashMap<u64, u64>, verdict: Option<u64>, sockets: u32) {
    let Some(verdict) = verdict else {
        return;
    };
    if let Some(count) = of_verdict.get_mut(&verdict) {
        *count = count.saturating_sub(sockets.into());
        if *count == 0 {
            of_verdict.remove(&verdict);
        }
    }
}

fn tuple_of(row: &EndedConnection) -> Tuple {
    Tuple {
        netns: row.netns,
        local: row.local,
        remote: row.remote,
    }
}

fn tuple_of_socket(netns: Netns, socket: &SocketRow) -> Tuple {
    Tuple {
        netns,
        local: socket.local,
        remote: socket.remote,
    }
}
