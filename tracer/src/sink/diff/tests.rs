//! A literal difference, as people and as machines read it.

use super::super::testing::{self, assert_snapshot, endpoint, session};
use super::*;
use crate::{
    analysis::{
        Thresholds,
        compare::{Comparison, Peer},
    },
    model::Nanos,
};

fn side(millis: u64, lost: u64) -> Span {
    Span {
        session: session(),
        length: Nanos::from_millis(millis),
        lost,
        forgotten: 0,
    }
}

fn java() -> Program {
    Program {
        comm: "java".to_owned(),
        exe: Some("/usr/lib/jvm/java-17-openjdk-amd64/bin/java".to_owned()),
        contained: true,
    }
}

fn change(before: u64, after: u64, score: f64) -> Change {
    Change {
        before,
        after,
        before_per_min: before as f64 / 2.0,
        after_per_min: after as f64,
        score,
    }
}

fn difference() -> Difference {
    let verdict = |before, after, verdict| VerdictChange {
        program: java(),
        before,
        after,
        verdict,
    };
    let hostile = Program {
        comm: "\u{1b}[2Jx".to_owned(),
        exe: None,
        contained: false,
    };
    let peer = |role, port| Peer {
        role,
        server: endpoint("10.0.0.9", port),
    };
    let connections = |program, peer, connections, failures| PeerChange {
        program,
        peer,
        connections,
        failures,
    };
    let opened = |program, pattern: Option<&str>, opens| OpensChange {
        program,
        pattern: pattern.map(str::to_owned),
        opens,
    };
    Difference {
        before: side(120_000, 0),
        after: side(60_000, 7),
        verdicts: vec![
            verdict(0, 1, testing::flapping()),
            verdict(1, 0, testing::churn()),
            verdict(2, 3, testing::fd_burst()),
        ],
        peers: vec![
            connections(
                java(),
                peer(Side::Client, 2181),
                change(0, 35, 5.9),
                change(0, 2, 1.4),
            ),
            connections(
                hostile.clone(),
                peer(Side::Server, 8080),
                change(90, 45, 0.0),
                change(0, 0, 0.0),
            ),
        ],
        opens: vec![
            opened(
                java(),
                Some("/srv/shop/WEB-INF/lib/*.jar"),
                change(0, 228, 15.1),
            ),
            opened(hostile, None, change(100, 4, 8.0)),
            opened(java(), Some("/proc/*/fd"), change(2, 1, 0.0)),
        ],
    }
}

/// The notes on the earlier and on the later trace.
fn notes() -> [Vec<String>; 2] {
    let cut = "after.trace ends at 14:04:00 UTC: it is cut".to_owned();
    [Vec::new(), vec![cut]]
}

/// A line of every kind, with everything known and with nothing known.
pub(in crate::sink) fn json_lines() -> Vec<String> {
    let [before, after] = notes();
    let text = lines(&difference(), [&before, &after]);
    text.lines().map(str::to_owned).collect()
}

#[test]
fn people_read_what_changed() {
    let [before, after] = notes();
    let text = render(Look::PLAIN, &difference(), [&before, &after]);
    assert_snapshot("diff.txt", &text);
}

#[test]
fn machines_read_all_of_it() {
    assert_snapshot("diff.jsonl", &(json_lines().join("\n") + "\n"));
}

#[test]
fn nothing_is_told_of_nothing() {
    let nothing = Comparison::new(Thresholds::default()).finish();
    let text = render(Look::PLAIN, &nothing, [&[], &[]]);
    assert!(text.contains("None in either trace."), "{text}");
    assert_eq!(text.matches("Nothing changed").count(), 2, "{text}");
}

#[test]
fn rates_are_never_rounded_to_nothing() {
    assert_eq!(rate(0.0), "0");
    assert_eq!(rate(0.01), "<0.1");
    assert_eq!(rate(0.5), "0.5");
    assert_eq!(rate(35.2), "35");
}
