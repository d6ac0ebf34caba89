//! Tests of the JSON lines: their literal text, and the dictionary of their fields.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::{diff, events, testing};
use super::*;
use crate::analysis::report::{Attribution, FINDING_NAMES, Identity};

/// The dictionary of the fields.
const DICTIONARY: &str = include_str!("../../../../docs/fields.md");

/// The kinds of verdict, which the dictionary calls `verdict` where it means all of them.
const VERDICTS: &[&str] = FINDING_NAMES;

/// The shapes of event, which the dictionary calls `event` where it means all of them.
const EVENTS: [&str; 4] = ["tcp event", "fd event", "process event", "exit event"];

/// Lines of the other kinds.
const OTHERS: [&str; 10] = [
    "start",
    "time_wait",
    "process",
    "stats",
    "end",
    "connection",
    "diff",
    "diff_verdict",
    "diff_connections",
    "diff_opens",
];

/// Objects whose keys are values themselves: the dictionary writes them as `*`.
const KEYED_BY_VALUE: [&str; 4] = ["calls", "errnos", "events", "kinds"];

#[test]
fn every_line_as_it_is_printed() {
    let report = testing::incidents();
    let session = &report.session;
    let mut lines = start(session);
    for made in &report.verdicts {
        lines.push_str(&verdict(session, made));
    }
    lines.push_str(&verdict(session, &testing::unknown(testing::flapping())));
    lines.push_str(&report_lines(&report));
    testing::assert_snapshot("incidents.jsonl", &lines);
}

#[test]
fn losses_are_counted_by_kind_and_cause() {
    let report = testing::lossy();
    let stats: Value = serde_json::from_str(&stats(&report)).unwrap();
    assert_eq!(stats["lost"], 55);
    assert_eq!(stats["complete"], false);
    assert_eq!(
        stats["events"]["fd_install"],
        serde_json::json!({
            "seen": 1300, "streamed": 1000, "counted_only": 200, "filtered": 50,
            "ring_full": 40, "map_full": 9, "read_failed": 1,
        })
    );
    assert_eq!(
        stats["hooks"][1],
        serde_json::json!({
            "name": "inet_csk_accept",
            "attached": null,
            "provides": "connections that servers accept",
            "reason": "the kernel refused it: no such function",
        })
    );
    let end: Value = serde_json::from_str(&end(&report)).unwrap();
    assert_eq!(end["lost"], 55);
    assert_eq!(end["complete"], false);
}

#[test]
fn one_object_is_one_line_whatever_it_holds() {
    let mut hostile = testing::flapping();
    hostile.who.comm = "a\n\u{1b}\"b".to_owned();
    let line = verdict(&testing::session(), &hostile);
    assert_eq!(line.matches('\n').count(), 1);
    let parsed: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(parsed["comm"], "a\n\u{1b}\"b");
}

#[test]
fn what_is_not_known_is_null_and_never_left_out() {
    let session = testing::session();
    let whole = [
        testing::flapping(),
        testing::churn(),
        testing::failing_connects(),
        testing::fd_burst(),
        testing::fd_near_limit(),
        testing::fd_exhaustion(),
        testing::fd_leak(),
        testing::close_wait_leak(),
        testing::port_exhaustion(),
    ];
    for known in whole {
        let known_keys = keys_but_of_parents(&verdict(&session, &known));
        let unknown = testing::unknown(known);
        assert_eq!(
            keys_but_of_parents(&verdict(&session, &unknown)),
            known_keys
        );
    }
    let unknown = testing::time_wait_row(1, Attribution::BeforeStart);
    let known = testing::time_wait_row(1, Attribution::Cookie);
    let at = testing::at(0);
    assert_eq!(
        keys_but_of_parents(&time_wait(&session, at, &unknown)),
        keys_but_of_parents(&time_wait(&session, at, &known))
    );
}

/// The names of a line's fields, but for those within `parents`: where no parent is known, that is
/// empty.
fn keys_but_of_parents(line: &str) -> BTreeSet<String> {
    let mut keys = keys(line);
    keys.retain(|key| !key.starts_with("parents[]"));
    keys
}

#[test]
fn the_dictionary_has_every_field_and_no_other() {
    let mut printed: BTreeSet<(String, String)> = BTreeSet::new();
    for line in sample_lines() {
        let value: Value = serde_json::from_str(&line).unwrap();
        for field in keys(&line) {
            printed.insert((line_kind(&value), field));
        }
    }
    let explained: BTreeSet<(String, String)> = dictionary()
        .into_iter()
        .flat_map(|entry| {
            let field = entry.field;
            entry
                .lines
                .into_iter()
                .map(move |line| (line, field.clone()))
        })
        .collect();

    let unexplained: Vec<_> = printed.difference(&explained).collect();
    let unprinted: Vec<_> = explained.difference(&printed).collect();
    assert!(
        unexplained.is_empty() && unprinted.is_empty(),
        "printed but not in docs/fields.md: {unexplained:#?}\n\
         in docs/fields.md but not printed: {unprinted:#?}"
    );
}

