//! Traces in other programs' hands: what `DuckDB`, Polars and pyarrow count in them is what the report
//! says, and the examples of docs/trace.md print what stands there; never a kernel's own trace.
//!
//! It needs Python with these packages, which `cargo xtask setup` provides in the user's cache folder;
//! `TRACER_PYTHON` names another.

#[path = "../common/program.rs"]
mod program;
mod story;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tracer::trace::{DICTIONARY, TIME_COLUMN};

use program::tracer;

const DOCUMENT: &str = include_str!("../../docs/trace.md");

/// Runs a query over the files of the folder, and prints its rows as `duckdb -list` does.
const RUN_SQL: &str = "\
import duckdb, sys
result = duckdb.sql(sys.stdin.read())
print('|'.join(result.columns))
for row in result.fetchall():
    print('|'.join('' if value is None else str(value) for value in row))
";

/// A folder with the story as `incident.arrows`.
fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    story::write(&folder.path().join("incident.arrows")).unwrap();
    folder
}

/// Runs tracer in the folder by these words; gives what it printed.
fn run(folder: &Path, words: &str) -> String {
    let output = tracer()
        .args(words.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "tracer {words}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn python_path() -> PathBuf {
    if let Some(path) = std::env::var_os("TRACER_PYTHON") {
        return path.into();
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(std::env::temp_dir)
        .join("tracer/python/bin/python3")
}

/// Runs Python in the folder; gives what it printed.
fn python(folder: &Path, script: &str, input: &str) -> String {
    let python = python_path();
    let given = folder.join("stdin");
    std::fs::write(&given, input).unwrap();
    let output = Command::new(&python)
        .args(["-I", "-c", script])
        .current_dir(folder)
        .stdin(std::fs::File::open(given).unwrap())
        .output()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `cargo xtask setup` provides it",
                python.display()
            )
        });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{input}\n{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn sql(folder: &Path, query: &str) -> String {
    python(folder, RUN_SQL, query)
}

/// What a script prints as JSON.
fn python_json(folder: &Path, script: &str) -> Value {
    serde_json::from_str(&python(folder, script, "")).unwrap()
}

/// The lines of a replay.
fn replayed(folder: &Path) -> Vec<Value> {
    run(folder, "replay incident.arrows --format json")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The last line of each verdict, by its name.
fn verdicts(lines: &[Value]) -> BTreeMap<&str, &Value> {
    let verdicts = lines.iter().filter(|line| line["type"] == "verdict");
    verdicts
        .map(|line| (line["verdict"].as_str().unwrap(), line))
        .collect()
}

/// Connects, accepts, failed connects and opens of each process, as the report has them.
fn totals(lines: &[Value]) -> BTreeMap<String, [u64; 4]> {
    let rows = lines.iter().filter(|line| line["type"] == "process");
    rows.map(|row| {
        let of = |name: &str| row[name].as_u64().unwrap();
        let totals = ["connects", "accepts", "connects_failed", "opens"].map(of);
        (row["comm"].as_str().unwrap().to_owned(), totals)
    })
    .collect()
}

#[test]
fn duckdb_counts_in_parquet_what_the_report_says() {
    let folder = folder();
    let folder = folder.path();
    run(folder, "export incident.arrows -o incident.parquet");
    let lines = replayed(folder);
    let counted = sql(
        folder,
        "WITH names AS (SELECT pid, last(comm ORDER BY ts) AS comm FROM 'incident.parquet'
                        WHERE comm IS NOT NULL GROUP BY pid)
         SELECT names.comm,
                count(*) FILTER (kind = 'tcp_connect') AS connects,
                count(*) FILTER (kind = 'tcp_accept') AS accepts,
                count(*) FILTER (kind = 'tcp_connect_failed' OR (kind = 'tcp_state'
                    AND old_state = 'SYN_SENT' AND new_state = 'CLOSE')) AS failed,
                count(*) FILTER (kind = 'fd_install' AND source = 'open') AS opens
         FROM 'incident.parquet' JOIN names USING (pid) GROUP BY names.comm ORDER BY names.comm",
    );
    let mut expected = "comm|connects|accepts|failed|opens\n".to_owned();
    for (comm, totals) in totals(&lines) {
        let totals = totals.map(|total| total.to_string()).join("|");
        expected.extend([comm.as_str(), "|", &totals, "\n"]);
    }
    assert_eq!(counted, expected);
    assert_eq!(totals(&lines)["shop"], [43, 0, 7, 228]);

    // The verdicts.
    let verdicts = verdicts(&lines);
    let flapping = sql(
        folder,
        "SELECT count(*) AS count FROM 'incident.parquet'
         WHERE kind = 'tcp_time_wait' AND rport = 2181",
    );
    assert_eq!(
        flapping,
        format!("count\n{}\n", verdicts["flapping"]["count"])
    );
    let burst = sql(
        folder,
        "SELECT regexp_extract(path, '(.*)/', 1) || '/*.jar' AS pattern, count(*) AS count
         FROM 'incident.parquet' WHERE kind = 'fd_install' AND path LIKE '%.jar' GROUP BY 1",
    );
    let top = &verdicts["fd_burst"]["top_dirs"][0];
    let pattern = top["pattern"].as_str().unwrap();
    assert_eq!(
        burst,
        format!("pattern|count\n{pattern}|{}\n", top["count"])
    );
    let ends = sql(
        folder,
        "SELECT strftime(min(time) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S') AS first,
                strftime(max(time) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S') AS last
         FROM 'incident.parquet'",
    );
    assert_eq!(
        ends,
        "first|last\n2026-11-21T14:03:00|2026-11-21T14:04:00\n"
    );
}

#[test]
fn polars_and_pyarrow_open_the_trace_itself() {
    let folder = folder();
    let folder = folder.path();
    let totals = totals(&replayed(folder));
    let by_polars = python_json(
        folder,
        "import json, polars as pl
trace = pl.read_ipc_stream('incident.arrows')
names = trace.filter(pl.col('comm').is_not_null()).select('pid', 'comm').unique()
opens = trace.filter((pl.col('kind') == 'fd_install') & (pl.col('source') == 'open'))
counts = opens.join(names, on='pid', suffix='_of').group_by('comm_of').len()
print(json.dumps(dict(counts.iter_rows())))",
    );
    let by_pyarrow = python_json(
        folder,
        "import json, pyarrow as pa, pyarrow.compute as pc
trace = pa.ipc.open_stream('incident.arrows').read_all()
connects = trace.filter(pc.equal(trace['kind'].cast(pa.string()), 'tcp_connect'))
counts = connects.group_by('rport').aggregate([([], 'count_all')])
head = json.loads(trace.schema.metadata[b'tracer.head'])
print(json.dumps({'host': head['session']['host'],
                  'ports': dict(zip(map(str, counts['rport'].to_pylist()), counts['count_all'].to_pylist()))}))",
    );
    assert_eq!(
        by_polars,
        json!({"shop": totals["shop"][3], "nginx": totals["nginx"][3]})
    );
    assert_eq!(
        by_pyarrow,
        json!({"host": "shop-07", "ports": {"2181": 36, "6379": 7}})
    );
}

#[test]
fn every_format_has_the_same_rows_and_a_selection_leaves_some_out() {
    let folder = folder();
    let folder = folder.path();
    let whole = run(folder, "export incident.arrows --format jsonl -o -");
    run(folder, "export incident.arrows -o incident.csv");
    run(folder, "export incident.arrows -o incident.parquet");
    let rows = whole.lines().count();
    let counted = sql(
        folder,
        "SELECT (SELECT count(*) FROM 'incident.csv') AS csv,
                (SELECT count(*) FROM 'incident.parquet') AS parquet",
    );
    assert_eq!(counted, format!("csv|parquet\n{rows}|{rows}\n"));
    let left: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().ends_with(".partial")),
        "{left:?}"
    );

    // A close comes without the port that was selected.
    let narrowed = run(
        folder,
        "export incident.arrows --port 2181 --format jsonl -o -",
    );
    let kinds = |kind: &str| {
        let is_kind = |line: &&str| line.contains(&format!("\"kind\":\"{kind}\""));
        narrowed.lines().filter(is_kind).count()
    };
    assert_eq!(
        ["tcp_connect", "tcp_time_wait", "tcp_close", "tcp_accept"].map(kinds),
        [36, 36, 36, 0]
    );
}

