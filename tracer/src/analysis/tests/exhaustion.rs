//! Full descriptor tables, told with their causes and effects, and not told.

use tracer_common::{FdKind, FdSource, Role};

use crate::{
    analysis::{
        report::{BurstBefore, PeerCount, ThreadCount, UnreachedPeer},
        timeline::{NETNS, Timeline, Who, endpoint, exhaustion, instant, who},
    },
    model::{
        Cookie, HostFact, Input, Nanos, Pid, PortRange, SocketOwner, SocketRow, TableFact,
        TcpState, Tid,
    },
};

const LOADER: Who = who(2_000, 2_048, "http-nio-8080-e");
const POOL: Who = who(2_000, 2_060, "redis-pool");
const ACCEPTOR: Who = who(2_000, 2_030, "http-nio-8080-A");
const JARS: &str = "/srv/app/WEB-INF/lib/lib{}.jar";
const REDIS: &str = "10.0.0.5:6379";

/// A Tomcat with so many descriptors of 4096, twelve connections to Redis among them.
fn tomcat(open: u64) -> Timeline {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    for sock in 1..=12 {
        t.count_install(2_000, FdSource::Socket, FdKind::Socket);
        t.connect(POOL, sock, REDIS).established(sock).after_ms(1.0);
    }
    t.read_counters(2_000);
    t.look_at_descriptors(2_000, open, 4_096);
    t
}

fn holds(jars: u64, sockets: u64) -> HostFact {
    HostFact::Table(Box::new(TableFact {
        pid: Pid(2_000),
        start: None,
        kinds: [jars, sockets, 0, 0, 0],
        nets: None,
        paths: vec![("/srv/app/WEB-INF/lib/lib1.jar".to_owned(), jars)],
    }))
}

#[test]
fn what_filled_it_before_anybody_watched_is_told_by_a_look_at_it() {
    let mut t = tomcat(4_096);
    t.at(6.0).refuse(POOL, FdSource::Socket);
    t.fact(holds(3_000, 1_000)).at(7.0);
    let jars = [("/srv/app/WEB-INF/lib/lib1.jar".to_owned(), 3_000)];
    let kinds = [("file", 3_000), ("socket", 1_000)];
    let told = t.only("fd_exhaustion");
    assert_eq!(exhaustion(&told).top_dirs, jars);
    assert_eq!(exhaustion(&told).kinds, kinds.into());
    // What is left when there is room again did not fill it.
    t.fact(holds(100, 1_000)).at(8.0);
    let told = t.only("fd_exhaustion");
    assert_eq!(exhaustion(&told).top_dirs, jars);
    assert_eq!(exhaustion(&told).kinds, kinds.into());
}

