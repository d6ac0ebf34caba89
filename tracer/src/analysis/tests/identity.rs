//! Who processes are: what is known, kept, and not mixed up.

use crate::{
    analysis::{
        report::Identity,
        timeline::{NETNS, Timeline, Who, instant, who},
    },
    model::{Ancestor, DescriptorFact, HostFact, Nanos, Pid, ProcessFact},
};

const JAVA: Who = who(50, 50, "java");
const SERVER: &str = "10.0.0.9:2181";

fn ancestor(pid: u32, comm: &str) -> Ancestor {
    Ancestor {
        pid: Pid(pid),
        comm: comm.into(),
    }
}

/// The parent and whoever is before it.
fn lineage(who: &Identity) -> Vec<(u32, &str)> {
    who.lineage().map(|(pid, comm)| (pid.0, comm)).collect()
}

fn fact(pid: u32) -> ProcessFact {
    ProcessFact {
        pid: Pid(pid),
        comm: Some("java".to_owned()),
        exe: Some("/usr/bin/java".to_owned()),
        cmdline: Some("java -jar app.jar".to_owned()),
        user: Some("tomcat".to_owned()),
        ns_pid: Some(7),
        container: Some("0123456789ab".to_owned()),
        runtime: Some("docker".to_owned()),
        ppid: Some(Pid(1)),
        parents: vec![ancestor(1, "systemd")],
        ..ProcessFact::default()
    }
}

#[test]
fn an_event_alone_gives_a_name() {
    let mut t = Timeline::new();
    t.connect(JAVA, 1, SERVER);
    let who = &t.report().processes[0].who;
    assert_eq!(
        (who.pid, who.comm.as_str(), who.exe.clone()),
        (Some(Pid(50)), "java", None)
    );
}

#[test]
fn another_threads_name_is_not_the_processs() {
    let mut t = Timeline::new();
    t.connect(who(50, 51, "Thread-3-SendTh"), 1, SERVER);
    assert_eq!(t.report().processes[0].who.comm, "");
}

#[test]
fn a_look_up_knows_better_and_stays_after_death() {
    let mut t = Timeline::new();
    t.process(50, "java", (1, "systemd"))
        .fact(HostFact::Process(Box::new(fact(50))))
        .exit(50, "java");
    t.at(100.0);
    let who = &t.report().processes[0].who;
    assert_eq!(who.exe.as_deref(), Some("/usr/bin/java"));
    assert_eq!(who.cmdline.as_deref(), Some("java -jar app.jar"));
    assert_eq!(who.user.as_deref(), Some("tomcat"));
    assert_eq!(who.container.as_deref(), Some("0123456789ab"));
    assert_eq!((who.ns_pid, who.ppid), (Some(7), Some(Pid(1))));
    assert_eq!(who.parent_comm.as_deref(), Some("systemd"));
    assert!(who.ended);
}

#[test]
fn another_program_is_asked_about_anew() {
    let mut t = Timeline::new();
    t.process(50, "bash", (1, "sshd"))
        .fact(HostFact::Process(Box::new(fact(50))));
    assert_eq!(t.engine.take_lookups(), [Pid(50)]);
    t.exec(50, "nc", (1, "sshd"), instant(0.0));
    assert_eq!(t.engine.take_lookups(), [Pid(50)]);
    let who = &t.report().processes[0].who;
    assert_eq!((who.comm.as_str(), who.exe.clone()), ("nc", None));
    assert_eq!(who.cmdline.as_deref(), Some("/usr/bin/nc --option"));
    assert_eq!(who.container.as_deref(), Some("0123456789ab"));
}

#[test]
fn a_pid_used_again_is_another_process() {
    let mut t = Timeline::new();
    t.process(50, "old", (1, "init"))
        .connect(JAVA, 1, SERVER)
        .established(1);
    t.at(10.0)
        .process(50, "new", (1, "init"))
        .connect(JAVA, 2, SERVER)
        .established(2);
    let rows = t.report().processes;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.who.comm.as_str(), row.who.ended, row.connects))
        .collect();
    assert_eq!(told, [("old", true, 1), ("new", false, 1)]);
}

#[test]
fn starts_of_proc_are_cut_to_clock_ticks() {
    let mut t = Timeline::new();
    t.at(0.017).process(50, "java", (1, "init"));
    let start = Some(instant(0.01));
    t.fact(HostFact::Process(Box::new(ProcessFact {
        start,
        ..fact(50)
    })));
    let rows = t.report().processes;
    assert_eq!(rows.len(), 1);
    assert_eq!(
        rows[0].who.start,
        Some(instant(0.017)),
        "the exact one stays"
    );
    assert_eq!(rows[0].who.exe.as_deref(), Some("/usr/bin/java"));
}

#[test]
fn a_late_look_up_of_one_that_is_no_more_is_dropped() {
    let mut t = Timeline::new();
    t.at(5.0).process(50, "new", (1, "init"));
    let start = Some(instant(1.0));
    t.fact(HostFact::Process(Box::new(ProcessFact {
        start,
        ..fact(50)
    })));
    assert_eq!(t.report().processes[0].who.exe, None);
}

#[test]
fn counters_and_events_are_not_added_up() {
    let mut t = Timeline::new();
    t.process(50, "java", (1, "init"));
    for n in 0..3 {
        t.open(JAVA, &format!("/etc/{n}"));
    }
    t.read_counters(50).open(JAVA, "/etc/4");
    let row = &t.report().processes[0];
    assert_eq!((row.opens, row.fds_got), (4, 4));
    t.counters_of(50).connects = 9;
    t.read_counters(50);
    assert_eq!(t.report().processes[0].connects, 9);
}