#[test]
fn the_dictionary_has_the_right_types() {
    let types: BTreeMap<String, String> = dictionary()
        .into_iter()
        .map(|entry| (entry.field, entry.json_type))
        .collect();
    for line in sample_lines() {
        let value: Value = serde_json::from_str(&line).unwrap();
        let mut found = Vec::new();
        collect("", &value, &mut found);
        for (field, value) in found {
            let told = types[&field].as_str();
            let fits = match value {
                Value::Null => told.ends_with(" or null"),
                Value::Bool(_) => told.starts_with("boolean"),
                Value::Number(number) if number.is_f64() => told.starts_with("number"),
                Value::Number(_) => told.starts_with("integer") || told.starts_with("number"),
                Value::String(_) => told.starts_with("string") || told.starts_with("time"),
                Value::Array(_) => told.starts_with("array"),
                Value::Object(_) => told.starts_with("object"),
            };
            assert!(fits, "{field} is {value}, but docs/fields.md says {told}");
        }
    }
}

/// A line of every kind, with everything known and with nothing known.
fn sample_lines() -> Vec<String> {
    let report = testing::incidents();
    let session = &report.session;
    let known = report.verdicts.iter().map(|made| verdict(session, made));
    let unknown = report
        .verdicts
        .iter()
        .map(|made| verdict(session, &testing::unknown(made.clone())));
    let grouped = [
        testing::flapping(),
        testing::churn(),
        testing::failing_connects(),
    ];
    let grouped = grouped.map(|made| {
        let who = Identity {
            children: Some(37),
            ..made.who
        };
        verdict(session, &Verdict { who, ..made })
    });
    let mut lines: Vec<String> = known.chain(unknown).chain(grouped).collect();
    lines.push(start(session));
    lines.extend(report_lines(&report).lines().map(str::to_owned));
    lines.push(stats(&testing::lossy()));
    lines.extend(events::tests::json_lines());
    lines.extend(diff::tests::json_lines());
    lines
}

/// A line's kind as the dictionary calls it: a verdict's is the verdict's name, and events have one for
/// each shape.
fn line_kind(line: &Value) -> String {
    if line["type"] == "event" {
        let kind = line["kind"].as_str().unwrap();
        let shape = kind.split('_').next().unwrap();
        return format!("{shape} event");
    }
    let name = line.get("verdict").filter(|_| line["type"] == "verdict");
    name.unwrap_or(&line["type"]).as_str().unwrap().to_owned()
}

/// The names of a line's fields, those within objects after a dot.
fn keys(line: &str) -> BTreeSet<String> {
    let value: Value = serde_json::from_str(line).unwrap();
    let mut found = Vec::new();
    collect("", &value, &mut found);
    found.into_iter().map(|(field, _value)| field).collect()
}

fn collect<'a>(parent: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let field = match parent {
                    "" => key.clone(),
                    by_value if KEYED_BY_VALUE.contains(&by_value) => format!("{by_value}.*"),
                    parent => format!("{parent}.{key}"),
                };
                found.push((field.clone(), member));
                collect(&field, member, found);
            }
        }
        Value::Array(items) => {
            for item in items {
                collect(&format!("{parent}[]"), item, found);
            }
        }
        _ => {}
    }
}

/// One row of the dictionary.
struct Entry {
    field: String,
    json_type: String,
    lines: Vec<String>,
}

/// The rows of the dictionary: those that begin with a field's name in backquotes.
fn dictionary() -> Vec<Entry> {
    DICTIONARY
        .lines()
        .filter(|row| row.starts_with("| `"))
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [field, json_type, _unit, lines, meaning] = cells[..] else {
                panic!("not a row of five cells: {row}");
            };
            assert!(!meaning.is_empty(), "no meaning: {row}");
            let lines = lines.split(", ").flat_map(|line| match line {
                "verdict" => VERDICTS.to_vec(),
                "event" => EVENTS.to_vec(),
                "all" => [VERDICTS, &EVENTS, &OTHERS].concat(),
                line => vec![line],
            });
            Entry {
                field: field.trim_matches('`').to_owned(),
                json_type: json_type.to_owned(),
                lines: lines.map(str::to_owned).collect(),
            }
        })
        .collect()
}
