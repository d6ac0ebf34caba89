//! Builds the fuzz targets with coverage counters and runs each for some seconds; it never changes the
//! corpus that is kept in the repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{output_of, run_shown};
use crate::{setup, workspace};

/// The targets, each with a corpus of its name.
const TARGETS: [&str; 2] = ["records", "traces"];

/// How long each makes up inputs. The way is short: most of what a longer run finds, it finds within
/// the first seconds, and each run goes on from what the last one found.
const SECONDS: u32 = 10;

/// Where its random numbers begin: each time at the same, so that no change is blamed for what other numbers
/// would have found. A run by hand without it looks further.
const SEED: u32 = 1;

/// Memory that the whole way may take for one input of some kilobytes, with libFuzzer's own.
const MEMORY_MIB: u32 = 1024;

/// One input's time before it counts as a hang.
const TIMEOUT_SECONDS: u32 = 10;

/// LLVM's coverage pass, as libFuzzer needs it: a counter on each edge, a table of their addresses,
/// and the operands of comparisons. These are flags of stable rustc; only the address sanitizer
/// would need more, and there is nothing unsafe on this way.
const COVERAGE: &str = "-Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Runs the corpus and what grows from it. Fails where an input panics, hangs or takes too much
/// memory, and then says how to do it again.
pub fn run() -> Result<()> {
    setup::cxx_compiler()?;
    // Beside the other builds: the flags are others, and would throw those away.
    let folder = workspace::target().join("fuzz");
    let host = host()?;
    let mut build = workspace::cargo("build");
    build
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", &folder)
        // Naming the target keeps the flags from build scripts and macros.
        .args(["--profile", "fuzz", "--target", &host])
        .args(["--package", "tracer-fuzz", "--features", "libfuzzer"]);
    run_shown(&mut build)?;

    let programs = folder.join(&host).join("fuzz");
    TARGETS
        .into_iter()
        .try_for_each(|target| fuzz(target, &programs, &folder))
}

/// Runs one target, which lies among `programs`; what it finds goes to `folder`.
fn fuzz(target: &str, programs: &Path, folder: &Path) -> Result<()> {
    let corpus = format!("corpus-{target}");
    let discovered = folder.join(&corpus);
    let broken = folder.join("broken");
    fs::create_dir_all(&discovered)?;
    fs::create_dir_all(&broken)?;
    let program = programs.join(target);
    let mut fuzz = Command::new(&program);
    fuzz.arg(&discovered)
        .arg(workspace::root().join("tests/fuzz").join(&corpus))
        .arg(format!("-seed={SEED}"))
        .arg(format!("-max_total_time={SECONDS}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={TIMEOUT_SECONDS}"))
        .arg(format!("-artifact_prefix={}/", broken.display()))
        .arg("-print_final_stats=1");
    eprintln!("  running {fuzz:?}");
    let output = fuzz
        .output()
        .with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{said}");
        bail!(
            "the fuzzer found an input that breaks tracer; {}",
            again(&said, &program.display())
        );
    }
    eprintln!("  fuzzed  {target}: {}", summary(&said));
    Ok(())
}

/// How to do it again, from libFuzzer's line about the file that it left.
fn again(said: &str, program: &dyn std::fmt::Display) -> String {
    let file = said.lines().find_map(|line| {
        line.split_once("Test unit written to ")
            .map(|(_, file)| file)
    });
    match file {
        Some(file) => format!("again: {program} {file}"),
        None => "it left no file".to_owned(),
    }
}

/// Executions and coverage in a few words.
fn summary(said: &str) -> String {
    let executions = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
        .map_or("?", str::trim);
    let edges = said
        .lines()
        .rev()
        .find_map(|line| line.split_once(" cov: "))
        .and_then(|(_, rest)| rest.split(' ').next())
        .unwrap_or("?");
    format!("{executions} inputs in {SECONDS} s, {edges} edges reached, nothing broke")
}

/// The target that rustc builds for when none is named.
fn host() -> Result<String> {
    let version = output_of(Command::new("rustc").arg("-vV"))?;
    version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("`rustc -vV` names no host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_was_run() {
        let said = "#13\tINITED cov: 2698 ft: 4117 corp: 12/3177b exec/s: 0 rss: 29Mb\n\
                    #14387\tDONE   cov: 3521 ft: 9000 corp: 608/90Kb exec/s: 1307 rss: 32Mb\n\
                    Done 14387 runs in 11 second(s)\n\
                    stat::number_of_executed_units: 14387\n";
        assert_eq!(
            summary(said),
            "14387 inputs in 10 s, 3521 edges reached, nothing broke"
        );
        assert_eq!(
            summary(""),
            "? inputs in 10 s, ? edges reached, nothing broke"
        );
    }

    #[test]
    fn tells_how_to_do_it_again() {
        let said = "==9== ERROR: libFuzzer: deadly signal\n\
                    artifact_prefix='/t/'; Test unit written to /t/crash-0a\n";
        assert_eq!(again(said, &"/t/records"), "again: /t/records /t/crash-0a");
        assert_eq!(again("", &"/t/records"), "it left no file");
    }
}
