//! Facts about the host that no event tells (/proc, `sock_diag`, limits), as values; never how they
//! were looked up.

use std::{
    cmp::Ordering,
    sync::{Arc, Weak},
};

use tracer_common::{FdKind, ProcessCounters};

use super::{Comm, Cookie, Endpoint, Nanos, Netns, Pid, StackFact, TcpState};

/// One looked-up fact.
#[derive(Clone, Debug, PartialEq)]
pub enum HostFact {
    /// Who a process is.
    Process(Box<ProcessFact>),
    /// How full a process's descriptor table is.
    Descriptors(DescriptorFact),
    /// What a process's descriptor table holds.
    Table(Box<TableFact>),
    /// The kernel half's exact counters of a live process.
    Counters {
        /// The process.
        pid: Pid,
        /// What it did since it was first seen.
        counters: Box<ProcessCounters>,
    },
    /// A connection that was there before the trace began, with the process that holds it.
    SocketBefore(SocketOwner),
    /// All `TIME_WAIT` sockets of a network namespace, now.
    TimeWait(TimeWaitListing),
    /// The range that the kernel takes ephemeral ports from.
    EphemeralPorts {
        /// In this network namespace; 0 where that was not told, then in all.
        netns: Netns,
        /// The range.
        range: PortRange,
    },
    /// What a user stack looks like.
    Stack(Box<StackFact>),
}

/// How many ancestors of a process are told at most. Between a container's program and the first
/// process of its host lie four to six.
pub const PARENTS_MAX: usize = 8;

/// Two starts that lie nearer are the same: /proc tells them in clock ticks of 10 ms.
const SAME_START: Nanos = Nanos::from_millis(20);

/// An ancestor of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ancestor {
    /// Its pid.
    pub pid: Pid,
    /// Its name.
    pub comm: Comm,
}

/// Whether two starts that were told of one pid, one of them perhaps by /proc, are those of the same
/// process.
#[must_use]
pub const fn is_same_start(one: Nanos, other: Nanos) -> bool {
    one.since(other).0 <= SAME_START.0 && other.since(one).0 <= SAME_START.0
}

/// Who a process is, from /proc. A field is `None` where it could not be read (the process may
/// have vanished half way).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFact {
    /// The process.
    pub pid: Pid,
    /// When it started.
    pub start: Option<Nanos>,
    /// Its name.
    pub comm: Option<String>,
    /// Its executable.
    pub exe: Option<String>,
    /// Its command line, arguments joined by spaces.
    pub cmdline: Option<String>,
    /// Its parent.
    pub ppid: Option<Pid>,
    /// Its user's name, or the number where it has none.
    pub user: Option<String>,
    /// Its pid in its own pid namespace.
    pub ns_pid: Option<u32>,
    /// Its container's id, where it runs in one.
    pub container: Option<String>,
    /// What runs that container, where its cgroup's name tells.
    pub runtime: Option<String>,
    /// The uid of the pod that it belongs to.
    pub pod_uid: Option<String>,
    /// The systemd unit that it belongs to.
    pub unit: Option<String>,
    /// Its network namespace.
    pub netns: Option<Netns>,
    /// Its parent, its parent's parent and so on, at most [`PARENTS_MAX`]; empty where not known.
    pub parents: Vec<Ancestor>,
}

/// How full a process's descriptor table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorFact {
    /// The process.
    pub pid: Pid,
    /// When it started, where that was read together with the rest.
    pub start: Option<Nanos>,
    /// Open descriptors when this was read.
    pub open: u64,
    /// The kernel half's net count (got less closed) at the same moment, where it has one: with it
    /// the number of open descriptors at any event can be told.
    pub net: Option<i64>,
    /// The soft limit; `None` is unlimited.
    pub soft_limit: Option<u64>,
    /// The hard limit; `None` is unlimited.
    pub hard_limit: Option<u64>,
}

/// How many paths a [`TableFact`] tells at most.
pub const TABLE_PATHS_MAX: usize = 4_096;

