//! `TIME_WAIT` sockets and their owners.

use crate::{
    analysis::{
        report::{Attribution, Identity},
        timeline::{NETNS, Timeline, Who, connections, endpoint, who},
    },
    model::{Cookie, HostFact, Pid, Selection, Session, SocketOwner, SocketRow, TcpState, Tid},
};

const CLIENT: Who = who(50, 51, "client");
const OTHER: Who = who(70, 70, "other");
const SERVER: &str = "10.0.0.9:2181";

fn owners(t: &Timeline) -> Vec<(Option<u32>, Attribution)> {
    let rows = t.report().time_wait;
    rows.iter()
        .map(|row| (row.who.pid.map(|pid| pid.0), row.attribution))
        .collect()
}

#[test]
fn a_socket_is_joined_by_its_cookie() {
    let mut t = Timeline::new();
    t.process(50, "java", (1, "systemd"));
    t.short_connection(CLIENT, 1, SERVER, 5.0, (0, 0))
        .short_connection(OTHER, 2, SERVER, 5.0, (0, 0))
        .list_time_wait(&[1, 2]);
    assert_eq!(
        owners(&t),
        [
            (Some(50), Attribution::Cookie),
            (Some(70), Attribution::Cookie)
        ]
    );
    let row = &t.report().time_wait[0];
    assert_eq!(row.who.tid, Some(Tid(51)));
    assert_eq!(
        (row.who.comm.as_str(), row.who.thread.as_deref()),
        ("java", Some("client"))
    );
    assert_eq!(
        (row.local.port, row.remote, row.netns),
        (40_000, endpoint(SERVER), NETNS)
    );
}

#[test]
fn a_kernel_without_cookies_is_joined_by_addresses() {
    let mut t = Timeline::new();
    t.has_cookies = false;
    t.short_connection(CLIENT, 1, SERVER, 5.0, (0, 0))
        .list_time_wait(&[1]);
    assert_eq!(owners(&t), [(Some(50), Attribution::Tuple)]);
}

/// A call of accept that was already waiting when watching began returns unseen.
#[test]
fn who_closes_what_nobody_was_seen_accepting_owns_it() {
    let mut t = Timeline::new();
    t.has_cookies = false;
    t.handshake(1, "10.0.0.9:2181", "10.0.0.7:45000")
        .after_ms(2.0)
        .fin_sent(1)
        .time_wait(1)
        .after_ms(3.0)
        .close_by(OTHER, 1)
        .list_time_wait(&[1]);
    assert_eq!(owners(&t), [(Some(70), Attribution::Tuple)]);
}

#[test]
fn addresses_used_again_belong_to_the_last() {
    let mut t = Timeline::new();
    t.has_cookies = false;
    t.short_connection(CLIENT, 1, SERVER, 5.0, (0, 0));
    // The same addresses and ports, another process.
    let mut events = Timeline::new();
    events.has_cookies = false;
    events.short_connection(OTHER, 1, SERVER, 5.0, (0, 0));
    for input in events.inputs.into_iter().skip(1) {
        t.input(input);
    }
    t.list_time_wait(&[1]);
    assert_eq!(owners(&t), [(Some(70), Attribution::Tuple)]);
}

#[test]
fn another_socket_with_the_same_addresses_is_not_confused() {
    let mut t = Timeline::new();
    t.short_connection(CLIENT, 1, SERVER, 5.0, (0, 0));
    let row = SocketRow {
        cookie: Cookie(999),
        ..t.time_wait_row(1)
    };
    t.fact(HostFact::TimeWait(crate::model::TimeWaitListing::new(
        NETNS,
        vec![row],
    )));
    assert_eq!(owners(&t), [(None, Attribution::BeforeStart)]);
}

#[test]
fn what_was_born_before_is_told_as_such() {
    let mut t = Timeline::new();
    t.older_connection(1, SERVER)
        .fin_sent(1)
        .time_wait(1)
        .list_time_wait(&[1]);
    let rows = t.report().time_wait;
    assert_eq!(rows[0].who, Identity::default());
    assert_eq!(rows[0].attribution, Attribution::BeforeStart);
}

#[test]
fn an_owner_found_before_its_end_counts() {
    let mut t = Timeline::new();
    t.older_connection(1, SERVER);
    let row = SocketRow {
        state: TcpState::Established,
        ..t.time_wait_row(1)
    };
    t.fact(HostFact::SocketBefore(SocketOwner {
        row,
        netns: NETNS,
        pid: Pid(33),
    }));
    t.at(5.0).fin_sent(1).time_wait(1).list_time_wait(&[1]);
    assert_eq!(owners(&t), [(Some(33), Attribution::Cookie)]);
    assert_eq!(t.report().processes[0].connections_ended, 1);
}

#[test]
fn a_listing_replaces_the_last() {
    let mut t = Timeline::new();
    t.short_connection(CLIENT, 1, SERVER, 5.0, (0, 0))
        .short_connection(CLIENT, 2, SERVER, 5.0, (0, 0))
        .list_time_wait(&[1, 2])
        .list_time_wait(&[2]);
    assert_eq!(t.report().time_wait.len(), 1);
}

#[test]
fn only_what_was_selected_is_shown() {
    let shown = |selection: Selection| {
        let session = Session {
            selection,
            ..Session::default()
        };
        let mut t = Timeline::with(session);
        t.short_connection(CLIENT, 1, SERVER, 5.0, (0, 0))
            .short_connection(OTHER, 2, "10.0.0.9:80", 5.0, (0, 0))
            .older_connection(3, SERVER)
            .list_time_wait(&[1, 2, 3]);
        owners(&t)
            .into_iter()
            .map(|(pid, _)| pid)
            .collect::<Vec<_>>()
    };
    let ports = Selection {
        ports: vec![2181],
        ..Selection::default()
    };
    assert_eq!(shown(ports), [Some(50), None]);
    let pids = Selection {
        pids: vec![Pid(70)],
        ..Selection::default()
    };
    assert_eq!(shown(pids), [Some(70)]);
}

#[test]
fn a_verdict_counts_its_own() {
    let mut t = Timeline::new();
    for n in 0..6_u32 {
        t.at(0.5 + f64::from(n))
            .short_connection(CLIENT, n.into(), SERVER, 5.0, (0, 0));
    }
    t.short_connection(OTHER, 9, SERVER, 5.0, (0, 0));
    t.list_time_wait(&[0, 1, 2, 3, 4, 5, 9]).at(6.0);
    assert_eq!(connections(&t.verdict()).time_wait_now, 6);
    t.list_time_wait(&[4, 5, 9]).at(7.0);
    assert_eq!(connections(&t.verdict()).time_wait_now, 2);
}
