//! Flapping, told and not told.

use tracer_common::Role;

use crate::{
    analysis::{
        report::Spread,
        timeline::{Timeline, Who, connections, instant, who},
    },
    model::{Nanos, Pid, Tid},
};

const SEND_THREAD: Who = who(4711, 4713, "Catalina-utilit");
const HANDSHAKE: (u64, u64) = (49, 41);
const SERVER: &str = "127.0.0.1:2181";

/// ```text
/// 0s        1.7       3.4       5.1       6.8  7s
/// |--x------|--x------|--x------|--x------|--x-T     x: closed by the client after 16 ms
/// ```
#[test]
fn five_tries_in_ten_seconds_are_told_at_the_next_tick() {
    let mut t = Timeline::new();
    for n in 0..5 {
        t.at(1.7 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, HANDSHAKE);
    }
    assert!(t.report().verdicts.is_empty(), "detectors wait for a tick");
    t.at(7.0);
    let verdict = t.verdict();
    assert_eq!(verdict.finding.name(), "flapping");
    assert_eq!((verdict.id, verdict.update), (1, 0));
    assert!(verdict.ongoing && !verdict.lossy);
    assert_eq!(verdict.who.pid, Some(Pid(4711)));
    assert_eq!(verdict.who.tid, Some(Tid(4713)));
    assert_eq!(verdict.who.thread.as_deref(), Some("Catalina-utilit"));
    assert_eq!(verdict.first_seen, instant(0.0));
    assert_eq!(verdict.last_seen, instant(6.816));
    let told = connections(&verdict);
    assert_eq!(told.role, Role::Client);
    assert_eq!((told.count, told.failed), (5, 0));
    assert_eq!((told.closed_by_local, told.closed_by_remote), (5, 0));
    assert_eq!((told.tx_bytes, told.rx_bytes), (5 * 49, 5 * 41));
    assert!((told.rate_per_min - 4.0 / 6.8 * 60.0).abs() < 1e-6);
    let always = |millis| {
        Some(Spread {
            p50: Nanos::from_millis(millis),
            p99: Nanos::from_millis(millis),
            min: Nanos::from_millis(millis),
            max: Nanos::from_millis(millis),
        })
    };
    assert_eq!(told.period, always(1_700));
    assert_eq!(told.lifetime, always(16));
}

