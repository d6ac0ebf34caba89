//! The detector of ephemeral ports that run out towards one peer; never judges ports that programs
//! choose themselves.
//!
//! The kernel gives a connect a port of its range that no other connection between the same address
//! here and the same address and port there has, those in `TIME_WAIT` included (`__inet_hash_connect`
//! in `net/ipv4/inet_hashtables.c`). Only together do the sockets of all processes fill the range.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

use rustc_hash::FxHashMap;

use crate::model::{Endpoint, Nanos, Netns, PortRange, SocketRow};

use super::{
    connections::{Connections, FailedConnect},
    limits,
    process::{ProcessKey, Processes},
    report::{PortExhaustion, PortOwner},
    stats::minutes_long,
    thresholds::Thresholds,
    time_wait::TimeWaitTable,
};

/// What a connect fails with that finds no port (`include/uapi/asm-generic/errno.h`). Other reasons
/// for it are an address that is not there.
pub(super) const EADDRNOTAVAIL: i32 = 99;

/// The least time between two looks at all sockets: `TIME_WAIT` sockets are listed once a second.
const LOOK_PERIOD: Nanos = Nanos::from_millis(900);

/// From so much of the range on, in percent, what is in use is followed, so that its growth is known
/// once it matters.
const FOLLOW_PERCENT: u64 = 25;

/// From so much of the range on, in percent, a connect without a port is the range's fault. Some ports
/// of it may be reserved, or bound to by programs, and the sockets of processes that are not watched
/// are not known.
const REFUSED_PERCENT: u64 = 50;

/// It is over when so much less of the range is in use than where it begins, in percent.
const HYSTERESIS_PERCENT: u64 = 10;

/// And when no connect failed for so long.
const SILENCE: Nanos = Nanos::from_secs(15);

/// Numbers are told anew when they changed by so much of the range, in percent.
const STEP_PERCENT: u64 = 5;

/// The stretch over which growth is measured.
const GROWTH_WINDOW: Nanos = Nanos::from_secs(30);

/// How long a socket stays in `TIME_WAIT` (`TCP_TIMEWAIT_LEN` in `include/net/tcp.h`). After that
/// those that come are balanced by those that go.
const TIME_WAIT: Nanos = Nanos::from_secs(60);

/// Between whom a port may be used once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Route {
    pub(super) netns: Netns,
    pub(super) local: IpAddr,
    pub(super) remote: Endpoint,
}

/// A socket that keeps a port from being used again.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortUser<'a> {
    pub(super) route: Route,
    pub(super) port: u16,
    pub(super) holder: Holder<'a>,
}

/// What holds a port.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holder<'a> {
    /// A connection, of this process if anybody knows one.
    Connection(Option<ProcessKey>),
    /// What is left of one.
    TimeWait(&'a SocketRow),
}

impl<'a> PortUser<'a> {
    /// A socket of this network namespace from `local` to `remote`.
    pub(super) fn new(netns: Netns, local: Endpoint, remote: Endpoint, holder: Holder<'a>) -> Self {
        Self {
            route: Route {
                netns,
                local: local.addr,
                remote,
            },
            port: local.port,
            holder,
        }
    }
}

/// All sockets that the engine knows of.
#[derive(Clone, Copy)]
pub(super) struct Sockets<'a> {
    pub(super) connections: &'a Connections,
    pub(super) time_wait: &'a TimeWaitTable,
}

impl<'a> Sockets<'a> {
    /// Those of clients.
    fn port_users(self) -> impl Iterator<Item = PortUser<'a>> {
        let left = self.time_wait.port_users(move |netns| self.range(netns));
        self.connections.port_users().chain(left)
    }

    /// About how many there are.
    fn count(self) -> usize {
        self.connections.followed() + self.connections.known_before() + self.time_wait.len()
    }

    /// The least range of ephemeral ports that any network namespace has.
    fn least_range(self) -> Option<PortRange> {
        self.connections.least_ephemeral_ports()
    }

    /// A network namespace's ephemeral ports, where they are known.
    fn range(self, netns: Netns) -> Option<PortRange> {
        self.connections.ephemeral_ports(netns)
    }

    /// Whose `TIME_WAIT` socket it is.
    fn owner(self, netns: Netns, socket: &SocketRow) -> Option<ProcessKey> {
        let (owner, _) = self.connections.owner_of(netns, socket)?;
        Some(owner.process)
    }
}

