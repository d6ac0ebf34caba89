//! Timelines and what is recorded of them, in exact numbers; never how it is drawn.

use tracer_common::{EventKind, FdKind, FdSource};

use crate::model::{EventBody, FdAction, Input, Losses, Nanos};

use super::{
    super::{
        Engine, Thresholds, limits,
        timeline::{Timeline, who},
    },
    *,
};

const EMFILE: i32 = 24;
const ECONNREFUSED: i32 = 111;

/// Feeds an engine and a recorder with all that a timeline told.
fn recorded(inputs: &[Input]) -> (Engine, SeriesRecorder) {
    let mut engine = Engine::new(Thresholds::default());
    let mut recorder = SeriesRecorder::default();
    for input in inputs {
        engine.apply(input);
        recorder.observe(&engine, input);
    }
    (engine, recorder)
}

fn series(inputs: &[Input]) -> Series {
    let (engine, recorder) = recorded(inputs);
    recorder.series(&engine)
}

fn pairs(counts: &[Count]) -> Vec<(u32, u32)> {
    counts.iter().map(|p| (p.bucket, p.count)).collect()
}

fn triples(gauges: &[Gauge]) -> Vec<(u32, i32, i32)> {
    gauges.iter().map(|p| (p.bucket, p.peak, p.last)).collect()
}

#[test]
fn a_burst_is_seen_with_its_peak_its_directory_and_its_limit() {
    let tomcat = who(10, 12, "http-nio-8080-e");
    let mut t = Timeline::new();
    t.at(1.0).process(10, "java", (1, "systemd"));
    t.look_at_descriptors(10, 192, 4096);
    t.at(2.0)
        .open_many(tomcat, 200, 5.0, "/srv/WEB-INF/lib/{}.jar");
    t.open(tomcat, "/etc/hosts");
    t.at(3.5).close_many(10, 195).read_counters(10);
    t.at(8.0);
    let series = series(&t.inputs);

    assert_eq!(series.width, Nanos::from_millis(100));
    assert_eq!(series.buckets, 81);
    let [tomcat] = series.processes.as_slice() else {
        panic!("{series:#?}");
    };
    assert_eq!(tomcat.who.comm, "java");
    assert_eq!(tomcat.verdicts, [1]);
    assert_eq!(tomcat.fd_limit, Some(4096));
    // 20 files in each tenth of a second; the table held 192 at first.
    assert_eq!(triples(&tomcat.fds)[0], (20, 212, 212));
    assert_eq!(triples(&tomcat.fds)[9], (29, 392, 392));
    assert_eq!(triples(&tomcat.fds)[10], (30, 393, 393));
    assert_eq!(triples(&tomcat.fds)[11], (35, 393, 198));
    let [(jars, of_jars), (hosts, of_hosts)] = tomcat.opens.as_slice() else {
        panic!("{tomcat:#?}");
    };
    assert_eq!(
        (jars.as_str(), hosts.as_str()),
        ("/srv/WEB-INF/lib/*.jar", "/etc/hosts")
    );
    let tenths: Vec<_> = (20..30).map(|bucket| (bucket, 20)).collect();
    assert_eq!(pairs(of_jars), tenths);
    assert_eq!(pairs(of_hosts), [(30, 1)]);
}

#[test]
fn opens_beyond_the_budget_are_counted_without_a_path() {
    let app = who(10, 10, "app");
    let mut t = Timeline::new();
    t.at(1.0).open(app, "/a/1");
    for _ in 0..40 {
        t.count_install(10, FdSource::Open, FdKind::File);
    }
    t.at(1.5).open(app, "/a/2");
    t.count_install(10, FdSource::Open, FdKind::File);
    t.at(2.0).read_counters(10);
    let series = series(&t.inputs);
    assert_eq!(pairs(&series.processes[0].opens[0].1), [(10, 1), (15, 1)]);
    assert_eq!(
        pairs(&series.processes[0].opens_unknown),
        [(15, 40), (20, 1)]
    );
    // The table was never looked at: how many were open is not known.
    assert_eq!(series.processes[0].fds, []);
}

#[test]
fn refused_descriptors_are_counted_once_by_event_and_by_counter() {
    let app = who(10, 10, "app");
    let mut t = Timeline::new();
    t.at(1.0).open(app, "/a/1");
    let Some(Input::Event(mut refusal)) = t.inputs.last().cloned() else {
        panic!("an event");
    };
    if let EventBody::Fd(fd) = &mut refusal.body {
        fd.action = FdAction::Exhausted;
        fd.errno = EMFILE;
        fd.path = None;
    }
    t.input(Input::Event(refusal));
    t.counters_of(10).fds_refused[FdSource::Socket as usize] = 3;
    t.at(2.0).read_counters(10);
    let series = series(&t.inputs);
    assert_eq!(pairs(&series.processes[0].refused), [(10, 1), (20, 2)]);
}

