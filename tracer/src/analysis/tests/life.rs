//! The life of connections: what ends one, and what belongs to which.

use tracer_common::Role;

use crate::{
    analysis::timeline::{Timeline, Who, connections, who},
    model::{Input, Nanos, TcpState},
};

const CLIENT: Who = who(50, 51, "client");
const SERVER: &str = "10.0.0.9:2181";

/// A JVM: shutdown ends the connection, `close(2)` comes two seconds later from a socket whose port
/// reads 0.
#[test]
fn the_descriptors_late_close_neither_lengthens_nor_doubles_it() {
    let mut t = Timeline::new();
    for sock in 0..5 {
        t.connect(CLIENT, sock, SERVER)
            .established(sock)
            .after_ms(16.0)
            .fin_sent(sock)
            .time_wait(sock)
            .after_ms(400.0);
    }
    t.at(4.0);
    for sock in 0..5 {
        t.close(sock);
    }
    t.at(8.0);
    let verdict = t.verdict();
    let told = connections(&verdict);
    assert_eq!(told.count, 5);
    assert_eq!(told.lifetime.unwrap().max, Nanos::from_millis(16));
    assert_eq!(told.local.port, 40_004);
    let row = &t.report().processes[0];
    assert_eq!(
        (row.connects, row.connections_ended, row.connections_open),
        (5, 5, 0)
    );
}

/// The close is all that tells the end: what it does to the socket is no event of its own. Where the peer
/// never answers, nothing follows either.
#[test]
fn the_close_of_an_open_connection_ends_it() {
    let mut t = Timeline::new();
    t.connect(CLIENT, 1, SERVER)
        .established(1)
        .after_ms(16.0)
        .bytes(1, 45, 41)
        .close(1);
    let row = &t.report().processes[0];
    assert_eq!((row.connections_ended, row.connections_open), (1, 0));
    // What comes behind it changes nothing of that.
    t.after_ms(1.0).time_wait(1);
    assert_eq!(t.report().processes[0].connections_ended, 1);
}

/// A server whose peer closes first: where that has all data, the close is the last that is told, and where
/// something was on its way, it is told when that has come.
#[test]
fn the_close_after_the_peers_is_the_last_event_where_all_is_acknowledged() {
    let server = who(60, 60, "server");
    let mut t = Timeline::new();
    for sock in [1, 2] {
        t.handshake(sock, SERVER, "10.0.0.7:40000")
            .accept(server, sock)
            .bytes(sock, 41, 45)
            .fin_received(sock);
    }
    t.close_last(1).close(2);
    assert_eq!(t.report().processes[0].connections_ended, 2);
    assert_eq!(t.engine.table_sizes().connections, 1);
    t.bytes(2, 1_000, 45).gone(2, 0);
    assert_eq!(t.engine.table_sizes().connections, 0);
}

/// The same as an older trace tells it, by a close that leaves the state and a change of state behind it.
#[test]
fn an_end_that_is_told_behind_the_close_is_the_same() {
    let told = |close: fn(&mut Timeline, u64)| {
        let mut t = Timeline::new();
        for sock in 0..5 {
            t.connect(CLIENT, sock, SERVER).established(sock);
            t.after_ms(16.0);
            close(&mut t, sock);
            t.after_ms(1.0).time_wait(sock).after_ms(400.0);
        }
        t.at(8.0);
        t.verdict()
    };
    let now = told(|t, sock| {
        t.close(sock);
    });
    let before = told(|t, sock| {
        t.close_told_apart(sock).fin_sent(sock);
    });
    assert_eq!(connections(&now).count, 5);
    assert_eq!(connections(&now), connections(&before));
}

#[test]
fn a_gauge_counts_what_is_open() {
    let mut t = Timeline::new();
    t.connect(CLIENT, 1, SERVER);
    assert_eq!(t.report().processes[0].connections_open, 0);
    t.established(1).connect(CLIENT, 2, SERVER).established(2);
    assert_eq!(t.report().processes[0].connections_open, 2);
    t.close(1);
    assert_eq!(t.report().processes[0].connections_open, 1);
}