#[test]
fn four_tries_are_not_told() {
    let mut t = Timeline::new();
    for n in 0..4 {
        t.at(1.7 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, HANDSHAKE);
    }
    t.at(60.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn the_window_is_ten_seconds() {
    for (period, is_told) in [(2.5, true), (2.51, false)] {
        let mut t = Timeline::new();
        for n in 0..20 {
            t.at(period * f64::from(n))
                .short_connection(SEND_THREAD, 1, SERVER, 16.0, HANDSHAKE);
        }
        t.at(60.0);
        assert_eq!(!t.report().verdicts.is_empty(), is_told, "every {period} s");
    }
}

/// An ensemble's client tries its members in turn, 0.15 to 2.1 s apart; a JVM closes the descriptor
/// of each at the next try only.
#[test]
fn an_ensembles_three_addresses_are_one_flapping() {
    let members = ["10.0.0.1:2181", "10.0.0.2:2181", "10.0.0.3:2181"];
    let mut t = Timeline::new();
    let mut now = 0.0;
    for n in 0..9_u32 {
        now += [0.15, 2.1, 1.1][n as usize % 3];
        let sock = u64::from(n);
        t.at(now);
        if n > 0 {
            t.close(sock - 1);
        }
        t.connect(SEND_THREAD, sock, members[n as usize % 3])
            .after_ms(1.0)
            .established(sock)
            .after_ms(15.0)
            .bytes(sock, 49, 41)
            .fin_sent(sock)
            .time_wait(sock);
    }
    t.at(11.0);
    let verdict = t.verdict();
    let told = connections(&verdict);
    assert_eq!(told.count, 9);
    let addrs: Vec<_> = told
        .peers
        .iter()
        .map(|(addr, n)| (addr.to_string(), *n))
        .collect();
    assert_eq!(
        addrs,
        [1, 2, 3].map(|last| (format!("10.0.0.{last}"), 3)),
        "each member three times"
    );
    assert_eq!(told.lifetime.unwrap().max, Nanos::from_millis(16));
    assert_eq!(told.period.unwrap().min, Nanos::from_millis(150));
    assert_eq!(told.closed_by_local, 9);
}

#[test]
fn it_ends_after_a_silence_and_begins_anew_under_another_number() {
    let mut t = Timeline::new();
    let five_tries = |t: &mut Timeline, from: f64| {
        for n in 0..5 {
            t.at(from + f64::from(n))
                .short_connection(SEND_THREAD, 1, SERVER, 16.0, HANDSHAKE);
        }
    };
    five_tries(&mut t, 0.5);
    t.at(19.0);
    assert!(t.verdict().ongoing, "14.5 s after the last");
    t.at(20.0);
    assert!(!t.verdict().ongoing, "15.5 s after the last");
    assert_eq!(connections(&t.verdict()).count, 5);
    five_tries(&mut t, 30.5);
    t.at(36.0);
    let verdicts = t.report().verdicts;
    let told: Vec<_> = verdicts.iter().map(|v| (v.id, v.ongoing)).collect();
    assert_eq!(told, [(2, true), (1, false)]);
}

#[test]
fn a_slow_flapping_is_given_five_periods() {
    let mut t = Timeline::new();
    for n in 0..5 {
        t.at(f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, HANDSHAKE);
    }
    // The client backs off.
    for n in 1..=6 {
        t.at(4.0 + 12.0 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, HANDSHAKE);
    }
    t.at(76.0 + 59.0);
    assert!(t.verdict().ongoing);
    t.at(76.0 + 62.0);
    assert!(!t.verdict().ongoing);
    assert_eq!(connections(&t.verdict()).count, 11);
}

#[test]
fn updates_come_once_a_second_and_the_end_at_once() {
    let mut t = Timeline::new();
    let mut updates = Vec::new();
    for n in 0..100 {
        t.at(0.1 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE);
        updates.extend(t.engine.take_verdict_updates());
    }
    t.at(40.0);
    updates.extend(t.engine.take_verdict_updates());
    let told: Vec<_> = updates
        .iter()
        .map(|v| (v.update, connections(v).count, v.ongoing))
        .collect();
    // A tick at second n sees the tries that began before it.
    let mut expected: Vec<_> = (1..=9).map(|n| (n - 1, u64::from(n) * 10, true)).collect();
    expected.push((10, 100, false));
    assert_eq!(told, expected);
}

#[test]
fn what_was_held_back_is_told_at_the_end() {
    use crate::model::Input;
    let mut t = Timeline::new();
    for n in 0..5 {
        t.at(0.1 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE);
    }
    t.at(1.2);
    assert_eq!(t.engine.take_verdict_updates().len(), 1);
    t.short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE);
    t.input(Input::Tick(instant(1.5)));
    assert!(t.engine.take_verdict_updates().is_empty());
    let last = t.engine.take_last_verdict_updates();
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].update, connections(&last[0]).count), (1, 6));
    assert_eq!(last[0], t.verdict());
}

#[test]
fn a_useful_exchange_is_no_flapping() {
    for (bytes, is_told) in [((255, 63), true), ((256, 0), false), ((0, 64), false)] {
        let mut t = Timeline::new();
        for n in 0..8 {
            t.at(f64::from(n))
                .short_connection(SEND_THREAD, 1, SERVER, 16.0, bytes);
        }
        t.at(20.0);
        assert_eq!(!t.report().verdicts.is_empty(), is_told, "{bytes:?}");
    }
}

#[test]
fn a_reset_counts_by_who_cut_it_off() {
    const ECONNRESET: i32 = 104;
    let mut t = Timeline::new();
    for n in 0..6 {
        t.at(f64::from(n))
            .connect(SEND_THREAD, 1, SERVER)
            .established(1)
            .after_ms(3.0)
            .gone(1, if n < 4 { ECONNRESET } else { 0 })
            .close(1);
    }
    t.at(7.0);
    let verdict = t.verdict();
    let told = connections(&verdict);
    assert_eq!((told.closed_by_local, told.closed_by_remote), (2, 4));
}

