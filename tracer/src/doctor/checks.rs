//! Judges what was found on the machine: one small function a check, of plain values; never asks
//! the machine anything.

use rustix::thread::CapabilitySet;

use super::{
    Check, Verdict,
    facts::{Facts, KERNEL_BTF, Probe},
};
use crate::{
    confine::Strictness,
    source::live::{HOOKS, Hook},
};

const AS_ROOT: &str = "Run as root (`sudo tracer …`); give a container the capabilities BPF and PERFMON \
                       (`--cap-add`, `securityContext.capabilities.add`), or run it privileged";
const OTHER_KERNEL: &str = "Boot a kernel with CONFIG_KPROBES, CONFIG_FTRACE, CONFIG_BPF_EVENTS and \
                            CONFIG_DEBUG_INFO_BTF, as distributions build theirs; from tracer's \
                            source tree, `cargo xtask demo` boots one in QEMU and shows tracer there";

/// All checks, those that others depend on first.
pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![
        rights(facts),
        pid_namespace(facts),
        kernel(facts),
        locked_memory(facts),
        lockdown(facts),
        btf(facts),
        bpf(facts),
        ring_buffer(facts),
        fentry(facts),
        kprobes(facts),
        attaching(facts),
        switched_on(facts),
    ];
    checks.extend(HOOKS.iter().map(|found| hook(facts, found)));
    checks.extend([
        sock_diag(facts),
        other_processes(facts),
        other_network_namespaces(facts),
        cgroup_v2(facts),
        seccomp(facts),
        landlock(facts),
    ]);
    checks
}

/// Whether the capabilities suffice to load tracing programs (capabilities(7)).
fn has_rights(facts: &Facts) -> bool {
    let enough = facts.capabilities.contains(CapabilitySet::SYS_ADMIN)
        || facts
            .capabilities
            .contains(CapabilitySet::BPF | CapabilitySet::PERFMON);
    enough && facts.is_initial_user_namespace != Some(false)
}

fn rights(facts: &Facts) -> Check {
    let held = [
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CapabilitySet::BPF, "CAP_BPF"),
        (CapabilitySet::PERFMON, "CAP_PERFMON"),
        (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    ]
    .iter()
    .filter(|(capability, _)| facts.capabilities.contains(*capability))
    .map(|(_, name)| *name)
    .collect::<Vec<_>>()
    .join(", ");
    let detail = if facts.is_initial_user_namespace == Some(false) {
        "this process is root in a user namespace at most (a rootless container), not on the host"
            .to_owned()
    } else {
        let lacked = lacked(facts);
        match (held.is_empty(), lacked.is_empty()) {
            (_, true) => held,
            (true, false) => format!("{lacked} missing"),
            (false, false) => format!("{held}; {lacked} missing"),
        }
    };
    Check {
        name: "rights",
        verdict: yes_or_no(has_rights(facts)),
        detail,
        cost_if_absent: "nothing can be traced".into(),
        remedy: AS_ROOT,
        essential: true,
    }
}

/// What is missing of the two capabilities that suffice.
fn lacked(facts: &Facts) -> &'static str {
    let has = |capability| facts.capabilities.contains(capability);
    if has(CapabilitySet::SYS_ADMIN) {
        return "";
    }
    match (has(CapabilitySet::BPF), has(CapabilitySet::PERFMON)) {
        (true, true) => "",
        (true, false) => "CAP_PERFMON is",
        (false, true) => "CAP_BPF is",
        (false, false) => "CAP_BPF and CAP_PERFMON are",
    }
}

fn pid_namespace(facts: &Facts) -> Check {
    let (verdict, detail) = match facts.is_initial_pid_namespace {
        Some(true) => (Verdict::Yes, "the host's"),
        Some(false) => (Verdict::No, "this is a container without the host's pids"),
        None => (Verdict::Unknown, "/proc/self/ns/pid cannot be read"),
    };
    Check {
        name: "pid namespace",
        verdict,
        detail: detail.to_owned(),
        cost_if_absent: "of processes that are not in this one's pid namespace, executables and \
                         descriptor counts are not known; connections from before the start have \
                         no owner"
            .into(),
        remedy: "Start the container with the host's pids (`--pid=host`, `hostPID: true`); a sidecar \
                 needs those of its pod only (`--pid=container:NAME`, `shareProcessNamespace: true`)",
        essential: false,
    }
}