/// The routes whose ports are followed.
#[derive(Debug, Default)]
pub(super) struct PortExhaustions {
    routes: BTreeMap<Route, Followed>,
    /// Connects without a port lately, until a look finds which route they wanted.
    refused: BTreeMap<(Netns, Endpoint), Refused>,
    looked: Option<Nanos>,
}

/// Connects that found no port.
#[derive(Clone, Copy, Debug)]
struct Refused {
    count: u64,
    first: Nanos,
    last: Nanos,
    by: ProcessKey,
}

/// One route's ports.
#[derive(Debug, Default)]
struct Followed {
    /// How many were in use at each look within the window.
    levels: VecDeque<(Nanos, InUse)>,
    episode: Option<Episode>,
}

/// How many ports are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct InUse {
    all: u64,
    time_wait: u64,
}

impl InUse {
    const fn open(self) -> u64 {
        self.all - self.time_wait
    }
}

/// A range that is nearly, or fully, used up.
#[derive(Debug)]
pub(super) struct Episode {
    pub(super) since: Nanos,
    pub(super) last: Nanos,
    pub(super) losses_before: u64,
    pub(super) verdict: Option<u64>,
    pub(super) is_over: bool,
    range: PortRange,
    peak: u64,
    refused: Option<Refused>,
    /// Processes with the ports that they hold, or held when most were in use, the most first.
    owners: Vec<(ProcessKey, u64)>,
    /// The ports in use as they were when they last changed by a good part.
    told: Told,
}

#[derive(Clone, Copy, Debug, Default)]
struct Told {
    in_use: InUse,
    rate_per_min: f64,
    eta: Option<Nanos>,
}

/// So many percent of a range's ports, rounded up.
fn share(range: PortRange, percent: u64) -> u64 {
    (u64::from(range.ports()) * percent).div_ceil(100)
}

impl PortExhaustions {
    /// A connect found no port.
    pub(super) fn note_refused(&mut self, failure: &FailedConnect) {
        let wanted = (failure.netns, failure.remote);
        let is_full = self.refused.len() >= limits::PORT_ROUTES;
        if is_full && !self.refused.contains_key(&wanted) {
            return;
        }
        let refused = Refused {
            count: 1,
            first: failure.at,
            last: failure.at,
            by: failure.owner.process,
        };
        let known = self.refused.entry(wanted);
        known
            .and_modify(|known| known.add(refused))
            .or_insert(refused);
    }

    /// Whether it is time for a look.
    pub(super) fn is_due(&self, now: Nanos) -> bool {
        let looked = self.looked;
        looked.is_none_or(|looked| now.since(looked) >= LOOK_PERIOD)
    }

    /// Looks at all sockets, and forgets the episodes that are over and told.
    pub(super) fn look(&mut self, now: Nanos, sockets: Sockets<'_>, thresholds: &Thresholds) {
        self.looked = Some(now);
        self.refused
            .retain(|_, refused| now.since(refused.last) < SILENCE);
        self.routes
            .retain(|_, followed| !followed.episode.as_ref().is_some_and(|it| it.is_over));
        let mut full = self.full_routes(sockets);
        if full.is_empty() {
            return;
        }
        for user in sockets.port_users() {
            if let Some((range, ports)) = full.get_mut(&user.route)
                && range.contains(user.port)
            {
                ports.add(user);
            }
        }
        for (route, (range, ports)) in full {
            let wanted = (route.netns, route.remote);
            let refused = self.refused.get(&wanted).copied();
            let followed = self.routes.entry(route).or_default();
            if followed.advance(now, range, ports.in_use(), refused, thresholds)
                && let Some(episode) = &mut followed.episode
                && episode.is_at_its_height(ports.in_use())
            {
                episode.owners = ports.owners(route.netns, sockets);
            }
            if followed.episode.is_some() {
                // Those that are not told yet wait until the listings show why.
                self.refused.remove(&wanted);
            }
            if followed.is_idle(range) {
                self.routes.remove(&route);
            }
        }
    }