#[test]
fn a_socket_used_again_is_another_connection() {
    let mut t = Timeline::new();
    t.connect(CLIENT, 1, SERVER).established(1);
    // Its end was lost, and the kernel uses its memory again.
    t.connect(CLIENT, 1, SERVER)
        .established(1)
        .after_ms(5.0)
        .fin_sent(1)
        .time_wait(1);
    let row = &t.report().processes[0];
    assert_eq!((row.connections_ended, row.connections_open), (2, 0));
}

#[test]
fn an_end_that_was_lost_is_told_by_what_follows() {
    let mut t = Timeline::new();
    // Only the entry into TIME_WAIT came.
    t.connect(CLIENT, 1, SERVER)
        .established(1)
        .after_ms(7.0)
        .time_wait(1)
        .close(1);
    // Only the close of the descriptor came.
    t.connect(CLIENT, 2, SERVER)
        .established(2)
        .after_ms(7.0)
        .close(2);
    // Only the very end came.
    t.connect(CLIENT, 3, SERVER)
        .established(3)
        .after_ms(7.0)
        .gone(3, 0);
    t.at(4.0);
    let row = &t.report().processes[0];
    assert_eq!((row.connections_ended, row.connections_open), (3, 0));
}

#[test]
fn connections_from_before_are_counted_where_their_owner_is_known_and_never_judged() {
    let mut t = Timeline::new();
    for sock in 0..20 {
        t.older_connection(sock, SERVER)
            .fin_received(sock)
            .gone(sock, 0);
    }
    t.at(5.0);
    assert!(t.report().verdicts.is_empty());
    assert!(t.report().processes.is_empty());
}

#[test]
fn an_accept_after_the_end_makes_one_connection() {
    let acceptor = who(60, 61, "acceptor");
    let mut t = Timeline::new();
    t.handshake(1, SERVER, "10.0.0.2:50000")
        .after_ms(1.0)
        .fin_received(1)
        .gone(1, 104)
        .after_ms(500.0)
        .accept(acceptor, 1)
        .close(1);
    let row = &t.report().processes[0];
    assert_eq!(
        (row.accepts, row.connections_ended, row.connections_open),
        (1, 1, 0)
    );
}

#[test]
fn an_accept_of_a_closed_connection_is_its_end() {
    let acceptor = who(60, 61, "acceptor");
    let mut t = Timeline::new();
    for sock in 0..5 {
        t.handshake(sock, SERVER, "10.0.0.2:50000").after_ms(3.0);
        // The event of the peer's FIN was lost.
        let inputs = t.inputs.len();
        t.fin_received(sock);
        assert_eq!(t.inputs.len(), inputs + 1);
        t.accept(acceptor, sock).close(sock);
    }
    t.at(1.0);
    let verdict = t.verdict();
    let told = connections(&verdict);
    assert_eq!((told.role, told.closed_by_remote), (Role::Server, 5));
}

#[test]
fn one_that_nobody_accepts_is_nobodys() {
    let mut t = Timeline::new();
    t.handshake(1, SERVER, "10.0.0.2:50000").fin_received(1);
    t.at(60.0);
    assert!(t.report().processes.is_empty());
    assert_eq!(t.engine.table_sizes().connections, 0);
}

#[test]
fn unknown_states_harm_nobody() {
    let mut t = Timeline::new();
    t.connect(CLIENT, 1, SERVER).established(1);
    let Some(Input::Event(mut event)) = t.inputs.last().cloned() else {
        panic!("an event");
    };
    if let crate::model::EventBody::Tcp(tcp) = &mut event.body {
        (tcp.old_state, tcp.new_state) = (TcpState::Unknown(77), TcpState::Unknown(99));
    }
    t.input(Input::Event(event));
    assert_eq!(t.report().processes[0].connections_ended, 1);
}
