//! What holds for any inputs whatever.

use proptest::prelude::*;
use tracer_common::{FdKind, FdSource, ProcessCounters, Role};

use crate::{
    analysis::{
        Engine, Thresholds, limits,
        report::Finding,
        timeline::{Timeline, who},
    },
    model::{
        Comm, Cookie, DescriptorFact, Endpoint, Event, EventBody, FdAction, FdEvent, HostFact,
        Input, Nanos, Netns, Path, PathForm, Pid, ProcessSeen, SockId, SocketRow, TcpAction,
        TcpEvent, TcpState, Tid, TimeWaitListing,
    },
};

fn states() -> impl Strategy<Value = TcpState> {
    use TcpState::{
        Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
        SynSent, TimeWait, Unknown,
    };
    prop::sample::select(vec![
        Established,
        SynSent,
        SynRecv,
        FinWait1,
        FinWait2,
        TimeWait,
        Close,
        CloseWait,
        LastAck,
        Listen,
        Closing,
        Unknown(42),
    ])
}

fn endpoints() -> impl Strategy<Value = Endpoint> {
    let ports = prop::sample::select(vec![0, 2181, 40_000]);
    (0..4_u8, ports).prop_map(|(last, port)| Endpoint {
        addr: [10, 0, 0, last].into(),
        port,
    })
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![0..300_u64, Just(u64::MAX), any::<u64>()]
}

fn nets() -> impl Strategy<Value = i64> {
    prop_oneof![-300..300_i64, Just(i64::MAX), Just(i64::MIN)]
}

fn tcp() -> impl Strategy<Value = EventBody> {
    let actions = prop::sample::select(vec![
        TcpAction::Connect,
        TcpAction::ConnectFailed,
        TcpAction::Accept,
        TcpAction::State,
        TcpAction::State,
        TcpAction::TimeWait,
        TcpAction::Close,
    ]);
    let roles = prop::sample::select(vec![Role::Unknown, Role::Client, Role::Server]);
    let ids = (0..6_u64, 0..4_u64, prop::option::of(numbers()));
    let ends = (endpoints(), endpoints());
    let rest = (states(), states(), 0..2_i32, roles, numbers(), numbers());
    (actions, ids, ends, rest).prop_map(|(action, ids, ends, rest)| {
        EventBody::Tcp(TcpEvent {
            action,
            sock: SockId(ids.0),
            cookie: Cookie(ids.1),
            start: ids.2.map(Nanos),
            tx_bytes: rest.4,
            rx_bytes: rest.5,
            local: ends.0,
            remote: ends.1,
            netns: Netns(1),
            old_state: rest.0,
            new_state: rest.1,
            errno: rest.2 * 111,
            role: rest.3,
        })
    })
}

fn fds() -> impl Strategy<Value = EventBody> {
    let actions = prop::sample::select(vec![
        FdAction::Installed,
        FdAction::OpenFailed,
        FdAction::Exhausted,
        FdAction::Closed,
    ]);
    let kinds = prop::sample::select(FdKind::ALL.to_vec());
    let sources = prop::sample::select(FdSource::ALL.to_vec());
    let paths = prop::option::of("(/[a-c.é]{0,3}){0,4}[a-c.é]{0,3}");
    let rest = (numbers(), nets(), nets(), paths);
    (actions, kinds, sources, rest).prop_map(|(action, kind, source, rest)| {
        EventBody::Fd(FdEvent {
            action,
            fd: None,
            source,
            kind,
            errno: 0,
            opens: rest.0,
            fds_net: rest.1,
            files_net: rest.2,
            path: rest.3.map(|text| Path {
                text,
                form: PathForm::AsGiven,
            }),
        })
    })
}

fn counters() -> impl Strategy<Value = Box<ProcessCounters>> {
    (numbers(), numbers(), numbers()).prop_map(|(start_ns, got, closed)| {
        Box::new(ProcessCounters {
            start_ns,
            fds_got: [got; FdSource::COUNT],
            fds_got_of_kind: [got; FdKind::COUNT],
            fds_closed_of_kind: [closed; FdKind::COUNT],
            ..ProcessCounters::ZERO
        })
    })
}

fn tasks() -> impl Strategy<Value = EventBody> {
    let seen = (numbers(), 0..4_u32, any::<bool>()).prop_map(|(start, ppid, is_exec)| {
        EventBody::Process(ProcessSeen {
            start: Nanos(start),
            cgroup_id: 1,
            ppid: Pid(ppid),
            parent_comm: Comm::from("sh"),
            uid: 0,
            ns_pid: 1,
            netns: Netns(1),
            hostname: "shop-07".into(),
            comm: Comm::from("nc"),
            is_exec,
            cmdline: String::new(),
        })
    });
    let exit = counters().prop_map(|counters| EventBody::Exit {
        comm: "nc".into(),
        counters,
    });
    prop_oneof![seen, exit]
}

