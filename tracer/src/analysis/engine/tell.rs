//! Has each verdict told that goes on, and links those that belong together; never decides whether
//! there is one.

use crate::model::{Comm, Nanos, Pid, Tid};

use super::super::{
    burst::Burst,
    descriptors::Descriptors,
    episode::Tries,
    fd_burst,
    fd_exhaustion::Exhaustion,
    fd_leak::Leak,
    fd_near_limit::NearLimit,
    group::{GroupKey, Subject},
    limits,
    losses::Family,
    process::{ProcessKey, Processes},
    report::{BurstBefore, FdBurst, Finding, Identity},
    stacks::Stacks,
    verdicts::{self, Basis, Clock, Telling, Verdicts},
};
use super::Engine;

impl Engine {
    pub(super) fn tell_groups(&mut self, live: &[GroupKey]) {
        let ended = &self.connections.ended;
        let clock = self.clock();
        let time_wait_of = |tries: &Tries| ended.time_wait_of(tries.verdict);
        for key in live {
            let Some(group) = self.groups.get_mut(key) else {
                continue;
            };
            for tries in group.tries_mut() {
                let processes = &self.processes;
                let alive = |key| Some((processes.get(key)?.programs, processes.get(key)?.start));
                self.stacks.ask(&mut tries.stacks, clock.now, alive);
            }
            let mut teller = Teller {
                key,
                processes: &self.processes,
                stacks: self.session.stacks.then_some(&self.stacks),
                losses: self.losses.by_now(Family::Tcp),
                clock,
                verdicts: &mut self.verdicts,
            };
            if let Some(episode) = &group.flapping {
                let time_wait = time_wait_of(&episode.tries);
                teller.tell(&episode.tries, episode.facts(time_wait), || {
                    Finding::Flapping(episode.describe(time_wait))
                });
            }
            if let Some(episode) = &group.churn {
                let time_wait = time_wait_of(&episode.tries);
                teller.tell(&episode.tries, episode.facts(time_wait), || {
                    Finding::Churn(episode.describe(time_wait))
                });
            }
            if let Some(episode) = &group.failing {
                teller.tell(&episode.tries, episode.facts(), || {
                    Finding::FailingConnects(episode.describe())
                });
            }
        }
    }

    /// Forgets the groups' verdicts that are over.
    pub(super) fn drop_ended_groups(&mut self, live: &[GroupKey]) {
        for key in live {
            if let Some(group) = self.groups.get_mut(key) {
                group.drop_ended();
            }
        }
    }

    pub(super) fn clock(&self) -> Clock {
        Clock {
            now: self.now,
            pause: self.thresholds.update_pause,
        }
    }

    /// Tells of the descriptors of every process where something goes on. `live` are the groups of
    /// connections that do.
    pub(super) fn tell_descriptors(&mut self, live: &[GroupKey]) {
        self.has_dropped_patterns = false;
        // In the order of first sight, in which their verdicts are numbered.
        self.busy.sort_unstable();
        let mut busy = std::mem::take(&mut self.busy);
        let (mut told, mut wanted) = (Vec::new(), Vec::new());
        busy.retain(|key| match self.let_time_pass(*key) {
            Passed::Quiet { stays_busy } => stays_busy,
            Passed::Told => {
                self.number_descriptors(*key, &mut wanted);
                self.ask_for_stacks(*key);
                told.push(*key);
                false
            }
        });
        for key in &told {
            self.tell_process(*key);
            self.link_process(*key, live);
        }
        let processes = &mut self.processes;
        for pid in wanted {
            processes.ask_about(pid);
        }
        told.retain(|key| {
            processes.get_mut(*key).is_some_and(|process| {
                process.descriptors.drop_over();
                process.descriptors.stays_busy()
            })
        });
        busy.append(&mut told);
        self.busy = busy;
    }

    /// Asks for the stacks of a process's bursts.
    fn ask_for_stacks(&mut self, key: ProcessKey) {
        if let Some(process) = self.processes.get_mut(key) {
            let alive = (process.programs, process.start);
            for burst in process.descriptors.bursts_mut() {
                let stacks = &mut burst.stacks;
                self.stacks.ask(stacks, self.now, |_| Some(alive));
            }
        }
    }

    /// Lets time pass for a process's descriptors.
    fn let_time_pass(&mut self, key: ProcessKey) -> Passed {
        let Some(process) = self.processes.get_mut(key) else {
            return Passed::Quiet { stays_busy: false };
        };
        let ended = process.end();
        let descriptors = &mut process.descriptors;
        descriptors.tick(self.now, ended, &self.thresholds);
        if descriptors.has_tellable() {
            Passed::Told
        } else {
            let stays_busy = descriptors.stays_busy();
            Passed::Quiet { stays_busy }
        }
    }