/// The server's host: each peer by itself, each connection closed by the peer, some of them before
/// the server accepted them.
#[test]
fn a_server_sees_each_flapping_peer() {
    const ACCEPTOR: Who = who(900, 907, "NIOServerCxnFac");
    let mut t = Timeline::new();
    let mut sock = 0;
    for n in 0..6 {
        for (peer, from) in ["10.1.0.1:50000", "10.1.0.2:50000", "10.1.0.3:50000"]
            .into_iter()
            .enumerate()
        {
            if peer == 2 && n >= 4 {
                continue; // The third tries four times only.
            }
            sock += 1;
            t.at(f64::from(n) + 0.2 * peer as f64)
                .handshake(sock, "10.1.0.9:2181", from)
                .after_ms(1.0);
            if n % 2 == 0 {
                t.fin_received(sock).after_ms(1.0).accept(ACCEPTOR, sock);
            } else {
                t.accept(ACCEPTOR, sock).after_ms(1.0).fin_received(sock);
            }
            t.after_ms(1.0).close(sock).gone(sock, 0);
        }
    }
    t.at(8.0);
    let verdicts = t.report().verdicts;
    let told: Vec<_> = verdicts
        .iter()
        .map(|v| {
            let told = connections(v);
            let peer = told.remote.addr.to_string();
            (v.finding.name(), peer, told.count, told.closed_by_remote)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("flapping", "10.1.0.2".to_owned(), 6, 6),
            ("flapping", "10.1.0.1".to_owned(), 6, 6),
        ]
    );
    let verdict = &verdicts[0];
    assert_eq!((verdict.who.pid, verdict.who.tid), (Some(Pid(900)), None));
    let told = connections(verdict);
    assert_eq!((told.role, told.local.port), (Role::Server, 2181));
    // The end counts where it was, not where the server took notice.
    assert_eq!(told.lifetime.unwrap().min, Nanos::from_millis(1));
    assert_eq!(t.report().processes[0].connections_ended, 16);
    assert_eq!(t.report().processes[0].connections_open, 0);
}

/// The server restarts: refused, refused, established and kept.
#[test]
fn a_healthy_client_that_reconnects_is_no_flapping() {
    const REFUSED: i32 = 111;
    let mut t = Timeline::new();
    t.connect(SEND_THREAD, 1, SERVER).established(1);
    t.at(100.0)
        .bytes(1, 90_000, 80_000)
        .fin_received(1)
        .close(1)
        .gone(1, 0);
    for n in 0..3 {
        t.at(101.0 + 1.5 * f64::from(n))
            .connect(SEND_THREAD, 2, SERVER)
            .fails(2, REFUSED);
    }
    // Up, but not yet serving.
    for n in 0..3 {
        t.at(106.0 + 1.5 * f64::from(n))
            .short_connection(SEND_THREAD, 3, SERVER, 8.0, (49, 0));
    }
    t.at(111.0).connect(SEND_THREAD, 4, SERVER).established(4);
    t.at(200.0);
    assert!(t.report().verdicts.is_empty());
}

