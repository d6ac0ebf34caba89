//! Ephemeral ports that run out towards one peer, told and not told.

use crate::{
    analysis::{
        port_exhaustion::EADDRNOTAVAIL,
        report::{Finding, PortExhaustion, PortOwner, Verdict},
        timeline::{NETNS, Timeline, Who, endpoint, instant, who},
    },
    model::{HostFact, Netns, Pid, PortRange, Selection, Session},
};

const CLIENT: Who = who(3_000, 3_000, "shop");
const OTHER: Who = who(3_100, 3_100, "batch");
const REDIS: &str = "10.0.0.5:6379";

/// A hundred ports, the first of which is the first that timelines give to a client.
const RANGE: PortRange = PortRange {
    low: 40_000,
    high: 40_099,
};

fn told(verdict: &Verdict) -> &PortExhaustion {
    match &verdict.finding {
        Finding::PortExhaustion(told) => told,
        other => panic!("about ports: {other:?}"),
    }
}

fn ports(t: &Timeline) -> Vec<Verdict> {
    let verdicts = t.report().verdicts.into_iter();
    verdicts
        .filter(|verdict| verdict.finding.name() == "port_exhaustion")
        .collect()
}

fn range(netns: Netns) -> HostFact {
    HostFact::EphemeralPorts {
        netns,
        range: RANGE,
    }
}

fn with_range() -> Timeline {
    let mut t = Timeline::new();
    t.process(3_000, "php-fpm", (1, "systemd"));
    t.process(3_100, "batch", (1, "systemd"));
    t.fact(range(NETNS));
    t
}

/// So many long connections, each second one more than `rate` at once.
fn open(t: &mut Timeline, by: Who, first: u64, count: u64) {
    for sock in first..first + count {
        t.connect(by, sock, REDIS)
            .established(sock)
            .bytes(sock, 1_000, 9_000);
    }
}

/// So many short connections, of which the `TIME_WAIT` sockets are left.
fn leave(t: &mut Timeline, by: Who, first: u64, count: u64) {
    for sock in first..first + count {
        t.short_connection(by, sock, REDIS, 0.01, (1_000, 9_000));
    }
}

#[test]
fn most_of_the_range_in_use_is_told_with_whose_ports_they_are() {
    let mut t = with_range();
    open(&mut t, CLIENT, 0, 20);
    leave(&mut t, OTHER, 100, 59);
    let left: Vec<_> = (100..159).collect();
    t.list_time_wait(&left);
    t.at(1.0);
    assert_eq!(ports(&t), [], "79 of 100");
    leave(&mut t, OTHER, 159, 6);
    t.list_time_wait(&(100..165).collect::<Vec<_>>());
    t.at(2.0);
    let verdicts = ports(&t);
    let [verdict] = &verdicts[..] else {
        panic!("one: {verdicts:?}");
    };
    assert!(verdict.ongoing);
    assert_eq!(verdict.first_seen, instant(2.0));
    assert_eq!(verdict.who.pid, Some(Pid(3_100)));
    let told = told(verdict);
    assert_eq!((told.local, told.remote.port), (endpoint(REDIS).addr, 6379));
    assert_eq!(told.range, RANGE);
    assert_eq!(
        (
            told.ports_in_use,
            told.ports_peak,
            told.time_wait,
            told.open
        ),
        (85, 85, 65, 20)
    );
    let owner = |pid, comm: &str, ports| PortOwner {
        pid: Pid(pid),
        comm: comm.to_owned(),
        ports,
    };
    assert_eq!(
        told.owners,
        [owner(3_100, "batch", 65), owner(3_000, "php-fpm", 20)]
    );
    assert_eq!((told.failures, told.first_failure), (0, None));
}

#[test]
fn the_time_until_none_is_left_comes_from_the_growth() {
    let mut t = with_range();
    for second in 0..17_u64 {
        t.at(second as f64 + 0.5);
        open(&mut t, CLIENT, second * 5, 5);
    }
    t.at(16.9);
    let verdict = &ports(&t)[0];
    assert_eq!(verdict.first_seen, instant(16.0));
    let told = told(verdict);
    // Five a second since the first look that saw a quarter of the range, and 20 are left.
    assert_eq!((told.ports_in_use, told.open), (80, 80));
    assert!((told.rate_per_min - 300.0).abs() < 0.1, "{told:?}");
    assert_eq!(told.eta, Some(instant(20.0)));
}

/// Sixty seconds after they came the first sockets go: what comes at one a second never fills a
/// hundred ports.
#[test]
fn sockets_that_go_again_in_time_have_no_end_in_sight() {
    let mut t = with_range();
    open(&mut t, CLIENT, 1_000, 80);
    for second in 0..10_u64 {
        t.at(second as f64 + 0.5);
        if second % 5 == 0 {
            leave(&mut t, CLIENT, second, 1);
        }
        let left: Vec<_> = (0..=second).filter(|second| second % 5 == 0).collect();
        t.list_time_wait(&left);
    }
    t.at(10.0);
    let verdict = &ports(&t)[0];
    let told = told(verdict);
    assert_eq!(told.open, 80);
    assert_eq!(told.eta, None);
}