    /// Numbers the verdicts about a process's descriptors that begin, and settles what they are told by.
    fn number_descriptors(&mut self, key: ProcessKey, wanted: &mut Vec<Pid>) {
        let Self {
            processes,
            connections,
            verdicts,
            losses,
            patterns,
            thresholds,
            now,
            ..
        } = self;
        let Some(process) = processes.get_mut(key) else {
            return;
        };
        let ended = process.end();
        let exhausted = process.descriptors.exhaustion();
        let counters = exhausted.and_then(|_| process.tally.counters()).copied();
        let descriptors = &mut process.descriptors;
        let (open, soft_limit) = (descriptors.open_now(), descriptors.soft_limit());
        let mut asks = false;
        for burst in descriptors.bursts_mut() {
            let begins = burst.verdict.is_none();
            if begins {
                burst.verdict = Some(verdicts.next_id());
                burst.losses_before = losses.by(burst.before.ts, Family::Fd);
            }
            let ends = !burst.ongoing && burst.summary.is_none();
            fd_burst::settle(burst, patterns);
            asks |= begins || ends;
        }
        // Nobody needs to be told of a look-up that is due as often as there is room for one.
        let is_due = |asked: &mut Option<Nanos>, begins: bool| {
            let is_old = asked.is_none_or(|at| now.since(at) >= limits::LOOKUP_PERIOD);
            let is_due = begins || (is_old && wanted.len() < limits::LOOKUPS_PER_TICK);
            if is_due {
                *asked = Some(*now);
            }
            is_due
        };
        let mut peers = None;
        let mut top_peers = || {
            let peers = peers.get_or_insert_with(|| connections.peers_of(key, Nanos::default()));
            Some(peers.clone())
        };
        if let Some(near) = &mut descriptors.near
            && !near.is_told_by_exhaustion
        {
            let begins = near.verdict.is_none();
            if begins {
                near.verdict = Some(verdicts.next_id());
                near.losses_before = losses.by(near.since, Family::Fd);
                near.top_peers = top_peers();
            }
            near.settle(patterns);
            asks |= ended.is_none() && is_due(&mut near.asked, begins);
        }
        if let Some(leak) = &mut descriptors.growth.leak {
            let begins = leak.verdict.is_none();
            if begins {
                leak.verdict = Some(verdicts.next_id());
                leak.losses_before = losses.by(leak.since, Family::Fd);
            }
            if leak.is_news && ended.is_none() {
                leak.top_dirs = patterns.summary(&descriptors.held.counts(leak.since));
                leak.top_peers = connections.peers_of(key, leak.since);
            }
            if leak.is_news {
                leak.learn(open, soft_limit);
            }
            asks |= begins;
        }
        let burst = descriptors.exhaustion().and_then(|exhaustion| {
            let burst = descriptors.bursts().last()?;
            exhaustion.follows(burst, thresholds).then(|| BurstBefore {
                at: burst.before.ts,
                opens: burst.opens(),
                pattern: (fd_burst::patterns(burst, patterns).into_iter().next())
                    .map(|(pattern, _)| pattern),
            })
        });
        if let Some(exhaustion) = descriptors
            .refusals
            .as_mut()
            .and_then(|refusals| refusals.current.as_mut())
        {
            let begins = exhaustion.verdict.is_none();
            if begins {
                exhaustion.verdict = Some(verdicts.next_id());
                exhaustion.losses_before = losses.by(exhaustion.begun(), Family::Fd);
                exhaustion.top_peers = top_peers();
            }
            exhaustion.settle(patterns, counters.as_ref());
            exhaustion.learn_peers(&process.peers);
            if burst.is_some() {
                exhaustion.burst = burst;
            }
            asks |= ended.is_none() && is_due(&mut exhaustion.asked, begins);
        }
        if asks {
            wanted.push(key.pid());
        }
    }

    /// Tells of connections that only the peer has closed.
    pub(super) fn tell_close_waits(&mut self) {
        let age = self.thresholds.close_wait_age;
        let half_closed = self.connections.half_closed(self.now, age);
        if half_closed.is_empty() && self.close_waits.leaks.is_empty() {
            return;
        }
        let clock = self.clock();
        let processes = &self.processes;
        self.close_waits
            .learn(&half_closed, processes, &self.thresholds);
        for (key, leak) in &mut self.close_waits.leaks {
            let id = *leak.verdict.get_or_insert_with(|| {
                leak.losses_before = self.losses.by(leak.since, Family::Tcp);
                self.verdicts.next_id()
            });
            let who = || identity_with(processes, *key, leak.sole_thread());
            let telling = || Telling {
                process: *key,
                first_seen: leak.since,
                last_seen: leak.last,
                ongoing: !leak.over,
                lossy: self.losses.by_now(Family::Tcp) > leak.losses_before,
                stacks: None,
                finding: Finding::CloseWaitLeak(leak.describe()),
            };
            self.verdicts.tell(id, None, None, clock, who, telling);
        }
    }