/// What a process's descriptor table holds, as /proc names it: also what was there before anybody
/// watched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableFact {
    /// The process.
    pub pid: Pid,
    /// When it started, where that was read together with the rest.
    pub start: Option<Nanos>,
    /// How many descriptors of each kind, in the order of [`FdKind::ALL`].
    pub kinds: [u64; FdKind::COUNT],
    /// The kernel half's net counts (got less closed) of each kind at the same moment, where it has
    /// them and they stood still meanwhile: with them what there is at any later counters can be told.
    pub nets: Option<[i64; FdKind::COUNT]>,
    /// How many descriptors of each file, by its path, the most first; at most [`TABLE_PATHS_MAX`].
    pub paths: Vec<(String, u64)>,
}

/// A socket as `sock_diag` lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketRow {
    /// Its cookie.
    pub cookie: Cookie,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// Its state.
    pub state: TcpState,
}

impl SocketRow {
    /// Whether it comes before another; mostly their cookies differ, and nothing else is looked at.
    fn precedes(&self, other: &Self) -> bool {
        match self.cookie.cmp(&other.cookie) {
            Ordering::Equal => self < other,
            order => order.is_lt(),
        }
    }
}

/// A socket and the process that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketOwner {
    /// The socket.
    pub row: SocketRow,
    /// Its network namespace.
    pub netns: Netns,
    /// The process that holds a descriptor of it.
    pub pid: Pid,
}

/// All `TIME_WAIT` sockets of one network namespace at one moment (also those that still wait for the
/// peer's FIN without an owner). A copy shares them: the next listing has nearly the same, and each is
/// held by whoever tells what has changed.
#[derive(Clone, Debug)]
pub struct TimeWaitListing {
    /// The namespace.
    pub netns: Netns,
    rows: Arc<Vec<SocketRow>>,
    /// How it differs from the listing that it was made of, where it was made so.
    derived: Option<Arc<Derived>>,
}

/// What has led from one listing to the next, so that nobody has to compare the two again.
#[derive(Debug)]
struct Derived {
    /// Nobody else can be at its address while this is held, though its sockets may be gone.
    from: Weak<Vec<SocketRow>>,
    changes: Vec<ListingChange>,
}

impl PartialEq for TimeWaitListing {
    fn eq(&self, other: &Self) -> bool {
        self.netns == other.netns && self.rows == other.rows
    }
}

impl Eq for TimeWaitListing {}

/// A difference between two listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListingChange {
    /// The socket is listed now.
    Came(SocketRow),
    /// The socket is no longer listed.
    Went(SocketRow),
}

impl TimeWaitListing {
    /// A listing of these sockets, each once and in order: the kernel's own is that of its hash table,
    /// which means nothing.
    #[must_use]
    pub fn new(netns: Netns, mut rows: Vec<SocketRow>) -> Self {
        // Mostly some parts of it are in order: a stable sort joins them.
        rows.sort();
        rows.dedup();
        Self {
            netns,
            rows: Arc::new(rows),
            derived: None,
        }
    }

    /// The listing that some changes lead to: sockets that went, and sockets that came.
    #[must_use]
    pub fn changed(&self, went: Vec<SocketRow>, came: Vec<SocketRow>) -> Self {
        let went = went.into_iter().map(|socket| (socket, false));
        let mut changes: Vec<_> = came.into_iter().map(|socket| (socket, true)).collect();
        changes.extend(went);
        // Mostly both are in order, and are joined.
        changes.sort();
        // What went and came again is there.
        changes.dedup_by(|later, kept| {
            let is_same = later.0 == kept.0;
            kept.1 |= is_same && later.1;
            is_same
        });
        let mut rows = Vec::with_capacity(self.rows.len() + changes.len());
        let mut told = Vec::with_capacity(changes.len());
        let mut rest = self.rows();
        for (socket, is_there) in changes {
            let place = rest.partition_point(|row| row.precedes(&socket));
            let (before, from) = rest.split_at(place);
            rows.extend_from_slice(before);
            let was_there = from.first() == Some(&socket);
            rest = if was_there { &from[1..] } else { from };
            if is_there {
                rows.push(socket);
            }
            match (was_there, is_there) {
                (true, false) => told.push(ListingChange::Went(socket)),
                (false, true) => told.push(ListingChange::Came(socket)),
                _ => {}
            }
        }
        rows.extend_from_slice(rest);
        Self {
            netns: self.netns,
            rows: Arc::new(rows),
            derived: Some(Arc::new(Derived {
                from: Arc::downgrade(&self.rows),
                changes: told,
            })),
        }
    }