/// ```text
/// 0s        5s       6.0s   7s             35s            50.1s
/// |3900     |196 jars|EMFILE|37 × socket   |jars released |told as over
/// |near     |burst   |      |3 × accept    |redis again
/// ```
#[test]
fn the_second_incident_is_one_story() {
    let mut t = tomcat(3_900);
    t.at(1.0);
    assert_eq!(t.verdict_names(), ["fd_near_limit"]);
    t.at(5.0).open_many(LOADER, 196, 5.0, JARS);
    t.at(6.0).refuse_many(LOADER, FdSource::Open, 12, 10.0);
    t.at(7.0).refuse_many(POOL, FdSource::Socket, 37, 500.0);
    t.at(30.0).refuse_many(ACCEPTOR, FdSource::Accept, 3, 100.0);
    t.at(32.0);
    let verdict = t.only("fd_exhaustion");
    assert!(verdict.ongoing && !verdict.lossy);
    t.at(35.0).close_many(2_000, 196).read_counters(2_000);
    t.at(36.0).connect(POOL, 13, REDIS).established(13);
    t.at(60.0);

    assert_eq!(
        t.verdict_names(),
        ["fd_near_limit", "fd_burst", "fd_exhaustion"]
    );
    let verdict = t.only("fd_exhaustion");
    assert!(!verdict.ongoing);
    assert_eq!(
        (verdict.who.pid, verdict.who.tid),
        (Some(Pid(2_000)), None),
        "several threads met it"
    );
    assert_eq!(verdict.first_seen, instant(6.0));
    assert_eq!(verdict.last_seen, instant(30.2));
    let told = exhaustion(&verdict);
    let calls: Vec<_> = told.calls.clone().into_iter().collect();
    assert_eq!(calls, [("accept", 3), ("open", 12), ("socket", 37)]);
    let first = &told.first_failure;
    assert_eq!((first.at, first.errno), (instant(6.0), 24));
    assert_eq!(first.call, Some("open"));
    assert_eq!(
        (first.tid, first.thread.as_deref()),
        (Some(Tid(2_048)), Some("http-nio-8080-e"))
    );
    let thread = |by: Who, count| ThreadCount {
        tid: Tid(by.tid),
        thread: by.thread.to_owned(),
        count,
    };
    assert_eq!(
        told.threads,
        [thread(POOL, 37), thread(LOADER, 12), thread(ACCEPTOR, 3)]
    );
    assert_eq!((told.fds_peak, told.fd_limit), (Some(4_096), Some(4_096)));
    assert_eq!(
        told.top_dirs,
        [("/srv/app/WEB-INF/lib/*.jar".to_owned(), 196)]
    );
    let redis = endpoint(REDIS);
    assert_eq!(
        told.top_peers,
        [PeerCount {
            role: Role::Client,
            addr: redis.addr,
            port: 6379,
            count: 12,
            close_wait: 0
        }]
    );
    assert_eq!(
        told.unreached_peers,
        [UnreachedPeer {
            remote: redis,
            connects_before: 12,
            last_connect: instant(0.011),
            reached_again: Some(instant(36.0)),
        }]
    );
    assert_eq!(told.recovered, Some(instant(35.0)));
    assert_eq!(
        told.burst,
        Some(BurstBefore {
            at: instant(5.0),
            opens: 196,
            pattern: Some("/srv/app/WEB-INF/lib/*.jar".to_owned()),
        })
    );
}

#[test]
fn causes_and_effects_are_linked() {
    let mut t = tomcat(3_900);
    t.at(5.0).open_many(LOADER, 196, 5.0, JARS);
    t.at(6.0).refuse_many(POOL, FdSource::Socket, 5, 100.0);
    for n in 0..5 {
        t.connect_fails_at_once(POOL, 100 + n, "10.0.0.9:5432", 99)
            .after_ms(100.0);
    }
    t.at(9.0);
    let (near, burst) = (t.only("fd_near_limit"), t.only("fd_burst"));
    let (full, failing) = (t.only("fd_exhaustion"), t.only("failing_connects"));
    assert_eq!(full.caused_by, [near.id, burst.id]);
    assert_eq!(full.led_to, [failing.id]);
    assert_eq!(near.led_to, [full.id]);
    assert_eq!(burst.led_to, [full.id]);
    assert_eq!(failing.caused_by, [full.id]);
    assert!(near.caused_by.is_empty(), "the burst came later");
}

