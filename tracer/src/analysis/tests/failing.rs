//! Failing connects, told and not told.

use std::collections::BTreeMap;

use crate::{
    analysis::timeline::{Timeline, Who, failing, instant, who},
    model::{Pid, Tid},
};

const CLIENT: Who = who(40, 41, "redis-pool");
const SERVER: &str = "10.0.0.6:6379";
const REFUSED: i32 = 111;
const TIMED_OUT: i32 = 110;
const NO_ADDRESS: i32 = 99;

fn failures(t: &mut Timeline, count: u32) {
    for n in 0..count {
        t.at(f64::from(n))
            .connect(CLIENT, 1, SERVER)
            .after_ms(1.0)
            .fails(1, REFUSED);
    }
}

#[test]
fn five_in_a_row_are_told() {
    let mut t = Timeline::new();
    failures(&mut t, 5);
    t.at(5.0);
    let verdict = t.verdict();
    assert_eq!(verdict.finding.name(), "failing_connects");
    assert_eq!(
        (verdict.who.pid, verdict.who.tid),
        (Some(Pid(40)), Some(Tid(41)))
    );
    assert_eq!(
        (verdict.first_seen, verdict.last_seen),
        (instant(0.0), instant(4.001))
    );
    let told = failing(&verdict);
    assert_eq!(told.count, 5);
    assert_eq!(told.errnos, BTreeMap::from([(REFUSED, 5)]));
    assert!((told.rate_per_min - 60.0).abs() < 1e-6);
    assert_eq!(t.report().processes[0].connects_failed, 5);
    assert_eq!(t.report().processes[0].connects, 5);
}

#[test]
fn four_are_not() {
    let mut t = Timeline::new();
    failures(&mut t, 4);
    t.at(60.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn a_success_begins_the_row_anew() {
    let mut t = Timeline::new();
    failures(&mut t, 4);
    t.at(4.0).connect(CLIENT, 2, SERVER).established(2);
    for n in 5..9 {
        t.at(f64::from(n))
            .connect(CLIENT, 1, SERVER)
            .fails(1, REFUSED);
    }
    t.at(60.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn a_success_ends_it_at_once() {
    let mut t = Timeline::new();
    failures(&mut t, 7);
    t.at(7.5).connect(CLIENT, 2, SERVER).established(2);
    t.at(8.0);
    let verdict = t.verdict();
    assert!(!verdict.ongoing);
    assert_eq!(failing(&verdict).count, 7);
}

#[test]
fn a_silence_ends_it() {
    let mut t = Timeline::new();
    failures(&mut t, 6);
    t.at(35.0);
    assert!(t.verdict().ongoing);
    t.at(36.0);
    assert!(!t.verdict().ongoing);
}

/// `localhost` is `::1` first, where nobody listens, and then `127.0.0.1`.
#[test]
fn an_address_that_fails_before_the_next_succeeds_is_quiet() {
    let mut t = Timeline::new();
    for n in 0..40 {
        t.at(0.5 * f64::from(n))
            .connect(CLIENT, 1, "[::1]:6379")
            .fails(1, REFUSED)
            .connect(CLIENT, 2, "127.0.0.1:6379")
            .established(2)
            .after_ms(100.0)
            .bytes(2, 300, 300)
            .fin_sent(2)
            .time_wait(2)
            .close(2);
    }
    t.at(30.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn every_errno_is_counted_and_a_program_that_gives_up_is_none() {
    let mut t = Timeline::new();
    t.connect(CLIENT, 1, SERVER)
        .after_ms(900.0)
        .close(1)
        .fails(1, 0);
    t.connect(CLIENT, 1, SERVER)
        .after_ms(900.0)
        .close(1)
        .fails(1, 0);
    t.connect(CLIENT, 1, SERVER)
        .after_ms(900.0)
        .fails(1, TIMED_OUT);
    for _ in 0..2 {
        t.connect_fails_at_once(CLIENT, 1, "10.0.0.7:6379", NO_ADDRESS)
            .after_ms(10.0);
    }
    t.at(4.0);
    let verdict = t.verdict();
    let told = failing(&verdict);
    assert_eq!(
        told.errnos,
        BTreeMap::from([(0, 2), (NO_ADDRESS, 2), (TIMED_OUT, 1)])
    );
    assert_eq!(told.peers.len(), 2);
    assert_eq!(t.report().processes[0].connects_failed, 5);
}

/// The hook that tells states is missing: the close of the descriptor is all that comes.
#[test]
fn a_connect_whose_answer_is_never_told_was_given_up() {
    let mut t = Timeline::new();
    for n in 0..5_u32 {
        t.at(f64::from(n))
            .connect(CLIENT, n.into(), SERVER)
            .after_ms(10.0)
            .close(n.into());
    }
    t.at(9.0);
    assert_eq!(failing(&t.verdict()).errnos, BTreeMap::from([(0, 5)]));
}

#[test]
fn a_new_process_for_each_try_is_told_under_the_parent() {
    let mut t = Timeline::new();
    for n in 0..6_u32 {
        let child = who(7_000 + n, 7_000 + n, "curl");
        t.at(2.0 * f64::from(n))
            .process(child.pid, "curl", (6_999, "cron.sh"))
            .connect(child, 1, SERVER)
            .fails(1, REFUSED)
            .exit(child.pid, "curl");
    }
    t.at(11.0);
    let verdict = t.verdict();
    assert_eq!(
        (verdict.who.ppid, verdict.who.children),
        (Some(Pid(6_999)), Some(6))
    );
    assert_eq!(failing(&verdict).count, 6);
}