    /// The routes that may use a good part of their range, and those that did before: told by a count
    /// of sockets, of which some may have the same port.
    fn full_routes<'a>(&self, sockets: Sockets<'a>) -> BTreeMap<Route, (PortRange, Ports<'a>)> {
        let mut counts: FxHashMap<Route, u64> = FxHashMap::default();
        let enough = sockets
            .least_range()
            .map(|range| share(range, FOLLOW_PERCENT));
        let may_be_full = enough.is_some_and(|enough| sockets.count() as u64 >= enough);
        let users = may_be_full.then(|| sockets.port_users());
        for user in users.into_iter().flatten() {
            *counts.entry(user.route).or_default() += 1;
        }
        let known = self.routes.keys().map(|route| (*route, u64::MAX));
        counts.extend(known);
        let with_range = counts.into_iter().filter_map(|(route, count)| {
            let range = sockets.range(route.netns)?;
            (count >= share(range, FOLLOW_PERCENT)).then_some((count, route, range))
        });
        let mut full: Vec<_> = with_range.collect();
        full.sort_unstable_by_key(|(count, route, _)| (std::cmp::Reverse(*count), *route));
        full.truncate(limits::PORT_ROUTES);
        full.into_iter()
            .map(|(_, route, range)| (route, (range, Ports::default())))
            .collect()
    }

    /// What goes on, with whom.
    pub(super) fn episodes_mut(&mut self) -> impl Iterator<Item = (&Route, &mut Episode)> {
        self.routes
            .iter_mut()
            .filter_map(|(route, followed)| Some((route, followed.episode.as_mut()?)))
    }
}

impl Refused {
    fn add(&mut self, later: Self) {
        self.count += later.count;
        self.last = self.last.max(later.last);
        self.by = later.by;
    }
}

/// The ports of one route, each once.
#[derive(Debug, Default)]
struct Ports<'a> {
    holders: BTreeMap<u16, Holder<'a>>,
}

impl<'a> Ports<'a> {
    fn add(&mut self, user: PortUser<'a>) {
        // One that is told twice is on its way to TIME_WAIT.
        match user.holder {
            Holder::TimeWait(_) => _ = self.holders.insert(user.port, user.holder),
            Holder::Connection(_) => _ = self.holders.entry(user.port).or_insert(user.holder),
        }
    }

    fn in_use(&self) -> InUse {
        let time_wait = self
            .holders
            .values()
            .filter(|holder| matches!(holder, Holder::TimeWait(_)));
        InUse {
            all: self.holders.len() as u64,
            time_wait: time_wait.count() as u64,
        }
    }

    /// Whose they are, the most first.
    fn owners(&self, netns: Netns, sockets: Sockets<'_>) -> Vec<(ProcessKey, u64)> {
        let mut counts: BTreeMap<ProcessKey, u64> = BTreeMap::new();
        for holder in self.holders.values() {
            let owner = match holder {
                Holder::Connection(owner) => *owner,
                Holder::TimeWait(socket) => sockets.owner(netns, socket),
            };
            if let Some(owner) = owner {
                *counts.entry(owner).or_default() += 1;
            }
        }
        let mut owners: Vec<_> = counts.into_iter().collect();
        owners.sort_by_key(|(key, count)| (std::cmp::Reverse(*count), *key));
        owners.truncate(limits::PORT_OWNERS);
        owners
    }
}

impl Followed {
    /// Learns how many ports are in use. Gives whether that is to be told.
    fn advance(
        &mut self,
        now: Nanos,
        range: PortRange,
        in_use: InUse,
        refused: Option<Refused>,
        thresholds: &Thresholds,
    ) -> bool {
        self.levels.push_back((now, in_use));
        while self.levels.len() > 2
            && (self.levels.front()).is_some_and(|(at, _)| now.since(*at) > GROWTH_WINDOW)
        {
            self.levels.pop_front();
        }
        let begins_at = share(range, thresholds.port_exhaustion_percent.min(100)).max(2);
        let is_refused = refused.is_some() && in_use.all >= share(range, REFUSED_PERCENT);
        let begins = self.episode.is_none() && (in_use.all >= begins_at || is_refused);
        if begins {
            let since = refused.map_or(now, |refused| refused.first);
            self.episode = Some(Episode::begin(since, range));
        }
        let Some(episode) = &mut self.episode else {
            return false;
        };
        if let Some(refused) = refused {
            match &mut episode.refused {
                Some(known) => known.add(refused),
                None => episode.refused = Some(refused),
            }
            episode.last = episode.last.max(refused.last);
        }
        if in_use.all >= begins_at {
            episode.last = episode.last.max(now);
        }
        episode.range = range;
        episode.peak = episode.peak.max(in_use.all);
        let least = begins_at.saturating_sub(share(range, HYSTERESIS_PERCENT));
        let is_silent = episode
            .refused
            .is_none_or(|refused| now.since(refused.last) >= SILENCE);
        episode.is_over = is_silent && in_use.all < least.max(1);
        let moved = in_use.all.abs_diff(episode.told.in_use.all);
        let is_news = begins
            || refused.is_some()
            || episode.is_over
            || moved >= share(range, STEP_PERCENT).max(1);
        if is_news {
            let rate_per_min = growth(&self.levels, |level| level.all);
            let eta = (!episode.is_over).then(|| eta(now, range, in_use, &self.levels));
            episode.told = Told {
                in_use,
                rate_per_min,
                eta: eta.flatten(),
            };
        }
        is_news
    }