/// The first two numbers of the kernel's version.
fn version(facts: &Facts) -> Option<(u32, u32)> {
    let mut numbers = facts
        .kernel
        .split(|character: char| !character.is_ascii_digit())
        .map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// What maps take is more than any limit but none: before 5.11 it counts (`RLIMIT_MEMLOCK` in
/// getrlimit(2)), and tracer raises the limit where it may.
fn locked_memory(facts: &Facts) -> Check {
    let counts = version(facts).is_some_and(|version| version < (5, 11));
    let may_raise = facts.capabilities.contains(CapabilitySet::SYS_RESOURCE);
    let (verdict, detail) = match facts.locked_memory {
        _ if !counts => (Verdict::Yes, "this kernel does not count maps".to_owned()),
        None => (Verdict::Yes, "without a limit".to_owned()),
        Some(_) if may_raise => (Verdict::Yes, "the limit may be raised".to_owned()),
        Some(bytes) => (Verdict::No, format!("at most {} KiB", bytes >> 10)),
    };
    Check {
        name: "locked memory",
        verdict,
        detail,
        cost_if_absent: "this kernel counts maps as locked memory, and there is too little".into(),
        remedy: "Raise the limit (`ulimit -l unlimited`, `--ulimit memlock=-1:-1`), or add the \
                 capability SYS_RESOURCE",
        essential: true,
    }
}

fn kernel(facts: &Facts) -> Check {
    let verdict = version(facts).map_or(Verdict::Unknown, |version| yes_or_no(version >= (5, 8)));
    Check {
        name: "kernel 5.8 or newer",
        verdict,
        detail: facts.kernel.clone(),
        cost_if_absent:
            "the kernel has no BPF ring buffer, unless that was ported back (see below)".into(),
        remedy: "",
        essential: false,
    }
}

fn lockdown(facts: &Facts) -> Check {
    let (verdict, detail) = match &facts.lockdown {
        Some(modes) if modes.is_empty() => (Verdict::Yes, "this kernel has no lockdown"),
        Some(modes) => (yes_or_no(!modes.contains("[confidentiality]")), &**modes),
        None => (
            Verdict::Unknown,
            "not told: /sys/kernel/security is not mounted here",
        ),
    };
    Check {
        name: "no confidential lockdown",
        verdict,
        detail: detail.to_owned(),
        cost_if_absent: "the kernel forbids programs to read its memory".into(),
        remedy: "Boot without `lockdown=confidentiality`",
        essential: true,
    }
}

fn btf(facts: &Facts) -> Check {
    let (verdict, detail) = match &facts.hooks_in_btf {
        Ok(_) => (Verdict::Yes, KERNEL_BTF.to_owned()),
        Err(reason) => (Verdict::No, reason.clone()),
    };
    Check {
        name: "kernel type information (BTF)",
        verdict,
        detail,
        cost_if_absent: "the layout of this kernel's structures is not known".into(),
        remedy: "Boot a kernel with CONFIG_DEBUG_INFO_BTF, as distributions build theirs, and mount \
                 /sys",
        essential: true,
    }
}

fn bpf(facts: &Facts) -> Check {
    let (verdict, mut detail) = probed(facts, &facts.map, "maps can be made");
    if let Some(setting) = &facts.unprivileged_bpf_disabled
        && verdict != Verdict::Yes
    {
        detail.push_str("; kernel.unprivileged_bpf_disabled is ");
        detail.push_str(setting);
    }
    Check {
        name: "bpf() system call",
        verdict,
        detail,
        cost_if_absent: "nothing can be loaded into the kernel".into(),
        remedy: "Boot a kernel with CONFIG_BPF_SYSCALL; in a container, let its seccomp profile \
                 allow bpf()",
        essential: true,
    }
}

fn ring_buffer(facts: &Facts) -> Check {
    let (verdict, detail) = probed(facts, &facts.ring_buffer, "it can be made");
    Check {
        name: "BPF ring buffer",
        verdict,
        detail,
        cost_if_absent: "events cannot be taken from the kernel".into(),
        remedy: "Boot Linux 5.8 or newer",
        essential: true,
    }
}

fn fentry(facts: &Facts) -> Check {
    let (verdict, detail) = probed(
        facts,
        &facts.tracing_program,
        "tracing programs load and attach",
    );
    Check {
        name: "fentry",
        verdict,
        detail,
        cost_if_absent: "kprobes are used, which cost more for each event".into(),
        remedy: "",
        essential: false,
    }
}

fn kprobes(facts: &Facts) -> Check {
    let (verdict, detail) = if facts.has_kprobe_events {
        probed(
            facts,
            &facts.kprobe_program,
            "kprobes are there, and their programs load",
        )
    } else {
        (
            Verdict::No,
            "the kernel has no kprobes (CONFIG_KPROBE_EVENTS)".to_owned(),
        )
    };
    Check {
        name: "kprobes",
        verdict,
        detail,
        cost_if_absent: "there is nothing to fall back on where fentry is refused".into(),
        remedy: "",
        essential: false,
    }
}

/// One of the two ways to attach must be there.
fn attaching(facts: &Facts) -> Check {
    let (fentry, kprobes) = (fentry(facts), kprobes(facts));
    let (verdict, detail) = match (fentry.verdict, kprobes.verdict) {
        (Verdict::Yes, _) => (Verdict::Yes, "by fentry".to_owned()),
        (_, Verdict::Yes) => (Verdict::Yes, "by kprobes".to_owned()),
        (Verdict::No, Verdict::No) => (
            Verdict::No,
            format!(
                "no fentry: {}; no kprobes: {}",
                fentry.detail, kprobes.detail
            ),
        ),
        _ => (Verdict::Unknown, "this needs root to be told".to_owned()),
    };
    Check {
        name: "attaching to kernel functions",
        verdict,
        detail,
        cost_if_absent: "nothing of the kernel can be watched".into(),
        remedy: OTHER_KERNEL,
        essential: true,
    }
}

fn hook(facts: &Facts, hook: &Hook) -> Check {
    let names = hook.functions;
    let (name, verdict, detail) = match &facts.hooks_in_btf {
        Ok(in_btf) => match names.iter().find(|name| in_btf.contains(*name)) {
            Some(name) => (Some(name), Verdict::Yes, "in this kernel"),
            None => (names.first(), Verdict::No, "not in this kernel"),
        },
        Err(_) => (names.first(), Verdict::Unknown, "this needs BTF to be told"),
    };
    Check {
        name: name.copied().unwrap_or_default(),
        verdict,
        detail: detail.to_owned(),
        cost_if_absent: if hook.expected {
            format!("reports lack {}", hook.provides).into()
        } else {
            "nothing: kernels that lack it do the same elsewhere, which is watched too".into()
        },
        remedy: "",
        essential: false,
    }
}

fn sock_diag(facts: &Facts) -> Check {
    let (verdict, detail) = match &facts.sock_diag {
        Ok(()) => (Verdict::Yes, "TCP sockets can be listed".to_owned()),
        Err(reason) => (Verdict::No, reason.clone()),
    };
    Check {
        name: "sock_diag",
        verdict,
        detail,
        cost_if_absent:
            "there is no TIME_WAIT table, and connections from before the start have no \
                         owner"
                .into(),
        remedy: "Load the module: `modprobe tcp_diag`",
        essential: false,
    }
}

fn other_processes(facts: &Facts) -> Check {
    let (verdict, detail) = match facts.processes {
        Some((seen, 0)) => (
            Verdict::Yes,
            format!("all {seen} processes may be looked at"),
        ),
        Some((seen, closed)) => (
            Verdict::No,
            format!("{closed} of {seen} processes may not be looked at"),
        ),
        None => (Verdict::No, "/proc hides them".to_owned()),
    };
    Check {
        name: "other users' processes",
        verdict,
        detail,
        cost_if_absent:
            "executables, descriptor counts and older connections of those are not known".into(),
        remedy: "Run as root, or with CAP_SYS_PTRACE; mount /proc without `hidepid`",
        essential: false,
    }
}

fn other_network_namespaces(facts: &Facts) -> Check {
    let verdict = yes_or_no(facts.capabilities.contains(CapabilitySet::SYS_ADMIN));
    let detail = match verdict {
        Verdict::Yes => "may be entered",
        _ => "may not be entered without CAP_SYS_ADMIN",
    };
    Check {
        name: "other network namespaces",
        verdict,
        detail: detail.to_owned(),
        cost_if_absent: "the TIME_WAIT table lacks containers with a network of their own".into(),
        remedy: "Run as root, or with CAP_SYS_ADMIN",
        essential: false,
    }
}

fn cgroup_v2(facts: &Facts) -> Check {
    Check {
        name: "cgroup v2",
        verdict: yes_or_no(facts.cgroup_v2.is_some()),
        detail: facts
            .cgroup_v2
            .clone()
            .unwrap_or_else(|| "not mounted at /sys/fs/cgroup".to_owned()),
        cost_if_absent: "processes that end at once are told without their container".into(),
        remedy: "Mount it, or give the container the host's /sys/fs/cgroup",
        essential: false,
    }
}

fn seccomp(facts: &Facts) -> Check {
    let (verdict, detail) = match &facts.offers.syscalls {
        Ok(()) => (Verdict::Yes, "tracer refuses itself what it never does"),
        Err(why) => (Verdict::No, &**why),
    };
    Check {
        name: "seccomp",
        verdict,
        detail: detail.to_owned(),
        cost_if_absent: "tracer keeps system calls that it does not need".into(),
        remedy: "",
        essential: false,
    }
}

fn landlock(facts: &Facts) -> Check {
    let (verdict, detail) = match &facts.offers.files {
        Ok(Strictness::Full) => (Verdict::Yes, "tracer writes to its own folders alone"),
        Ok(Strictness::Partial) => (
            Verdict::Yes,
            "tracer writes to its own folders alone, but could cut others' files short",
        ),
        Err(why) => (Verdict::No, &**why),
    };
    Check {
        name: "Landlock",
        verdict,
        detail: detail.to_owned(),
        cost_if_absent: "tracer keeps the right to write any file".into(),
        remedy: "",
        essential: false,
    }
}

/// What a probe tells. A refusal says something about the kernel only where the rights were there.
fn probed(facts: &Facts, probe: &Probe, works: &str) -> (Verdict, String) {
    match probe {
        Probe::Works => (Verdict::Yes, works.to_owned()),
        Probe::Lacking => (Verdict::No, "this kernel cannot".to_owned()),
        Probe::Refused if has_rights(facts) => (
            Verdict::No,
            "the kernel refuses (EPERM), although the rights are there".to_owned(),
        ),
        Probe::Refused => (Verdict::Unknown, "this needs root to be told".to_owned()),
        Probe::Failed(reason) => (Verdict::Unknown, format!("could not be tried: {reason}")),
    }
}

/// Kernels attach tracing programs while it is off, and never call them.
fn switched_on(facts: &Facts) -> Check {
    let (verdict, detail) = match facts.ftrace_enabled.as_deref() {
        Some("0") => (Verdict::No, "kernel.ftrace_enabled is 0".to_owned()),
        Some(value) => (Verdict::Yes, format!("kernel.ftrace_enabled is {value}")),
        // What cannot be read cannot be written by anybody here, and the default is on.
        None => (
            Verdict::Yes,
            "there is no kernel.ftrace_enabled here".to_owned(),
        ),
    };
    Check {
        name: "hooks are switched on",
        verdict,
        detail,
        cost_if_absent: "hooks may be attached, but nothing is seen by them".into(),
        remedy: "Switch them on: `sysctl kernel.ftrace_enabled=1`; somebody, or another tool, has \
                 switched them off",
        essential: true,
    }
}

fn yes_or_no(is_there: bool) -> Verdict {
    if is_there { Verdict::Yes } else { Verdict::No }
}
