//! Any inputs whatever, for tests of what must hold for all of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use tracer_common::{FdKind, FdSource, ProcessCounters, Role};

use super::names::{COUNTERS, LOSSES, counters_from_array, losses_from_array};
use crate::model::{
    Ancestor, Comm, Cookie, DescriptorFact, Endpoint, Event, EventBody, FdAction, FdEvent, Frame,
    HostFact, Input, Nanos, Netns, PARENTS_MAX, Path, PathForm, Pid, PortRange, ProcessFact,
    ProcessSeen, SockId, SocketOwner, SocketRow, StackFact, StackId, TableFact, TcpAction,
    TcpEvent, TcpState, Tid, TimeWaitListing, UserStack,
};

fn select<T: Clone + std::fmt::Debug + 'static>(from: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(from.to_vec())
}

fn comm() -> impl Strategy<Value = Comm> {
    prop::collection::vec(any::<u8>(), 16)
        .prop_map(|bytes| Comm::from_kernel(bytes.try_into().unwrap()))
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "",
        "[a-z/]{1,12}",
        any::<String>(),
        "(\u{1b}\\[31m|é|\n){0,4}"
    ]
}

fn nanos() -> impl Strategy<Value = Nanos> {
    any::<u64>().prop_map(Nanos)
}

fn endpoint() -> impl Strategy<Value = Endpoint> {
    let address = prop_oneof![
        Just(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
        any::<u128>().prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits))),
    ];
    (address, any::<u16>()).prop_map(|(addr, port)| Endpoint { addr, port })
}

fn state() -> impl Strategy<Value = TcpState> {
    any::<u8>().prop_map(TcpState::from)
}

fn tcp() -> impl Strategy<Value = EventBody> {
    let actions = [
        TcpAction::Connect,
        TcpAction::ConnectFailed,
        TcpAction::Accept,
        TcpAction::State,
        TcpAction::TimeWait,
        TcpAction::Close,
    ];
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let ends = (endpoint(), endpoint(), any::<u32>());
    let rest = (
        prop::option::of(nanos()),
        state(),
        state(),
        any::<i32>(),
        select(&[Role::Unknown, Role::Client, Role::Server]),
    );
    (select(&actions), numbers, ends, rest).prop_map(|(action, numbers, ends, rest)| {
        EventBody::Tcp(TcpEvent {
            action,
            sock: SockId(numbers.0),
            cookie: Cookie(numbers.1),
            start: rest.0,
            tx_bytes: numbers.2,
            rx_bytes: numbers.3,
            local: ends.0,
            remote: ends.1,
            netns: Netns(ends.2),
            old_state: rest.1,
            new_state: rest.2,
            errno: rest.3,
            role: rest.4,
        })
    })
}

fn fd() -> impl Strategy<Value = EventBody> {
    let actions = [
        FdAction::Installed,
        FdAction::OpenFailed,
        FdAction::Exhausted,
        FdAction::Closed,
    ];
    let path = (text(), select(&[PathForm::Resolved, PathForm::AsGiven]))
        .prop_map(|(text, form)| Path { text, form });
    let rest = (
        prop::option::of(any::<u32>()),
        any::<i32>(),
        any::<u64>(),
        any::<i64>(),
        any::<i64>(),
        prop::option::of(path),
    );
    (
        select(&actions),
        select(&FdSource::ALL),
        select(&FdKind::ALL),
        rest,
    )
        .prop_map(|(action, source, kind, rest)| {
            EventBody::Fd(FdEvent {
                action,
                fd: rest.0,
                source,
                kind,
                errno: rest.1,
                opens: rest.2,
                fds_net: rest.3,
                files_net: rest.4,
                path: rest.5,
            })
        })
}

fn seen() -> impl Strategy<Value = EventBody> {
    let numbers = (nanos(), any::<u64>(), any::<[u32; 4]>());
    let texts = (text(), text());
    (numbers, comm(), comm(), any::<bool>(), texts).prop_map(
        |((start, cgroup_id, numbers), comm, parent_comm, is_exec, (cmdline, hostname))| {
            EventBody::Process(ProcessSeen {
                start,
                cgroup_id,
                ppid: Pid(numbers[0]),
                parent_comm,
                uid: numbers[1],
                ns_pid: numbers[2],
                netns: Netns(numbers[3]),
                hostname: hostname.into(),
                comm,
                is_exec,
                cmdline,
            })
        },
    )
}

/// Few processes with small numbers, so that they come again and mostly stay as they were.
fn counters() -> impl Strategy<Value = Box<ProcessCounters>> {
    let all = prop::collection::vec(0..2_u64, COUNTERS);
    (0..2_u64, all)
        .prop_map(|(start, all)| Box::new(counters_from_array(start, &all.try_into().unwrap())))
}

fn event() -> impl Strategy<Value = Input> {
    let exit = (comm(), counters()).prop_map(|(comm, counters)| EventBody::Exit { comm, counters });
    let body = prop_oneof![tcp(), fd(), seen(), exit];
    let stack = prop::option::of(prop_oneof![
        any::<u32>().prop_map(|number| UserStack::Taken(StackId(number))),
        (1..=i32::MAX).prop_map(UserStack::Missing),
    ]);
    let whole = (nanos(), 0..3_u32, any::<u32>(), comm(), stack, body);
    whole.prop_map(|(ts, pid, tid, thread, stack, body)| {
        Input::Event(Event {
            ts,
            pid: Pid(pid),
            tid: Tid(tid),
            thread,
            stack,
            body,
        })
    })
}

