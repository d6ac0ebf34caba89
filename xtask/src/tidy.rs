//! Checks of the sources what no compiler checks: the layers, the opening sentences, the length of
//! files, the reasons of unsafe blocks, and addresses; it never changes a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::output_of;
use crate::workspace;

/// The layers that must be the same computation in a live run and in a replay.
const PURE_LAYERS: [&str; 2] = ["tracer/src/model/", "tracer/src/analysis/"];

/// What the pure layers may not name: clocks, files, the runtime, the kernel, and outer layers.
const IMPURE: [&str; 10] = [
    "Instant::now",
    "SystemTime::now",
    "std::fs",
    "std::io",
    "tokio",
    "aya",
    "crate::host",
    "crate::source",
    "crate::sink",
    "crate::trace",
];

/// How many lines a source file may have before it should be two.
const LONGEST: usize = 600;

/// Hosts that the set-up asks the package managers for, split so that this file does not name them.
const REGISTRIES: [&str; 6] = [
    concat!("deb.debian", ".org"),
    concat!("security.debian", ".org"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
];

/// Checks every file that git knows or would add. Fails with one line for each finding.
pub fn check() -> Result<()> {
    let mut findings = Vec::new();
    for file in files()? {
        let path = workspace::root().join(&file);
        // Files without text, and links to nothing, have nothing to check.
        let Ok(text) = fs::read_to_string(path) else {
            continue;
        };
        findings.extend(
            check_file(&file, &text)
                .iter()
                .map(|finding| format!("{file}{finding}")),
        );
    }
    if !findings.is_empty() {
        bail!("the sources are not tidy:\n{}", findings.join("\n"));
    }
    Ok(())
}

fn files() -> Result<Vec<String>> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let names = output_of(list.current_dir(workspace::root()))
        .context("tidy needs git, to know which files belong to the project")?;
    Ok(names.lines().map(str::to_owned).collect())
}

/// The findings in one file, each beginning with the line it is on.
fn check_file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    if Path::new(name)
        .extension()
        .is_some_and(|extension| extension == "rs")
    {
        findings.extend(opening(text));
        findings.extend(length(text));
        findings.extend(unexplained_unsafe(text));
        if PURE_LAYERS.iter().any(|layer| name.starts_with(layer)) {
            findings.extend(impure(text));
        }
    }
    // The lock file is cargo's, and names where each crate came from.
    if name != "Cargo.lock" {
        findings.extend(addresses(text, &private_folders()));
    }
    findings
}

fn opening(text: &str) -> Option<String> {
    let opens = text.starts_with("//! ");
    (!opens).then(|| ":1: opens without a `//!` sentence on what it does and never does".to_owned())
}

fn length(text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LONGEST).then(|| format!(":{LONGEST}: has {lines} lines; split it below {LONGEST}"))
}

/// Names of other layers and of the outside world, in code that is not a test.
fn impure(text: &str) -> Vec<String> {
    let code: Vec<&str> = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .collect();
    let mut findings = Vec::new();
    let mut group: Option<String> = None;
    for (number, line) in numbered(&code) {
        let line = line.split("//").next().unwrap_or_default();
        for name in named(line, &mut group) {
            findings.push(format!(
                ":{number}: names {name}, which this layer must not know"
            ));
        }
    }
    findings
}

/// The forbidden names in a line. `group` is the path before a brace that earlier lines opened, as
/// in `use crate::{`.
fn named(line: &str, group: &mut Option<String>) -> Vec<&'static str> {
    if let Some((before, _)) = line.split_once("::{")
        && line.trim_start().starts_with("use ")
    {
        *group = Some(before.trim_start().trim_start_matches("use ").to_owned());
    }
    let found = IMPURE.into_iter().filter(|name| {
        let inside_group = name.split_once("::").is_some_and(|(parent, child)| {
            group.as_deref() == Some(parent) && has_word(line, child)
        });
        has_word(line, name) || inside_group
    });
    let found = found.collect();
    if line.contains(';') {
        *group = None;
    }
    found
}

/// Whether `line` holds `word` as a whole name and not as part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_name = |letter: Option<char>| {
        letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_')
    };
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !part_of_name(before) && !part_of_name(after)
    })
}

/// Unsafe blocks and implementations without a `SAFETY:` above them.
fn unexplained_unsafe(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    numbered(&lines)
        .filter(|(_, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (code.contains(concat!("unsafe", " {")) || code.contains(concat!("unsafe", " impl")))
                && !code.contains('"')
        })
        .filter(|(number, _)| !is_explained(&lines[..number - 1]))
        .map(|(number, _)| format!(":{number}: is unsafe without a `SAFETY:` comment above"))
        .collect()
}