    /// Tells all verdicts about one process's descriptors.
    fn tell_process(&mut self, key: ProcessKey) {
        let clock = self.clock();
        let Some(process) = self.processes.get(key) else {
            return;
        };
        let descriptors = &process.descriptors;
        let mut teller = DescriptorsTeller {
            key,
            descriptors,
            processes: &self.processes,
            stacks: self.session.stacks.then_some(&self.stacks),
            losses: self.losses.by_now(Family::Fd),
            clock,
            verdicts: &mut self.verdicts,
        };
        for burst in descriptors.bursts() {
            teller.burst(burst, || {
                fd_burst::describe(burst, descriptors, &self.patterns)
            });
        }
        if let Some(near) = &descriptors.near {
            teller.near(near);
        }
        if let Some(exhaustion) = descriptors.exhaustion() {
            teller.exhaustion(exhaustion);
        }
        if let Some(leak) = &descriptors.growth.leak {
            teller.leak(leak);
        }
    }

    /// Links the verdicts about one process that follow from each other.
    fn link_process(&mut self, key: ProcessKey, live: &[GroupKey]) {
        let clock = self.clock();
        let Some(process) = self.processes.get(key) else {
            return;
        };
        let descriptors = &process.descriptors;
        let near = descriptors.near.as_deref();
        let near_id = near.and_then(|near| near.verdict);
        let exhaustion = descriptors.exhaustion();
        for burst in descriptors.bursts() {
            let Some(id) = burst.verdict else {
                continue;
            };
            if let (Some(near), Some(near_id)) = (near, near_id)
                && burst.before.ts <= near.since
                && near.since <= burst.last.ts
            {
                self.verdicts.link(id, near_id, clock);
            }
            if let Some(exhaustion) = exhaustion
                && let Some(effect) = exhaustion.verdict
                && exhaustion.follows(burst, &self.thresholds)
            {
                self.verdicts.link(id, effect, clock);
            }
        }
        let leak = descriptors.growth.leak.as_deref();
        let leak = leak.and_then(|leak| Some((leak.verdict?, leak.since)));
        if let (Some((id, since)), Some(near), Some(near_id)) = (leak, near, near_id)
            && since <= near.since
        {
            self.verdicts.link(id, near_id, clock);
        }
        let Some(exhaustion) = exhaustion else {
            return;
        };
        let Some(id) = exhaustion.verdict else {
            return;
        };
        if let (Some(near), Some(near_id)) = (near, near_id)
            && near.since <= exhaustion.begun()
        {
            self.verdicts.link(near_id, id, clock);
        }
        if let Some((leak, since)) = leak
            && since <= exhaustion.begun()
        {
            self.verdicts.link(leak, id, clock);
        }
        let until = exhaustion.over.unwrap_or(Nanos(u64::MAX));
        for group in live {
            if let Some(failing) = self.groups.get_mut(group).and_then(|g| g.failing.as_ref())
                && failing.tries.owner.process == key
                && failing.tries.first_seen >= exhaustion.begun()
                && failing.tries.first_seen <= until
            {
                self.verdicts.link(id, failing.tries.verdict, clock);
            }
        }
    }
}

/// What a tick finds of a process's descriptors.
enum Passed {
    /// Nothing that is told, as of nearly all: most are busy only because they opened a file lately.
    Quiet { stays_busy: bool },
    /// Something that is told, or is over and told for the last time.
    Told,
}

/// Tells the verdicts about one process's descriptors.
struct DescriptorsTeller<'a> {
    key: ProcessKey,
    descriptors: &'a Descriptors,
    processes: &'a Processes,
    /// Where stacks are asked for.
    stacks: Option<&'a Stacks>,
    losses: u64,
    clock: Clock,
    verdicts: &'a mut Verdicts,
}

/// What all verdicts about descriptors have.
#[derive(Clone, Copy)]
struct Story {
    /// Its number, once it has one.
    verdict: Option<u64>,
    first_seen: Nanos,
    last_seen: Nanos,
    ongoing: bool,
    lossy: bool,
    /// The thread that did all of it, where one did.
    thread: Option<(Tid, Comm)>,
}

