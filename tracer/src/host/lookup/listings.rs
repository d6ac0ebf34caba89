//! Lists `TIME_WAIT` sockets, of each network namespace that processes were seen in; never whose they were.

use std::{collections::VecDeque, io, sync::atomic::Ordering};

use super::{IDLE, Nets, Worker};
use crate::{
    host::{
        sock_diag::SockDiagError,
        world::{NetnsState, World},
    },
    model::{HostFact, Input, Nanos, Netns, Pid, PortRange, SocketRow, TimeWaitListing},
};

/// The time between two listings where the last one was empty and no connection did anything since: the
/// kernel looks through its whole table each time. A socket stays in `TIME_WAIT` for twice as long.
const QUIET_INTERVAL: Nanos = Nanos::from_secs(30);

/// Network namespaces that are listed beside tracer's own.
pub(super) const NAMESPACES_MAX: usize = 256;

/// Processes remembered of each namespace, to enter it by when the others have ended.
pub(super) const PIDS_PER_NAMESPACE: usize = 4;

impl<W, N, O> Worker<W, N, O>
where
    W: World,
    N: FnMut(Pid) -> Option<Nets>,
    O: FnMut(Input),
{
    /// Notes that `pid` lives in `netns`.
    pub(super) fn remember(&mut self, netns: Netns, pid: Pid) {
        let is_new = !self.namespaces.contains_key(&netns);
        if self.own_netns == Some(netns) || !self.may_enter || self.next_listing.is_none() {
            return;
        }
        if is_new && self.namespaces.len() >= NAMESPACES_MAX {
            log::debug!("more than {NAMESPACES_MAX} network namespaces: {netns} is not listed");
            return;
        }
        let pids = self.namespaces.entry(netns).or_default();
        if pids.contains(&pid) {
            return;
        }
        if pids.len() >= PIDS_PER_NAMESPACE {
            pids.pop_front();
        }
        pids.push_back(pid);
    }

    /// A listing is due: tells it, unless it would most likely be as empty as the last one.
    pub(super) fn list_if_any(&mut self, now: Nanos) {
        let is_quiet = !self.has_connections.swap(false, Ordering::Relaxed);
        let was_empty = |at: Nanos| now.since(at) < QUIET_INTERVAL;
        if is_quiet && self.empty_since.is_some_and(was_empty) {
            self.set_next_listing();
        } else {
            self.list_time_wait();
        }
    }

    fn set_next_listing(&mut self) {
        let interval = self.options.time_wait_interval.unwrap_or(IDLE);
        let interval = Nanos(u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX));
        self.next_listing = Some(self.world.now() + interval);
    }

    /// Tells the `TIME_WAIT` sockets of every namespace, and sets the time of the next listing.
    pub(super) fn list_time_wait(&mut self) {
        self.set_next_listing();
        self.empty_since = Some(self.world.now());

        match self.world.netns_state() {
            Ok(state) => {
                if let Some(netns) = self.own_netns {
                    self.tell_state(netns, state);
                }
            }
            Err(error @ SockDiagError::Unsupported(_)) => {
                log::warn!("TIME_WAIT sockets are not listed: {error}");
                self.next_listing = None;
                return;
            }
            Err(error) => log::warn!("TIME_WAIT sockets were not listed this time: {error}"),
        }
        let mut deserted = Vec::new();
        for (netns, mut pids) in std::mem::take(&mut self.namespaces) {
            self.list_namespace(netns, &mut pids);
            if pids.is_empty() {
                deserted.push(netns);
            } else {
                self.namespaces.insert(netns, pids);
            }
        }
        if !self.may_enter {
            self.namespaces.clear();
        } else if !deserted.is_empty() {
            self.find_inhabitants(&deserted);
        }
    }

    /// Tells one other namespace's sockets, entering by the newest process that is still there; the
    /// others are forgotten.
    fn list_namespace(&mut self, netns: Netns, pids: &mut VecDeque<Pid>) {
        while self.may_enter
            && let Some(pid) = pids.back()
        {
            match self.world.netns_state_in(netns, *pid) {
                Ok(state) => return self.tell_state(netns, state),
                Err(SockDiagError::Namespace(error)) => match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        log::warn!(
                            "TIME_WAIT sockets of other network namespaces are not listed: \
                             {error}: this needs CAP_SYS_ADMIN"
                        );
                        self.may_enter = false;
                    }
                    _ => drop(pids.pop_back()),
                },
                Err(error) => {
                    log::warn!("network namespace {netns} was not listed this time: {error}");
                    return;
                }
            }
        }
    }

    /// Looks for other processes in namespaces whose known ones have all ended. A namespace without
    /// any has ended, too, and its sockets with it.
    fn find_inhabitants(&mut self, deserted: &[Netns]) {
        let processes = match self.world.processes_by_netns() {
            Ok(processes) => processes,
            Err(error) => {
                log::warn!("cannot look for processes in other network namespaces: {error}");
                return;
            }
        };
        for (netns, pid) in processes {
            if deserted.contains(&netns) {
                self.remember(netns, pid);
            }
        }
        for netns in deserted {
            if !self.namespaces.contains_key(netns) {
                self.tell_state(*netns, NetnsState::default());
                self.told_ports.remove(netns);
            }
        }
    }

    fn tell_state(&mut self, netns: Netns, mut state: NetnsState) {
        if let Some(range) = state.ephemeral_ports {
            self.tell_ports(netns, range);
        }
        state.time_wait.retain(|row| self.is_wanted(row));
        if !state.time_wait.is_empty() {
            self.empty_since = None;
        }
        self.tell(HostFact::TimeWait(TimeWaitListing::new(
            netns,
            state.time_wait,
        )));
    }

    /// Tells a namespace's ephemeral ports, unless they are as they were told before.
    pub(super) fn tell_ports(&mut self, netns: Netns, range: PortRange) {
        if self.told_ports.insert(netns, range) != Some(range) {
            self.tell(HostFact::EphemeralPorts { netns, range });
        }
    }

    pub(super) fn is_wanted(&self, row: &SocketRow) -> bool {
        let ports = &self.options.ports;
        ports.is_empty() || ports.contains(&row.local.port) || ports.contains(&row.remote.port)
    }
}
