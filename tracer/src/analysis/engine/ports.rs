//! Has ephemeral ports judged that run out, and links what brought that about and what follows from
//! it; never decides whether they do.

use super::super::{
    group::{GroupKey, Target},
    losses::Family,
    port_exhaustion::{EADDRNOTAVAIL, Sockets},
    process::ProcessKey,
    report::{Finding, Identity},
    verdicts::Telling,
};
use super::Engine;

impl Engine {
    /// Tells of peers towards which ports run out. `live` are the groups of connections that go on.
    pub(super) fn tell_ports(&mut self, live: &[GroupKey]) {
        if !self.ports.is_due(self.now) {
            return;
        }
        let sockets = Sockets {
            connections: &self.connections,
            time_wait: &self.time_wait,
        };
        self.ports.look(self.now, sockets, &self.thresholds);
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
