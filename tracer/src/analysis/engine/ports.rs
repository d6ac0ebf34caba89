//! Has ephemeral ports judged that run out, and links what brought that about and what follows from
//! it; never decides whether they do.

use crate::model::{Netns, PortRange, SocketRow};

use super::super::{
    connections::Connections,
    group::{GroupKey, Target},
    losses::Family,
    port_exhaustion::{EADDRNOTAVAIL, PortUser, Sockets},
    process::ProcessKey,
    report::{Finding, Identity},
    time_wait::TimeWaitTable,
    verdicts::Telling,
};
use super::Engine;

/// All sockets that the engine knows of.
struct Known<'a> {
    connections: &'a Connections,
    time_wait: &'a TimeWaitTable,
}

impl Sockets for Known<'_> {
    fn port_users(&self) -> impl Iterator<Item = PortUser<'_>> {
        let range = |netns| self.connections.ephemeral_ports(netns);
        let left = self.time_wait.port_users(range);
        self.connections.port_users().chain(left)
    }

    fn count(&self) -> usize {
        self.connections.followed() + self.connections.known_before() + self.time_wait.len()
    }

    fn least_range(&self) -> Option<PortRange> {
        self.connections.least_ephemeral_ports()
    }

    fn range(&self, netns: Netns) -> Option<PortRange> {
        self.connections.ephemeral_ports(netns)
    }

    fn owner(&self, netns: Netns, socket: &SocketRow) -> Option<ProcessKey> {
        let (owner, _) = self.connections.owner_of(netns, socket)?;
        Some(owner.process)
    }
}

impl Engine {
    /// Tells of peers towards which ports run out. `live` are the groups of connections that go on.
    pub(super) fn tell_ports(&mut self, live: &[GroupKey]) {
        if !self.ports.is_due(self.now) {
            return;
        }
        let known = Known {
            connections: &self.connections,
            time_wait: &self.time_wait,
        };
        self.ports.look(self.now, &known, &self.thresholds);
        let clock = self.clock();
        let losses = self.losses.by_now(Family::Tcp);
        let selected = &self.session.selection.pids;
        for (route, episode) in self.ports.episodes_mut() {
            let process = episode.process();
            let is_selected = |key: ProcessKey| selected.contains(&key.pid());
            if !selected.is_empty() && !process.is_some_and(is_selected) {
                continue;
            }
            let id = *episode.verdict.get_or_insert_with(|| {
                episode.losses_before = self.losses.by(episode.since, Family::Tcp);
                self.verdicts.next_id()
            });
            let episode = &*episode;
            let processes = &self.processes;
            let who = || {
                let who = process.map(|process| processes.identity(process));
                let nobody = || Identity {
                    netns: Some(route.netns),
                    ..Identity::default()
                };
                who.unwrap_or_else(nobody)
            };
            let telling = || Telling {
                process: process.unwrap_or_default(),
                first_seen: episode.since,
                last_seen: episode.last,
                ongoing: !episode.is_over,
                lossy: losses > episode.losses_before,
                stacks: None,
                finding: Finding::PortExhaustion(episode.describe(route, processes)),
            };
            self.verdicts.tell(id, None, None, clock, who, telling);
            for key in live
                .iter()
                .filter(|key| key.target == Target::To(route.remote.port))
            {
                let Some(group) = self.groups.get_mut(key) else {
                    continue;
                };
                let causes = [&group.flapping, &group.churn].into_iter().flatten();
                for cause in causes.filter(|it| episode.has_owner(it.tries.owner.process)) {
                    self.verdicts.link(cause.tries.verdict, id, clock);
                }
                if let Some(failing) = &group.failing
                    && failing.tries.first_seen >= episode.since
                    && failing.failed_with(EADDRNOTAVAIL)
                {
                    self.verdicts.link(id, failing.tries.verdict, clock);
                }
            }
        }
    }
}
