//! Narrowing held to literal inputs: connections from their begin to their end, and the facts beside.

use tracer_common::{FdKind, FdSource, ProcessCounters, Role};

use super::*;
use crate::model::{
    Comm, DescriptorFact, Endpoint, FdAction, FdEvent, Nanos, Netns, ProcessFact, ProcessSeen,
    SocketOwner, SocketRow, Tid,
};

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        addr: "10.0.0.9".parse().unwrap(),
        port,
    }
}

fn event(pid: u32, body: EventBody) -> Input {
    Input::Event(Event {
        ts: Nanos(1),
        pid: Pid(pid),
        tid: Tid(pid),
        thread: Comm::from("a"),
        stack: None,
        body,
    })
}

/// An event of the socket 7 with the cookie 70.
fn tcp(pid: u32, action: TcpAction, ports: (u16, u16), states: (TcpState, TcpState)) -> Input {
    event(
        pid,
        EventBody::Tcp(TcpEvent {
            action,
            sock: SockId(7),
            cookie: Cookie(70),
            start: None,
            tx_bytes: 0,
            rx_bytes: 0,
            local: endpoint(ports.0),
            remote: endpoint(ports.1),
            netns: Netns(1),
            old_state: states.0,
            new_state: states.1,
            errno: 0,
            role: Role::Client,
        }),
    )
}

fn connect(pid: u32, rport: u16) -> Input {
    let states = (TcpState::Close, TcpState::SynSent);
    tcp(pid, TcpAction::Connect, (40_000, rport), states)
}

fn fd(pid: u32) -> Input {
    event(
        pid,
        EventBody::Fd(FdEvent {
            action: FdAction::Installed,
            fd: Some(3),
            source: FdSource::Open,
            kind: FdKind::File,
            errno: 0,
            opens: 1,
            fds_net: 1,
            files_net: 1,
            path: None,
        }),
    )
}

fn process(pid: u32) -> Input {
    event(
        pid,
        EventBody::Process(ProcessSeen {
            start: Nanos(1),
            cgroup_id: 1,
            ppid: Pid(1),
            parent_comm: Comm::from("init"),
            uid: 0,
            ns_pid: pid,
            netns: Netns(1),
            hostname: "shop-07".into(),
            comm: Comm::from("java"),
            is_exec: false,
            cmdline: String::new(),
        }),
    )
}

fn counters() -> Box<ProcessCounters> {
    Box::new(ProcessCounters {
        connects: 5,
        accepts: 6,
        opens_failed: 7,
        ..ProcessCounters::ZERO
    })
}

fn exit(pid: u32) -> Input {
    let comm = Comm::from("java");
    let counters = counters();
    event(pid, EventBody::Exit { comm, counters })
}

fn host(fact: HostFact) -> Input {
    Input::Host(Nanos(1), fact)
}

fn session(selection: Selection) -> Input {
    Input::Session(Box::new(Session {
        selection,
        ..Session::default()
    }))
}

/// Whether each input is kept as it is.
fn kept(narrow: &mut Narrow, inputs: &[Input]) -> Vec<bool> {
    inputs
        .iter()
        .map(|input| narrow.keep(input.clone()).as_ref() == Some(input))
        .collect()
}

#[test]
fn nothing_narrows_nothing() {
    let mut narrow = Narrow::new(Vec::new(), Vec::new());
    let inputs = [
        session(Selection::default()),
        connect(4711, 8080),
        fd(4711),
        exit(4711),
        Input::Tick(Nanos(2)),
    ];
    assert_eq!(kept(&mut narrow, &inputs), [true; 5]);
}

#[test]
fn a_connection_is_followed_to_its_close_which_has_no_port() {
    use TcpState::{Close, Established, FinWait1, SynSent, TimeWait};
    let life = |rport| {
        [
            connect(4711, rport),
            tcp(
                4711,
                TcpAction::State,
                (40_000, rport),
                (SynSent, Established),
            ),
            tcp(
                4711,
                TcpAction::State,
                (40_000, rport),
                (Established, FinWait1),
            ),
            tcp(
                4711,
                TcpAction::TimeWait,
                (40_000, rport),
                (FinWait1, TimeWait),
            ),
            tcp(4711, TcpAction::Close, (0, rport), (Close, Close)),
        ]
    };
    let mut narrow = Narrow::new(vec![2181], Vec::new());
    assert_eq!(kept(&mut narrow, &life(2181)), [true; 5]);
    assert_eq!(kept(&mut narrow, &life(8080)), [false; 5]);
    // The port may be the one that the closed socket has forgotten.
    let mut narrow = Narrow::new(vec![40_000], Vec::new());
    assert_eq!(kept(&mut narrow, &life(8080)), [true; 5]);
    assert!(narrow.followed.young.is_empty());
}

#[test]
fn a_socket_that_is_used_again_is_decided_anew() {
    use TcpState::{Close, Established, FinWait1};
    let mut narrow = Narrow::new(vec![2181], Vec::new());
    assert_eq!(
        kept(
            &mut narrow,
            &[
                connect(4711, 2181),
                connect(4711, 8080),
                connect(4711, 2181)
            ]
        ),
        [true, false, true]
    );
    // Its begin was lost, and its cookie tells that it is another.
    let mut other = tcp(
        4711,
        TcpAction::State,
        (40_000, 8080),
        (Established, FinWait1),
    );
    if let Input::Event(Event {
        body: EventBody::Tcp(tcp),
        ..
    }) = &mut other
    {
        tcp.cookie = Cookie(71);
    }
    let close = tcp(4711, TcpAction::Close, (0, 8080), (Close, Close));
    assert_eq!(kept(&mut narrow, &[other, close]), [false, false]);
}

