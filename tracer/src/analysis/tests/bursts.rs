//! Descriptor bursts, told and not told.

use tracer_common::{FdKind, FdSource};

use crate::{
    analysis::timeline::{Timeline, Who, burst, instant, who},
    model::{Nanos, Pid, Tid},
};

const LOADER: Who = who(2_000, 2_048, "http-nio-8080-e");
const JARS: &str = "/srv/app/WEB-INF/lib/lib{}.jar";

/// ```text
/// 0s    5s      6.1s               35s
/// |fact |///////|fact ............ |released
///        228 jars, 5 ms apart
/// ```
#[test]
fn a_class_loaders_burst_is_told_whole() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    t.look_at_descriptors(2_000, 192, 4_096);
    t.at(5.0).open_many(LOADER, 228, 5.0, JARS);
    t.at(7.0);
    let verdict = t.verdict();
    assert_eq!(verdict.finding.name(), "fd_burst");
    assert!(verdict.ongoing, "0.865 s after the last open");
    assert_eq!(
        (verdict.who.pid, verdict.who.tid),
        (Some(Pid(2_000)), Some(Tid(2_048)))
    );
    assert_eq!(verdict.who.comm, "java");
    assert_eq!(verdict.first_seen, instant(5.0));
    assert_eq!(verdict.last_seen, instant(6.135));
    let told = burst(&verdict);
    assert_eq!(told.opens, 228);
    assert_eq!(told.window, Nanos::from_millis(1_135));
    assert_eq!(
        told.top_dirs,
        [("/srv/app/WEB-INF/lib/*.jar".to_owned(), 228)]
    );
    assert_eq!(told.paths_missing, 0);
    assert_eq!(
        (told.fds_before, told.fds_peak, told.fds_now),
        (Some(192), Some(420), Some(420))
    );
    assert_eq!(told.fd_limit, Some(4_096));

    t.at(9.0);
    assert!(!t.verdict().ongoing);
    let _ = t.engine.take_verdict_updates();
    t.at(35.0).close_many(2_000, 228).read_counters(2_000);
    t.at(36.0);
    let updates = t.engine.take_verdict_updates();
    assert_eq!(updates.len(), 1, "the release is told");
    let told = burst(&updates[0]);
    assert_eq!(
        (told.opens, told.fds_peak, told.fds_now),
        (228, Some(420), Some(192))
    );
    assert_eq!(
        told.top_dirs,
        [("/srv/app/WEB-INF/lib/*.jar".to_owned(), 228)]
    );
}

#[test]
fn the_threshold_is_150_kept_files_in_5_seconds() {
    for (count, interval_ms, is_told) in [
        (149, 10.0, false),
        (150, 10.0, true),
        (300, 33.0, true),
        (300, 34.0, false), // 148 in 5 s
    ] {
        let mut t = Timeline::new();
        t.at(100.0).open_many(LOADER, count, interval_ms, JARS);
        t.after_ms(10_000.0);
        let told = !t.report().verdicts.is_empty();
        assert_eq!(told, is_told, "{count} files every {interval_ms} ms");
    }
}

#[test]
fn a_quarter_of_a_low_limit_is_a_burst_too() {
    for (count, limit, is_told) in [
        (64, 256, true),
        (63, 256, false),
        (49, 64, false),
        (50, 64, true),
    ] {
        let mut t = Timeline::new();
        t.open_many(LOADER, 1, 0.0, JARS);
        t.look_at_descriptors(2_000, 5, limit);
        t.at(50.0).open_many(LOADER, count, 5.0, JARS);
        t.after_ms(10_000.0);
        let told = t.verdict_names().contains(&"fd_burst");
        assert_eq!(told, is_told, "{count} files, limit {limit}");
    }
}

#[test]
fn the_limit_may_be_learned_afterwards() {
    let mut t = Timeline::new();
    t.at(50.0).open_many(LOADER, 70, 5.0, JARS);
    t.look_at_descriptors(2_000, 90, 256).at(52.0);
    let verdict = t.verdict();
    let told = burst(&verdict);
    assert_eq!(
        (told.opens, told.fds_before, told.fds_peak),
        (70, Some(20), Some(90))
    );
}

#[test]
fn what_was_opened_and_closed_before_does_not_count() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    for n in 0..400 {
        t.open(LOADER, &format!("/etc/conf.d/{n}.conf"))
            .count_close(2_000, FdKind::File)
            .after_ms(2.0);
    }
    t.open_many(LOADER, 200, 5.0, JARS).at(8.0);
    let verdict = t.verdict();
    let told = burst(&verdict);
    assert_eq!(told.opens, 200);
    assert_eq!(
        told.top_dirs,
        [("/srv/app/WEB-INF/lib/*.jar".to_owned(), 200)]
    );
    assert_eq!(verdict.first_seen, instant(0.8));
}

#[test]
fn a_released_burst_and_the_next_are_two() {
    let mut t = Timeline::new();
    for _ in 0..2 {
        t.open_many(LOADER, 228, 2.0, JARS)
            .close_many(2_000, 228)
            .after_ms(700.0);
    }
    t.at(5.0);
    let verdicts = t.report().verdicts;
    let told: Vec<_> = verdicts.iter().map(|v| (v.id, burst(v).opens)).collect();
    assert_eq!(told, [(2, 228), (1, 228)]);
}