fn process() -> impl Strategy<Value = HostFact> {
    let texts = (
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
    );
    let place = (
        prop::option::of(text()),
        prop::option::of(text()),
        prop::option::of(text()),
    );
    let numbers = (
        any::<u32>(),
        prop::option::of(nanos()),
        prop::option::of(any::<u32>()),
        prop::option::of(any::<u32>()),
        prop::option::of(any::<u32>()),
    );
    let parent = (any::<u32>(), comm()).prop_map(|(pid, comm)| Ancestor {
        pid: Pid(pid),
        comm,
    });
    let parents = prop::collection::vec(parent, 0..=PARENTS_MAX);
    (texts, place, numbers, parents).prop_map(|(texts, place, numbers, parents)| {
        HostFact::Process(Box::new(ProcessFact {
            pid: Pid(numbers.0),
            start: numbers.1,
            comm: texts.0,
            exe: texts.1,
            cmdline: texts.2,
            ppid: numbers.2.map(Pid),
            user: texts.3,
            ns_pid: numbers.3,
            container: texts.4,
            runtime: place.0,
            pod_uid: place.1,
            unit: place.2,
            netns: numbers.4.map(Netns),
            parents,
        }))
    })
}

fn socket() -> impl Strategy<Value = SocketRow> {
    (0..8_u64, endpoint(), endpoint(), state()).prop_map(|(cookie, local, remote, state)| {
        SocketRow {
            cookie: Cookie(cookie),
            local,
            remote,
            state,
        }
    })
}

fn fact() -> impl Strategy<Value = HostFact> {
    let number = || prop::option::of(any::<u64>());
    let descriptors = (
        (any::<u32>(), prop::option::of(nanos())),
        any::<u64>(),
        prop::option::of(any::<i64>()),
        number(),
        number(),
    )
        .prop_map(|((pid, start), open, net, soft_limit, hard_limit)| {
            HostFact::Descriptors(DescriptorFact {
                pid: Pid(pid),
                start,
                open,
                net,
                soft_limit,
                hard_limit,
            })
        });
    let held = (text(), 1..9_u64);
    let table = (
        (any::<u32>(), prop::option::of(nanos())),
        prop::array::uniform(0..9_u64),
        prop::option::of(prop::array::uniform(-9..9_i64)),
        prop::collection::vec(held, 0..4),
    )
        .prop_map(|((pid, start), kinds, nets, paths)| {
            HostFact::Table(Box::new(TableFact {
                pid: Pid(pid),
                start,
                kinds,
                nets,
                paths,
            }))
        });
    let counters = (0..3_u32, counters()).prop_map(|(pid, counters)| HostFact::Counters {
        pid: Pid(pid),
        counters,
    });
    let socket_before = (socket(), any::<u32>(), any::<u32>()).prop_map(|(row, netns, pid)| {
        HostFact::SocketBefore(SocketOwner {
            row,
            netns: Netns(netns),
            pid: Pid(pid),
        })
    });
    let rows = prop::collection::btree_set(socket(), 0..6);
    let time_wait = (0..2_u32, rows).prop_map(|(netns, rows)| {
        HostFact::TimeWait(TimeWaitListing::new(
            Netns(netns),
            rows.into_iter().collect(),
        ))
    });
    let ports = (0..2_u32, any::<u16>(), any::<u16>()).prop_map(|(netns, low, high)| {
        HostFact::EphemeralPorts {
            netns: Netns(netns),
            range: PortRange { low, high },
        }
    });
    let frame = (text(), any::<bool>()).prop_map(|(text, is_named)| Frame { text, is_named });
    let frames = prop::collection::vec(frame, 0..5);
    let stack = (
        any::<u32>(),
        prop::option::of(nanos()),
        any::<u32>(),
        frames,
    )
        .prop_map(|(pid, start, stack, frames)| {
            HostFact::Stack(Box::new(StackFact {
                pid: Pid(pid),
                start,
                stack: StackId(stack),
                frames,
            }))
        });
    prop_oneof![
        process(),
        stack,
        descriptors,
        table,
        counters,
        socket_before,
        time_wait,
        ports
    ]
}

/// Any input but a session.
fn input() -> impl Strategy<Value = Input> {
    let losses = prop::collection::vec(0..3_u64, LOSSES)
        .prop_map(|all| Input::Losses(Box::new(losses_from_array(&all.try_into().unwrap()))));
    prop_oneof![
        6 => event(),
        2 => (nanos(), fact()).prop_map(|(at, fact)| Input::Host(at, fact)),
        1 => nanos().prop_map(Input::Tick),
        1 => losses,
    ]
}

/// Any inputs in any order.
pub(super) fn inputs() -> impl Strategy<Value = Vec<Input>> {
    prop::collection::vec(input(), 0..60)
}
