//! The checks on made-up machines; never on this one.

use std::collections::BTreeSet;

use rustix::thread::CapabilitySet;

use super::{
    checks::judge,
    facts::{Facts, Probe},
    *,
};
use crate::{
    confine::{Offers, Strictness},
    source::live::HOOKS,
};

/// A Debian host, seen by root.
fn good_host() -> Facts {
    Facts {
        capabilities: CapabilitySet::all(),
        is_initial_user_namespace: Some(true),
        is_initial_pid_namespace: Some(true),
        kernel: "6.1.0-37-cloud-amd64".to_owned(),
        unprivileged_bpf_disabled: Some("2".to_owned()),
        locked_memory: Some(8 << 20),
        lockdown: Some("[none] integrity confidentiality".to_owned()),
        hooks_in_btf: Ok(HOOKS.iter().map(|hook| hook.functions[0]).collect()),
        map: Probe::Works,
        ring_buffer: Probe::Works,
        tracing_program: Probe::Works,
        kprobe_program: Probe::Works,
        has_kprobe_events: true,
        ftrace_enabled: Some("1".to_owned()),
        cgroup_v2: Some("/sys/fs/cgroup".to_owned()),
        sock_diag: Ok(()),
        processes: Some((150, 0)),
        offers: Offers {
            syscalls: Ok(()),
            files: Ok(Strictness::Full),
        },
    }
}

fn verdict_of(name: &str, facts: &Facts) -> Verdict {
    judge(facts)
        .into_iter()
        .find(|check| check.name == name)
        .map(|check| check.verdict)
        .unwrap()
}

/// The names of the essential checks that fail.
fn missing(facts: &Facts) -> Vec<&'static str> {
    judge(facts)
        .into_iter()
        .filter(|check| check.essential && check.verdict == Verdict::No)
        .map(|check| check.name)
        .collect()
}

#[test]
fn a_good_host() {
    let checks = judge(&good_host());
    assert!(checks.iter().all(|check| check.verdict == Verdict::Yes));
    assert_eq!(obstacles(&checks), None);
    let text = render(&checks);
    assert!(text.starts_with("yes  rights                         CAP_SYS_ADMIN, CAP_BPF, "));
    assert!(text.ends_with("\nTracing can work here.\n"));
}

#[test]
fn a_kernel_that_takes_no_rights_back() {
    let facts = Facts {
        offers: Offers {
            syscalls: Err("this architecture is not known".to_owned()),
            files: Err("this kernel has no Landlock".to_owned()),
        },
        ..good_host()
    };
    assert_eq!(verdict_of("seccomp", &facts), Verdict::No);
    assert_eq!(verdict_of("Landlock", &facts), Verdict::No);
    assert_eq!(missing(&facts), [""; 0]);
}

#[test]
fn either_way_to_attach_is_enough() {
    let without_fentry = Facts {
        tracing_program: Probe::Lacking,
        ..good_host()
    };
    assert_eq!(verdict_of("fentry", &without_fentry), Verdict::No);
    assert_eq!(missing(&without_fentry), [""; 0]);
    let without_kprobes = Facts {
        has_kprobe_events: false,
        ..good_host()
    };
    assert_eq!(verdict_of("kprobes", &without_kprobes), Verdict::No);
    assert_eq!(missing(&without_kprobes), [""; 0]);
}

#[test]
fn a_kernel_to_which_nothing_can_be_attached() {
    let facts = Facts {
        tracing_program: Probe::Refused,
        has_kprobe_events: false,
        ..good_host()
    };
    let text = obstacles(&judge(&facts)).unwrap();
    assert!(
        text.starts_with(
            "tracer cannot trace on this machine:\n  \
             attaching to kernel functions: no fentry: the kernel refuses (EPERM), although the \
             rights are there; no kprobes: the kernel has no kprobes (CONFIG_KPROBE_EVENTS).\n    \
             Boot a kernel with CONFIG_KPROBES, "
        ),
        "{text}"
    );
    assert!(text.ends_with("\n`tracer doctor` lists all checks."));
}

#[test]
fn without_root_only_the_rights_are_known_to_be_missing() {
    let facts = Facts {
        capabilities: CapabilitySet::empty(),
        map: Probe::Refused,
        ring_buffer: Probe::Refused,
        tracing_program: Probe::Refused,
        kprobe_program: Probe::Refused,
        processes: Some((150, 149)),
        ..good_host()
    };
    assert_eq!(missing(&facts), ["rights"]);
    for name in ["bpf() system call", "BPF ring buffer", "fentry", "kprobes"] {
        assert_eq!(verdict_of(name, &facts), Verdict::Unknown, "{name}");
    }
    assert_eq!(verdict_of("other users' processes", &facts), Verdict::No);
}

#[test]
fn two_capabilities_are_enough_to_trace() {
    let facts = Facts {
        capabilities: CapabilitySet::BPF | CapabilitySet::PERFMON,
        ..good_host()
    };
    assert_eq!(missing(&facts), [""; 0]);
    assert_eq!(verdict_of("other network namespaces", &facts), Verdict::No);
    let facts = Facts {
        capabilities: CapabilitySet::BPF,
        ..good_host()
    };
    assert_eq!(missing(&facts), ["rights"]);
    let text = obstacles(&judge(&facts)).unwrap();
    assert!(
        text.contains("\n  rights: CAP_BPF; CAP_PERFMON is missing.\n    Run as root "),
        "{text}"
    );
}