impl DescriptorsTeller<'_> {
    fn burst(&mut self, burst: &Burst, describe: impl FnOnce() -> FdBurst) {
        let Some(id) = burst.verdict else {
            return;
        };
        let (key, processes) = (self.key, self.processes);
        let lossy = self.losses > burst.losses_before;
        let version = processes.identity_version(key);
        // One that is over stays as it is.
        let basis = version.filter(|_| !burst.ongoing).map(|version| Basis {
            who: verdicts::Subject {
                process: key,
                version,
                tid: Tid(0),
                thread: Comm::default(),
                processes: 1,
            },
            facts: [self.descriptors.looks(), 0, 0, 0, 0],
            stacks: self.stacks.map_or(0, Stacks::version),
            ongoing: false,
            lossy,
        });
        let who = || identity_with(processes, key, fd_burst::sole_thread(burst));
        let telling = || Telling {
            process: key,
            first_seen: burst.before.ts,
            last_seen: burst.last.ts,
            ongoing: burst.ongoing,
            lossy,
            stacks: self.stacks.map(|stacks| stacks.top(&burst.stacks)),
            finding: Finding::FdBurst(describe()),
        };
        let fds_now = self.descriptors.open_now();
        self.verdicts
            .tell(id, basis, fds_now, self.clock, who, telling);
    }

    fn near(&mut self, near: &NearLimit) {
        let story = Story {
            verdict: near.verdict,
            first_seen: near.since,
            last_seen: near.over.unwrap_or(near.since),
            ongoing: near.over.is_none(),
            lossy: self.losses > near.losses_before,
            thread: None,
        };
        self.tell(story, || Finding::FdNearLimit(near.describe()));
    }

    fn leak(&mut self, leak: &Leak) {
        let story = Story {
            verdict: leak.verdict,
            first_seen: leak.since,
            last_seen: leak.last,
            ongoing: leak.over.is_none(),
            lossy: self.losses > leak.losses_before,
            thread: None,
        };
        self.tell(story, || Finding::FdLeak(leak.describe()));
    }

    fn exhaustion(&mut self, exhaustion: &Exhaustion) {
        let descriptors = self.descriptors;
        let story = Story {
            verdict: exhaustion.verdict,
            first_seen: exhaustion.begun(),
            last_seen: exhaustion.last(),
            ongoing: exhaustion.over.is_none(),
            lossy: exhaustion.is_counted || self.losses > exhaustion.losses_before,
            thread: exhaustion.sole_thread(),
        };
        self.tell(story, || {
            Finding::FdExhaustion(exhaustion.describe(descriptors))
        });
    }

    /// Tells a verdict that is put into words anew each time.
    fn tell(&mut self, story: Story, finding: impl FnOnce() -> Finding) {
        let Some(id) = story.verdict else {
            return;
        };
        let (key, processes) = (self.key, self.processes);
        let who = || identity_with(processes, key, story.thread);
        let telling = || Telling {
            process: key,
            first_seen: story.first_seen,
            last_seen: story.last_seen,
            ongoing: story.ongoing,
            lossy: story.lossy,
            stacks: None,
            finding: finding(),
        };
        self.verdicts.tell(id, None, None, self.clock, who, telling);
    }
}

/// Who a process is, with the thread that did it alone, if one did.
fn identity_with(processes: &Processes, key: ProcessKey, thread: Option<(Tid, Comm)>) -> Identity {
    let mut who = processes.identity(key);
    if let Some((tid, thread)) = thread {
        who.tid = Some(tid);
        who.thread = Some(thread.to_string());
    }
    who
}

/// Tells the verdicts of one group.
struct Teller<'a> {
    key: &'a GroupKey,
    processes: &'a Processes,
    /// Where stacks are asked for.
    stacks: Option<&'a Stacks>,
    losses: u64,
    clock: Clock,
    verdicts: &'a mut Verdicts,
}

impl Teller<'_> {
    fn tell(&mut self, tries: &Tries, facts: [u64; 5], finding: impl FnOnce() -> Finding) {
        let process = tries.owner.process;
        let (ongoing, lossy) = (!tries.is_over, self.losses > tries.losses_before);
        let version = self.processes.identity_version(process);
        let basis = version.map(|version| Basis {
            who: verdicts::Subject {
                process,
                version,
                tid: tries.owner.tid,
                thread: tries.owner.thread,
                processes: tries.processes(),
            },
            facts,
            stacks: self.stacks.map_or(0, Stacks::version),
            ongoing,
            lossy,
        });
        let who = || identity_of(self.processes, self.key, tries);
        let telling = || Telling {
            process,
            first_seen: tries.first_seen,
            last_seen: tries.last_seen,
            ongoing,
            lossy,
            stacks: self.stacks.map(|stacks| stacks.top(&tries.stacks)),
            finding: finding(),
        };
        self.verdicts
            .tell(tries.verdict, basis, None, self.clock, who, telling);
        if tries.is_over {
            self.verdicts.group_is_over();
        }
    }
}

/// Who a group's verdict names.
fn identity_of(processes: &Processes, key: &GroupKey, tries: &Tries) -> Identity {
    let process = processes.identity(tries.owner.process);
    match key.subject {
        Subject::Thread(..) => process.of_thread(&tries.owner),
        Subject::Process(_) => process,
        Subject::Children(..) => Identity {
            children: Some(tries.processes()),
            ..process
        },
    }
}