#[test]
fn opens_beyond_the_budget_are_counted_without_a_path() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    t.at(10.0).open_many(LOADER, 100, 1.0, JARS);
    for _ in 0..300 {
        t.count_install(2_000, FdSource::Open, FdKind::File);
    }
    t.at(10.9).read_counters(2_000).at(11.0);
    let verdict = t.verdict();
    let told = burst(&verdict);
    assert_eq!((told.opens, told.paths_missing), (400, 300));
    assert_eq!(
        told.top_dirs,
        [("/srv/app/WEB-INF/lib/*.jar".to_owned(), 100)]
    );
    assert_eq!(verdict.first_seen, instant(10.0));
}

#[test]
fn a_burst_that_only_counters_tell_is_found() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    for _ in 0..200 {
        t.count_install(2_000, FdSource::Open, FdKind::File);
    }
    t.at(0.9).exit(2_000, "java").at(1.0);
    let verdict = t.verdict();
    assert_eq!(
        (burst(&verdict).opens, burst(&verdict).paths_missing),
        (200, 200)
    );
    assert!(verdict.who.ended);
}

#[test]
fn counters_that_are_faster_than_events_change_nothing() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    let mut late = Timeline::new();
    late.process(2_000, "java", (1, "systemd"));
    late.open_many(LOADER, 228, 2.0, JARS);
    // The counters of all 228 come when half of the events have.
    let inputs: Vec<_> = late.inputs.drain(..).skip(2).collect();
    *t.counters_of(2_000) = *late.counters_of(2_000);
    let (first, second) = inputs.split_at(114);
    for input in first {
        t.input(input.clone());
    }
    t.at(0.4).read_counters(2_000);
    for input in second {
        t.input(input.clone());
    }
    t.at(2.0);
    let verdict = t.verdict();
    let told = burst(&verdict);
    assert_eq!((told.opens, told.paths_missing), (228, 0));
}

#[test]
fn several_threads_are_not_pinned_on_one() {
    let mut t = Timeline::new();
    for n in 0..200_u32 {
        let by = who(2_000, 2_001 + n % 2, "worker");
        t.open(by, &format!("/data/{n}.db")).after_ms(1.0);
    }
    t.at(1.0);
    assert_eq!(
        (t.verdict().who.pid, t.verdict().who.tid),
        (Some(Pid(2_000)), None)
    );
}

#[test]
fn a_compiler_run_is_quiet() {
    let mut t = Timeline::new();
    for unit in 0..20_u32 {
        let cc1 = who(3_000 + unit, 3_000 + unit, "cc1");
        t.process(cc1.pid, "cc1", (2_999, "gcc"));
        for n in 0..600 {
            t.open(cc1, &format!("/usr/include/header{n}.h"))
                .count_close(cc1.pid, FdKind::File)
                .after_ms(0.5);
        }
        t.exit(cc1.pid, "cc1");
    }
    t.after_ms(5_000.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn a_linker_that_holds_a_hundred_files_is_quiet() {
    let linker = who(3_500, 3_500, "ld");
    let mut t = Timeline::new();
    t.process(3_500, "ld", (1, "make"));
    t.look_at_descriptors(3_500, 3, 1_024);
    t.open_many(linker, 100, 1.0, "/build/{}.o")
        .exit(3_500, "ld");
    t.at(5.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn a_busy_static_web_server_is_quiet() {
    let server = who(80, 81, "nginx");
    let mut t = Timeline::new();
    for n in 0..5_000 {
        t.open(server, &format!("/var/www/{}.html", n % 300));
        if n >= 20 {
            t.count_close(80, FdKind::File);
        }
        t.after_ms(1.0);
    }
    t.after_ms(5_000.0);
    assert!(t.report().verdicts.is_empty());
}

#[test]
fn sockets_are_no_files() {
    let server = who(80, 81, "java");
    let mut t = Timeline::new();
    for _ in 0..300 {
        t.install(server, FdSource::Accept, FdKind::Socket, None)
            .after_ms(1.0);
    }
    t.at(5.0);
    assert!(t.report().verdicts.is_empty());
    assert_eq!(t.report().processes[0].fds_got, 300);
}

#[test]
fn a_look_up_is_asked_for_when_it_begins_and_when_it_ends() {
    let mut t = Timeline::new();
    t.process(2_000, "java", (1, "systemd"));
    assert_eq!(t.engine.take_lookups(), [Pid(2_000)]);
    t.at(5.0).open_many(LOADER, 228, 5.0, JARS);
    t.at(7.0);
    assert_eq!(t.engine.take_lookups(), [Pid(2_000)]);
    t.at(8.0);
    assert_eq!(t.engine.take_lookups(), []);
    t.at(9.0);
    assert_eq!(t.engine.take_lookups(), [Pid(2_000)]);
    t.at(90.0);
    assert_eq!(t.engine.take_lookups(), []);
}
