//! What each process's descriptor table holds and how fast it changes, between looks at it.

use tracer_common::{FdKind, FdSource, Role};

use crate::{
    analysis::{
        report::{FdRates, PeerCount, ProcessRow},
        timeline::{Timeline, Who, endpoint, instant, who},
    },
    model::Pid,
};

const SERVICE: Who = who(500, 500, "service");
const DATABASE: &str = "10.0.0.5:5432";

fn row(t: &Timeline) -> ProcessRow {
    let mut rows = t.report().processes.into_iter();
    rows.find(|row| row.who.pid == Some(Pid(500))).unwrap()
}

fn service() -> Timeline {
    let mut t = Timeline::new();
    t.process(500, "service", (1, "systemd"));
    t
}

fn files(row: &ProcessRow) -> Vec<(&str, u64)> {
    let files = row.content.top_dirs.iter();
    files
        .map(|(pattern, count)| (pattern.as_str(), *count))
        .collect()
}

fn kinds(row: &ProcessRow) -> Vec<(&'static str, u64)> {
    let kinds = row.content.kinds.iter();
    kinds.map(|(kind, count)| (*kind, *count)).collect()
}

/// ```text
/// second  0    1                    2          3                5
///         -    look: 8 files, ...   2 opens    8 files closed   look: 2 files
/// ```
#[test]
fn a_table_is_known_from_a_look_and_kept_by_counts() {
    let mut t = service();
    assert_eq!((kinds(&row(&t)), row(&t).content.looked), (vec![], None));
    t.at(1.0).look_at_descriptors(500, 12, 1_024).look_at_table(
        500,
        [8, 3, 0, 0, 1],
        &[("/srv/a.jar", 7), ("/etc/x", 1)],
    );
    assert_eq!(
        kinds(&row(&t)),
        [("anonymous", 1), ("file", 8), ("socket", 3)]
    );
    assert_eq!(files(&row(&t)), [("/srv/a.jar", 7), ("/etc/x", 1)]);
    assert_eq!(row(&t).content.looked, Some(instant(1.0)));
    assert_eq!(row(&t).fd_room(), Some(1_012));

    t.at(2.0)
        .open(SERVICE, "/srv/a.jar")
        .open(SERVICE, "/var/log/y");
    t.count_install(500, FdSource::Pipe, FdKind::Pipe)
        .read_counters(500);
    let kept = [("anonymous", 1), ("file", 10), ("pipe", 1), ("socket", 3)];
    assert_eq!(kinds(&row(&t)), kept);
    assert_eq!(
        files(&row(&t)),
        [("/srv/a.jar", 8), ("/etc/x", 1), ("/var/log/y", 1)]
    );

    t.at(3.0);
    for _ in 0..7 {
        t.count_close(500, FdKind::File);
    }
    t.read_counters(500);
    assert_eq!(kinds(&row(&t))[1], ("file", 3));
    let told: u64 = files(&row(&t)).iter().map(|(_, count)| count).sum();
    assert_eq!(told, 3, "most likely those of which there were most");

    t.at(5.0)
        .look_at_table(500, [3, 3, 1, 0, 1], &[("/etc/x", 3)]);
    assert_eq!(files(&row(&t)), [("/etc/x", 3)]);
}

#[test]
fn a_process_that_ended_holds_nothing() {
    let mut t = service();
    t.at(1.0)
        .look_at_table(500, [8, 0, 0, 0, 0], &[("/srv/a.jar", 8)]);
    t.at(2.0).exit(500, "service");
    let row = row(&t);
    assert_eq!(
        (kinds(&row), files(&row), row.fd_rates),
        (vec![], vec![], None)
    );
}

#[test]
fn another_program_holds_other_files() {
    let mut t = service();
    t.at(1.0)
        .look_at_table(500, [8, 0, 0, 0, 0], &[("/srv/a.jar", 8)]);
    t.at(2.0).exec(500, "other", (1, "systemd"), instant(0.0));
    assert_eq!(kinds(&row(&t)), []);
}

#[test]
fn its_sockets_are_told_by_peer_and_by_who_has_closed_them() {
    let mut t = service();
    for sock in 1..=3 {
        t.connect(SERVICE, sock, DATABASE)
            .established(sock)
            .after_ms(1.0);
    }
    t.fin_received(3);
    let peer = endpoint(DATABASE);
    let told = PeerCount {
        role: Role::Client,
        addr: peer.addr,
        port: 5432,
        count: 3,
        close_wait: 1,
    };
    assert_eq!(row(&t).content.top_peers, [told]);
    t.close(3);
    let told = PeerCount {
        count: 2,
        close_wait: 0,
        ..told
    };
    assert_eq!(row(&t).content.top_peers, [told]);
}

/// ```text
/// second  0      1..=4          12         14          40
///         idle   25 opens each  -          5 closed    idle since
/// ```
#[test]
fn rates_are_those_of_the_last_ten_seconds() {
    let mut t = service();
    let rates = |t: &Timeline| row(t).fd_rates.unwrap();
    assert_eq!(rates(&t), FdRates::default());
    for second in 1..=4_u8 {
        t.at(f64::from(second));
        for _ in 0..25 {
            t.count_install(500, FdSource::Open, FdKind::File);
        }
        t.read_counters(500);
    }
    let since_begin = rates(&t).got;
    assert!((since_begin - 25.0).abs() < 0.01, "{since_begin}");
    t.at(10.0).read_counters(500);
    let in_window = rates(&t).got;
    assert!((in_window - 10.0).abs() < 0.01, "{in_window}");
    t.at(16.0);
    for _ in 0..5 {
        t.count_close(500, FdKind::File);
    }
    t.read_counters(500);
    let FdRates { got, closed } = rates(&t);
    assert!(
        got.abs() < 0.01 && (closed - 0.5).abs() < 0.01,
        "{got} {closed}"
    );
    t.at(40.0);
    assert_eq!(rates(&t), FdRates::default());
}