/// Whether the comment that ends `above` explains what follows; the statement may begin some lines
/// before the block.
fn is_explained(above: &[&str]) -> bool {
    let ends_statement = |line: &str| line.is_empty() || line.ends_with([';', '{', '}']);
    above
        .iter()
        .rev()
        .map(|line| line.trim())
        .take_while(|line| line.starts_with("//") || !ends_statement(line))
        .any(|line| line.starts_with("//") && line.contains("SAFETY:"))
}

/// Hosts of registries, and folders of the machine that a file was written on.
fn addresses(text: &str, folders: &[PathBuf]) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut findings = Vec::new();
    for (number, line) in numbered(&lines) {
        if REGISTRIES.iter().any(|host| line.contains(host)) {
            findings.push(format!(
                ":{number}: names a registry's host; ask the package manager"
            ));
        }
        if folders
            .iter()
            .any(|folder| line.contains(&*folder.to_string_lossy()))
        {
            findings.push(format!(
                ":{number}: names a folder of the machine it was written on"
            ));
        }
    }
    findings
}

/// Folders that exist on this machine only: the workspace's, and those in the user's home.
fn private_folders() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".c"));
    [workspace::root().to_owned()]
        .into_iter()
        .chain(home)
        .collect()
}

/// Lines with their numbers, from 1.
fn numbered<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    lines
        .iter()
        .enumerate()
        .map(|(index, line)| (index + 1, *line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_file_has_no_findings() {
        let text = "//! Counts; it never sleeps.\n\nuse crate::model::Pid;\n\nfn ayah() {}\n";
        assert_eq!(
            check_file("tracer/src/analysis/count.rs", text),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_file_must_open_with_its_sentence() {
        assert_eq!(check_file("a.rs", "fn a() {}\n").len(), 1);
        assert_eq!(check_file("a.md", "no sentence\n").len(), 0);
    }

    #[test]
    fn a_file_must_not_be_too_long() {
        let text = format!("//! Long.\n{}", "\n".repeat(LONGEST));
        assert!(check_file("a.rs", &text)[0].contains("601 lines"));
    }

    #[test]
    fn a_pure_layer_names_no_clock_file_or_outer_layer() {
        let text =
            "//! A.\nlet now = Instant::now();\nuse crate::host::limits;\n// tokio is fine here\n";
        let findings = check_file("tracer/src/model/a.rs", text);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with(":2: names Instant::now"));
        assert_eq!(check_file("tracer/src/sink/a.rs", text).len(), 0);
    }

    #[test]
    fn names_in_a_group_are_seen() {
        let text = "//! A.\nuse crate::{\n    model,\n    trace,\n};\nuse std::{fmt, fs};\nlet trace = 1;\n";
        let findings = check_file("tracer/src/model/a.rs", text);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(
            findings[0].contains(":4: names crate::trace"),
            "{findings:?}"
        );
        assert!(findings[1].contains(":6: names std::fs"), "{findings:?}");
    }

    #[test]
    fn tests_in_a_pure_layer_may_read_files() {
        let text = "//! A.\n#[cfg(test)]\nmod tests { use std::fs; }\n";
        assert_eq!(check_file("tracer/src/model/a.rs", text).len(), 0);
    }

    #[test]
    fn unsafe_must_be_explained() {
        let block = concat!("unsafe", " { read(pointer) }");
        let bare = format!("//! A.\nlet a = 1;\nlet b = {block};\n");
        assert_eq!(check_file("a.rs", &bare).len(), 1);
        let told = format!("//! A.\n// SAFETY: the pointer is\n// valid.\nlet b =\n    {block};\n");
        assert_eq!(check_file("a.rs", &told).len(), 0);
        let far = format!("//! A.\n// SAFETY: no.\nlet a = 1;\nlet b = {block};\n");
        assert_eq!(check_file("a.rs", &far).len(), 1);
    }

    #[test]
    fn hosts_and_private_folders_are_found_everywhere_but_in_the_lock_file() {
        let text = format!("from https://{}/x\n", REGISTRIES[0]);
        assert_eq!(check_file("README.md", &text).len(), 1);
        assert_eq!(check_file("Cargo.lock", &text).len(), 0);
        assert_eq!(
            addresses("see /home/me/code/x\n", &["/home/me/code".into()]).len(),
            1
        );
    }
}
