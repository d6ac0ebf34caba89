//! Descriptors that become more and more, told; and what fills once, not told.

use proptest::prelude::*;
use tracer_common::{FdKind, FdSource};

use crate::{
    analysis::{
        report::{FdLeak, Finding, Verdict},
        timeline::{Timeline, Who, instant, who},
    },
    model::Nanos,
};

const SERVICE: Who = who(2_000, 2_001, "service");
const CACHE: &str = "10.0.0.5:6379";

fn leak(verdict: &Verdict) -> &FdLeak {
    match &verdict.finding {
        Finding::FdLeak(told) => told,
        other => panic!("about a leak: {other:?}"),
    }
}

fn service() -> Timeline {
    let mut t = Timeline::new();
    t.process(2_000, "service", (1, "systemd"));
    t.look_at_descriptors(2_000, 50, 4_096);
    t
}

/// So many sockets are held after each minute, which the counters tell.
fn held_by_minute(levels: impl IntoIterator<Item = u64>) -> Timeline {
    let mut t = service();
    let mut held = 0;
    for (minute, level) in levels.into_iter().enumerate() {
        t.at(60.0 * minute as f64 + 30.0);
        for _ in held..level {
            t.count_install(2_000, FdSource::Socket, FdKind::Socket);
        }
        for _ in level..held {
            t.count_close(2_000, FdKind::Socket);
        }
        held = level;
        t.read_counters(2_000);
    }
    t.after_ms(61_000.0);
    t
}

#[test]
fn steady_growth_is_told_with_what_grows_and_when_the_limit_comes() {
    let mut t = service();
    let mut sock = 0;
    for minute in 0..20 {
        for n in 0..10 {
            t.at(f64::from(60 * minute + 6 * n) + 1.0);
            sock += 1;
            t.count_install(2_000, FdSource::Socket, FdKind::Socket);
            t.connect(SERVICE, sock, CACHE).established(sock);
            if n % 5 == 0 {
                t.open(SERVICE, &format!("/tmp/upload-{sock}.tmp"));
            }
            t.read_counters(2_000);
        }
    }
    t.at(1_202.0);
    let verdict = t.only("fd_leak");
    assert!(verdict.ongoing);
    // The first interval began with the first descriptor, and 16 had to be over.
    assert_eq!(verdict.first_seen, instant(61.0));
    let told = leak(&verdict);
    assert!((told.rate_per_min - 12.0).abs() < 0.1, "{told:?}");
    assert_eq!(told.fd_limit, Some(4_096));
    let fds_now = told.fds_now.unwrap();
    assert_eq!(told.top_peers[0].port, 6379);
    assert_eq!(told.top_dirs[0].0, "/tmp/*.tmp");
    let minutes_left = (4_096.0 - fds_now as f64) / told.rate_per_min;
    let eta = told.eta.unwrap().since(instant(1_200.0));
    assert!((eta.as_secs_f64() / 60.0 - minutes_left).abs() < 1.1);

    t.at(1_700.0);
    let verdict = t.only("fd_leak");
    assert!(!verdict.ongoing, "nothing more came");
    assert_eq!(leak(&verdict).eta, None);
}

#[test]
fn the_threshold_is_45_more_in_15_minutes() {
    for (per_minute, is_told) in [(2, false), (3, true), (100, true)] {
        let t = held_by_minute((0..20).map(|minute| per_minute * minute));
        let told = !t.named("fd_leak").is_empty();
        assert_eq!(told, is_told, "{per_minute} a minute");
    }
}

#[test]
fn what_fills_once_is_no_leak() {
    let burst = (0..40).map(|minute| if minute < 10 { 20 } else { 900 });
    assert!(held_by_minute(burst).named("fd_leak").is_empty(), "a burst");
    let pool = (0..40).map(|minute| 20 + 100 * (minute / 8));
    assert!(held_by_minute(pool).named("fd_leak").is_empty(), "a pool");
    let warm_up = (0..40_u64).map(|minute| 40 * minute.min(9));
    let t = held_by_minute(warm_up);
    assert!(t.named("fd_leak").is_empty(), "ten minutes of warm-up");
    let mut left = 2_000_u64;
    let cache = (0..60).map(|_| {
        left -= left / 5;
        2_000 - left
    });
    assert!(held_by_minute(cache).named("fd_leak").is_empty(), "a cache");
}

#[test]
fn what_goes_up_and_down_is_no_leak() {
    let wave = (0..60_u64).map(|minute| 100 + 10 * (minute % 12).abs_diff(6) * 6);
    assert!(held_by_minute(wave).named("fd_leak").is_empty());
}

#[test]
fn a_leak_below_the_noise_is_told() {
    let mut t = service();
    for second in 0..1_200_u64 {
        t.at(second as f64 + 0.5);
        // Requests that come and go, and one in ten seconds that stays.
        let busy = 3 + second * 7 % 40;
        t.count_many(
            2_000,
            FdSource::Accept,
            FdKind::Socket,
            usize::try_from(busy).unwrap(),
        );
        t.read_counters(2_000).after_ms(200.0);
        let stays = u64::from(second % 10 == 0);
        for _ in stays..busy {
            t.count_close(2_000, FdKind::Socket);
        }
        t.read_counters(2_000);
    }
    t.at(1_201.0);
    let told = leak(&t.only("fd_leak")).rate_per_min;
    assert!((told - 6.0).abs() < 1.0, "{told}");
}

#[test]
fn a_leak_leads_to_what_it_fills() {
    let mut t = held_by_minute((0..60).map(|minute| 60 * minute));
    t.refuse(SERVICE, FdSource::Accept).after_ms(1_000.0);
    let (leak, near) = (t.only("fd_leak"), t.only("fd_near_limit"));
    let full = t.only("fd_exhaustion");
    assert_eq!(leak.led_to, [near.id, full.id]);
    assert_eq!(near.caused_by, [leak.id]);
    assert_eq!(full.caused_by, [leak.id, near.id]);
}

#[test]
fn a_process_that_ends_leaks_no_more() {
    let mut t = held_by_minute((0..20).map(|minute| 5 * minute));
    t.exit(2_000, "service").after_ms(1_000.0);
    assert!(!t.only("fd_leak").ongoing);
    assert!(t.only("fd_leak").last_seen > instant(0.0) + Nanos::from_secs(900));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However a table fills, once it is full within a third of the window and stays so, that is no
    /// leak; nor is what falls back in the end.
    #[test]
    fn what_is_filled_within_a_few_minutes_never_is(
        mut steps in prop::collection::vec(0..200_u64, 1..5),
        falls in any::<bool>(),
    ) {
        steps.sort_unstable();
        let last = steps[steps.len() - 1];
        let end = if falls { 0 } else { last };
        let levels: Vec<_> = steps.into_iter().chain([last; 18]).chain([end; 4]).collect();
        prop_assert!(held_by_minute(levels).named("fd_leak").is_empty());
    }
}