#[test]
fn containers() {
    let sidecar = Facts {
        is_initial_pid_namespace: Some(false),
        ..good_host()
    };
    assert_eq!(verdict_of("pid namespace", &sidecar), Verdict::No);
    assert_eq!(missing(&sidecar), [""; 0]);
    let rootless = Facts {
        is_initial_user_namespace: Some(false),
        is_initial_pid_namespace: Some(false),
        ..good_host()
    };
    assert_eq!(missing(&rootless), ["rights"]);
}

/// 5.10 counts maps against the limit of locked memory; later kernels have other accounts.
#[test]
fn maps_of_an_old_kernel_need_locked_memory() {
    let sidecar = Facts {
        capabilities: CapabilitySet::BPF | CapabilitySet::PERFMON,
        kernel: "5.10.0-46-cloud-amd64".to_owned(),
        locked_memory: Some(64 << 10),
        ..good_host()
    };
    assert_eq!(missing(&sidecar), ["locked memory"]);
    let text = obstacles(&judge(&sidecar)).unwrap();
    assert!(
        text.contains("\n  locked memory: at most 64 KiB.\n    Raise the limit "),
        "{text}"
    );
    for enough in [
        Facts {
            locked_memory: None,
            ..sidecar.clone()
        },
        Facts {
            capabilities: sidecar.capabilities | CapabilitySet::SYS_RESOURCE,
            ..sidecar.clone()
        },
        Facts {
            kernel: "5.11.0".to_owned(),
            ..sidecar
        },
    ] {
        assert_eq!(missing(&enough), [""; 0]);
    }
}

#[test]
fn kernels_that_lack_something() {
    let old = Facts {
        kernel: "5.4.0-generic".to_owned(),
        ring_buffer: Probe::Lacking,
        ..good_host()
    };
    assert_eq!(verdict_of("kernel 5.8 or newer", &old), Verdict::No);
    assert_eq!(missing(&old), ["BPF ring buffer"]);

    let locked_down = Facts {
        lockdown: Some("none integrity [confidentiality]".to_owned()),
        ..good_host()
    };
    assert_eq!(missing(&locked_down), ["no confidential lockdown"]);

    let without_btf = Facts {
        hooks_in_btf: Err("no such file".to_owned()),
        ..good_host()
    };
    assert_eq!(missing(&without_btf), ["kernel type information (BTF)"]);
    assert_eq!(verdict_of("tcp_connect", &without_btf), Verdict::Unknown);

    let without_a_hook = Facts {
        hooks_in_btf: Ok(BTreeSet::from(["tcp_connect"])),
        ..good_host()
    };
    assert_eq!(verdict_of("tcp_connect", &without_a_hook), Verdict::Yes);
    assert_eq!(verdict_of("tcp_close", &without_a_hook), Verdict::No);
}

/// Newer kernels renamed a function: either name will do, and the one that is there is shown.
#[test]
fn a_hook_by_any_of_its_names() {
    let mut names: BTreeSet<_> = HOOKS.iter().map(|hook| hook.functions[0]).collect();
    assert!(names.remove("do_filp_open"));
    let without = Facts {
        hooks_in_btf: Ok(names.clone()),
        ..good_host()
    };
    assert_eq!(verdict_of("do_filp_open", &without), Verdict::No);
    let text = render(&judge(&without));
    assert!(
        text.contains("without: reports lack files that could not be opened\n"),
        "{text}"
    );

    names.insert("do_file_open");
    let renamed = Facts {
        hooks_in_btf: Ok(names),
        ..good_host()
    };
    assert_eq!(verdict_of("do_file_open", &renamed), Verdict::Yes);
}

#[test]
fn hooks_that_were_switched_off() {
    let facts = |value: Option<&str>| Facts {
        ftrace_enabled: value.map(str::to_owned),
        ..good_host()
    };
    assert_eq!(missing(&facts(Some("0"))), ["hooks are switched on"]);
    assert_eq!(missing(&facts(None)), [""; 0]);
    let text = obstacles(&judge(&facts(Some("0")))).unwrap();
    assert!(text.contains("sysctl kernel.ftrace_enabled=1"), "{text}");
}

#[test]
fn every_check_that_can_fail_says_what_it_costs() {
    for check in judge(&good_host()) {
        assert_ne!(check.cost_if_absent, "", "{}", check.name);
        assert!(
            !check.essential || !check.remedy.is_empty(),
            "{}",
            check.name
        );
    }
}

#[test]
fn json_has_stable_words() {
    let check = Check {
        name: "rights",
        verdict: Verdict::Unknown,
        detail: "none".to_owned(),
        cost_if_absent: "all".into(),
        remedy: "sudo",
        essential: true,
    };
    assert_eq!(
        serde_json::to_string(&check).unwrap(),
        r#"{"name":"rights","verdict":"unknown","detail":"none","cost_if_absent":"all","remedy":"sudo","essential":true}"#
    );
}

#[test]
fn the_real_machine_gets_an_answer_to_every_check() {
    assert_eq!(run().len(), judge(&good_host()).len());
}