/// Times mostly move on by a little, and sometimes are anything.
fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let bodies = prop_oneof![8 => tcp(), 4 => fds(), 1 => tasks()];
    let event = (0..4_u32, 0..3_u32, bodies).prop_map(|(pid, tid, body)| {
        Input::Event(Event {
            ts: Nanos(0),
            pid: Pid(pid),
            tid: Tid(tid),
            thread: Comm::from(if tid == 0 { "" } else { "thread" }),
            stack: None,
            body,
        })
    });
    let descriptors =
        (0..4_u32, numbers(), prop::option::of(nets())).prop_map(|(pid, open, net)| {
            HostFact::Descriptors(DescriptorFact {
                pid: Pid(pid),
                start: None,
                open,
                net,
                soft_limit: Some(open),
                hard_limit: None,
            })
        });
    let listing = (0..4_u64, endpoints(), endpoints()).prop_map(|(cookie, local, remote)| {
        let state = TcpState::TimeWait;
        let rows = vec![SocketRow {
            cookie: Cookie(cookie),
            local,
            remote,
            state,
        }];
        HostFact::TimeWait(TimeWaitListing::new(Netns(1), rows))
    });
    let counted = (0..4_u32, counters()).prop_map(|(pid, counters)| HostFact::Counters {
        pid: Pid(pid),
        counters,
    });
    let facts = prop_oneof![descriptors, listing, counted];
    let input = prop_oneof![
        12 => event,
        2 => Just(Input::Tick(Nanos(0))),
        1 => facts.prop_map(|fact| Input::Host(Nanos(0), fact)),
    ];
    let steps = prop_oneof![20 => 0..900_000_000_u64, 1 => any::<u64>()];
    prop::collection::vec((input, steps), 0..400).prop_map(|steps| {
        let mut now = Nanos::from_secs(1_000);
        let dated = steps.into_iter().map(|(mut input, step)| {
            let ts = if step > 900_000_000 {
                Nanos(step)
            } else {
                now + Nanos(step)
            };
            now = if step > 900_000_000 { now } else { ts };
            match &mut input {
                Input::Event(event) => event.ts = ts,
                Input::Tick(at) | Input::Host(at, _) => *at = ts,
                _ => {}
            }
            input
        });
        dated.collect()
    })
}

fn debug(engine: &Engine) -> String {
    format!("{:#?}", engine.report())
}

proptest! {
    #[test]
    fn any_inputs_are_survived_and_taking_changes_nothing(inputs in inputs()) {
        let mut never_taken = Engine::new(Thresholds::default());
        let mut always_taken = Engine::new(Thresholds::default());
        let mut last_told = std::collections::BTreeMap::new();
        for input in &inputs {
            never_taken.apply(input);
            always_taken.apply(input);
            let _ = always_taken.take_lookups();
            let _ = always_taken.report();
            for verdict in always_taken.take_verdict_updates() {
                last_told.insert(verdict.id, verdict);
            }
        }
        prop_assert_eq!(debug(&never_taken), debug(&always_taken));
        let at_once = never_taken.take_last_verdict_updates();
        for verdict in always_taken.take_last_verdict_updates() {
            last_told.insert(verdict.id, verdict);
        }
        // Whoever takes the last update of each number knows the same, however often he asked.
        let ids: Vec<_> = last_told.keys().copied().collect();
        prop_assert_eq!(at_once.iter().map(|v| v.id).collect::<Vec<_>>(), ids);
        for verdict in &at_once {
            prop_assert_eq!(verdict.update, last_told[&verdict.id].update);
        }
    }

    #[test]
    fn counts_never_exceed_events(inputs in inputs()) {
        let mut engine = Engine::new(Thresholds::default());
        let (mut tcp, mut connects, mut accepts) = (0, 0, 0);
        for input in &inputs {
            engine.apply(input);
            if let Input::Event(Event { body: EventBody::Tcp(event), .. }) = input {
                tcp += 1;
                connects += u64::from(event.action == TcpAction::Connect);
                accepts += u64::from(event.action == TcpAction::Accept);
            }
        }
        let report = engine.report();
        let told: u64 = report.verdicts.iter().map(|verdict| match &verdict.finding {
            Finding::Flapping(told) | Finding::Churn(told) => {
                assert_eq!(told.closed_by_local + told.closed_by_remote, told.count);
                assert_eq!(told.peers.iter().map(|(_, n)| n).sum::<u64>(), told.count);
                told.count
            }
            Finding::FailingConnects(told) => {
                assert_eq!(told.errnos.values().sum::<u64>(), told.count);
                told.count
            }
            Finding::FdNearLimit(told) => {
                assert!(told.fds_peak >= told.fds_now && told.room <= told.fd_limit);
                0
            }
            Finding::CloseWaitLeak(told) => {
                assert!(told.count <= told.peak && told.peak <= inputs.len() as u64);
                0
            }
            Finding::PortExhaustion(told) => {
                assert_eq!(told.time_wait + told.open, told.ports_in_use);
                assert!(told.ports_in_use <= told.ports_peak);
                assert!(told.ports_peak <= u64::from(told.range.ports()));
                assert!(told.rate_per_min.is_finite());
                0
            }
            Finding::FdLeak(told) => {
                assert!(told.rate_per_min.is_finite());
                0
            }
            Finding::FdExhaustion(told) => {
                assert!(told.calls.values().all(|count| *count > 0));
                assert!(told.top_peers.len() <= limits::PEER_ROWS);
                0
            }
            Finding::FdBurst(told) => {
                let named: u64 = told.top_dirs.iter().map(|(_, n)| n).sum();
                assert!(told.top_dirs.len() <= limits::PATTERN_ROWS);
                assert!(named <= inputs.len() as u64);
                0
            }
        }).sum();
        let row_sum = |of: fn(&crate::analysis::report::ProcessRow) -> u64| {
            report.processes.iter().map(of).sum::<u64>()
        };
        prop_assert!(told <= tcp);
        prop_assert!(row_sum(|row| row.connects) <= connects);
        prop_assert!(row_sum(|row| row.accepts) <= accepts);
        prop_assert!(row_sum(|row| row.connections_ended + row.connects_failed) <= tcp);
        prop_assert!(row_sum(|row| row.connections_open) <= tcp);
    }
}

