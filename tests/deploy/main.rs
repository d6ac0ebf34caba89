//! What is in `deploy/`, judged by the programs that it is for: alert rules by promtool, the unit by
//! systemd-analyze, manifests by the schemas of what reads them, and every metric that rules and dashboard name by what tracer exports; never a running
//! Prometheus.
//!
//! It needs promtool, and Python with some packages, which `cargo xtask setup` provides in the user's cache
//! folder; `TRACER_PROMTOOL` and `TRACER_PYTHON` name others.

use std::{
    collections::BTreeSet,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// What tracer exports, as a unit test of it holds to the letter.
const METRICS: &str = include_str!("../../tracer/src/sink/snapshots/metrics.txt");

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus")
}

fn promtool() -> PathBuf {
    provided("TRACER_PROMTOOL", "prometheus-bookworm-1/usr/bin/promtool")
}

fn python() -> PathBuf {
    provided("TRACER_PYTHON", "python/bin/python3")
}

/// What a variable names, or the set-up provides.
fn provided(variable: &str, in_cache: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    let folder = cache.unwrap_or_else(std::env::temp_dir).join("tracer");
    folder.join(in_cache)
}

fn run(words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(promtool())
        .args(words)
        .current_dir(deploy())
        .output()
        .expect("promtool runs: `cargo xtask setup` provides it");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn each_alert_comes_when_it_should_and_only_then() {
    let (code, said) = run(&["test", "rules", "tracer.rules.test.yml"]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["check", "rules", "tracer.rules.yml"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("7 rules found"), "{said}");
}

/// By the parser of the Prometheus project's own Python library, which is strict.
#[test]
fn metrics_are_openmetrics() {
    const PARSE: &str = "\
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
print(sum(len(family.samples) for family in parse(sys.stdin.read())))
";
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(METRICS.as_bytes()).unwrap();
    input.rewind().unwrap();
    let output = Command::new(python())
        .args(["-c", PARSE])
        .stdin(input)
        .output()
        .expect("Python runs: `cargo xtask setup` provides it");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let rows = METRICS
        .lines()
        .filter(|line| !line.starts_with('#'))
        .count();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        rows.to_string()
    );
}

/// With a program in tracer's place, as tracer is not installed here.
#[test]
fn the_unit_is_one() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/tracer.service");
    let text = std::fs::read_to_string(unit).unwrap();
    let text = text.replace("/usr/bin/tracer", "/bin/true");
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tracer.service");
    std::fs::write(&copy, text).unwrap();
    let output = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(copy)
        .output()
        .expect("systemd-analyze runs: `cargo xtask setup` provides it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""));
}

/// Runs a few lines of Python with a file's path as their argument.
fn judge(program: &str, file: &Path) -> (Option<i32>, String) {
    let output = Command::new(python())
        .args(["-c", program])
        .arg(file)
        .output()
        .expect("Python runs: `cargo xtask setup` provides it");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// By the schemas of Kubernetes itself, of the oldest version that knows all that is used; a field that
/// they do not name is an error.
const KUBERNETES: &str = "\
import sys, yaml, kubernetes_validate
for document in yaml.safe_load_all(open(sys.argv[1])):
    kubernetes_validate.validate(document, '1.31', strict=True)
    print(document['kind'])
";

/// By types that take no field that the Compose specification does not name.
const COMPOSE: &str = "\
import sys, compose_spec
print(compose_spec.PyCompose.from_yaml(open(sys.argv[1]).read()).service_names())
";

/// What judges a file, the file, and what it says of it.
const MANIFESTS: [(&str, &str, &str); 3] = [
    (KUBERNETES, "kubernetes/sidecar.yaml", "Pod\n"),
    (KUBERNETES, "kubernetes/daemonset.yaml", "DaemonSet\n"),
    (COMPOSE, "compose.yaml", "['app', 'tracer']\n"),
];

#[test]
fn manifests_are_what_they_are_for() {
    for (judged_by, name, said) in MANIFESTS {
        let file = deploy().join("..").join(name);
        assert_eq!(
            judge(judged_by, &file),
            (Some(0), said.to_owned()),
            "{name}"
        );
    }
}

#[test]
fn a_field_that_there_is_not_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (judged_by, name, _) in MANIFESTS {
        let text = std::fs::read_to_string(deploy().join("..").join(name)).unwrap();
        let wrong = text
            .replace("readOnlyRootFilesystem", "readonlyRootFilesystem")
            .replace("cap_add", "caps_add");
        assert_ne!(text, wrong);
        let copy = folder.path().join("wrong.yaml");
        std::fs::write(&copy, wrong).unwrap();
        let (code, said) = judge(judged_by, &copy);
        assert_eq!(code, Some(1), "{name}: {said}");
    }
}

/// Manifests name the image that `cargo xtask dist` makes.
#[test]
fn manifests_name_this_version() {
    let image = concat!("image: tracer:", env!("CARGO_PKG_VERSION"), "\n");
    for (_, name, _) in MANIFESTS {
        let text = std::fs::read_to_string(deploy().join("..").join(name)).unwrap();
        assert!(text.contains(image), "{name}");
    }
}

/// Words of a text that begin like a metric.
fn metrics_named(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("tracer_") || word.starts_with("process_"))
        .collect()
}

fn exported() -> BTreeSet<&'static str> {
    let rows = METRICS.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split(['{', ' ']).next())
        .collect()
}

#[test]
fn rules_name_what_is_exported() {
    let rules = std::fs::read_to_string(deploy().join("tracer.rules.yml")).unwrap();
    for name in metrics_named(&rules) {
        assert!(exported().contains(name), "{name} is not exported");
    }
}

#[test]
fn the_dashboard_shows_what_is_exported() {
    let text = std::fs::read_to_string(deploy().join("dashboard.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8);
    for panel in panels {
        for target in panel["targets"].as_array().unwrap() {
            let query = target["expr"].as_str().unwrap();
            let named = metrics_named(query);
            assert!(!named.is_empty(), "{query} names no metric");
            for name in named {
                assert!(exported().contains(name), "{name} is not exported");
            }
        }
    }
}

#[test]
fn the_page_names_every_metric() {
    let page = include_str!("../../docs/serve.md");
    for name in exported() {
        let name = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name);
        assert!(page.contains(name), "docs/serve.md does not name {name}");
    }
}
