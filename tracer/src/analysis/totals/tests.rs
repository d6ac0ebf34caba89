//! Timelines and what is counted of them: exact, never less than before, and within the bounds.

use std::net::{IpAddr, Ipv4Addr};

use tracer_common::FdSource;

use crate::{
    analysis::{
        Thresholds,
        timeline::{Timeline, Who, who},
    },
    model::ProcessFact,
};

use super::*;

const SEND_THREAD: Who = who(4711, 4713, "Catalina-utilit");
const SERVER: &str = "10.0.0.7:2181";
const ECONNREFUSED: i32 = 111;

/// Feeds an engine and a recorder with all that a timeline told, verdicts too.
fn recorded(inputs: &[Input], detail: Detail) -> (Engine, TotalsRecorder) {
    let mut engine = Engine::new(Thresholds::default());
    let mut recorder = TotalsRecorder::new(detail);
    for input in inputs {
        engine.apply(input);
        recorder.observe(&engine, input);
        if let Input::Tick(_) = input {
            recorder.verdicts(&engine.take_verdict_updates());
        }
    }
    (engine, recorder)
}

fn totals(t: &Timeline) -> Totals {
    let (engine, mut recorder) = recorded(&t.inputs, Detail::default());
    recorder.totals(&engine)
}

fn group<'a>(totals: &'a Totals, comm: &str) -> &'a GroupTotals {
    let found = totals.groups.iter().find(|(label, _)| {
        label
            .as_ref()
            .map_or(comm == "other", |label| label.comm == comm)
    });
    &found
        .unwrap_or_else(|| panic!("no {comm} in {totals:#?}"))
        .1
}

fn flapping() -> Timeline {
    let mut t = Timeline::new();
    t.at(0.5).process(4711, "java", (1, "systemd"));
    for n in 0..6 {
        t.at(1.0 + 1.7 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, (49, 41));
    }
    t.at(12.0);
    t
}

/// ```text
/// 1s        2.7       4.4       6.1       7.8       9.5  12s
/// |--x------|--x------|--x------|--x------|--x------|--x-T     x: closed by the client after 16 ms
/// ```
#[test]
fn a_flapping_client_is_counted_by_its_server() {
    let totals = totals(&flapping());
    let java = group(&totals, "java");
    let [(Some(label), peer)] = java.peers.as_slice() else {
        panic!("{java:#?}");
    };
    assert_eq!(label.role, Role::Client);
    let server = label.server.unwrap();
    assert_eq!((server.addr, server.port), (ip([10, 0, 0, 7]), 2181));
    assert_eq!(
        (peer.opened, peer.closed_by_local, peer.closed_by_remote),
        (6, 6, 0)
    );
    assert_eq!(peer.lifetimes.counts, [0, 0, 6, 0, 0, 0, 0, 0, 0]);
    assert_eq!(peer.lifetimes.sum, Nanos::from_millis(6 * 16));
    assert_eq!(java.verdicts, BTreeMap::from([("flapping", 1)]));
    assert_eq!(java.verdicts_ongoing, BTreeMap::from([("flapping", 1)]));
    assert_eq!((java.now.processes, java.now.connections_open), (1, 0));
}

fn ip(bytes: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(bytes))
}

#[test]
fn what_is_over_goes_on_no_more_and_stays_counted() {
    let mut t = flapping();
    t.at(60.0).exit(4711, "java");
    t.at(62.0);
    let totals = totals(&t);
    let java = group(&totals, "java");
    assert_eq!(java.verdicts, BTreeMap::from([("flapping", 1)]));
    assert_eq!(java.verdicts_ongoing, BTreeMap::new());
    assert_eq!(java.now, GroupNow::default());
    assert_eq!(java.peers.len(), 1);
}

/// The port of a client is never told, its server's own end is.
#[test]
fn a_servers_connections_are_counted_by_its_own_end() {
    let acceptor = who(150, 150, "zookeeper");
    let mut t = Timeline::new();
    t.at(0.5).process(150, "zookeeper", (1, "systemd"));
    for (sock, from) in [(1, "10.0.0.8:40000"), (2, "10.0.0.9:41000")] {
        t.after_ms(100.0).handshake(sock, SERVER, from);
        t.accept(acceptor, sock);
        t.after_ms(20.0).fin_received(sock);
        t.close(sock);
        t.gone(sock, 0);
    }
    t.at(3.0);
    let totals = totals(&t);
    let server = group(&totals, "zookeeper");
    let [(Some(label), peer)] = server.peers.as_slice() else {
        panic!("{server:#?}");
    };
    assert_eq!(label.role, Role::Server);
    assert_eq!(label.server.map(|end| end.port), Some(2181));
    assert_eq!((peer.opened, peer.closed_by_remote), (2, 2));
}

#[test]
fn failures_are_counted_by_error() {
    let mut t = Timeline::new();
    t.at(0.5).process(4711, "java", (1, "systemd"));
    for n in 0..3 {
        t.at(1.0 + f64::from(n)).connect(SEND_THREAD, 1, SERVER);
        t.after_ms(1.0).fails(1, ECONNREFUSED);
    }
    t.at(6.0);
    let totals = totals(&t);
    let (_, peer) = &group(&totals, "java").peers[0];
    assert_eq!(peer.failed, BTreeMap::from([(ECONNREFUSED, 3)]));
    assert_eq!(peer.opened, 0);
}

