//! Two timelines, and what is said to differ between them.

use super::super::{
    Thresholds,
    compare::{Comparison, Difference, Program, Side},
    timeline::{Timeline, endpoint, who},
};
use crate::model::{HostFact, Pid, ProcessFact};

fn compared(before: &Timeline, after: &Timeline) -> Difference {
    let mut comparison = Comparison::new(Thresholds::default());
    for input in &before.inputs {
        comparison.apply_before(input);
    }
    for input in &after.inputs {
        comparison.apply_after(input);
    }
    comparison.finish()
}

/// A host for a minute: a pid that connects so often to port 2181, each try 10 ms long.
fn minute(pid: u32, connects: u32, period_s: f64) -> Timeline {
    let java = who(pid, pid + 2, "SendThread");
    let mut timeline = Timeline::new();
    timeline.process(pid, "java", (1, "systemd"));
    timeline.fact(HostFact::Process(Box::new(ProcessFact {
        pid: Pid(pid),
        comm: Some("java".to_owned()),
        exe: Some("/usr/bin/java".to_owned()),
        ..ProcessFact::default()
    })));
    for n in 0..connects {
        timeline.at(1.0 + f64::from(n) * period_s);
        timeline.short_connection(java, u64::from(n), "10.0.0.9:2181", 10.0, (45, 0));
    }
    timeline.at(60.0);
    timeline
}

fn java() -> Program {
    Program {
        comm: "java".to_owned(),
        exe: Some("/usr/bin/java".to_owned()),
        contained: false,
    }
}

#[test]
fn rates_are_compared_by_program_whatever_its_pid() {
    let difference = compared(&minute(4711, 2, 20.0), &minute(815, 32, 1.7));
    let [row] = difference.peers.as_slice() else {
        panic!("{:#?}", difference.peers);
    };
    assert_eq!(row.program, java());
    assert_eq!(row.peer.role, Side::Client);
    assert_eq!(row.peer.server, endpoint("10.0.0.9:2181"));
    assert_eq!((row.connections.before, row.connections.after), (2, 32));
    assert!((row.connections.before_per_min - 2.0).abs() < 1e-9);
    assert!((row.connections.after_per_min - 32.0).abs() < 1e-9);
    assert!(row.connections.score > 5.0, "{}", row.connections.score);
    let [verdict] = difference.verdicts.as_slice() else {
        panic!("{:#?}", difference.verdicts);
    };
    assert!(verdict.is_gained() && !verdict.is_lost());
    assert_eq!(verdict.verdict.finding.name(), "flapping");
    assert_eq!(verdict.program, java());
}

#[test]
fn the_same_twice_differs_in_nothing() {
    let difference = compared(&minute(4711, 32, 1.7), &minute(815, 32, 1.7));
    assert_eq!(difference.verdicts.len(), 1);
    assert!(!difference.verdicts[0].is_gained() && !difference.verdicts[0].is_lost());
    let scores: Vec<_> = difference
        .peers
        .iter()
        .map(|row| row.connections.score)
        .collect();
    assert_eq!(scores, [0.0]);
}

#[test]
fn files_are_compared_by_directory_and_failures_by_peer() {
    let shop = who(99, 99, "shop");
    let mut before = Timeline::new();
    before.process(99, "shop", (1, "init")).at(60.0);
    let mut after = Timeline::new();
    after
        .process(99, "shop", (1, "init"))
        .at(1.0)
        .open_many(shop, 40, 1.0, "/srv/lib/{}.jar")
        .open_many(shop, 5, 1.0, "/proc/{}/fd")
        // Beyond the budget: its path is not known.
        .count_install(
            99,
            tracer_common::FdSource::Open,
            tracer_common::FdKind::File,
        )
        .read_counters(99)
        .connect(shop, 1, "10.0.0.9:2181")
        .fails(1, 111)
        .exit(99, "shop")
        .at(60.0);
    let difference = compared(&before, &after);
    let opens: Vec<_> = difference
        .opens
        .iter()
        .map(|row| (row.pattern.as_deref(), row.opens.before, row.opens.after))
        .collect();
    assert_eq!(
        opens,
        [
            (Some("/srv/lib/*.jar"), 0, 40),
            (Some("/proc/*/fd"), 0, 5),
            (None, 0, 1),
        ]
    );
    let [row] = difference.peers.as_slice() else {
        panic!("{:#?}", difference.peers);
    };
    assert_eq!((row.connections.after, row.failures.after), (1, 1));
}

#[test]
fn who_was_gone_before_it_was_looked_at_is_taken_for_the_program_of_its_name() {
    let before = minute(4711, 2, 20.0);
    let mut after = Timeline::new();
    after
        .process(815, "java", (1, "systemd"))
        .at(1.0)
        .short_connection(who(815, 815, "java"), 1, "10.0.0.9:2181", 10.0, (45, 0))
        .exit(815, "java")
        .at(60.0);
    let difference = compared(&before, &after);
    let programs: Vec<_> = difference.peers.iter().map(|row| &row.program).collect();
    assert_eq!(programs, [&java()]);
}
