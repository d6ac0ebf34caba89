//! The command line where tracing works: each command's output and exit code, and the right that is
//! lacking without root.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::Result;
use libtest_mimic::Failed;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, tracer},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("commands::doctor_finds_nothing_missing", doctor),
        Test::new("commands::without_rights_one_message_says_so", no_rights),
        Test::new("commands::timewait_fills_in_the_owner", timewait),
        Test::new("commands::watch_writes_text_into_a_pipe", text),
    ]
}

const PORT: u16 = 2171;
/// `nobody`.
const NOBODY: u32 = 65534;

/// Runs tracer to its end as somebody; gives its exit code, output and errors.
pub fn run_as(user: u32, words: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(tracer()).args(words).uid(user).output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

pub fn unmet(what: &str, output: &impl std::fmt::Debug) -> Failed {
    format!("{what}: {output:#?}").into()
}

fn doctor() -> Result<(), Failed> {
    let output = run_as(0, &["doctor", "--format", "json"])?;
    if output.0 != Some(0) {
        return Err(unmet("the exit code is not 0", &output));
    }
    for line in output.1.lines() {
        let check: serde_json::Value = serde_json::from_str(line)?;
        if check["essential"] == true && check["verdict"] == "no" {
            return Err(unmet("something essential is missing", &check));
        }
    }
    Ok(())
}

fn no_rights() -> Result<(), Failed> {
    for words in [["watch", "--no-fds"], ["timewait", "--for=1s"]] {
        let output = run_as(NOBODY, &words)?;
        if output.0 != Some(2) || !output.1.is_empty() {
            return Err(unmet("not exit code 2 without output", &output));
        }
        for said in ["CAP_BPF", "sudo tracer"] {
            if output.2.matches(said).count() != 1 {
                return Err(unmet(&format!("`{said}` is not said once"), &output));
            }
        }
    }
    let output = run_as(NOBODY, &["doctor"])?;
    if output.0 != Some(2) || !output.1.contains("CAP_SYS_ADMIN") {
        return Err(unmet(
            "doctor does not say that rights are lacking",
            &output,
        ));
    }
    Ok(())
}

/// A short run of something that watches, with a client that flaps at the port.
fn watch(log: &Log, words: &str) -> Result<(Run, u32)> {
    let tracer = Tracer::until_ready_file(log, words)?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let mut flap = Workload::stepwise(
        log,
        &format!("flap --port {PORT} --count 6 --thread flapper"),
    )?;
    flap.act()?;
    Ok((tracer.interrupt()?, flap.pid()))
}

static TIMEWAIT: Shared<(Run, u32)> =
    Shared::new(|log| watch(log, &format!("timewait --for 100s --port {PORT}")));
static TEXT: Shared<(Run, u32)> =
    Shared::new(|log| watch(log, &format!("watch --port {PORT} --duration 100s")));

fn timewait() -> Result<(), Failed> {
    let (run, flap) = TIMEWAIT.get()?;
    let mut checks = Checks::of(run);
    checks.same("exit code", &run.code, &Some(0));
    let owned =
        |line: &&String| line.contains(&format!("{flap}/workload")) && line.contains("TIME_WAIT");
    checks.same(
        "lines with the owner",
        &run.text.iter().filter(owned).count(),
        &6,
    );
    checks.end()
}

fn text() -> Result<(), Failed> {
    let (run, flap) = TEXT.get()?;
    let mut checks = Checks::of(run);
    checks.same("exit code", &run.code, &Some(0));
    let text = run.text.join("\n");
    checks.that(
        "the process is named",
        text.contains(&format!("workload[{flap}]")),
    );
    checks.that("the thread is named", text.contains("flapper"));
    checks.that("there is no escape sequence", !text.contains('\x1b'));
    checks.end()
}