#[test]
fn a_link_of_the_same_moment_is_part_of_what_is_told_first() {
    let mut t = tomcat(3_000);
    let _ = t.engine.take_verdict_updates();
    t.at(5.0).open_many(LOADER, 300, 1.0, JARS);
    t.refuse(LOADER, FdSource::Open).at(6.0);
    let told = t.engine.take_verdict_updates();
    let told: Vec<_> = told
        .iter()
        .map(|v| {
            (
                v.finding.name(),
                v.update,
                v.caused_by.len(),
                v.led_to.len(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("fd_burst", 0, 0, 1), ("fd_exhaustion", 0, 1, 0)],
        "and nothing is left to warn of"
    );
}

#[test]
fn counters_alone_lead_to_it() {
    let mut t = tomcat(4_000);
    t.at(5.0);
    t.count_many(2_000, FdSource::Accept, FdKind::Socket, 96)
        .count_refused(2_000, FdSource::Accept, 40)
        .read_counters(2_000);
    t.at(6.0);
    let verdict = t.only("fd_exhaustion");
    assert!(verdict.lossy, "nobody knows when exactly");
    let told = exhaustion(&verdict);
    assert_eq!(told.calls.get("accept"), Some(&40));
    assert_eq!(told.first_failure.at, instant(5.0));
    assert_eq!(told.first_failure.call, Some("accept"));
    assert_eq!(told.first_failure.tid, None);
    assert_eq!(told.fds_peak, Some(4_096));
}

#[test]
fn events_beyond_the_budget_are_counted_exactly() {
    let mut t = tomcat(4_096);
    t.at(5.0).refuse_many(POOL, FdSource::Socket, 10, 1.0);
    t.count_refused(2_000, FdSource::Socket, 90);
    t.count_refused(2_000, FdSource::Open, 7);
    t.at(5.9).read_counters(2_000);
    t.at(6.5).refuse_many(POOL, FdSource::Socket, 3, 1.0);
    t.at(7.0);
    let calls = |t: &Timeline| {
        let told = exhaustion(&t.only("fd_exhaustion")).calls.clone();
        told.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(calls(&t), [("open", 7), ("socket", 103)]);
    t.read_counters(2_000).at(8.0);
    assert_eq!(calls(&t), [("open", 7), ("socket", 103)]);
    assert!(!t.only("fd_exhaustion").lossy, "its begin was told");
}

#[test]
fn it_goes_on_until_descriptors_are_to_be_had_again() {
    let mut t = tomcat(4_096);
    t.at(5.0).refuse(POOL, FdSource::Socket);
    t.at(100.0);
    assert!(t.only("fd_exhaustion").ongoing, "nobody got one since");
    t.count_close(2_000, FdKind::Socket)
        .open(LOADER, "/etc/hosts");
    t.at(101.0);
    let verdict = t.only("fd_exhaustion");
    assert!(!verdict.ongoing);
    assert_eq!(exhaustion(&verdict).recovered, Some(instant(100.0)));
}

#[test]
fn one_got_between_two_failures_is_no_recovery() {
    let mut t = tomcat(4_096);
    for _ in 0..10 {
        t.refuse(POOL, FdSource::Socket).after_ms(1_000.0);
        t.count_close(2_000, FdKind::File)
            .open(LOADER, "/etc/hosts")
            .after_ms(9_000.0);
    }
    let verdict = t.only("fd_exhaustion");
    assert!(verdict.ongoing);
    assert_eq!(exhaustion(&verdict).calls.get("socket"), Some(&10));
    t.at(200.0);
    let verdict = t.only("fd_exhaustion");
    assert_eq!(exhaustion(&verdict).recovered, Some(instant(91.012)));
}

#[test]
fn the_end_of_the_process_ends_it() {
    let mut t = tomcat(4_096);
    t.at(5.0).refuse(POOL, FdSource::Socket);
    t.at(6.0).exit(2_000, "java").at(7.0);
    let verdict = t.only("fd_exhaustion");
    assert!(!verdict.ongoing && verdict.who.ended);
    assert_eq!(exhaustion(&verdict).recovered, None);
    assert_eq!(verdict.who.thread.as_deref(), Some("redis-pool"));
}

#[test]
fn a_process_that_failed_and_ended_within_a_second_is_told() {
    let mut t = Timeline::new();
    let by = who(3_000, 3_000, "convert");
    t.process(3_000, "convert", (1, "sh"));
    t.after_ms(100.0).refuse(by, FdSource::Pipe).after_ms(100.0);
    t.exit(3_000, "convert").at(1.0);
    let verdict = t.verdict();
    let told = exhaustion(&verdict);
    assert_eq!(told.calls.get("pipe"), Some(&1));
    assert_eq!((told.fds_peak, told.fd_limit), (None, None));
    assert!(!verdict.ongoing);
}

#[test]
fn the_host_may_be_out_of_files_too() {
    let mut t = tomcat(500);
    t.at(5.0).open_fails(LOADER, 2);
    t.at(6.0);
    assert!(t.report().verdicts.is_empty(), "a file that is not there");
    t.open_fails(LOADER, 23).at(7.0);
    let verdict = t.verdict();
    let told = exhaustion(&verdict);
    assert_eq!(told.first_failure.errno, 23);
    assert_eq!(told.calls.get("open"), Some(&1));

    // Sockets are in the totals that the kernel half keeps, opens are not.
    t.refuse_of_host(POOL, FdSource::Socket).at(8.0);
    t.open_fails(LOADER, 23).read_counters(2_000).at(9.0);
    let verdict = t.only("fd_exhaustion");
    let calls: Vec<_> = exhaustion(&verdict).calls.clone().into_iter().collect();
    assert_eq!(calls, [("open", 2), ("socket", 1)]);
}

#[test]
fn a_stale_limit_is_corrected() {
    let mut t = tomcat(60);
    let _ = t.engine.take_lookups();
    // setrlimit in flight: nobody is told of it.
    t.at(5.0).refuse(POOL, FdSource::Socket).at(6.0);
    let verdict = t.only("fd_exhaustion");
    assert_eq!(exhaustion(&verdict).fd_limit, Some(60), "what it met");
    assert_eq!(t.engine.take_lookups(), [Pid(2_000)]);
    t.look_at_descriptors(2_000, 60, 60).at(7.0);
    let verdict = t.only("fd_exhaustion");
    let told = exhaustion(&verdict);
    assert_eq!((told.fds_peak, told.fd_limit), (Some(60), Some(60)));
    assert_eq!(t.engine.take_lookups(), []);
    t.at(16.0);
    assert_eq!(t.engine.take_lookups(), [Pid(2_000)], "every ten seconds");
    // Lifted: what was met stays told.
    t.count_close(2_000, FdKind::File)
        .open(LOADER, "/etc/hosts");
    t.look_at_descriptors(2_000, 60, 4_096).at(30.0);
    assert_eq!(exhaustion(&t.only("fd_exhaustion")).fd_limit, Some(60));
}

/// A look-up is told at once, and what happened before it may still wait in the ring.
#[test]
fn a_fact_that_overtakes_events_hides_no_peer() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    let ports = HostFact::EphemeralPorts {
        netns: NETNS,
        range: PortRange {
            low: 32_768,
            high: 60_999,
        },
    };
    t.at(5.0).input(Input::Host(instant(5.4), ports));
    t.connect(POOL, 1, REDIS).established(1).after_ms(100.0);
    t.refuse(POOL, FdSource::Socket).at(6.0);
    let told = t.only("fd_exhaustion");
    let unreached = &exhaustion(&told).unreached_peers;
    assert_eq!(
        (unreached.len(), unreached[0].last_connect),
        (1, instant(5.0))
    );
}

#[test]
fn a_peer_that_is_reached_again_before_the_next_tick_is_told() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    t.at(5.0).connect(POOL, 1, REDIS).established(1);
    t.after_ms(100.0).refuse(POOL, FdSource::Socket);
    t.after_ms(100.0).connect(POOL, 2, REDIS).established(2);
    t.at(6.0);
    let told = t.only("fd_exhaustion");
    let redis = UnreachedPeer {
        remote: endpoint(REDIS),
        connects_before: 1,
        last_connect: instant(5.0),
        reached_again: Some(instant(5.2)),
    };
    assert_eq!(exhaustion(&told).unreached_peers, [redis]);
}

#[test]
fn what_the_process_connects_to_meanwhile_is_reached_again() {
    let mut t = tomcat(4_096);
    t.at(1.0).connect(POOL, 50, "10.0.0.6:9092").established(50);
    t.at(5.0).refuse_many(POOL, FdSource::Socket, 5, 100.0);
    t.at(6.0);
    let unreached = |t: &Timeline| -> Vec<(u16, Option<Nanos>)> {
        let verdict = t.only("fd_exhaustion");
        let rows = exhaustion(&verdict).unreached_peers.iter();
        rows.map(|row| (row.remote.port, row.reached_again))
            .collect()
    };
    assert_eq!(unreached(&t), [(6379, None), (9092, None)]);
    // One socket came about between two that did not.
    t.connect(POOL, 51, "10.0.0.6:9092").established(51);
    t.refuse_many(POOL, FdSource::Socket, 5, 100.0);
    t.at(7.0);
    let again = Some(instant(6.0));
    assert_eq!(unreached(&t), [(6379, None), (9092, again)]);
    // Until when is told once.
    t.connect(POOL, 52, "10.0.0.6:9092").established(52);
    t.connect(POOL, 53, REDIS).established(53);
    t.at(8.0);
    assert_eq!(unreached(&t), [(9092, again), (6379, Some(instant(7.0)))]);
}

#[test]
fn a_peer_is_reached_again_while_others_still_fail_to_open() {
    let mut t = tomcat(4_096);
    t.at(5.0).refuse(POOL, FdSource::Socket);
    t.at(6.0).refuse(LOADER, FdSource::Open);
    t.at(6.2).connect(POOL, 50, REDIS).established(50);
    t.at(8.0);
    let verdict = t.only("fd_exhaustion");
    let [redis] = exhaustion(&verdict).unreached_peers.as_slice() else {
        panic!("not one peer");
    };
    assert_eq!(redis.remote, endpoint(REDIS));
    assert_eq!(redis.reached_again, Some(instant(6.2)));
}

#[test]
fn nobody_is_out_of_reach_where_sockets_are_to_be_had() {
    let mut t = tomcat(4_096);
    t.at(5.0).refuse_many(LOADER, FdSource::Open, 5, 100.0);
    t.at(6.0);
    let verdict = t.only("fd_exhaustion");
    assert!(exhaustion(&verdict).unreached_peers.is_empty());
}

#[test]
fn what_was_refused_before_the_trace_is_not_told() {
    let mut t = Timeline::new();
    // A process that nobody introduced, with counters of long ago.
    t.count_refused(2_000, FdSource::Open, 500);
    t.read_counters(2_000).at(2.0);
    assert!(t.report().verdicts.is_empty());
    t.count_refused(2_000, FdSource::Open, 2);
    t.read_counters(2_000).at(3.0);
    assert_eq!(
        exhaustion(&t.only("fd_exhaustion")).calls.get("open"),
        Some(&2)
    );
}

#[test]
fn connections_from_before_the_trace_are_told_by_their_peer() {
    let mut t = tomcat(60);
    let held = |cookie: u64, local: &str, remote: &str| {
        HostFact::SocketBefore(SocketOwner {
            row: SocketRow {
                cookie: Cookie(cookie),
                local: endpoint(local),
                remote: endpoint(remote),
                state: TcpState::Established,
            },
            netns: NETNS,
            pid: Pid(2_000),
        })
    };
    t.fact(HostFact::EphemeralPorts {
        netns: NETNS,
        range: PortRange {
            low: 32_768,
            high: 60_999,
        },
    });
    t.fact(held(901, "10.0.0.1:40001", REDIS));
    t.fact(held(902, "10.0.0.1:40002", REDIS));
    t.fact(held(903, "10.0.0.1:8080", "10.0.0.9:51000"));
    // Two hosts that both chose: nobody can tell who began.
    t.fact(held(904, "10.0.0.1:2888", "10.0.0.8:3888"));
    t.at(5.0).refuse(POOL, FdSource::Socket).at(6.0);
    let verdict = t.only("fd_exhaustion");
    let peers: Vec<_> = (exhaustion(&verdict).top_peers.iter())
        .map(|peer| (peer.role, peer.addr.to_string(), peer.port, peer.count))
        .collect();
    let redis = endpoint(REDIS);
    assert_eq!(
        peers,
        [
            (Role::Client, redis.addr.to_string(), 6379, 14),
            (Role::Unknown, "10.0.0.8".to_owned(), 0, 1),
            (Role::Server, "10.0.0.9".to_owned(), 8080, 1),
        ]
    );
}