#[test]
fn events_lives_and_differences_are_printed() {
    let folder = folder();
    let folder = folder.path();
    let lives = run(folder, "events incident.arrows --lives --port 6379,8080");
    let ended = |by: &str| lives.lines().filter(|line| line.contains(by)).count();
    assert_eq!(
        (ended(" ECONNREFUSED "), ended(" remote ")),
        (7, 15),
        "{lives}"
    );
    let events = run(
        folder,
        "events incident.arrows --kind tcp_connect --format json",
    );
    assert_eq!(events.lines().count(), 43);
    let same = run(folder, "diff incident.arrows incident.arrows");
    assert_eq!(
        same.matches("Nothing changed by more than chance.").count(),
        2,
        "{same}"
    );
    assert!(same.contains("SAME  FLAPPING"), "{same}");
}

/// The document's table of columns, each as `name, type`.
fn documented() -> Vec<(String, String, String)> {
    let table = DOCUMENT.split("## Columns").nth(1).unwrap();
    table
        .lines()
        .take_while(|line| !line.starts_with("## "))
        .filter(|row| row.starts_with("| `"))
        .map(|row| {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            let [name, kind, meaning] = cells[..] else {
                panic!("not a row of three cells: {row}");
            };
            (
                name.trim_matches('`').to_owned(),
                kind.to_owned(),
                meaning.to_owned(),
            )
        })
        .collect()
}

#[test]
fn the_document_has_every_column() {
    let columns: Vec<_> = DICTIONARY
        .iter()
        .map(|column| {
            let meaning = column.meaning.trim().to_owned();
            (column.name.to_owned(), column.type_name(), meaning)
        })
        .collect();
    assert_eq!(documented(), columns);
    assert!(DOCUMENT.contains(&format!("`{TIME_COLUMN}`")));
}

/// The blocks of the document, each with its language.
fn blocks() -> Vec<(&'static str, &'static str)> {
    DOCUMENT
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .collect()
}

#[test]
fn the_documents_examples_print_what_stands_there() {
    let folder = folder();
    let folder = folder.path();
    let mut printed = None;
    let mut checked = 0;
    for (language, text) in blocks() {
        match language {
            "sh" => {
                for line in text.lines() {
                    let words = line.split('#').next().unwrap_or_default();
                    if let Some(words) = words.trim().strip_prefix("tracer ") {
                        run(folder, words);
                    }
                }
            }
            "sql" => printed = Some(sql(folder, text)),
            "python" => printed = Some(python(folder, text, "")),
            "text" => {
                let printed = printed
                    .take()
                    .expect("an example comes before what it prints");
                assert_eq!(printed.trim_end(), text.trim_end());
                checked += 1;
            }
            other => panic!("a block of {other}"),
        }
    }
    assert!(checked >= 5, "only {checked} examples were checked");
}
