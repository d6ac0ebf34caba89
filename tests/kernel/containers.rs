//! tracer in a container, beside an application's in a pod: as a sidecar, once a node, and with rights
//! missing; never without a real container runtime.

use anyhow::Result;
use libtest_mimic::Failed;
use serde_json::Value;

use crate::{
    container::{self, Bundle, Contained, Namespace, added_in},
    list::{Checks, Test},
    programs::{Log, Workload},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    let tests = [
        Test::new("containers::a_sidecar_names_who_flaps_in_its_pod", sidecar),
        Test::new("containers::a_sidecar_leaves_other_pods_alone", other_pods),
        Test::new("containers::a_sidecar_sees_its_pods_processes", seen),
        Test::new("containers::one_a_node_names_who_flaps_in_pods", node),
        Test::new("containers::without_the_hosts_pids_the_kernel_tells", apart),
        Test::new("containers::a_privileged_one_names_who_flaps", privileged),
        Test::new("containers::two_rights_are_enough_to_name_who_flaps", few),
        Test::new("containers::each_missing_right_is_named", missing),
        Test::new("containers::a_pod_must_be_one", no_pod),
    ];
    let here = |test| Test {
        needs: Some(container::are_here),
        ..test
    };
    tests.map(here).into()
}

const PORT: u16 = 2178;
const POD_UID: &str = "7c0b9a8f-7e6d-4c4b-8a29-1807f6e5d4c3";
const OTHER_POD_UID: &str = "2b1d0b9a-8f7e-4d5c-9b3a-291807f6e5d4";
const TRACER_POD_UID: &str = "9f3e0b9a-8f7e-4d5c-9b3a-291807f6e5d4";
const SERVER: &str = "5e5e1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";
const SHOP: &str = "500b1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";
const OTHER: &str = "07e51c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";
const TRACER: &str = "77aa1c0e6d9b8a7f3c2e1d0b9a8f7e6d5c4b3a291807f6e5d4c3b2a190817263";
/// Connections of the client that flaps.
const COUNT: u64 = 12;

/// What deploys tracer, for the rights that it grants.
const SIDECAR: &str = include_str!("../../deploy/kubernetes/sidecar.yaml");
const DAEMONSET: &str = include_str!("../../deploy/kubernetes/daemonset.yaml");

fn cgroup(pod_uid: &str, container: &str) -> String {
    format!("/kubepods/burstable/pod{pod_uid}/{container}")
}

/// A pod with a server and a client that flaps, and another pod whose program can connect nowhere; they
/// wait before they act.
struct Pods {
    server: Contained<Workload>,
    shop: Contained<Workload>,
    other: Contained<Workload>,
}

/// The namespaces of a container that shares its pod's, as the kubelet makes them.
fn shared(pod: u32) -> [Namespace; 4] {
    ["pid", "network", "ipc", "uts"].map(|kind| (kind, Some(pod)))
}

impl Pods {
    fn start(log: &Log) -> Result<Self> {
        let new = ["pid", "network", "ipc", "uts"].map(|kind| (kind, None));
        let server = Bundle::of_workload("server", &format!("--loopback serve --port {PORT}"))?
            .namespaces(&new)
            .capabilities(&["NET_ADMIN"])
            .cgroup(&cgroup(POD_UID, SERVER))
            .run_workload(log)?;
        let flap = format!("--step flap --port {PORT} --count {COUNT} --period-ms 150");
        let shop = Bundle::of_workload("shop", &format!("{flap} --thread client"))?
            .namespaces(&shared(server.pid))
            // So that only whoever has the right for it may look at it.
            .user(1000)
            .capabilities(&[])
            .cgroup(&cgroup(POD_UID, SHOP))
            .run_workload(log)?;
        let other = Bundle::of_workload("other", &format!("--step fail --port {PORT} --count 8"))?
            .namespaces(&new)
            .capabilities(&[])
            .cgroup(&cgroup(OTHER_POD_UID, OTHER))
            .run_workload(log)?;
        Ok(Self {
            server,
            shop,
            other,
        })
    }

    /// All that they do.
    fn act(&mut self) -> Result<()> {
        self.shop.program()?.act()?;
        self.other.program()?.act()?;
        Ok(())
    }
}

/// What became of a run of tracer beside those pods.
struct Watched {
    run: Run,
    shop: u32,
    shop_ns_pid: u64,
    other: u32,
    netns: u64,
}

/// Ends with the verdict about the client that flaps.
fn watch(log: &Log, tracer: impl FnOnce(&Pods) -> Result<Bundle>) -> Result<Watched> {
    watch_until(log, tracer, |told, pods| {
        told["verdict"] == "flapping" && told["pid"] == pods.shop.pid
    })
}

