//! The ways to attach: each by itself, as on a kernel that lacks the other.

use anyhow::Result;
use libtest_mimic::Failed;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("attach::kprobes_do_as_well", kprobe),
        Test::new("attach::a_verdict_can_be_an_exit_code", verdict_code),
        Test::new("attach::fentry_alone_says_what_is_missing", fentry),
    ]
}

const PORT: u16 = 2175;

static KPROBES: Shared<Watched> = Shared::new(|log| watch(log, "kprobe", "--fail-on-verdict"));
static FENTRY: Shared<Watched> = Shared::new(|log| watch(log, "fentry", ""));

struct Watched {
    run: Run,
    flap: u32,
    burst: u32,
}

fn watch(log: &Log, how: &str, more: &str) -> Result<Watched> {
    let tracer = Tracer::watch(log, &format!("--attach {how} {more}"))?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let words = format!("flap --port {PORT} --count 8 --period-ms 100 --send 5 --thread flapper");
    let mut flap = Workload::stepwise(log, &words)?;
    flap.act()?;
    let mut burst = Workload::stepwise(log, "burst --dir /tmp/shop/WEB-INF/lib --files 228")?;
    burst.go()?;
    burst.until("opened")?;
    burst.act()?;
    Ok(Watched {
        run: tracer.interrupt()?,
        flap: flap.pid(),
        burst: burst.pid(),
    })
}

/// What must be found whatever the way.
fn main_jobs(checks: &mut Checks<'_>, watched: &Watched) {
    let run = &watched.run;
    let found = checks.some("flapping", run.verdict("flapping", watched.flap));
    checks.is(found, "thread", "flapper");
    checks.counts(found, "count", 8);
    checks.counts(found, "tx_bytes", 40);
    checks.is(found, "closed_by.local", 1.0);
    let rows: Vec<_> = run
        .of_type("time_wait")
        .filter(|row| row["pid"] == watched.flap)
        .collect();
    // After a second the kernel may use a port again.
    checks.that(
        format_args!("6 to 8 sockets: {rows:?}"),
        (6..=8).contains(&rows.len()),
    );
    let found = checks.some("burst", run.verdict("fd_burst", watched.burst));
    checks.is(found, "opens", 228);
    checks.is(found, "top_dirs/0/pattern", "/tmp/shop/WEB-INF/lib/*.jar");
    checks.same("kinds that do not add up", &run.unbalanced(), &Vec::new());
}

/// Each hook is attached in one of these ways, or says why it is not: then the report is not called
/// complete. Gives the names of the latter.
fn attached<'a>(checks: &mut Checks<'_>, run: &'a Run, ways: &[&str]) -> Vec<&'a str> {
    let mut missing = Vec::new();
    for hook in run.the("start")["hooks"].as_array().into_iter().flatten() {
        if let Some(way) = hook["attached"].as_str() {
            checks.that(format_args!("allowed: {hook}"), ways.contains(&way));
        } else {
            checks.that(
                format_args!("a reason in {hook}"),
                hook["reason"].is_string(),
            );
            missing.extend(hook["name"].as_str());
        }
    }
    let complete = missing.is_empty() && run.the("stats")["lost"] == 0;
    checks.is(run.the("end"), "complete", complete);
    missing
}

fn kprobe() -> Result<(), Failed> {
    let watched = KPROBES.get()?;
    let mut checks = Checks::of(&watched.run);
    main_jobs(&mut checks, watched);
    // Only an fexit sees both the address that was asked for and how the call ended.
    let missing = attached(
        &mut checks,
        &watched.run,
        &["kprobe", "kretprobe", "raw_tracepoint"],
    );
    checks.same(
        "hooks without kprobe",
        &missing,
        &vec!["tcp_v4_connect", "tcp_v6_connect"],
    );
    checks.end()
}

fn verdict_code() -> Result<(), Failed> {
    let watched = KPROBES.get()?;
    let mut checks = Checks::of(&watched.run);
    checks.same("exit code", &watched.run.code, &Some(3));
    checks.end()
}

fn fentry() -> Result<(), Failed> {
    let watched = FENTRY.get()?;
    let mut checks = Checks::of(&watched.run);
    main_jobs(&mut checks, watched);
    attached(
        &mut checks,
        &watched.run,
        &["fentry", "fexit", "tp_btf", "raw_tracepoint"],
    );
    checks.same("exit code", &watched.run.code, &Some(0));
    checks.end()
}
