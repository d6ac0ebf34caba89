//! The thread of look-ups on a made-up host, without a clock to wait for.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::mpsc,
};

use super::*;
use crate::{
    host::{cgroup::Place, procfs::DescriptorTable, sock_diag::SockDiagError, world::NetnsState},
    model::{
        Ancestor, Comm, Cookie, DescriptorFact, Endpoint, Frame, PortRange, SocketOwner, SocketRow,
        TableFact, TcpState, TimeWaitListing,
    },
};

#[path = "lookup_tests/container.rs"]
mod container;
#[path = "lookup_tests/listings.rs"]
mod listings;
#[path = "lookup_tests/tables.rs"]
mod tables;

const OWN: Netns = Netns(1);
const NOW: Nanos = Nanos(5_000_000_077);
const PORTS: PortRange = PortRange {
    low: 32768,
    high: 60999,
};

/// A machine whose answers are written down beforehand.
#[derive(Default)]
struct FakeWorld {
    processes: HashMap<Pid, ProcessFact>,
    tables: HashMap<Pid, DescriptorTable>,
    held: HashMap<Pid, TableFact>,
    places: HashMap<u64, Place>,
    ancestors: HashMap<Pid, Vec<Ancestor>>,
    before: Vec<SocketOwner>,
    frames: HashMap<(Pid, StackId), Vec<Frame>>,
    time_wait: Vec<SocketRow>,
    namespaces: HashMap<(Netns, Pid), Vec<SocketRow>>,
    lacks_sock_diag: bool,
    may_not_enter: bool,
    /// In a container: pids here by those of the host.
    pids_here: Option<HashMap<Pid, Pid>>,
}

impl World for FakeWorld {
    fn has_hosts_pids(&self) -> bool {
        self.pids_here.is_none()
    }

    fn pid_here(&self, pid: Pid) -> Option<Pid> {
        match &self.pids_here {
            None => Some(pid),
            Some(here) => here.get(&pid).copied(),
        }
    }

    fn now(&self) -> Nanos {
        NOW
    }

    fn process(&mut self, pid: Pid) -> ProcessFact {
        self.processes.get(&pid).cloned().unwrap_or(ProcessFact {
            pid,
            ..ProcessFact::default()
        })
    }

    fn place(&mut self, cgroup_id: u64) -> Option<Place> {
        self.places.get(&cgroup_id).cloned()
    }

    fn user(&self, uid: u32) -> String {
        format!("user{uid}")
    }

    fn ancestors(&self, parent: Pid, _start: Nanos) -> Vec<Ancestor> {
        self.ancestors.get(&parent).cloned().unwrap_or_default()
    }

    fn descriptor_table(&mut self, pid: Pid) -> Option<DescriptorTable> {
        self.tables.get(&pid).copied()
    }

    fn table(&mut self, pid: Pid) -> Option<TableFact> {
        self.held.get(&pid).cloned()
    }

    fn own_netns(&self) -> Option<Netns> {
        Some(OWN)
    }

    fn netns_state(&mut self) -> Result<NetnsState, SockDiagError> {
        if self.lacks_sock_diag {
            return Err(SockDiagError::Unsupported(io::ErrorKind::NotFound.into()));
        }
        Ok(state(&self.time_wait))
    }

    fn netns_state_in(&mut self, netns: Netns, pid: Pid) -> Result<NetnsState, SockDiagError> {
        let refusal = if self.may_not_enter {
            io::ErrorKind::PermissionDenied
        } else {
            io::ErrorKind::NotFound
        };
        self.namespaces
            .get(&(netns, pid))
            .filter(|_| !self.may_not_enter)
            .map(|rows| state(rows))
            .ok_or_else(|| SockDiagError::Namespace(refusal.into()))
    }

    fn processes_by_netns(&mut self) -> io::Result<Vec<(Netns, Pid)>> {
        Ok(self.namespaces.keys().copied().collect())
    }

    fn sockets_before(&mut self, _pids: &[Pid]) -> Result<Vec<SocketOwner>, SockDiagError> {
        Ok(self.before.clone())
    }

    fn frames(&mut self, pid: Pid, _start: Option<Nanos>, stack: StackId) -> Vec<Frame> {
        self.frames.get(&(pid, stack)).cloned().unwrap_or_default()
    }

    fn ephemeral_ports(&self) -> io::Result<PortRange> {
        Ok(PORTS)
    }
}

/// A namespace with these sockets, whose range does not change.
fn state(rows: &[SocketRow]) -> NetnsState {
    NetnsState {
        time_wait: rows.to_vec(),
        ephemeral_ports: None,
    }
}