fn watch_until(
    log: &Log,
    tracer: impl FnOnce(&Pods) -> Result<Bundle>,
    is_last: impl Fn(&Value, &Pods) -> bool,
) -> Result<Watched> {
    let mut pods = Pods::start(log)?;
    let mut tracer = tracer(&pods)?.run_tracer(log)?;
    pods.act()?;
    let (shop, other) = (pods.shop.pid, pods.other.pid);
    tracer
        .program()?
        .until_verdict(|told| is_last(told, &pods))?;
    let watched = Watched {
        shop,
        shop_ns_pid: pods.shop.ns_pid()?,
        other,
        netns: pods.server.netns()?,
        run: tracer.stop()?,
    };
    Ok(watched)
}

static BESIDE: Shared<Watched> = Shared::new(|log| {
    watch(log, |pods| {
        let mut namespaces = shared(pods.server.pid).to_vec();
        namespaces.push(("cgroup", None));
        let command = format!("serve --scope pod --pod-uid {POD_UID}");
        Ok(Bundle::of_image("tracer", &command)?
            .namespaces(&namespaces)
            .cgroup(&cgroup(POD_UID, TRACER))
            .capabilities(&added_in(SIDECAR)?))
    })
});

/// tracer once a node, in new namespaces of these kinds and the host's of all others.
fn once_a_node(namespaces: &[&'static str], has_cgroups: bool) -> Result<Bundle> {
    let new: Vec<_> = namespaces.iter().map(|kind| (*kind, None)).collect();
    let mut bundle = Bundle::of_image("tracer", "serve")?
        .namespaces(&new)
        .cgroup(&cgroup(TRACER_POD_UID, TRACER));
    if has_cgroups {
        bundle.mount("/sys/fs/cgroup", "bind", &["rbind", "ro"]);
    } else {
        bundle.unmount("/sys/fs/cgroup");
    }
    Ok(bundle)
}

static ON_NODE: Shared<Watched> = Shared::new(|log| {
    let tracer = |_: &Pods| {
        let bundle = once_a_node(&["network", "ipc", "uts", "cgroup"], true)?;
        Ok(bundle.capabilities(&added_in(DAEMONSET)?))
    };
    // The other pod acts last, and is looked up after that.
    watch_until(log, tracer, |told, pods| {
        let is_other = told["verdict"] == "failing_connects" && told["pid"] == pods.other.pid;
        is_other && told["container"].is_string()
    })
});

/// As once a node, but in a pid namespace of its own: no process of a pod is to be seen there.
static APART: Shared<Watched> = Shared::new(|log| {
    watch(log, |_| {
        let bundle = once_a_node(&["pid", "network"], true)?;
        Ok(bundle.capabilities(&added_in(DAEMONSET)?))
    })
});

/// With all rights, as by `--privileged`, but without the host's cgroups.
static PRIVILEGED: Shared<Watched> =
    Shared::new(|log| watch(log, |_| Ok(once_a_node(&["network"], false)?.privileged())));

static WITH_TWO: Shared<Watched> = Shared::new(|log| {
    watch(log, |_| {
        let bundle = once_a_node(&["network"], false)?;
        Ok(bundle.capabilities(&["BPF", "PERFMON"]))
    })
});

/// What tracer says of the client that flaps, however much it can see.
fn names_the_client<'a>(checks: &mut Checks<'_>, watched: &'a Watched) -> &'a Value {
    let found = watched.run.verdict("flapping", watched.shop);
    let found = checks.some("flapping of the client", found);
    checks.same("exit code", &watched.run.code, &Some(0));
    checks.counts(found, "count", COUNT);
    checks.is(found, "role", "client");
    checks.is(found, "comm", "workload");
    checks.is(found, "thread", "client");
    checks.is(found, "ns_pid", watched.shop_ns_pid);
    checks.is(found, "netns", watched.netns);
    checks.is(found, "hostname", "server");
    found
}

/// Whether the client's TIME_WAIT sockets are told as its own.
fn time_wait_has_its_owner(watched: &Watched) -> bool {
    let own = |line: &Value| line["pid"] == watched.shop && line["attribution"] == "cookie";
    watched.run.of_type("time_wait").any(own)
}

fn sidecar() -> Result<(), Failed> {
    let watched = BESIDE.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = names_the_client(&mut checks, watched);
    checks.is(found, "container", SHOP);
    checks.is(found, "pod_uid", POD_UID);
    checks.is(found, "exe", "/workload");
    checks.is(found, "user", "1000");
    let sockets = time_wait_has_its_owner(watched);
    checks.that("TIME_WAIT sockets have their owner", sockets);
    checks.end()
}

fn other_pods() -> Result<(), Failed> {
    let watched = BESIDE.get()?;
    let mut checks = Checks::of(&watched.run);
    let selection = &watched.run.the("start")["selection"];
    checks.is(selection, "netns", watched.netns);
    let of_other = |line: &&Value| line["pid"] == watched.other;
    checks.same(
        "lines of the other pod's process",
        &watched.run.of_type("process").filter(of_other).count(),
        &0,
    );
    let elsewhere = watched.run.verdict("failing_connects", watched.other);
    checks.that("no verdict of another pod", elsewhere.is_none());
    checks.end()
}

fn seen() -> Result<(), Failed> {
    let watched = BESIDE.get()?;
    let mut checks = Checks::of(&watched.run);
    let row = watched.run.process(watched.shop);
    let row = checks.some("row of the client", row);
    checks.that("its limit is known", row["fd_limit"].is_u64());
    let tracer = |line: &&Value| line["comm"] == "tracer";
    checks.same(
        "rows of tracer itself",
        &watched.run.of_type("process").filter(tracer).count(),
        &0,
    );
    checks.end()
}

fn node() -> Result<(), Failed> {
    let watched = ON_NODE.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = names_the_client(&mut checks, watched);
    checks.is(found, "container", SHOP);
    checks.is(found, "pod_uid", POD_UID);
    checks.is(found, "exe", "/workload");
    checks.is(found, "user", "1000");
    let sockets = time_wait_has_its_owner(watched);
    checks.that("TIME_WAIT sockets have their owner", sockets);
    let other = watched.run.verdict("failing_connects", watched.other);
    let other = checks.some("failing connects of the other pod", other);
    checks.is(other, "container", OTHER);
    checks.is(other, "pod_uid", OTHER_POD_UID);
    checks.end()
}

fn apart() -> Result<(), Failed> {
    let watched = APART.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = names_the_client(&mut checks, watched);
    // By its cgroup, which the kernel tells.
    checks.is(found, "container", SHOP);
    checks.is(found, "pod_uid", POD_UID);
    checks.is(found, "user", "1000");
    checks.is(found, "exe", Value::Null);
    let of_client = |text: &Value| text.as_str().is_some_and(|text| text.contains(" flap "));
    checks.that("its command line is told", of_client(&found["cmdline"]));
    let row = watched.run.process(watched.shop);
    let row = checks.some("row of the client", row);
    checks.is(row, "fd_limit", Value::Null);
    checks.that(
        "sockets of its network are not listed",
        !time_wait_has_its_owner(watched),
    );
    checks.end()
}

fn privileged() -> Result<(), Failed> {
    let watched = PRIVILEGED.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = names_the_client(&mut checks, watched);
    // By the cgroup that /proc tells of each process.
    checks.is(found, "container", SHOP);
    checks.is(found, "pod_uid", POD_UID);
    checks.is(found, "exe", "/workload");
    let sockets = time_wait_has_its_owner(watched);
    checks.that("TIME_WAIT sockets have their owner", sockets);
    checks.end()
}

fn few() -> Result<(), Failed> {
    let watched = WITH_TWO.get()?;
    let mut checks = Checks::of(&watched.run);
    let found = names_the_client(&mut checks, watched);
    // What only /proc tells, and only to whoever may look.
    checks.is(found, "exe", Value::Null);
    let sockets = time_wait_has_its_owner(watched);
    checks.that("sockets of other networks are not listed", !sockets);
    let said = watched.run.log.to_string();
    let why = "TIME_WAIT sockets of other network namespaces are not listed";
    checks.that("it says so", said.contains(why));
    checks.end()
}

/// Runs tracer with these rights for a moment; gives the code that it ended with and what it said.
fn with_rights(words: &str, namespaces: &[Namespace], rights: &[&str]) -> Result<(Run, String)> {
    let log = Log::default();
    let run = Bundle::of_image("refused", words)?
        .namespaces(namespaces)
        .capabilities(rights)
        .cgroup(&cgroup(TRACER_POD_UID, TRACER))
        .run_to_end(&log)?;
    let said = run.log.to_string();
    Ok((run, said))
}

fn missing() -> Result<(), Failed> {
    for (rights, missing) in [
        (&[][..], "CAP_BPF and CAP_PERFMON are missing"),
        (&["BPF"], "CAP_PERFMON is missing"),
        (&["PERFMON"], "CAP_BPF is missing"),
        (
            &["SYS_PTRACE", "NET_ADMIN"],
            "CAP_BPF and CAP_PERFMON are missing",
        ),
    ] {
        let (run, said) = with_rights("serve", &[("network", None)], rights)?;
        let mut checks = Checks::of(&run);
        checks.same("exit code", &run.code, &Some(2));
        checks.that(missing, said.contains(missing));
        let remedy = "securityContext.capabilities.add";
        checks.that("it says what to do", said.contains(remedy));
        checks.end()?;
    }
    Ok(())
}

fn no_pod() -> Result<(), Failed> {
    let (run, said) = with_rights("serve --scope pod", &[], &["BPF", "PERFMON"])?;
    let mut checks = Checks::of(&run);
    checks.same("exit code", &run.code, &Some(2));
    let why = "--scope pod: tracer is in the host's network";
    checks.that(why, said.contains(why));
    checks.end()
}
