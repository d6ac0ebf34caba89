//! Literal events and connections, as people and as machines read them.

use tracer_common::{FdKind, FdSource, ProcessCounters, Role};

use super::super::testing::{assert_snapshot, at, endpoint, session, tomcat};
use super::*;
use crate::{
    analysis::report::Identity,
    model::{Comm, Cookie, FdAction, Netns, Path, PathForm, Pid, SockId, TcpState, Tid},
};

fn event(millis: u64, tid: u32, thread: &str, body: EventBody) -> Event {
    Event {
        ts: at(millis),
        pid: Pid(4711),
        tid: Tid(tid),
        thread: Comm::from(thread),
        stack: None,
        body,
    }
}

fn tcp(action: TcpAction, states: (TcpState, TcpState)) -> TcpEvent {
    TcpEvent {
        action,
        sock: SockId(0x0123_4567_89ab_cdef),
        cookie: Cookie(8193),
        start: Some(at(7_000)),
        tx_bytes: 0,
        rx_bytes: 0,
        local: endpoint("10.0.0.7", 45_678),
        remote: endpoint("10.0.0.9", 2181),
        netns: Netns(4_026_531_840),
        old_state: states.0,
        new_state: states.1,
        errno: 0,
        role: Role::Client,
    }
}

fn fd(action: FdAction, errno: i32, path: Option<&str>) -> EventBody {
    EventBody::Fd(FdEvent {
        action,
        fd: (errno == 0).then_some(57),
        source: FdSource::Open,
        kind: FdKind::File,
        errno,
        opens: 228,
        fds_net: 193,
        files_net: -3,
        path: path.map(|text| Path {
            text: text.to_owned(),
            form: PathForm::AsGiven,
        }),
    })
}

/// A connection's life, files, and the life of a process; on the next day something of which nothing
/// is known.
fn events() -> Vec<Event> {
    use TcpState::{Close, Established, FinWait1, SynSent, TimeWait};
    let thread = "Catalina-utilit";
    let connection = |body| EventBody::Tcp(body);
    let carried = |tcp: TcpEvent| TcpEvent {
        tx_bytes: 49,
        rx_bytes: 41,
        ..tcp
    };
    let jar = "/srv/shop/WEB-INF/lib/zookeeper.jar";
    let seen = ProcessSeen {
        start: at(6_000),
        cgroup_id: 6_021,
        hostname: "shop-7d4f9c-x2x8k".into(),
        ppid: Pid(4_700),
        parent_comm: Comm::from("catalina.sh"),
        uid: 104,
        ns_pid: 17,
        netns: Netns(4_026_531_840),
        comm: Comm::from("java"),
        is_exec: true,
        cmdline: "java -Dx=\u{1b}[2J Bootstrap start".to_owned(),
    };
    let exit = EventBody::Exit {
        comm: Comm::from("java"),
        counters: Box::new(ProcessCounters {
            connects: 31,
            opens_failed: 2,
            fds_got: [231, 31, 0, 0, 0, 0, 0, 0, 0, 0],
            fds_got_of_kind: [231, 31, 0, 0, 0],
            fds_closed_of_kind: [226, 31, 0, 0, 0],
            ..ProcessCounters::ZERO
        }),
    };
    let unknown = EventBody::Tcp(TcpEvent {
        cookie: Cookie(0),
        start: None,
        local: endpoint("2001:db8::7", 0),
        remote: endpoint("2001:db8::9", 0),
        role: Role::Unknown,
        ..tcp(TcpAction::Close, (Close, Close))
    });
    vec![
        event(6_000, 4711, "", EventBody::Process(seen)),
        event(
            7_000,
            4713,
            thread,
            connection(tcp(TcpAction::Connect, (Close, SynSent))),
        ),
        event(
            7_001,
            4713,
            "",
            connection(tcp(TcpAction::State, (SynSent, Established))),
        ),
        event(
            7_016,
            4713,
            "",
            connection(carried(tcp(TcpAction::State, (Established, FinWait1)))),
        ),
        event(
            7_017,
            4713,
            "",
            connection(carried(tcp(TcpAction::TimeWait, (FinWait1, TimeWait)))),
        ),
        event(
            8_700,
            4713,
            thread,
            connection(TcpEvent {
                errno: 111,
                ..tcp(TcpAction::ConnectFailed, (Close, Close))
            }),
        ),
        event(
            9_000,
            4720,
            "http-nio",
            fd(FdAction::Installed, 0, Some(jar)),
        ),
        event(
            9_001,
            4720,
            "http-nio",
            fd(FdAction::OpenFailed, 2, Some("conf/\u{1b}]0;x\u{7}\n")),
        ),
        event(9_002, 4720, "http-nio", fd(FdAction::Exhausted, 24, None)),
        event(9_003, 4711, "java", exit),
        Event {
            pid: Pid(0),
            tid: Tid(0),
            ..event(86_400_000, 0, "", unknown)
        },
    ]
}