#[test]
fn connections_failures_and_time_wait_have_their_owner() {
    let client = who(10, 11, "SendThread");
    let mut t = Timeline::new();
    t.at(1.0).process(10, "java", (1, "systemd"));
    t.short_connection(client, 1, "127.0.0.1:2181", 20.0, (49, 0));
    t.at(2.0)
        .connect(client, 2, "127.0.0.1:2181")
        .fails(2, ECONNREFUSED);
    t.connect(client, 3, "127.0.0.1:2181")
        .fails(3, ECONNREFUSED);
    t.at(3.0)
        .older_connection(9, "127.0.0.1:2181")
        .list_time_wait(&[1, 9]);
    t.at(4.0).list_time_wait(&[9]);
    t.at(5.0).list_time_wait(&[]);
    let series = series(&t.inputs);
    let java = &series.processes[0];
    assert_eq!(pairs(&java.opened), [(10, 1)]);
    assert_eq!(pairs(&java.closed), [(10, 1)]);
    assert_eq!(java.failed.len(), 1);
    assert_eq!(java.failed[0].0, ECONNREFUSED);
    assert_eq!(pairs(&java.failed[0].1), [(20, 2)]);
    assert!(series.time_wait_listed);
    assert_eq!(triples(&java.time_wait), [(30, 1, 1), (40, 1, 0)]);
    assert_eq!(triples(&series.time_wait_unowned), [(30, 1, 1), (50, 1, 0)]);
}

#[test]
fn losses_are_told_by_what_became_known_since() {
    let mut t = Timeline::new();
    let mut losses = Losses::default();
    losses.by_kind[EventKind::FdInstall as usize].ring_full = 5;
    t.at(1.0).input(Input::Losses(Box::new(losses.clone())));
    t.at(2.0).input(Input::Losses(Box::new(losses.clone())));
    losses.by_kind[EventKind::TcpState as usize].ring_full = 2;
    losses.kernel_skipped = 1;
    t.at(3.0).input(Input::Losses(Box::new(losses)));
    let lost = series(&t.inputs).lost;
    let told: Vec<_> = lost
        .iter()
        .map(|(cause, counts)| (*cause, pairs(counts)))
        .collect();
    assert_eq!(
        told,
        [
            (LossCause::RingFull, vec![(10, 5), (30, 2)]),
            (LossCause::KernelSkipped, vec![(30, 1)]),
        ]
    );
}

#[test]
fn long_records_have_wider_buckets() {
    let app = who(10, 10, "app");
    let mut t = Timeline::new();
    t.at(0.0).open(app, "/a/1");
    t.at(102.0).open(app, "/a/2");
    t.at(300.0).open(app, "/a/3");
    let series = series(&t.inputs);
    assert_eq!(series.width, Nanos::from_millis(400));
    assert_eq!(series.buckets, 751);
    assert_eq!(
        pairs(&series.processes[0].opens[0].1),
        [(0, 1), (255, 1), (750, 1)]
    );
}

#[test]
fn a_moment_out_of_all_reason_is_recorded_too() {
    let app = who(10, 10, "app");
    let mut t = Timeline::new();
    t.at(1.0).open(app, "/a/1");
    t.input(Input::Tick(Nanos(u64::MAX)));
    let series = series(&t.inputs);
    assert!(
        series.buckets <= limits::SERIES_BUCKETS,
        "{}",
        series.buckets
    );
    assert_eq!(pairs(&series.processes[0].opens[0].1), [(0, 1)]);
}

#[test]
fn the_least_busy_are_one_sum_and_nothing_is_forgotten() {
    let processes = u32::try_from(limits::SERIES_PROCESSES * 3).unwrap();
    let busy = who(7, 7, "busy");
    let mut t = Timeline::new();
    for n in 0..processes {
        let pid = 1_000 + n;
        t.open(busy, "/srv/busy/x.log")
            .open(who(pid, pid, "sh"), "/etc/profile");
        t.after_ms(1.0);
    }
    let (engine, recorder) = recorded(&t.inputs);
    assert!(recorder.tracks.len() <= limits::SERIES_PROCESSES);
    let series = recorder.series(&engine);
    assert_eq!(series.processes.len(), limits::SERIES_PROCESSES_TOLD);
    assert_eq!(series.processes[0].who.comm, "busy");
    let told = limits::SERIES_PROCESSES_TOLD as u64 - 1;
    assert_eq!(series.others_count, u64::from(processes) - told);
    let [(text, counts)] = series.others.opens.as_slice() else {
        panic!("{:#?}", series.others);
    };
    assert_eq!(text, "/etc/profile");
    let sum: u64 = counts.iter().map(|count| u64::from(count.count)).sum();
    assert_eq!(sum, u64::from(processes) - told);
}

#[test]
fn a_frequent_directory_stays_among_very_many() {
    let app = who(10, 10, "find");
    let mut t = Timeline::new();
    for n in 0..100 {
        t.open(app, "/srv/lib/a.jar")
            .open(app, &format!("/usr/share/d{n}/x.txt"));
    }
    let series = series(&t.inputs);
    let process = &series.processes[0];
    assert_eq!(process.opens.len(), limits::SERIES_PATTERNS);
    assert_eq!(process.opens[0].0, "/srv/lib/a.jar");
    assert_eq!(pairs(&process.opens[0].1), [(0, 100)]);
    let others = u32::try_from(limits::SERIES_PATTERNS - 1).unwrap();
    assert_eq!(pairs(&process.opens_elsewhere), [(0, 100 - others)]);
}