    /// The same listing for who keeps it: without what it was made of.
    #[must_use]
    pub fn kept(&self) -> Self {
        Self {
            derived: None,
            ..self.clone()
        }
    }

    /// The sockets, each once and in order.
    #[must_use]
    pub fn rows(&self) -> &[SocketRow] {
        &self.rows
    }

    /// What leads from another listing, or from none, to this one.
    pub fn changes_since(&self, old: Option<&Self>, mut tell: impl FnMut(ListingChange)) {
        if let (Some(derived), Some(old)) = (&self.derived, old)
            && derived.from.as_ptr() == Arc::as_ptr(&old.rows)
        {
            derived.changes.iter().copied().for_each(tell);
            return;
        }
        let (mut old, mut new) = (old.map_or(&[][..], Self::rows), self.rows());
        loop {
            let (order, went, came) = match (old.split_first(), new.split_first()) {
                (None, None) => return,
                (Some(went), None) => (Ordering::Less, Some(went), None),
                (None, Some(came)) => (Ordering::Greater, None, Some(came)),
                // Most have not changed.
                (Some((went, old_rest)), Some((came, new_rest))) if went == came => {
                    (old, new) = (old_rest, new_rest);
                    continue;
                }
                (Some(went), Some(came)) => (went.0.cmp(came.0), Some(went), Some(came)),
            };
            if let Some((went, rest)) = went.filter(|_| order.is_le()) {
                old = rest;
                if order.is_lt() {
                    tell(ListingChange::Went(*went));
                }
            }
            if let Some((came, rest)) = came.filter(|_| order.is_ge()) {
                new = rest;
                if order.is_gt() {
                    tell(ListingChange::Came(*came));
                }
            }
        }
    }
}

/// Ephemeral ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub low: u16,
    /// The highest.
    pub high: u16,
}

impl PortRange {
    /// Whether a port is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.low <= port && port <= self.high
    }

    /// How many ports the range holds.
    #[must_use]
    pub fn ports(self) -> u32 {
        u32::from(self.high).saturating_sub(u32::from(self.low)) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::{
        ListingChange::{Came, Went},
        *,
    };

    fn row(cookie: u64) -> SocketRow {
        let end = Endpoint {
            addr: [127, 0, 0, 1].into(),
            port: 2181,
        };
        SocketRow {
            cookie: Cookie(cookie),
            local: end,
            remote: end,
            state: TcpState::TimeWait,
        }
    }

    #[test]
    fn what_came_and_went_is_told_in_order() {
        let rows = |cookies: &[u64]| cookies.iter().copied().map(row).collect::<Vec<_>>();
        let listing = TimeWaitListing::new(Netns(1), rows(&[5, 2, 3, 2]));
        assert_eq!(listing.rows(), rows(&[2, 3, 5]));
        let since = |old: &[u64]| {
            let mut told = Vec::new();
            let old = TimeWaitListing::new(Netns(1), rows(old));
            listing.changes_since(Some(&old), |change| told.push(change));
            told
        };
        let changed = |went: &[u64], came: &[u64]| listing.changed(rows(went), rows(came));
        assert_eq!(
            changed(&[2, 4, 5], &[1, 3, 5, 9, 9]).rows(),
            rows(&[1, 3, 5, 9])
        );
        assert_eq!(changed(&[], &[]), listing);
        let mut told = Vec::new();
        let next = changed(&[2, 3, 4, 5], &[1, 3, 5, 9, 9]);
        next.changes_since(Some(&listing), |change| told.push(change));
        assert_eq!(told, [Came(row(1)), Went(row(2)), Came(row(9))]);
        told.clear();
        next.kept()
            .changes_since(Some(&listing), |change| told.push(change));
        assert_eq!(told, [Came(row(1)), Went(row(2)), Came(row(9))]);
        assert_eq!(since(&[2, 3, 5]), []);
        assert_eq!(since(&[]), [Came(row(2)), Came(row(3)), Came(row(5))]);
        assert_eq!(
            since(&[1, 3, 4, 9]),
            [
                Went(row(1)),
                Came(row(2)),
                Went(row(4)),
                Came(row(5)),
                Went(row(9))
            ]
        );
    }
}
