//! Who closes what another has opened: inherited by a child, passed on, or left to another thread.

use crate::{
    analysis::{
        report::{Closer, Connections, Finding},
        timeline::{NETNS, Timeline, Who, endpoint, who},
    },
    model::{Cookie, HostFact, Pid, SocketOwner, SocketRow, TcpState, Tid},
};

const PARENT: Who = who(50, 50, "listener");
const WORKER: Who = who(60, 60, "worker");
const OTHER_THREAD: Who = who(50, 51, "reaper");
const SERVER: &str = "127.0.0.1:2181";
const CLIENT: &str = "10.0.0.7:0";

fn worker() -> Closer {
    Closer {
        pid: Pid(60),
        comm: "worker".into(),
        tid: Tid(60),
        thread: "worker".into(),
        is_other_process: true,
    }
}

/// The only verdict, and what it tells of connections.
fn flapping(t: &Timeline) -> (Option<Pid>, Connections) {
    let verdict = t.verdict();
    match verdict.finding {
        Finding::Flapping(found) => (verdict.who.pid, found),
        other => panic!("{other:?}"),
    }
}

#[test]
fn accepted_in_the_parent_and_closed_in_the_child() {
    let mut t = Timeline::new();
    t.process(50, "listener", (1, "init"))
        .process(60, "worker", (50, "listener"));
    for sock in 1..=12 {
        t.handshake(sock, SERVER, CLIENT)
            .accept(PARENT, sock)
            .after_ms(10.0)
            .closed_by_other(WORKER, sock)
            .time_wait(sock)
            .after_ms(300.0);
    }
    t.at(6.0);
    let (pid, found) = flapping(&t);
    assert_eq!(pid, Some(Pid(50)));
    assert_eq!(found.closer, Some(worker()));
    assert_eq!(found.closed_by_local, 12);
}

#[test]
fn passed_over_and_closed_after_the_peer() {
    let mut t = Timeline::new();
    t.process(50, "listener", (1, "init"))
        .process(60, "worker", (1, "init"));
    for sock in 1..=12 {
        t.handshake(sock, SERVER, CLIENT)
            .accept(PARENT, sock)
            .after_ms(10.0)
            .fin_received(sock)
            .after_ms(100.0)
            .closed_by_other(WORKER, sock)
            .gone(sock, 0)
            .after_ms(200.0);
    }
    t.at(6.0);
    let (pid, found) = flapping(&t);
    assert_eq!(pid, Some(Pid(50)));
    assert_eq!(found.closer, Some(worker()));
    assert_eq!(found.closed_by_remote, 12);
}

#[test]
fn a_close_that_comes_after_the_verdict_changes_it() {
    let mut t = Timeline::new();
    t.process(50, "listener", (1, "init"))
        .process(60, "worker", (50, "listener"));
    for sock in 1..=12 {
        t.handshake(sock, SERVER, CLIENT)
            .accept(PARENT, sock)
            .after_ms(10.0)
            .fin_received(sock)
            .after_ms(300.0);
    }
    t.at(5.0);
    let (_, found) = flapping(&t);
    assert_eq!(found.closer, None);
    t.closed_by_other(WORKER, 12).gone(12, 0);
    t.at(7.0);
    let (_, found) = flapping(&t);
    assert_eq!((found.count, found.closer), (12, Some(worker())));
}

#[test]
fn another_thread_of_the_same_process() {
    let mut t = Timeline::new();
    t.process(50, "shop", (1, "init"));
    for sock in 1..=12 {
        t.connect(PARENT, sock, SERVER)
            .established(sock)
            .after_ms(10.0)
            .closed_by_other(OTHER_THREAD, sock)
            .time_wait(sock)
            .after_ms(300.0);
    }
    t.at(6.0);
    let (pid, found) = flapping(&t);
    assert_eq!(pid, Some(Pid(50)));
    assert_eq!(
        found.closer,
        Some(Closer {
            pid: Pid(50),
            comm: "shop".into(),
            tid: Tid(51),
            thread: "reaper".into(),
            is_other_process: false,
        })
    );
}

