//! Nearly full descriptor tables, told before anything fails, and not told.

use tracer_common::{FdKind, FdSource};

use crate::{
    analysis::timeline::{Timeline, Who, instant, near_limit, who},
    model::{HostFact, Nanos, Pid, TableFact},
};

const SERVER: Who = who(2_000, 2_001, "server");

fn server(open: u64, limit: u64) -> Timeline {
    let mut t = Timeline::new();
    t.process(2_000, "server", (1, "systemd"));
    t.look_at_descriptors(2_000, open, limit);
    t
}

#[test]
fn eighty_percent_of_the_limit_is_told() {
    for (limit, open, is_told) in [
        (1_000, 799, false),
        (1_000, 800, true),
        (1_024, 819, false),
        (1_024, 820, true),
        (10, 8, true),
        (0, 5, false),
    ] {
        let mut t = server(3, limit);
        t.at(5.0);
        t.count_many(2_000, FdSource::Accept, FdKind::Socket, open - 3)
            .read_counters(2_000)
            .at(6.0);
        let told = !t.report().verdicts.is_empty();
        assert_eq!(told, is_told, "{open} of {limit}");
    }
}

#[test]
fn it_tells_what_is_left_and_of_what_the_table_is_full() {
    let mut t = server(780, 1_000);
    t.at(5.0)
        .open_many(SERVER, 60, 1.0, "/var/lib/db/{}.sst")
        .at(6.0);
    let verdict = t.verdict();
    assert_eq!(verdict.first_seen, instant(5.019));
    assert!(verdict.ongoing);
    let told = near_limit(&verdict);
    assert_eq!((told.fds_now, told.fds_peak), (800, 840));
    assert_eq!((told.fd_limit, told.room), (1_000, 200));
    assert_eq!(
        told.top_dirs,
        [("/var/lib/db/*.sst".to_owned(), 20)],
        "up to the one that came too near"
    );
}

#[test]
fn what_it_held_before_anybody_watched_is_told_by_a_look_at_it() {
    let mut t = server(780, 1_000);
    t.at(5.0)
        .open_many(SERVER, 60, 1.0, "/var/lib/db/{}.sst")
        .at(6.0);
    let table = |kinds, path: &str| {
        HostFact::Table(Box::new(TableFact {
            pid: Pid(2_000),
            start: None,
            kinds,
            nets: None,
            paths: vec![(path.to_owned(), 700)],
        }))
    };
    t.fact(table([760, 70, 0, 0, 10], "/srv/app/lib/a.jar"))
        .at(7.0);
    let verdict = t.verdict();
    let told = near_limit(&verdict);
    assert_eq!(told.top_dirs, [("/srv/app/lib/a.jar".to_owned(), 700)]);
    let kinds = [("anonymous", 10), ("file", 760), ("socket", 70)];
    assert_eq!(told.kinds, kinds.into());
    for _ in 0..500 {
        t.count_close(2_000, FdKind::File);
    }
    t.read_counters(2_000).at(9.0);
    t.fact(table([260, 70, 0, 0, 10], "/etc/passwd")).at(10.0);
    let verdict = t.verdict();
    assert!(!verdict.ongoing);
    assert_eq!(near_limit(&verdict).kinds, kinds.into(), "what filled it");
}

#[test]
fn a_table_around_the_threshold_is_told_once() {
    let mut t = server(790, 1_000);
    for _ in 0..20 {
        t.count_many(2_000, FdSource::Accept, FdKind::Socket, 20)
            .read_counters(2_000)
            .after_ms(1_500.0);
        for _ in 0..20 {
            t.count_close(2_000, FdKind::Socket);
        }
        t.read_counters(2_000).after_ms(1_500.0);
    }
    let verdict = t.verdict();
    assert!(verdict.ongoing);
    assert_eq!(
        verdict.update, 0,
        "a few descriptors more or less are no news"
    );
    for _ in 0..91 {
        t.count_close(2_000, FdKind::Socket);
    }
    t.read_counters(2_000).after_ms(1_000.0);
    let verdict = t.verdict();
    assert!(!verdict.ongoing);
    assert_eq!(verdict.last_seen, instant(60.0));
    assert_eq!(near_limit(&verdict).fds_now, 699);
}

#[test]
fn a_limit_that_is_raised_or_lowered_counts() {
    let mut t = server(500, 1_000);
    t.at(5.0);
    assert!(t.report().verdicts.is_empty());
    t.look_at_descriptors(2_000, 500, 600).at(6.0);
    assert_eq!(near_limit(&t.verdict()).room, 100);
    t.look_at_descriptors(2_000, 500, 4_096).at(7.0);
    assert!(!t.verdict().ongoing);
}

#[test]
fn its_limit_is_looked_up_again_from_time_to_time() {
    let mut t = server(900, 1_000);
    assert_eq!(t.engine.take_lookups(), [Pid(2_000)]);
    let mut asked = Vec::new();
    for second in 1..30_u32 {
        t.at(second.into());
        asked.extend(t.engine.take_lookups().iter().map(|_| second));
    }
    assert_eq!(asked, [1, 11, 21]);
}

#[test]
fn the_process_may_end() {
    let mut t = server(900, 1_000);
    t.at(5.0).exit(2_000, "server").at(6.0);
    let verdict = t.verdict();
    assert!(!verdict.ongoing && verdict.who.ended);
    assert_eq!(
        verdict.last_seen.since(verdict.first_seen),
        Nanos::from_secs(5)
    );
}