#[test]
fn a_connection_from_before_the_trace_is_met_at_its_end() {
    use TcpState::{Close, CloseWait, Established};
    let end = |lport| {
        [
            tcp(
                0,
                TcpAction::State,
                (lport, 50_000),
                (Established, CloseWait),
            ),
            tcp(4711, TcpAction::Close, (0, 50_000), (CloseWait, CloseWait)),
            tcp(0, TcpAction::State, (0, 50_000), (CloseWait, Close)),
        ]
    };
    let mut narrow = Narrow::new(vec![2181], Vec::new());
    assert_eq!(kept(&mut narrow, &end(2181)), [true; 3]);
    assert_eq!(kept(&mut narrow, &end(8080)), [false; 3]);
    assert!(narrow.followed.young.is_empty());
    // Whose it is, is known only from who closes it.
    let mut narrow = Narrow::new(Vec::new(), vec![Pid(4711)]);
    assert_eq!(kept(&mut narrow, &end(2181)), [false, true, true]);
}

#[test]
fn a_process_keeps_what_is_its_own() {
    let facts = |pid| {
        let pid = Pid(pid);
        [
            host(HostFact::Process(Box::new(ProcessFact {
                pid,
                ..ProcessFact::default()
            }))),
            host(HostFact::Descriptors(DescriptorFact {
                pid,
                start: None,
                open: 1,
                net: None,
                soft_limit: None,
                hard_limit: None,
            })),
            host(HostFact::Counters {
                pid,
                counters: counters(),
            }),
            process(pid.0),
            fd(pid.0),
            connect(pid.0, 2181),
            exit(pid.0),
        ]
    };
    let mut narrow = Narrow::new(Vec::new(), vec![Pid(4711)]);
    assert_eq!(kept(&mut narrow, &facts(4711)), [true; 7]);
    assert_eq!(kept(&mut narrow, &facts(815)), [false; 7]);
    let whole = [Input::Tick(Nanos(2)), Input::Losses(Box::default())];
    assert_eq!(kept(&mut narrow, &whole), [true; 2]);
}

#[test]
fn ports_leave_descriptors_and_processes_alone() {
    let mut narrow = Narrow::new(vec![2181], Vec::new());
    assert_eq!(kept(&mut narrow, &[fd(4711), process(4711)]), [true; 2]);
    let socket = |port| {
        host(HostFact::SocketBefore(SocketOwner {
            row: SocketRow {
                cookie: Cookie(1),
                local: endpoint(port),
                remote: endpoint(50_000),
                state: TcpState::Established,
            },
            netns: Netns(1),
            pid: Pid(4711),
        }))
    };
    assert_eq!(
        kept(&mut narrow, &[socket(2181), socket(8080)]),
        [true, false]
    );
}

#[test]
fn counts_of_connections_with_all_ports_are_not_those_of_one() {
    let told = |input: Option<Input>| match input {
        Some(
            Input::Host(_, HostFact::Counters { counters, .. })
            | Input::Event(Event {
                body: EventBody::Exit { counters, .. },
                ..
            }),
        ) => (counters.connects, counters.accepts, counters.opens_failed),
        other => panic!("{other:?}"),
    };
    let mut narrow = Narrow::new(vec![2181], Vec::new());
    let fact = HostFact::Counters {
        pid: Pid(4711),
        counters: counters(),
    };
    assert_eq!(told(narrow.keep(host(fact))), (0, 0, 7));
    assert_eq!(told(narrow.keep(exit(4711))), (0, 0, 7));
}

#[test]
fn the_session_says_what_is_left() {
    let narrowed = |selection: Selection, ports: &[u16], pids: &[u32]| {
        let pids = pids.iter().copied().map(Pid).collect();
        match Narrow::new(ports.to_vec(), pids).keep(session(selection)) {
            Some(Input::Session(session)) => session.selection,
            other => panic!("{other:?}"),
        }
    };
    let of = |ports: &[u16], pids: &[u32]| Selection {
        ports: ports.to_vec(),
        pids: pids.iter().copied().map(Pid).collect(),
        ..Selection::default()
    };
    assert_eq!(narrowed(of(&[], &[]), &[443, 80], &[]), of(&[80, 443], &[]));
    assert_eq!(
        narrowed(of(&[80, 443], &[7]), &[443], &[]),
        of(&[443], &[7])
    );
    assert_eq!(narrowed(of(&[80], &[7, 8]), &[443], &[8]), of(&[443], &[8]));
}

#[test]
fn what_is_never_told_to_end_is_forgotten() {
    let mut followed = Followed::default();
    for sock in 0..10 * GENERATION as u64 {
        followed.insert(SockId(sock), Progress::default());
        assert!(followed.young.len() + followed.old.len() <= 2 * GENERATION);
    }
    assert!(followed.get(SockId(0), Cookie(0)).is_none());
    assert!(
        followed
            .get(SockId(10 * GENERATION as u64 - 1), Cookie(0))
            .is_some()
    );
}
