//! Who processes are: what is known, kept, and not mixed up.

use crate::{
    analysis::timeline::{Timeline, Who, instant, who},
    model::{HostFact, Pid, ProcessFact},
};

const JAVA: Who = who(50, 50, "java");
const SERVER: &str = "10.0.0.9:2181";

fn fact(pid: u32) -> ProcessFact {
    ProcessFact {
        pid: Pid(pid),
        comm: Some("java".to_owned()),
        exe: Some("/usr/bin/java".to_owned()),
        cmdline: Some("java -jar app.jar".to_owned()),
        user: Some("tomcat".to_owned()),
        ns_pid: Some(7),
        container: Some("0123456789ab".to_owned()),
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
