//! Hooks that somebody switches off in the kernel, before tracer watches or meanwhile: it says so at once,
//! and its report is not complete; what happened before and after is told as always.

use std::fs;

use anyhow::{Context as _, Result};
use libtest_mimic::Failed;

use crate::{
    commands::{run_as, unmet},
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, run_workload, wait_for},
    run::Run,
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("switches::hooks_switched_off_are_told", switched_off),
        Test::new("switches::hooks_off_before_are_told", off_before),
    ]
}

/// At 0 no traced function calls anything.
const SWITCH: &str = "/proc/sys/kernel/ftrace_enabled";

const PORT: u16 = 2192;
const COUNT: u64 = 8;

/// Switched on again, once it is dropped.
struct Off;

impl Drop for Off {
    fn drop(&mut self) {
        // The tests that come next fail where this did.
        let _ = fs::write(SWITCH, "1");
    }
}

struct Watched {
    run: Run,
    /// Who flaps before and after.
    clients: [u32; 2],
    /// Whether the kernel let them be switched off.
    was_off: bool,
}

fn flap(log: &Log, tracer: &mut Tracer) -> Result<u32> {
    let words = format!("flap --port {PORT} --count {COUNT} --period-ms 100 --thread client");
    let (pid, _) = run_workload(log, &words)?;
    tracer.until_flapping(pid)?;
    Ok(pid)
}

fn watch(log: &Log) -> Result<Watched> {
    let mut tracer = Tracer::watch(log, "")?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let before = flap(log, &mut tracer)?;
    let off = Off;
    // Some kernels refuse it while such hooks are attached, as 5.10 and 7.3 do.
    let was_off = fs::write(SWITCH, "0").is_ok();
    if was_off {
        wait_for("word of it", || {
            Ok(log
                .text()
                .contains("switched off in the kernel")
                .then_some(()))
        })
        .context("nothing was told")?;
    }
    drop(off);
    let after = flap(log, &mut tracer)?;
    Ok(Watched {
        run: tracer.interrupt()?,
        clients: [before, after],
        was_off,
    })
}

fn switched_off() -> Result<(), Failed> {
    let log = Log::default();
    let watched = watch(&log).map_err(|error| format!("{error:#}\n{}", log.text()))?;
    let run = &watched.run;
    let mut checks = Checks::of(run);
    checks.same("exit code", &run.code, &Some(0));
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
    let stats = run.the("stats");
    let off_ms = stats["hooks_off_ms"].as_u64();
    checks.same(
        "told as off",
        &off_ms.map(|ms| ms > 0),
        &Some(watched.was_off),
    );
    if watched.was_off {
        checks.is(stats, "complete", false);
        checks.is(run.the("end"), "complete", false);
    } else {
        checks.nothing_lost();
    }
    for client in watched.clients {
        let found = checks.some("flapping", run.verdict("flapping", client));
        checks.counts(found, "count", COUNT);
    }
    checks.end()
}

/// Some kernels then refuse to attach anything, others attach what is never called. 7.3 has given up the
/// switch, so that nothing is ever off.
fn off_before() -> Result<(), Failed> {
    let off = Off;
    let is_off = fs::write(SWITCH, "0").is_ok();
    let doctor = run_as(0, &["doctor"])?;
    let watch = run_as(0, &["watch", "--duration", "2s"])?;
    drop(off);
    let (code, said) = if is_off {
        (2, "sysctl kernel.ftrace_enabled=1")
    } else {
        (0, "yes  hooks are switched on")
    };
    if doctor.0 != Some(code) || !doctor.1.contains(said) {
        return Err(unmet("doctor does not say whether hooks are off", &doctor));
    }
    let watch_says = match watch.0 {
        Some(0) => watch.2.contains("switched off in the kernel") == is_off,
        _ => is_off && watch.2.contains("sysctl kernel.ftrace_enabled=1"),
    };
    if !watch_says {
        return Err(unmet("the watch does not say what is off", &watch));
    }
    Ok(())
}
