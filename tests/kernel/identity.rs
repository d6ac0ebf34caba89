//! Who processes are: one run with programs in cgroups and namespaces as container runtimes, systemd and
//! the kubelet make them, and with one that hands its connections on.

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::{Value, json};

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("identity::a_pods_container_is_named", pod),
        Test::new("identity::a_systemd_unit_is_named", unit),
        Test::new("identity::a_short_lived_process_has_its_place", short_lived),
        Test::new("identity::parents_are_told_up_to_the_first", parents),
        Test::new("identity::opener_and_closer_are_both_named", handed_over),
    ]
}

/// Where the programs serve, each a port of its own.
const POD: u16 = 2195;
const UNIT: u16 = 2196;
const HANDED_OVER: u16 = 2197;
/// The one that the short-lived process connects to.
const SHORT_LIVED: u16 = UNIT;

const CONTAINER: &str = "4f5a1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";
const OTHER_CONTAINER: &str = "00aa1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a19081ffff";
const POD_UID: &str = "1f0a2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
const POD_NAME: &str = "shop-7d4f9c-x2x8k";
/// Connections of each client that flaps.
const COUNT: u64 = 12;

static RUN: Shared<Watched> = Shared::new(watch);

struct Watched {
    run: Run,
    pod: u32,
    unit: u32,
    short_lived: u32,
    handing: u32,
    closer: Value,
}

fn watch(log: &Log) -> Result<Watched> {
    let slice = POD_UID.replace('-', "_");
    let pod_cgroup = format!(
        "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/\
         cri-containerd-{CONTAINER}.scope"
    );
    let ports = [POD, UNIT, HANDED_OVER].map(|port| port.to_string());
    let tracer = Tracer::watch(log, &format!("--port {}", ports.join(",")))?;
    let _pod_server = Workload::start(log, &format!("serve --port {POD}"))?;
    let _unit_server = Workload::start(log, &format!("serve --port {UNIT}"))?;
    let flap = |port: u16| format!("flap --port {port} --count {COUNT} --period-ms 150");
    let mut pod = Workload::stepwise(
        log,
        &format!(
            "--cgroup {pod_cgroup} --hostname {POD_NAME} {} --thread client",
            flap(POD)
        ),
    )?;
    let mut unit = Workload::stepwise(
        log,
        &format!(
            "--cgroup system.slice/zk-client.service {} --thread client",
            flap(UNIT)
        ),
    )?;
    let mut handing = Workload::stepwise(
        log,
        &format!("hand-over --port {HANDED_OVER} --count {COUNT}"),
    )?;
    handing.go()?;
    let mut peer = Workload::stepwise(
        log,
        &format!("{} --until-eof --thread reader", flap(HANDED_OVER)),
    )?;
    // It ends long before the watch does: looking up goes on beside.
    let words = format!(
        "--cgroup system.slice/docker-{OTHER_CONTAINER}.scope --hostname once connect --port \
         {SHORT_LIVED}"
    );
    let short_lived = Workload::run_to_end(log, &words)?;
    let all = [&mut pod, &mut unit, &mut peer];
    for part in all {
        part.act()?;
    }
    let closer = handing.until("done")?["closer"].clone();
    let run = tracer.interrupt()?;
    Ok(Watched {
        run,
        pod: pod.pid(),
        unit: unit.pid(),
        short_lived,
        handing: handing.pid(),
        closer,
    })
}

fn pod() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = checks.some(
        "flapping of the pod",
        watched.run.verdict("flapping", watched.pod),
    );
    checks.is(found, "container", CONTAINER);
    checks.is(found, "runtime", "containerd");
    checks.is(found, "pod_uid", POD_UID);
    checks.is(found, "unit", Value::Null);
    checks.is(found, "hostname", POD_NAME);
    let process = checks.some("row of the pod", watched.run.process(watched.pod));
    checks.is(process, "hostname", POD_NAME);
    checks.is(process, "netns", found["netns"].clone());
    checks.that("the network namespace is told", found["netns"].is_u64());
    checks.end()
}

fn unit() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = checks.some(
        "flapping of the unit",
        watched.run.verdict("flapping", watched.unit),
    );
    checks.is(found, "unit", "zk-client.service");
    checks.is(found, "container", Value::Null);
    checks.is(found, "runtime", Value::Null);
    checks.is(found, "pod_uid", Value::Null);
    checks.is(found, "hostname", "tracer-vm");
    checks.end()
}

fn short_lived() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = watched.run.process(watched.short_lived);
    let found = checks.some("row of the short-lived process", found);
    checks.is(found, "ended", true);
    checks.is(found, "container", OTHER_CONTAINER);
    checks.is(found, "runtime", "docker");
    checks.is(found, "hostname", "once");
    checks.is(found, "user", "root");
    checks.is(found, "ppid", std::process::id());
    checks.end()
}

fn parents() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = checks.some(
        "flapping of the unit",
        watched.run.verdict("flapping", watched.unit),
    );
    checks.is(found, "parents.0.pid", std::process::id());
    checks.is(found, "parents.0.comm", found["parent_comm"].clone());
    let last = found["parents"].as_array().and_then(|all| all.last());
    let last = checks.some("last parent", last);
    checks.is(last, "pid", 1);
    checks.end()
}

fn handed_over() -> Result<(), Failed> {
    let watched = RUN.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = checks.some(
        "flapping of the peer of the server that hands over",
        watched.run.verdict("flapping", watched.handing),
    );
    checks.is(found, "role", "server");
    checks.counts(found, "count", COUNT);
    checks.is(found, "closed_by.local", 1.0);
    checks.is(found, "closer.pid", watched.closer.clone());
    checks.is(found, "closer.tid", watched.closer.clone());
    checks.is(found, "closer.comm", "workload");
    checks.is(found, "closer.thread", "workload");
    let said = format!("its descriptor closed by workload[{}]", watched.closer);
    let text = found["text"].as_str().unwrap_or_default();
    checks.that(format_args!("{text} has {said}"), text.contains(&said));
    let its_pid = watched
        .closer
        .as_u64()
        .and_then(|pid| u32::try_from(pid).ok());
    let row = its_pid.and_then(|pid| watched.run.process(pid));
    let row = checks.some("row of the closer", row);
    checks.is(row, "ppid", watched.handing);
    checks.same(
        "the closer's first parent",
        &row["parents"][0],
        &json!({"pid": watched.handing, "comm": "workload"}),
    );
    checks.end()
}