/// ```text
/// 0s        10        20     …   a new process each time
/// |n--------|n--------|n----
/// ```
#[test]
fn a_monitor_with_a_new_process_every_ten_seconds_is_no_flapping() {
    let mut t = Timeline::new();
    for n in 0..30_u32 {
        let probe = who(5_000 + n, 5_000 + n, "nc");
        t.at(10.0 * f64::from(n))
            .process(probe.pid, "nc", (800, "monitor"))
            .short_connection(probe, 1, SERVER, 3.0, (4, 4))
            .exit(probe.pid, "nc");
    }
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn a_pool_that_keeps_its_connections_is_no_flapping() {
    let mut t = Timeline::new();
    for sock in 0..50 {
        let by = who(300, 301 + u32::try_from(sock % 5).unwrap(), "pool");
        t.connect(by, sock, "10.0.0.5:5432")
            .established(sock)
            .after_ms(10.0);
    }
    t.at(600.0);
    for sock in 0..50 {
        t.bytes(sock, 5_000, 50_000)
            .fin_sent(sock)
            .time_wait(sock)
            .close(sock);
    }
    t.at(660.0);
    assert!(t.report().verdicts.is_empty());
}

/// A shell's loop: no thread and no process makes more than one.
#[test]
fn a_shells_children_are_told_once_under_their_parent() {
    let mut t = Timeline::new();
    for n in 0..12_u32 {
        let child = who(6_000 + n, 6_000 + n, "nc");
        t.at(0.5 * f64::from(n))
            .process(child.pid, "nc", (5_999, "bash"))
            .short_connection(child, 1, SERVER, 3.0, (0, 0))
            .exit(child.pid, "nc");
    }
    t.at(7.0);
    let verdict = t.verdict();
    assert_eq!(connections(&verdict).count, 12);
    let who = &verdict.who;
    assert_eq!(
        (who.ppid, who.parent_comm.as_deref()),
        (Some(Pid(5_999)), Some("bash"))
    );
    assert_eq!((who.comm.as_str(), who.children), ("nc", Some(12)));
    assert_eq!((who.pid, who.tid), (Some(Pid(6_011)), None));
    assert!(who.ended);
}

#[test]
fn threads_that_are_each_conspicuous_are_told_each() {
    let other: Who = who(4711, 4714, "other");
    let mut t = Timeline::new();
    for n in 0..10 {
        t.at(1.9 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE)
            .after_ms(300.0)
            .short_connection(other, 2, SERVER, 5.0, HANDSHAKE);
    }
    t.at(19.0);
    let verdicts = t.report().verdicts;
    let mut told: Vec<_> = verdicts
        .iter()
        .map(|v| (v.who.tid.unwrap().0, connections(v).count))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [(4713, 10), (4714, 10)]);
}

#[test]
fn threads_that_are_only_conspicuous_together_are_told_as_their_process() {
    let other: Who = who(4711, 4714, "other");
    let mut t = Timeline::new();
    for n in 0..8 {
        t.at(3.0 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE)
            .after_ms(300.0)
            .short_connection(other, 2, SERVER, 5.0, HANDSHAKE);
    }
    t.at(24.0);
    let verdict = t.verdict();
    assert_eq!((verdict.who.pid, verdict.who.tid), (Some(Pid(4711)), None));
    assert_eq!(
        connections(&verdict).count,
        16,
        "from the first, though told late"
    );
}

#[test]
fn a_thread_for_each_connection_is_told_as_its_process() {
    let mut t = Timeline::new();
    for n in 0..6_u32 {
        let by = who(70, 100 + n, "worker");
        t.at(f64::from(n))
            .short_connection(by, 1, SERVER, 5.0, HANDSHAKE);
    }
    t.at(6.0);
    let verdict = t.verdict();
    assert_eq!((verdict.who.pid, verdict.who.tid), (Some(Pid(70)), None));
    assert_eq!(connections(&verdict).count, 6);
}

#[test]
fn failures_before_and_between_are_told_with_it() {
    const REFUSED: i32 = 111;
    let mut t = Timeline::new();
    for n in 0..3 {
        t.at(f64::from(n))
            .connect(SEND_THREAD, 1, SERVER)
            .fails(1, REFUSED);
    }
    for n in 0..6 {
        t.at(5.0 + f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE);
    }
    t.at(11.5).connect(SEND_THREAD, 1, SERVER).fails(1, REFUSED);
    t.at(13.0);
    let verdict = t.verdict();
    let told = connections(&verdict);
    assert_eq!((told.count, told.failed), (6, 4));
}

#[test]
fn losses_while_it_went_on_are_told() {
    use crate::model::{Input, Losses};
    use tracer_common::EventKind;
    let losses = |lost| {
        let mut losses = Losses::default();
        losses.by_kind[EventKind::TcpState as usize].ring_full = lost;
        Input::Losses(Box::new(losses))
    };
    let mut t = Timeline::new();
    t.input(losses(7));
    t.at(1.0);
    for n in 0..6 {
        t.at(1.0 + f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 5.0, HANDSHAKE);
    }
    t.at(7.0);
    assert!(!t.verdict().lossy, "those before do not count");
    t.input(losses(8)).at(8.0);
    assert!(t.verdict().lossy);
    assert_eq!(t.report().losses.total(), 8);
}