#[test]
fn each_process_is_asked_about_once() {
    let mut t = Timeline::new();
    t.connect(JAVA, 1, SERVER)
        .connect(who(60, 60, "nc"), 2, SERVER);
    assert_eq!(t.engine.take_lookups(), [Pid(50), Pid(60)]);
    t.established(1).connect(JAVA, 3, SERVER);
    assert_eq!(t.engine.take_lookups(), []);
}

#[test]
fn where_it_runs_is_told() {
    let mut t = Timeline::new();
    t.hostname = "shop-7d4f9c-x2x8k";
    t.process(50, "java", (40, "catalina.sh"));
    t.fact(HostFact::Process(Box::new(ProcessFact {
        runtime: Some("containerd".to_owned()),
        pod_uid: Some("1f0a2c3d".to_owned()),
        unit: Some("tomcat.service".to_owned()),
        ..fact(50)
    })));
    let who = &t.report().processes[0].who;
    assert_eq!(who.container.as_deref(), Some("0123456789ab"));
    assert_eq!(who.runtime.as_deref(), Some("containerd"));
    assert_eq!(who.pod_uid.as_deref(), Some("1f0a2c3d"));
    assert_eq!(who.unit.as_deref(), Some("tomcat.service"));
    assert_eq!(who.hostname.as_deref(), Some("shop-7d4f9c-x2x8k"));
    assert_eq!(who.netns, Some(NETNS));
}

#[test]
fn what_a_later_look_up_does_not_know_stays() {
    let mut t = Timeline::new();
    t.process(50, "java", (1, "systemd"))
        .fact(HostFact::Process(Box::new(fact(50))))
        .fact(HostFact::Process(Box::new(ProcessFact {
            pid: Pid(50),
            ..ProcessFact::default()
        })));
    let who = &t.report().processes[0].who;
    assert_eq!(who.container.as_deref(), Some("0123456789ab"));
    assert_eq!(lineage(who), [(1, "systemd")]);
}

#[test]
fn parents_are_told_as_far_as_they_are_known() {
    let mut t = Timeline::new();
    t.process(50, "nc", (40, "check.sh"));
    assert_eq!(lineage(&t.report().processes[0].who), [(40, "check.sh")]);
    let parents = vec![
        ancestor(40, "check.sh"),
        ancestor(30, "sshd"),
        ancestor(1, "systemd"),
    ];
    t.fact(HostFact::Process(Box::new(ProcessFact {
        ppid: Some(Pid(40)),
        parents,
        ..fact(50)
    })));
    let whole = [(40, "check.sh"), (30, "sshd"), (1, "systemd")];
    assert_eq!(lineage(&t.report().processes[0].who), whole);
    t.exit(50, "nc");
    assert_eq!(lineage(&t.report().processes[0].who), whole);
}

#[test]
fn who_started_it_stays_its_parent() {
    let mut t = Timeline::new();
    t.process(50, "nc", (40, "check.sh"));
    // check.sh has ended meanwhile.
    t.fact(HostFact::Process(Box::new(fact(50))));
    let who = &t.report().processes[0].who;
    assert_eq!(who.ppid, Some(Pid(40)));
    assert_eq!(lineage(who), [(40, "check.sh")]);
}

#[test]
fn one_that_never_was_introduced_has_the_parent_that_proc_tells() {
    let mut t = Timeline::new();
    t.fact(HostFact::Process(Box::new(fact(50))));
    let who = &t.report().processes[0].who;
    assert_eq!(who.parent_comm.as_deref(), Some("systemd"));
    assert_eq!(lineage(who), [(1, "systemd")]);
}

#[test]
fn a_program_started_by_another_parent_has_that_one() {
    let mut t = Timeline::new();
    t.process(50, "sh", (1, "systemd"))
        .fact(HostFact::Process(Box::new(fact(50))));
    t.exec(50, "daemon", (7, "supervisor"), instant(0.0));
    assert_eq!(lineage(&t.report().processes[0].who), [(7, "supervisor")]);
}

fn descriptors(start: Option<Nanos>, open: u64) -> HostFact {
    HostFact::Descriptors(DescriptorFact {
        pid: Pid(50),
        start,
        open,
        net: Some(0),
        soft_limit: Some(1_024),
        hard_limit: None,
    })
}

#[test]
fn the_table_of_one_that_is_no_more_is_not_the_next_ones() {
    let mut t = Timeline::new();
    t.process(50, "old", (1, "init")).exit(50, "old");
    t.at(5.0).process(50, "new", (1, "init"));
    t.fact(descriptors(Some(instant(0.0)), 900));
    let open = |t: &Timeline| {
        let rows = t.report().processes;
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.who.comm.clone(), row.fds_open))
            .collect();
        told
    };
    let told = open(&t);
    assert_eq!(told, [("old".to_owned(), None), ("new".to_owned(), None)]);
    t.fact(descriptors(Some(instant(5.0)), 7));
    let told = open(&t);
    assert_eq!(
        told,
        [("old".to_owned(), None), ("new".to_owned(), Some(7))]
    );
}

#[test]
fn a_pid_used_again_is_another_process_even_where_its_end_was_lost() {
    let mut t = Timeline::new();
    t.process(50, "old", (1, "init"));
    t.counters_of(50).start_ns = instant(0.0).0;
    t.counters_of(50).connects = 3;
    t.read_counters(50);
    // Another program by the same pid, of which only its counters have come so far.
    t.at(5.0);
    t.counters_of(50).start_ns = instant(4.5).0;
    t.counters_of(50).connects = 1;
    t.read_counters(50);
    let rows = t.report().processes;
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.who.start, row.who.ended, row.connects))
        .collect();
    assert_eq!(
        told,
        [
            (Some(instant(0.0)), true, 3),
            (Some(instant(4.5)), false, 1)
        ]
    );
}
