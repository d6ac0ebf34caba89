//! The command line on this very machine, whether or not its kernel can be traced, and whether or
//! not this is root; never more of it than a moment.

mod golden;
mod report;
mod serve;

#[path = "../common/program.rs"]
mod program;

use std::{
    io::{self, PipeReader, PipeWriter},
    process::{Output, Stdio},
};

use serde_json::Value;

use program::tracer;

fn run(words: &str) -> Output {
    tracer().args(words.split_whitespace()).output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// Whether this machine can be traced, by its own word.
fn can_trace() -> bool {
    match run("doctor").status.code() {
        Some(0) => true,
        Some(2) => false,
        code => panic!("doctor ended with {code:?}"),
    }
}

#[test]
fn help_teaches() {
    let help = run("--help");
    assert_eq!(help.status.code(), Some(0));
    for said in [
        "sudo tracer watch --port 2181",
        "sudo tracer timewait --port 2181",
        "tracer doctor",
        "Exit codes:",
        "NO_COLOR",
        "Linux 5.10",
    ] {
        assert!(stdout(&help).contains(said), "{said}");
    }
    let watch = run("watch --help");
    assert_eq!(watch.status.code(), Some(0));
    for said in [
        "--port <PORT>",
        "--flap-count <COUNT>",
        "[default: 5]",
        "docs/fields.md",
    ] {
        assert!(stdout(&watch).contains(said), "{said}");
    }
    let version = run("--version");
    assert_eq!(
        stdout(&version),
        concat!("tracer ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_wrong_command_line_ends_with_2_and_says_what_is_wrong() {
    for (words, said) in [
        ("", "Usage: tracer"),
        ("wach", "watch"),
        (
            "watch --port none",
            "invalid value 'none' for '--port <PORT>'",
        ),
        ("watch --no-tcp --no-fds", "cannot be used with"),
        ("watch --duration 30", "time unit needed"),
        ("watch --ring-size 3M", "must be a power of two"),
        (
            "timewait --for soon",
            "invalid value 'soon' for '--for <TIME>'",
        ),
        ("doctor --format yaml", "[possible values: table, json]"),
    ] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(
            stderr(&output).contains(said),
            "{words}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{words}");
    }
}

#[test]
fn doctor_tells_the_same_to_people_and_to_machines() {
    let json = run("doctor --format json");
    let table = run("doctor");
    assert_eq!(json.status.code(), table.status.code());
    assert!(stderr(&table).is_empty(), "{}", stderr(&table));
    let checks: Vec<Value> = stdout(&json)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(checks.len() > 20, "{} checks", checks.len());
    for check in &checks {
        let name = check["name"].as_str().unwrap();
        assert!(stdout(&table).contains(name), "{name}");
        assert!(
            ["yes", "no", "unknown"].contains(&check["verdict"].as_str().unwrap()),
            "{check}"
        );
        assert!(check["cost_if_absent"].is_string(), "{check}");
    }
}

#[test]
fn watching_works_or_one_message_says_what_is_missing() {
    for words in [
        "watch --duration 1s",
        "watch --duration 1s --no-fds --format json",
        "timewait --for 1s --format json",
    ] {
        let output = run(words);
        if can_trace() {
            assert_eq!(
                output.status.code(),
                Some(0),
                "{words}: {}",
                stderr(&output)
            );
            assert!(!output.stdout.is_empty(), "{words}");
            continue;
        }
        assert_eq!(
            output.status.code(),
            Some(2),
            "{words}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{words}: {}", stdout(&output));
        let said = stderr(&output);
        assert_eq!(said.matches("tracer doctor").count(), 1, "{words}: {said}");
        assert!(
            !said.contains("panicked") && !said.contains("verifier"),
            "{words}: {said}"
        );
    }
}

#[test]
fn a_pipe_gets_no_escape_sequences() {
    for words in [
        "--help",
        "doctor",
        "watch --port none",
        "watch --duration 1s",
    ] {
        for no_color in [None, Some("1")] {
            let mut command = tracer();
            command.args(words.split_whitespace());
            if let Some(value) = no_color {
                command.env("NO_COLOR", value);
            }
            let output = command.output().unwrap();
            let escapes = output
                .stdout
                .iter()
                .chain(&output.stderr)
                .filter(|byte| **byte == 0x1b)
                .count();
            assert_eq!(escapes, 0, "{words}");
        }
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    for words in ["--help", "doctor", "doctor --format json"] {
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe().unwrap();
        drop(reader);
        let output = tracer()
            .args(words.split_whitespace())
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{words}");
        assert!(stderr(&output).is_empty(), "{words}: {}", stderr(&output));
    }
}
