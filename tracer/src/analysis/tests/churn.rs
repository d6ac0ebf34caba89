//! Churn, told and not told.

use crate::{
    analysis::timeline::{Timeline, Who, connections, who},
    model::Tid,
};

const WORKER: Who = who(300, 311, "php-fpm");
const DATABASE: &str = "10.0.0.5:3306";
const QUERY: (u64, u64) = (180, 2_400);

#[test]
fn fifty_useful_short_connections_in_ten_seconds_are_churn() {
    for (count, is_told) in [(49, false), (50, true)] {
        let mut t = Timeline::new();
        for n in 0..count {
            t.at(0.19 * f64::from(n))
                .short_connection(WORKER, 1, DATABASE, 20.0, QUERY);
        }
        t.at(10.0);
        let expected: &[&str] = if is_told { &["churn"] } else { &[] };
        assert_eq!(t.verdict_names(), expected, "{count} connections");
    }
}

#[test]
fn its_numbers_cover_all_of_it() {
    let mut t = Timeline::new();
    for n in 0..200 {
        t.at(0.1 * f64::from(n))
            .short_connection(WORKER, 1, DATABASE, 20.0, QUERY);
    }
    t.at(21.0);
    let verdict = t.verdict();
    assert_eq!(verdict.who.tid, Some(Tid(311)));
    let told = connections(&verdict);
    assert_eq!(told.count, 200);
    assert_eq!((told.tx_bytes, told.rx_bytes), (200 * 180, 200 * 2_400));
    t.at(40.0);
    assert!(!t.verdict().ongoing);
}

/// The answer's acknowledgement, and so the last bytes, come after the end.
#[test]
fn bytes_that_are_known_later_count_too() {
    let mut t = Timeline::new();
    for n in 0..100 {
        t.at(0.1 * f64::from(n))
            .connect(WORKER, 1, "10.0.0.5:514")
            .established(1)
            .after_ms(2.0)
            .close(1)
            .after_ms(5.0)
            .bytes(1, 900, 0)
            .time_wait(1);
    }
    t.at(11.0);
    assert_eq!(t.verdict_names(), ["churn"]);
    let told = t.verdict();
    assert_eq!(connections(&told).count, 100);
    assert_eq!(connections(&told).tx_bytes, 100 * 900);
}

#[test]
fn a_web_server_without_keep_alive_to_many_peers_is_no_churn() {
    const SERVER: Who = who(80, 81, "nginx");
    let mut t = Timeline::new();
    for n in 0..2_000_u64 {
        let from = format!("10.2.{}.{}:40000", n % 10, n % 7);
        t.at(0.005 * n as f64)
            .handshake(n, "10.0.0.1:80", &from)
            .accept(SERVER, n)
            .after_ms(2.0)
            .bytes(n, 9_000, 400)
            .fin_sent(n)
            .time_wait(n)
            .close(n);
    }
    t.at(15.0);
    assert!(t.report().verdicts.is_empty());
    assert_eq!(t.report().processes[0].accepts, 2_000);
}

#[test]
fn one_peer_that_makes_two_hundred_is() {
    const SERVER: Who = who(80, 81, "nginx");
    for (count, is_told) in [(199, false), (200, true)] {
        let mut t = Timeline::new();
        for n in 0..count {
            t.at(0.04 * n as f64)
                .handshake(n, "10.0.0.1:80", "10.2.0.1:40000")
                .accept(SERVER, n)
                .after_ms(2.0)
                .bytes(n, 9_000, 400)
                .fin_received(n)
                .close(n)
                .gone(n, 0);
        }
        t.at(12.0);
        assert_eq!(
            !t.report().verdicts.is_empty(),
            is_told,
            "{count} connections"
        );
    }
}

#[test]
fn a_keep_alive_web_server_is_quiet() {
    const SERVER: Who = who(80, 81, "nginx");
    let mut t = Timeline::new();
    for n in 0..1_000_u64 {
        t.at(0.02 * n as f64)
            .handshake(n, "10.0.0.1:443", "10.2.0.1:40000")
            .accept(SERVER, n);
        if n >= 400 {
            // Eight seconds old, with many requests done.
            let old = n - 400;
            t.bytes(old, 400_000, 9_000)
                .fin_received(old)
                .close(old)
                .gone(old, 0);
        }
    }
    t.at(30.0);
    assert!(t.report().verdicts.is_empty());
}

/// `for url in …; do curl …; done` makes two a second.
#[test]
fn a_script_with_many_short_children_is_quiet() {
    let mut t = Timeline::new();
    for n in 0..120_u32 {
        let child = who(9_000 + n, 9_000 + n, "curl");
        t.at(0.5 * f64::from(n))
            .process(child.pid, "curl", (8_000, "bash"))
            .short_connection(child, 1, "10.0.0.80:80", 80.0, (120, 9_000))
            .exit(child.pid, "curl");
    }
    t.at(70.0);
    assert!(t.report().verdicts.is_empty());
}