#[test]
fn connects_without_a_port_are_told_with_it_and_follow_from_it() {
    let mut t = with_range();
    open(&mut t, CLIENT, 0, 100);
    t.at(1.5);
    for sock in 200..206 {
        t.after_ms(100.0)
            .connect_fails_at_once(OTHER, sock, REDIS, EADDRNOTAVAIL);
    }
    t.at(4.0);
    let verdicts = t.report().verdicts;
    let named = |name| {
        let mut found = verdicts.iter().filter(|it| it.finding.name() == name);
        found.next().unwrap()
    };
    let (full, failing) = (named("port_exhaustion"), named("failing_connects"));
    let told = told(full);
    assert_eq!((told.ports_in_use, told.failures), (100, 6));
    assert_eq!(told.first_failure, Some(instant(1.6)));
    assert_eq!(told.eta, None, "none is left now");
    assert_eq!(full.led_to, [failing.id]);
    assert_eq!(failing.caused_by, [full.id]);
    assert_eq!(full.last_seen, instant(4.0));
}

#[test]
fn half_of_the_range_is_enough_where_connects_find_no_port() {
    let mut t = with_range();
    open(&mut t, CLIENT, 0, 50);
    t.at(1.5)
        .connect_fails_at_once(CLIENT, 200, REDIS, EADDRNOTAVAIL);
    t.at(3.0);
    let verdict = &ports(&t)[0];
    assert_eq!(verdict.first_seen, instant(1.5));
    assert_eq!(told(verdict).failures, 1);
}

/// TIME_WAIT sockets are listed once a second only: connects fail before it is known why.
#[test]
fn failures_wait_for_the_listing_that_explains_them() {
    let mut t = with_range();
    open(&mut t, CLIENT, 0, 30);
    t.at(0.5)
        .connect_fails_at_once(CLIENT, 200, REDIS, EADDRNOTAVAIL);
    t.at(1.5)
        .connect_fails_at_once(CLIENT, 201, REDIS, EADDRNOTAVAIL);
    assert_eq!(ports(&t), []);
    open(&mut t, CLIENT, 30, 60);
    t.at(3.0);
    let verdict = &ports(&t)[0];
    assert_eq!(verdict.first_seen, instant(0.5));
    assert_eq!(told(verdict).failures, 2);
}

#[test]
fn an_address_that_is_not_there_is_no_lack_of_ports() {
    let mut t = with_range();
    open(&mut t, CLIENT, 0, 30);
    for sock in 200..210 {
        t.after_ms(500.0)
            .connect_fails_at_once(CLIENT, sock, REDIS, EADDRNOTAVAIL);
    }
    t.at(20.0);
    assert_eq!(t.verdict_names(), ["failing_connects"]);
}

#[test]
fn it_is_over_once_a_good_part_is_free_and_no_connect_fails() {
    let mut t = with_range();
    leave(&mut t, CLIENT, 0, 90);
    t.list_time_wait(&(0..90).collect::<Vec<_>>());
    t.at(1.5)
        .connect_fails_at_once(CLIENT, 200, REDIS, EADDRNOTAVAIL);
    t.at(3.0);
    assert!(ports(&t)[0].ongoing);
    t.list_time_wait(&(0..75).collect::<Vec<_>>());
    t.at(30.0);
    assert!(ports(&t)[0].ongoing, "75 are not few enough");
    t.list_time_wait(&(0..20).collect::<Vec<_>>());
    t.at(31.5);
    let verdict = &ports(&t)[0];
    assert!(!verdict.ongoing);
    assert_eq!(told(verdict).ports_in_use, 20);
    assert_eq!(told(verdict).ports_peak, 90);
    assert_eq!(told(verdict).owners[0].ports, 75, "whose they were");
    t.at(60.0);
    assert_eq!(ports(&t).len(), 1);
}

#[test]
fn ports_to_other_peers_do_not_count_together() {
    let mut t = with_range();
    open(&mut t, CLIENT, 0, 70);
    for sock in 100..170 {
        t.connect(CLIENT, sock, "10.0.0.6:6379").established(sock);
    }
    t.at(3.0);
    assert_eq!(ports(&t), []);
}

#[test]
fn a_server_with_many_clients_uses_no_port_of_the_range() {
    let mut t = with_range();
    for sock in 0..95 {
        t.handshake(
            sock,
            "10.0.0.1:8080",
            &format!("10.0.0.9:{}", 40_000 + sock),
        )
        .accept(CLIENT, sock);
    }
    t.at(3.0);
    assert_eq!(ports(&t), []);
}

#[test]
fn a_namespace_has_its_own_range() {
    let mut t = Timeline::new();
    t.fact(range(Netns(7)));
    t.fact(HostFact::EphemeralPorts {
        netns: NETNS,
        range: PortRange {
            low: 32_768,
            high: 60_999,
        },
    });
    open(&mut t, CLIENT, 0, 95);
    t.at(3.0);
    assert_eq!(ports(&t), []);
}

/// Traces of before ranges were told for each namespace have one for all.
#[test]
fn a_range_of_no_namespace_is_that_of_all() {
    let mut t = Timeline::new();
    t.fact(range(Netns::default()));
    open(&mut t, CLIENT, 0, 95);
    t.at(3.0);
    assert_eq!(ports(&t).len(), 1);
}

#[test]
fn what_others_use_up_is_told_of_chosen_processes_only() {
    let mut t = Timeline::with(Session {
        selection: Selection {
            pids: vec![Pid(3_100)],
            ..Selection::default()
        },
        ..Session::default()
    });
    t.fact(range(NETNS));
    open(&mut t, CLIENT, 0, 95);
    t.at(3.0);
    assert_eq!(ports(&t), []);
}