fn lives() -> Vec<Life> {
    let life = Life {
        who: tomcat(),
        role: Role::Client,
        local: endpoint("10.0.0.7", 45_678),
        remote: endpoint("10.0.0.9", 2181),
        start: Some(at(7_000)),
        end: at(7_016),
        ended_by: EndedBy::Local,
        tx_bytes: 49,
        rx_bytes: 5_000_000,
    };
    vec![
        life.clone(),
        Life {
            ended_by: EndedBy::Failure(111),
            tx_bytes: 0,
            rx_bytes: 0,
            ..life.clone()
        },
        Life {
            who: Identity::default(),
            role: Role::Unknown,
            local: endpoint("10.0.0.7", 0),
            remote: endpoint("10.0.0.9", 0),
            start: None,
            ended_by: EndedBy::Remote,
            ..life
        },
    ]
}

/// A line of every kind, with everything known and with nothing known.
pub(in crate::sink) fn json_lines() -> Vec<String> {
    let session = session();
    let comm = |event: &Event| if event.pid.0 == 0 { "" } else { "java" };
    let mut bare = events();
    for event in &mut bare {
        (event.pid, event.tid, event.thread) = (Pid(0), Tid(0), Comm::default());
        if let EventBody::Process(seen) = &mut event.body {
            (seen.ppid, seen.parent_comm) = (Pid(0), Comm::default());
            seen.cmdline.clear();
        }
    }
    let events = events().into_iter().chain(bare);
    let events = events.map(|event| json_event(&session, &event, comm(&event)));
    let lives = lives().into_iter();
    let lives = lives.map(|life| json_life(&session, &life));
    events.chain(lives).collect()
}

#[test]
fn events_as_they_are_printed() {
    let session = session();
    let mut lines = Lines::new(Look::PLAIN);
    let mut text = lines.event_titles(&[]);
    for event in events() {
        text.push_str(&lines.event(&session, &event, "java"));
    }
    assert_snapshot("events.txt", &text);
}

#[test]
fn connections_as_they_are_printed() {
    let session = session();
    let mut lines = Lines::new(Look::PLAIN);
    let mut text = lines.life_titles();
    for life in lives() {
        text.push_str(&lines.life(&session, &life));
    }
    assert_snapshot("lives.txt", &text);
}

#[test]
fn machines_read_the_same() {
    assert_snapshot("events.jsonl", &json_lines().concat());
}

#[test]
fn titles_stand_above_one_kind_of_columns() {
    let lines = Lines::new(Look::PLAIN);
    let titles = |kinds: &[EventKind]| lines.event_titles(kinds);
    let connections = titles(&[EventKind::TcpConnect, EventKind::TcpState]);
    assert!(connections.contains("LADDR:LPORT"), "{connections}");
    let opened = titles(&[EventKind::FdInstall]);
    assert!(opened.ends_with(" PATH\n"), "{opened}");
    for mixed in [
        titles(&[]),
        titles(&[EventKind::FdInstall, EventKind::TcpState]),
    ] {
        assert!(mixed.ends_with(" DETAILS\n"), "{mixed}");
    }
}

#[test]
fn colours_do_not_move_columns() {
    let session = session();
    let colour = Look {
        color: true,
        width: None,
    };
    let (mut plain, mut coloured) = (Lines::new(Look::PLAIN), Lines::new(colour));
    for event in events() {
        let coloured = coloured.event(&session, &event, "java");
        let stripped = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(stripped, plain.event(&session, &event, "java"));
        assert!(coloured.contains("\u{1b}["), "{coloured}");
    }
}

#[test]
fn kilobytes_are_1024_bytes() {
    assert_eq!(kilobytes(0), "0");
    assert_eq!(kilobytes(49), "0.05");
    assert_eq!(kilobytes(1_536), "1.50");
    assert_eq!(kilobytes(5_000_000), "4883");
}
