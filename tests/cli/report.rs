//! `tracer report` from a trace to a file; never what the page looks like (`tests/page`).

use std::{fs, path::Path};

use tempfile::TempDir;
use tracer::{
    model::{Input, Nanos, Session},
    trace::{Batching, Head, Writer},
};

use super::{stderr, stdout, tracer};

/// A trace of a second in which nothing happened, whole or without its end.
fn trace(folder: &TempDir, is_whole: bool) {
    let start = Nanos::from_secs(1_000);
    let head = Head {
        session: Session {
            start,
            host: "shop-07".into(),
            version: "0.1.0".into(),
            ..Session::default()
        },
        ..Head::default()
    };
    let file = fs::File::create(folder.path().join("shop.arrows")).unwrap();
    let mut writer = Writer::new(file, &head, Batching::default()).unwrap();
    let tick = Input::Tick(start + Nanos::from_secs(1));
    writer.push(&tick).unwrap();
    writer.flush().unwrap();
    if is_whole {
        writer.finish().unwrap();
    }
}

fn report(folder: &Path, words: &str) -> std::process::Output {
    let words = words.split_whitespace();
    let mut report = tracer();
    report.arg("report").args(words).current_dir(folder);
    report.output().unwrap()
}

#[test]
fn a_page_replaces_its_file() {
    let folder = TempDir::new().unwrap();
    trace(&folder, true);
    let page = folder.path().join("report.html");
    fs::write(&page, "old").unwrap();
    let output = report(folder.path(), "shop.arrows -o report.html");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!((stdout(&output), stderr(&output)), ("", ""));
    let text = fs::read_to_string(&page).unwrap();
    assert!(text.starts_with("<!DOCTYPE html>"), "{text}");
    assert!(text.contains("<title>shop-07, "), "{text}");
    // Nothing else is left beside the trace and the page.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn the_name_of_the_file_says_what_to_write() {
    let folder = TempDir::new().unwrap();
    trace(&folder, true);
    let output = report(folder.path(), "shop.arrows -o ticket.md");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let ticket = fs::read_to_string(folder.path().join("ticket.md")).unwrap();
    assert!(
        ticket.starts_with("## tracer report of `shop-07`\n"),
        "{ticket}"
    );
    let printed = report(folder.path(), "shop.arrows --format markdown -o -");
    assert_eq!(stdout(&printed), ticket);
}

#[test]
fn a_trace_without_its_end_is_told_in_the_report() {
    let folder = TempDir::new().unwrap();
    trace(&folder, false);
    for (words, code) in [("", 0), ("--strict", 4)] {
        let output = report(
            folder.path(),
            &format!("shop.arrows --format markdown {words}"),
        );
        assert_eq!(output.status.code(), Some(code), "{words}");
        assert!(
            stdout(&output).contains("**Note:** "),
            "{}",
            stdout(&output)
        );
        assert!(
            stderr(&output).starts_with("warning: "),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let folder = TempDir::new().unwrap();
    trace(&folder, true);
    let output = report(folder.path(), "shop.arrows -o absent/report.html");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("cannot write absent/report.html"), "{said}");
}