fn row(cookie: u64, port: u16) -> SocketRow {
    let addr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    SocketRow {
        cookie: Cookie(cookie),
        local: Endpoint { addr, port: 40_000 },
        remote: Endpoint { addr, port },
        state: TcpState::TimeWait,
    }
}

fn owner(cookie: u64, port: u16) -> SocketOwner {
    SocketOwner {
        row: row(cookie, port),
        netns: OWN,
        pid: Pid(5),
    }
}

fn table(open: u64) -> DescriptorTable {
    DescriptorTable {
        start: Some(START),
        open,
        soft_limit: Some(4096),
        hard_limit: None,
    }
}

fn listing(netns: Netns, rows: Vec<SocketRow>) -> Input {
    Input::Host(NOW, HostFact::TimeWait(TimeWaitListing::new(netns, rows)))
}

/// What a worker tells when `act` drives it.
fn told<N: FnMut(Pid) -> Option<Nets>>(
    world: FakeWorld,
    options: Options,
    nets_of: N,
    act: impl FnOnce(&mut Worker<FakeWorld, N, &mut dyn FnMut(Input)>),
) -> Vec<Input> {
    let mut inputs = Vec::new();
    let mut output = |input| inputs.push(input);
    let output: &mut dyn FnMut(Input) = &mut output;
    act(&mut Worker::new(world, options, nets_of, output));
    inputs
}

/// When the kernel half says that processes started; /proc cuts it to a clock tick.
const EXACT_START: Nanos = Nanos(123_456_789_000);
const START: Nanos = Nanos(123_450_000_000);

/// A process that was never introduced.
fn stranger(pid: u32) -> Request {
    Request::Process {
        pid: Pid(pid),
        introduced: None,
    }
}

/// A process in this cgroup.
fn process(pid: u32, cgroup_id: u64) -> Request {
    Request::Process {
        pid: Pid(pid),
        introduced: Some(Introduced {
            start: EXACT_START,
            cgroup_id,
            ppid: Pid(4),
            uid: 104,
            netns: OWN,
        }),
    }
}

fn running(pid: u32, start: Nanos) -> (Pid, ProcessFact) {
    let fact = ProcessFact {
        pid: Pid(pid),
        start: Some(start),
        comm: Some("nc".to_owned()),
        user: Some("root".to_owned()),
        ..ProcessFact::default()
    };
    (Pid(pid), fact)
}

#[test]
fn the_thread_answers_all_and_ends_with_the_handle() {
    let (sender, inputs) = mpsc::channel();
    let world = FakeWorld {
        tables: HashMap::from([(Pid(5), table(12))]),
        time_wait: vec![row(1, 2181)],
        ..FakeWorld::default()
    };
    let lookups = Lookups::start(
        world,
        Options::default(),
        |_| Some(files(3)),
        move |input| sender.send(input).unwrap(),
        || (),
    )
    .unwrap();
    assert!(lookups.request(stranger(5)));
    drop(lookups);

    let inputs: Vec<_> = inputs.into_iter().collect();
    let descriptors = twelve_descriptors(5);
    assert_eq!(
        inputs,
        [
            Input::Host(
                NOW,
                HostFact::EphemeralPorts {
                    netns: OWN,
                    range: PORTS
                }
            ),
            listing(OWN, vec![row(1, 2181)]),
            descriptors,
            listing(OWN, vec![row(1, 2181)]),
        ]
    );
}

/// Net so many files.
const fn files(net: i64) -> Nets {
    [net, 0, 0, 0, 0]
}

/// What is told of a process with twelve descriptors, net three of them got since it is watched.
fn twelve_descriptors(pid: u32) -> Input {
    let fact = DescriptorFact {
        pid: Pid(pid),
        start: Some(START),
        open: 12,
        net: Some(3),
        soft_limit: Some(4096),
        hard_limit: None,
    };
    Input::Host(NOW, HostFact::Descriptors(fact))
}

#[test]
fn what_does_not_fit_the_queue_is_dropped_and_counted() {
    let (go_on, wait) = mpsc::sync_channel::<()>(0);
    let options = Options {
        queue: 1,
        ..Options::default()
    };
    // The thread stops at the first thing that it tells, until this test lets it go on.
    let mut is_first = true;
    let lookups = Lookups::start(
        FakeWorld::default(),
        options,
        |_| None,
        move |_| {
            if std::mem::take(&mut is_first) {
                wait.recv().unwrap();
            }
        },
        || (),
    )
    .unwrap();
    let taken = [0; 3].map(|_| lookups.request(stranger(5)));
    assert_eq!(taken, [true, false, false]);
    assert_eq!(lookups.dropped(), 2);
    go_on.send(()).unwrap();
}