    /// Whether there is nothing to follow any more.
    fn is_idle(&self, range: PortRange) -> bool {
        let now = self.levels.back().map_or(0, |(_, in_use)| in_use.all);
        self.episode.is_none() && now < share(range, FOLLOW_PERCENT)
    }
}

/// How many more a minute there were over the known looks.
fn growth(levels: &VecDeque<(Nanos, InUse)>, of: impl Fn(InUse) -> u64) -> f64 {
    let (Some((begin, first)), Some((end, last))) = (levels.front(), levels.back()) else {
        return 0.0;
    };
    let minutes = end.since(*begin).as_secs_f64() / 60.0;
    if minutes <= 0.0 {
        return 0.0;
    }
    (of(*last) as f64 - of(*first) as f64) / minutes
}

/// When none will be left. What grows by `TIME_WAIT` sockets alone stops growing once the first of them
/// go, unless the range is used up before.
fn eta(
    now: Nanos,
    range: PortRange,
    in_use: InUse,
    levels: &VecDeque<(Nanos, InUse)>,
) -> Option<Nanos> {
    let room = u64::from(range.ports()).saturating_sub(in_use.all);
    if room == 0 {
        return None;
    }
    let after =
        |rate_per_min: f64| (rate_per_min > 0.0).then(|| minutes_long(room as f64 / rate_per_min));
    after(growth(levels, |level| level.all))
        .filter(|span| *span <= TIME_WAIT)
        .or_else(|| after(growth(levels, InUse::open)))
        .map(|span| now + span)
}

impl Episode {
    fn begin(since: Nanos, range: PortRange) -> Self {
        Self {
            since,
            last: since,
            losses_before: 0,
            verdict: None,
            is_over: false,
            range,
            peak: 0,
            refused: None,
            owners: Vec::new(),
            told: Told::default(),
        }
    }

    /// The process that it is told of: the one that holds the most ports, or else one whose connect
    /// failed.
    pub(super) fn process(&self) -> Option<ProcessKey> {
        let refused = self.refused.map(|refused| refused.by);
        self.owners.first().map(|(owner, _)| *owner).or(refused)
    }

    /// Whether so many ports are most of those that were in use: once they are free again, whose they
    /// were stays told.
    fn is_at_its_height(&self, in_use: InUse) -> bool {
        in_use.all > self.peak / 2
    }

    /// Whether a process holds some of the ports, as far as that is told.
    pub(super) fn has_owner(&self, process: ProcessKey) -> bool {
        self.owners.iter().any(|(owner, _)| *owner == process)
    }

    /// What is told of it.
    pub(super) fn describe(&self, route: &Route, processes: &Processes) -> PortExhaustion {
        let Told {
            in_use,
            rate_per_min,
            eta,
        } = self.told;
        let owners = self.owners.iter().map(|(owner, ports)| {
            let who = processes.identity(*owner);
            PortOwner {
                pid: owner.pid(),
                comm: who.comm,
                ports: *ports,
            }
        });
        PortExhaustion {
            local: route.local,
            remote: route.remote,
            range: self.range,
            ports_in_use: in_use.all,
            ports_peak: self.peak,
            time_wait: in_use.time_wait,
            open: in_use.open(),
            owners: owners.collect(),
            rate_per_min,
            eta,
            failures: self.refused.map_or(0, |refused| refused.count),
            first_failure: self.refused.map(|refused| refused.first),
        }
    }
}
