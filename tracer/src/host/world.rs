//! Everything that the look-ups ask of the machine, as one value that tests replace; never decides
//! what to ask.

use std::io;

use super::{
    cgroup::{Cgroups, Place},
    netns, owners, ports,
    procfs::{DescriptorTable, Procfs},
    session,
    sock_diag::{self, SockDiagError},
    symbols,
};
use crate::model::{
    Ancestor, Frame, Nanos, Netns, Pid, PortRange, ProcessFact, SocketOwner, SocketRow, StackId,
    TableFact, is_same_start,
};

/// What the look-ups can ask.
pub trait World: Send {
    /// `CLOCK_BOOTTIME`.
    fn now(&self) -> Nanos;

    /// Whether pids as the kernel half tells them are those of /proc here.
    fn has_hosts_pids(&self) -> bool {
        true
    }

    /// The pid that a process has in /proc here; `None` where it is not to be seen there. All below take
    /// and give such pids.
    fn pid_here(&self, pid: Pid) -> Option<Pid> {
        Some(pid)
    }

    /// Who a process is; every field `None` once it is gone.
    fn process(&mut self, pid: Pid) -> ProcessFact;

    /// Where the processes of the cgroup with this id run; `None` also where its names tell nothing.
    fn place(&mut self, cgroup_id: u64) -> Option<Place>;

    /// The name of the user with this number, or the number.
    fn user(&self, uid: u32) -> String;

    /// A process that had a child which started then, its parent and so on.
    fn ancestors(&self, parent: Pid, start: Nanos) -> Vec<Ancestor>;

    /// How full a process's descriptor table is; `None` once it is gone.
    fn descriptor_table(&mut self, pid: Pid) -> Option<DescriptorTable>;

    /// What a process's descriptor table holds; `None` once it is gone.
    fn table(&mut self, pid: Pid) -> Option<TableFact>;

    /// The network namespace that tracer runs in; `None` where /proc does not tell.
    fn own_netns(&self) -> Option<Netns>;

    /// Tracer's own network namespace now.
    ///
    /// Fails as [`sock_diag::list`] does.
    fn netns_state(&mut self) -> Result<NetnsState, SockDiagError>;

    /// The same of another one, in which `pid` lives.
    ///
    /// Fails with [`SockDiagError::Namespace`] too, of kind `NotFound` where `pid` is not there.
    fn netns_state_in(&mut self, netns: Netns, pid: Pid) -> Result<NetnsState, SockDiagError>;

    /// Every process with its network namespace.
    ///
    /// Fails where the processes cannot be listed.
    fn processes_by_netns(&mut self) -> io::Result<Vec<(Netns, Pid)>>;

    /// The connections that processes hold now: those of `pids`, or all where that is empty.
    ///
    /// Fails as [`sock_diag::list`] does.
    fn sockets_before(&mut self, pids: &[Pid]) -> Result<Vec<SocketOwner>, SockDiagError>;

    /// The frames of a user stack of this process, the innermost first; none where it has ended, or no
    /// longer started then.
    fn frames(&mut self, pid: Pid, start: Option<Nanos>, stack: StackId) -> Vec<Frame>;

    /// The ephemeral ports of tracer's network namespace.
    ///
    /// Fails where the kernel does not tell.
    fn ephemeral_ports(&self) -> io::Result<PortRange>;
}

/// What is looked up of a network namespace again and again.
#[derive(Clone, Debug, Default)]
pub struct NetnsState {
    /// Its `TIME_WAIT` sockets.
    pub time_wait: Vec<SocketRow>,
    /// Its range of ephemeral ports; `None` where the kernel does not tell.
    pub ephemeral_ports: Option<PortRange>,
}

impl NetnsState {
    /// That of the namespace that this thread is in. `/proc/sys/net` shows that one, too.
    ///
    /// Fails as [`sock_diag::list`] does.
    pub fn of_this_thread(procfs: &Procfs) -> Result<Self, SockDiagError> {
        Ok(Self {
            time_wait: sock_diag::time_wait()?,
            ephemeral_ports: ports::ephemeral_ports(procfs.root()).ok(),
        })
    }
}

