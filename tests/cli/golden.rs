//! Recorded traces, of every format that there was, still say what the live watch said then.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::tracer;

fn traces() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces");
    let mut traces: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "arrows")
        })
        .collect();
    traces.sort();
    traces
}

#[test]
fn each_trace_says_what_the_live_watch_said() {
    let traces = traces();
    assert!(traces.len() >= 2, "only {traces:?}");
    for trace in traces {
        let output = tracer()
            .args(["replay", "--format", "json", "--strict"])
            .arg(&trace)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", trace.display());
        assert!(output.stderr.is_empty(), "{}", trace.display());
        let printed = String::from_utf8(output.stdout).unwrap();
        let golden = trace.with_extension("jsonl");
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            fs::write(&golden, &printed).unwrap();
        }
        let live = fs::read_to_string(&golden).unwrap();
        for (printed, live) in printed.lines().zip(live.lines()) {
            assert_eq!(printed, live, "{}", trace.display());
        }
        assert_eq!(printed.len(), live.len(), "{}", trace.display());
    }
}

fn replay(words: &str, trace: &str) -> std::process::Output {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("traces")
        .join(trace);
    tracer()
        .arg("replay")
        .args(words.split_whitespace())
        .arg(trace)
        .output()
        .unwrap()
}

#[test]
fn a_report_is_as_it_stood_at_a_moment() {
    let count = |words: &str| {
        let output = replay(&format!("--format json {words}"), "v1-flapping.arrows");
        assert_eq!(output.status.code(), Some(0), "{words}");
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text
            .lines()
            .filter(|line| line.contains(r#""verdict":"flapping""#));
        last.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|verdict| verdict["thread"] == "Catalina-utilit")
            .filter_map(|verdict| verdict["count"].as_u64())
            .next_back()
    };
    assert_eq!(count(""), Some(12));
    // Twelve tries, half a second apart.
    let half = count("--to 4500ms").unwrap();
    assert!((5..12).contains(&half), "{half}");
    assert_eq!(count("--to 1s"), None);
    assert_eq!(count("--verdict fd_burst"), None);
    // Other thresholds judge anew.
    assert_eq!(count("--flap-count 100"), None);
}

#[test]
fn what_is_no_trace_is_refused_in_one_sentence() {
    let output = replay("", "README.md");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("README.md: it is not a trace of tracer"),
        "{said}"
    );
    let output = replay("", "no-such.arrows");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("No such file"), "{said}");
}

#[test]
fn a_cut_trace_says_where_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let whole = Path::new(env!("CARGO_MANIFEST_DIR")).join("traces/v1-flapping.arrows");
    let mut bytes = fs::read(whole).unwrap();
    bytes.truncate(bytes.len() * 9 / 10);
    let cut = folder.path().join("cut.arrows");
    fs::write(&cut, bytes).unwrap();
    for (words, code) in [("replay", 0), ("replay --strict", 4)] {
        let output = tracer().args(words.split(' ')).arg(&cut).output().unwrap();
        assert_eq!(output.status.code(), Some(code));
        let report = String::from_utf8(output.stdout).unwrap();
        assert!(report.contains("FLAPPING"), "{report}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("the file is cut within a batch"), "{said}");
        assert!(said.contains("lacks what came after 2026-11-22"), "{said}");
    }
}
