//! Connections that only the peer has closed, told and not told.

use tracer_common::Role;

use crate::{
    analysis::{
        report::{CloseWaitLeak, Finding, PeerCount, Verdict},
        timeline::{Timeline, Who, endpoint, instant, who},
    },
    model::Tid,
};

const CLIENT: Who = who(2_000, 2_001, "http-client");
const SERVER: &str = "10.0.0.5:443";

fn leak(verdict: &Verdict) -> &CloseWaitLeak {
    match &verdict.finding {
        Finding::CloseWaitLeak(told) => told,
        other => panic!("about CLOSE_WAIT: {other:?}"),
    }
}

/// So many connections that the peer closes after ten seconds, one each second.
fn half_closed(count: u64) -> Timeline {
    let mut t = Timeline::new();
    t.process(2_000, "service", (1, "systemd"));
    for sock in 0..count {
        t.at(sock as f64)
            .connect(CLIENT, sock, SERVER)
            .established(sock);
    }
    for sock in 0..count {
        t.at(100.0 + sock as f64)
            .bytes(sock, 1_000, 9_000)
            .fin_received(sock);
    }
    t
}

#[test]
fn they_are_told_with_whom_and_since_when_and_by_whom() {
    let mut t = half_closed(12);
    t.at(168.0);
    assert!(t.report().verdicts.is_empty(), "nine are a minute old");
    t.at(172.0);
    let verdict = t.verdict();
    assert!(verdict.ongoing);
    assert_eq!(verdict.first_seen, instant(100.0));
    assert_eq!(verdict.last_seen, instant(111.0));
    assert_eq!(verdict.who.tid, Some(Tid(2_001)));
    let told = leak(&verdict);
    assert_eq!((told.count, told.peak), (12, 12));
    assert_eq!(told.oldest, Some(instant(100.0)));
    assert_eq!(told.threads[0].count, 12);
    let peer = endpoint(SERVER);
    assert_eq!(
        told.top_peers,
        [PeerCount {
            role: Role::Client,
            addr: peer.addr,
            port: 443,
            count: 12,
            close_wait: 12
        }]
    );
}

#[test]
fn closing_them_ends_it() {
    let mut t = half_closed(12);
    t.at(200.0);
    for sock in 0..7 {
        t.close(sock).gone(sock, 0);
    }
    t.at(201.0);
    let verdict = t.verdict();
    assert!(!verdict.ongoing);
    assert_eq!((leak(&verdict).count, leak(&verdict).peak), (5, 12));
    t.at(300.0);
    assert_eq!(t.named("close_wait_leak").len(), 1);
}

#[test]
fn the_end_of_the_process_ends_it() {
    let mut t = half_closed(12);
    t.at(200.0).exit(2_000, "service").at(201.0);
    let verdict = t.verdict();
    assert!(!verdict.ongoing && verdict.who.ended);
}

#[test]
fn what_is_closed_within_a_minute_is_no_leak() {
    let mut t = Timeline::new();
    t.process(2_000, "service", (1, "systemd"));
    for sock in 0..200 {
        t.connect(CLIENT, sock, SERVER)
            .established(sock)
            .bytes(sock, 1_000, 9_000)
            .after_ms(500.0)
            .fin_received(sock);
        if sock >= 50 {
            // About 50 s later.
            t.close(sock - 50).gone(sock - 50, 0);
        }
        t.after_ms(500.0);
    }
    assert!(t.named("close_wait_leak").is_empty());
}

#[test]
fn a_few_are_no_leak() {
    let mut t = half_closed(9);
    t.at(400.0);
    assert!(t.named("close_wait_leak").is_empty());
}

#[test]
fn a_socket_used_again_is_another_connection() {
    let mut t = half_closed(12);
    t.at(150.0);
    for sock in 0..12 {
        t.close(sock).gone(sock, 0);
        t.connect(CLIENT, sock, SERVER).established(sock);
    }
    t.at(400.0);
    assert!(t.named("close_wait_leak").is_empty());
}