/// Gives the addresses of a stack that the kernel half took, the innermost first.
pub type Addresses = Box<dyn FnMut(StackId) -> Vec<u64> + Send>;

/// Gives the pid that a process has in tracer's own pid namespace, where that is not the host's.
pub type PidsHere = Box<dyn Fn(Pid) -> Option<Pid> + Send>;

/// This machine.
pub struct ThisHost {
    procfs: Procfs,
    cgroups: Cgroups,
    addresses: Addresses,
    pids_here: Option<PidsHere>,
}

impl ThisHost {
    /// This machine, its processes seen through `procfs`. `addresses` tells the stacks that the kernel
    /// half took, `pids_here` which process is which; without it they are known by the host's pids.
    #[must_use]
    pub fn new(procfs: Procfs, addresses: Addresses, pids_here: Option<PidsHere>) -> Self {
        Self {
            procfs,
            addresses,
            pids_here,
            cgroups: Cgroups::of_this_host(),
        }
    }
}

impl World for ThisHost {
    fn now(&self) -> Nanos {
        session::now()
    }

    fn has_hosts_pids(&self) -> bool {
        self.pids_here.is_none()
    }

    fn pid_here(&self, pid: Pid) -> Option<Pid> {
        match &self.pids_here {
            None => Some(pid),
            Some(pids_here) => pids_here(pid),
        }
    }

    fn process(&mut self, pid: Pid) -> ProcessFact {
        self.procfs.process_fact(pid)
    }

    fn place(&mut self, cgroup_id: u64) -> Option<Place> {
        self.cgroups.place(cgroup_id, session::now()).cloned()
    }

    fn user(&self, uid: u32) -> String {
        self.procfs.user_name(uid)
    }

    fn ancestors(&self, parent: Pid, start: Nanos) -> Vec<Ancestor> {
        self.procfs.ancestors(parent, start)
    }

    fn descriptor_table(&mut self, pid: Pid) -> Option<DescriptorTable> {
        self.procfs.descriptor_table(pid)
    }

    fn table(&mut self, pid: Pid) -> Option<TableFact> {
        self.procfs.table_fact(pid)
    }

    fn own_netns(&self) -> Option<Netns> {
        self.procfs.netns_of_this_thread()
    }

    fn netns_state(&mut self) -> Result<NetnsState, SockDiagError> {
        NetnsState::of_this_thread(&self.procfs)
    }

    fn netns_state_in(&mut self, netns: Netns, pid: Pid) -> Result<NetnsState, SockDiagError> {
        netns::in_netns(&self.procfs, pid, netns, || {
            NetnsState::of_this_thread(&self.procfs)
        })
        .map_err(SockDiagError::Namespace)?
    }

    fn processes_by_netns(&mut self) -> io::Result<Vec<(Netns, Pid)>> {
        Ok(self
            .procfs
            .pids()?
            .filter_map(|pid| Some((self.procfs.netns_of(pid)?, pid)))
            .collect())
    }

    fn sockets_before(&mut self, pids: &[Pid]) -> Result<Vec<SocketOwner>, SockDiagError> {
        owners::sockets_before(&self.procfs, pids)
    }

    fn frames(&mut self, pid: Pid, start: Option<Nanos>, stack: StackId) -> Vec<Frame> {
        let addresses = (self.addresses)(stack);
        let fact = self.procfs.process_fact(pid);
        let is_it = match (start, fact.start) {
            (Some(wanted), Some(found)) => is_same_start(wanted, found),
            (_, found) => found.is_some(),
        };
        if !is_it || addresses.is_empty() {
            return Vec::new();
        }
        symbols::frames(pid, fact.start, fact.ns_pid.unwrap_or(pid.0), &addresses)
    }

    fn ephemeral_ports(&self) -> io::Result<PortRange> {
        ports::ephemeral_ports(self.procfs.root())
    }
}