#[test]
fn the_start_tells_ports_and_sockets_from_before() {
    let world = FakeWorld {
        before: vec![owner(1, 2181), owner(2, 80)],
        ..FakeWorld::default()
    };
    let options = Options {
        ports: vec![2181],
        ..Options::default()
    };
    let inputs = told(
        world,
        options,
        |_| None,
        |worker| {
            worker.begin();
        },
    );
    assert_eq!(
        inputs,
        [
            Input::Host(
                NOW,
                HostFact::EphemeralPorts {
                    netns: OWN,
                    range: PORTS
                }
            ),
            Input::Host(NOW, HostFact::SocketBefore(owner(1, 2181))),
        ]
    );
}

#[test]
fn an_ended_process_still_has_its_place_user_and_parents() {
    let place = Place {
        container: Some("web".to_owned()),
        runtime: Some("docker"),
        pod_uid: Some("1f0a".to_owned()),
        unit: Some("web.service".to_owned()),
    };
    let parents = vec![Ancestor {
        pid: Pid(4),
        comm: Comm::from("check.sh"),
    }];
    let world = FakeWorld {
        places: HashMap::from([(99, place)]),
        ancestors: HashMap::from([(Pid(4), parents.clone())]),
        ..FakeWorld::default()
    };
    let inputs = told(
        world,
        Options::default(),
        |_| None,
        |worker| {
            worker.answer(process(5, 99));
            worker.answer(process(6, 98));
            worker.answer(stranger(7));
        },
    );
    let nowhere = ProcessFact {
        pid: Pid(6),
        start: Some(EXACT_START),
        user: Some("user104".to_owned()),
        parents,
        ..ProcessFact::default()
    };
    let in_the_container = ProcessFact {
        pid: Pid(5),
        container: Some("web".to_owned()),
        runtime: Some("docker".to_owned()),
        pod_uid: Some("1f0a".to_owned()),
        unit: Some("web.service".to_owned()),
        ..nowhere.clone()
    };
    let told = |fact| Input::Host(NOW, HostFact::Process(Box::new(fact)));
    assert_eq!(inputs, [told(in_the_container), told(nowhere)]);
}

#[test]
fn another_process_with_its_pid_is_not_told_for_it() {
    let other = Nanos::from_secs(200);
    let world = FakeWorld {
        processes: HashMap::from([running(5, START), running(6, other)]),
        tables: HashMap::from([
            (Pid(5), table(12)),
            (
                Pid(6),
                DescriptorTable {
                    start: Some(other),
                    ..table(9)
                },
            ),
        ]),
        ..FakeWorld::default()
    };
    let inputs = told(
        world,
        Options::default(),
        |_| None,
        |worker| {
            worker.answer(process(5, 0));
            worker.answer(process(6, 0));
            worker.answer(stranger(6));
        },
    );
    let told: Vec<_> = inputs
        .iter()
        .map(|input| match input {
            Input::Host(_, HostFact::Process(fact)) => {
                (fact.pid.0, fact.start, fact.comm.is_some())
            }
            Input::Host(_, HostFact::Descriptors(fact)) => (fact.pid.0, fact.start, false),
            input => panic!("{input:?}"),
        })
        .collect();
    assert_eq!(
        told,
        [
            (5, Some(START), true),
            (5, Some(START), false),
            // Only what is left of the one that was asked about, and nothing of the other's table.
            (6, Some(EXACT_START), false),
            (6, Some(other), true),
            (6, Some(other), false),
        ]
    );
}

#[test]
fn a_stack_is_looked_up_of_the_process_that_was_asked_about() {
    let frame = Frame {
        text: "connect (libc.so.6)".to_owned(),
        is_named: true,
    };
    let mut world = FakeWorld::default();
    world
        .frames
        .insert((Pid(5), StackId(3)), vec![frame.clone()]);
    let asked = |pid| Request::Stack {
        pid,
        start: Some(START),
        stack: StackId(3),
    };
    let inputs = told(
        world,
        Options::default(),
        |_| None,
        |worker| {
            worker.answer(asked(Pid(5)));
            worker.answer(asked(Pid(6)));
        },
    );
    let fact = |pid, frames| {
        let fact = StackFact {
            pid,
            start: Some(START),
            stack: StackId(3),
            frames,
        };
        Input::Host(NOW, HostFact::Stack(Box::new(fact)))
    };
    assert_eq!(inputs, [fact(Pid(5), vec![frame]), fact(Pid(6), vec![])]);
}