#[test]
fn tables_stay_within_their_limits_whoever_comes() {
    let mut t = Timeline::new();
    let server = who(80, 81, "server");
    let peers = limits::CONNECTIONS as u64 + 10_000;
    for n in 0..peers {
        let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
        t.handshake(n, "10.0.0.1:80", &format!("11.{a}.{b}.{c}:1024"));
        t.accept(server, n);
        t.inputs.clear();
    }
    for n in 0..peers {
        t.fin_received(n);
        t.inputs.clear();
    }
    for n in 0..20_000_u32 {
        let client = who(1_000 + n, 1_000 + n, "client");
        t.connect(client, u64::from(n), "10.0.0.1:80")
            .established(u64::from(n));
        t.inputs.clear();
    }
    t.at(5.0);
    let sizes = t.engine.table_sizes();
    assert!(sizes.connections <= limits::CONNECTIONS, "{sizes:?}");
    assert!(sizes.ended <= limits::ENDED_CONNECTIONS, "{sizes:?}");
    assert!(sizes.groups <= limits::GROUPS, "{sizes:?}");
    assert!(sizes.processes <= limits::PROCESSES, "{sizes:?}");
    let evicted = t.report().evicted;
    assert!(evicted.connections > 0 && evicted.groups > 0 && evicted.processes > 0);
}

#[test]
fn ended_verdicts_give_way() {
    let mut t = Timeline::new();
    let count = u32::try_from(limits::ENDED_VERDICTS).unwrap() + 10;
    for n in 0..count {
        let client = who(1_000 + n, 1_000 + n, "client");
        for _ in 0..5 {
            t.short_connection(client, 1, "10.0.0.1:80", 0.1, (0, 0));
        }
    }
    t.after_ms(40_000.0);
    let told = t.report().verdicts;
    assert_eq!(
        told.first().map(|verdict| verdict.id),
        Some(u64::from(count))
    );
    assert_eq!(t.engine.table_sizes().verdicts, limits::ENDED_VERDICTS);
    assert_eq!(t.report().evicted.verdicts, 10);
    assert!(t.report().verdicts.iter().all(|verdict| !verdict.ongoing));
}

#[test]
fn too_many_at_once_are_counted_once_each() {
    let mut t = Timeline::new();
    let count = u32::try_from(limits::ONGOING_VERDICTS).unwrap() + 10;
    for _ in 0..5 {
        for n in 0..count {
            let client = who(1_000 + n, 1_000 + n, "client");
            t.short_connection(client, 1, "10.0.0.1:80", 0.1, (0, 0));
        }
    }
    t.after_ms(3_000.0);
    let report = t.report();
    assert_eq!(report.verdicts.len(), limits::ONGOING_VERDICTS);
    assert!(report.verdicts.iter().all(|verdict| verdict.ongoing));
    // As threads; as processes they still wait.
    assert_eq!(report.evicted.verdicts, 10);
}