/// The look-up that tells the container comes after the first connection.
#[test]
fn what_a_process_does_is_counted_where_it_turns_out_to_run() {
    let mut t = Timeline::new();
    t.at(0.5).process(4711, "java", (1, "systemd"));
    t.short_connection(SEND_THREAD, 1, SERVER, 16.0, (49, 41));
    t.input(Input::Host(
        Nanos::from_secs(1_000),
        HostFact::Process(Box::new(ProcessFact {
            pid: Pid(4711),
            container: Some("c0ffee".to_owned()),
            pod_uid: Some("1234".to_owned()),
            ..ProcessFact::default()
        })),
    ));
    t.at(4.0);
    let totals = totals(&t);
    let [(Some(label), java)] = totals.groups.as_slice() else {
        panic!("{totals:#?}");
    };
    assert_eq!(label.container.as_deref(), Some("c0ffee"));
    assert_eq!(label.pod.as_deref(), Some("1234"));
    assert_eq!((label.pid, &label.cmdline), (None, &None));
    assert_eq!(java.peers[0].1.opened, 1);
}

#[test]
fn descriptors_are_told_with_the_least_room() {
    let mut t = Timeline::new();
    for (pid, open) in [(10, 100), (11, 4000)] {
        t.at(1.0).process(pid, "nginx", (1, "systemd"));
        t.look_at_descriptors(pid, open, 4096);
    }
    t.refuse(who(11, 11, "nginx"), FdSource::Socket);
    t.at(4.0);
    let totals = totals(&t);
    let nginx = group(&totals, "nginx");
    assert_eq!(nginx.now.fds_open, Some(4100));
    assert_eq!(nginx.now.fd_limit, Some(4096));
    assert_eq!(nginx.now.fd_room, Some(96));
    assert_eq!(nginx.fds_refused, 1);
}

#[test]
fn groups_are_told_apart_by_pid_and_command_line_where_asked_for() {
    let t = flapping();
    let detail = Detail {
        pid: true,
        cmdline: true,
    };
    let (engine, mut recorder) = recorded(&t.inputs, detail);
    let totals = recorder.totals(&engine);
    let (label, _) = &totals.groups[0];
    let label = label.as_ref().unwrap();
    assert_eq!(label.pid, Some(Pid(4711)));
}

#[test]
fn beyond_the_bounds_all_is_one_sum() {
    let mut t = Timeline::new();
    let groups = limits::TOTALS_GROUPS + 3;
    for n in 0..groups {
        let pid = 10_000 + u32::try_from(n).unwrap();
        t.after_ms(10.0)
            .process(pid, &format!("worker-{n}"), (1, "systemd"));
        t.short_connection(who(pid, pid, "worker"), 1, SERVER, 1.0, (9, 9));
    }
    let scanner = who(9_000, 9_000, "scanner");
    t.process(9_000, "worker-0", (1, "systemd"));
    for n in 0..=limits::TOTALS_PEERS {
        let to = format!("10.1.{}.{}:80", n / 250, n % 250);
        t.after_ms(1.0)
            .short_connection(scanner, 1, &to, 0.5, (9, 9));
    }
    t.after_ms(3_000.0);
    let totals = totals(&t);
    assert_eq!(totals.groups.len(), limits::TOTALS_GROUPS + 1);
    let opened = |group: &GroupTotals| group.peers.iter().map(|(_, peer)| peer.opened).sum::<u64>();
    assert_eq!(opened(group(&totals, "other")), 3);
    let told_apart = |group: &GroupTotals| {
        group
            .peers
            .iter()
            .filter(|(peer, _)| peer.is_some())
            .count()
    };
    let told: usize = totals
        .groups
        .iter()
        .map(|(_, group)| told_apart(group))
        .sum();
    assert_eq!(told, limits::TOTALS_PEERS);
    let all: u64 = totals.groups.iter().map(|(_, group)| opened(group)).sum();
    assert_eq!(all, (groups + limits::TOTALS_PEERS + 1) as u64);
}

/// A place is given away only after an hour.
#[test]
fn who_has_been_idle_for_long_makes_room() {
    let mut recorder = TotalsRecorder::default();
    let label = |n: usize| GroupLabel {
        comm: n.to_string(),
        ..GroupLabel::default()
    };
    for n in 0..limits::TOTALS_GROUPS {
        recorder.group(label(n), Nanos::from_secs(n as u64));
    }
    recorder.group(label(9_000), Nanos::from_secs(3_599));
    assert!(!recorder.groups.contains_key(&label(9_000)));
    recorder.group(label(9_000), Nanos::from_secs(3_601));
    assert!(recorder.groups.contains_key(&label(9_000)));
    assert_eq!(recorder.groups.len(), limits::TOTALS_GROUPS - 1);
}

#[test]
fn counters_never_become_less() {
    let t = flapping();
    let mut engine = Engine::new(Thresholds::default());
    let mut recorder = TotalsRecorder::default();
    let mut before = 0;
    for input in &t.inputs {
        engine.apply(input);
        recorder.observe(&engine, input);
        let totals = recorder.totals(&engine);
        let peers = totals.groups.iter().flat_map(|(_, group)| &group.peers);
        let now: u64 = peers
            .map(|(_, peer)| peer.opened + peer.closed_by_local)
            .sum();
        assert!(now >= before);
        before = now;
    }
    assert_eq!(before, 12);
}