#[test]
fn whoever_opens_and_closes_is_not_told_twice() {
    let mut t = Timeline::new();
    t.process(50, "shop", (1, "init"));
    for sock in 1..=12 {
        t.short_connection(PARENT, sock, SERVER, 10.0, (0, 0))
            .after_ms(300.0);
    }
    t.at(6.0);
    assert_eq!(flapping(&t).1.closer, None);
}

fn held_before(t: &Timeline, sock: u64, pid: u32) -> HostFact {
    let row = SocketRow {
        state: TcpState::Established,
        ..t.time_wait_row(sock)
    };
    HostFact::SocketBefore(SocketOwner {
        row,
        netns: NETNS,
        pid: Pid(pid),
    })
}

/// The owner of the only `TIME_WAIT` socket.
fn owner_in_time_wait(t: &mut Timeline, sock: u64) -> (Option<Pid>, Option<Tid>) {
    t.list_time_wait(&[sock]);
    let rows = t.report().time_wait;
    assert_eq!(rows.len(), 1);
    (rows[0].who.pid, rows[0].who.tid)
}

#[test]
fn a_socket_from_before_belongs_to_its_holder_whoever_closes_it() {
    let mut t = Timeline::new();
    t.older_connection(1, SERVER);
    let fact = held_before(&t, 1, 50);
    t.fact(fact).at(2.0);
    t.closed_by_other(WORKER, 1).time_wait(1);
    assert_eq!(owner_in_time_wait(&mut t, 1), (Some(Pid(50)), None));
}

#[test]
fn where_the_holder_itself_closes_its_thread_is_known() {
    let mut t = Timeline::new();
    t.older_connection(1, SERVER);
    let fact = held_before(&t, 1, 50);
    t.fact(fact).at(2.0);
    t.closed_by_other(OTHER_THREAD, 1).time_wait(1);
    assert_eq!(
        owner_in_time_wait(&mut t, 1),
        (Some(Pid(50)), Some(Tid(51)))
    );
}

#[test]
fn a_close_that_overtakes_the_look_at_the_sockets_names_who_closes() {
    let mut t = Timeline::new();
    t.older_connection(1, SERVER);
    let fact = held_before(&t, 1, 50);
    t.closed_by_other(WORKER, 1).time_wait(1);
    // The look-up's answer comes later than the events that it was overtaken by.
    t.after_ms(5.0).fact(fact);
    assert_eq!(
        owner_in_time_wait(&mut t, 1),
        (Some(Pid(60)), Some(Tid(60)))
    );
}

#[test]
fn a_socket_made_while_the_sockets_are_looked_at_keeps_its_maker() {
    let mut t = Timeline::new();
    t.connect(PARENT, 1, SERVER).established(1);
    // Listed with a process that inherited it meanwhile.
    let fact = held_before(&t, 1, 40);
    t.fact(fact).after_ms(10.0);
    t.close(1).time_wait(1);
    assert_eq!(
        owner_in_time_wait(&mut t, 1),
        (Some(Pid(50)), Some(Tid(50)))
    );
    let rows = t.report().processes;
    let counts: Vec<_> = rows
        .iter()
        .filter(|row| row.connects > 0)
        .map(|row| (row.who.pid, row.connects, row.connections_open))
        .collect();
    assert_eq!(counts, [(Some(Pid(50)), 1, 0)]);
}

#[test]
fn a_row_of_no_cookie_is_nobodys() {
    let mut t = Timeline::new();
    t.older_connection(1, SERVER);
    let row = SocketRow {
        cookie: Cookie(0),
        local: endpoint(CLIENT),
        ..t.time_wait_row(1)
    };
    t.fact(HostFact::SocketBefore(SocketOwner {
        row,
        netns: NETNS,
        pid: Pid(50),
    }));
    t.list_time_wait(&[1]);
    assert_eq!(t.report().time_wait[0].who.pid, None);
}
