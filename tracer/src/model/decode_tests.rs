//! Decoding held to literal records of every kind, and to bytes that are none.

use proptest::prelude::*;
use tracer_common::{COMM_BYTES, net::state};

use super::{super::sample_records as sample, *};

fn body(record: &[u8]) -> EventBody {
    decode(record).unwrap().body
}

fn tcp_of(record: &RawTcp) -> TcpEvent {
    match body(&sample::bytes(record, &[])) {
        EventBody::Tcp(tcp) => tcp,
        other => panic!("{other:?}"),
    }
}

fn fd_of(record: &[u8]) -> FdEvent {
    match body(record) {
        EventBody::Fd(fd) => fd,
        other => panic!("{other:?}"),
    }
}

/// The path that an opened file's record with these bytes behind it tells.
fn path_of(form: u8, path: &[u8]) -> Option<Path> {
    let record = sample::fd(EventKind::FdInstall, form, path.len());
    fd_of(&sample::bytes(&record, path)).path
}

fn resolved_text(path: &[u8]) -> String {
    let path = path_of(path_form::RESOLVED, path).unwrap();
    assert_eq!(path.form, PathForm::Resolved);
    path.text
}

fn process_of(record: &ProcessEvent, args: &[u8]) -> ProcessSeen {
    match body(&sample::bytes(record, args)) {
        EventBody::Process(process) => process,
        other => panic!("{other:?}"),
    }
}

fn cmdline_of(args: &[u8]) -> String {
    process_of(&sample::process(args.len()), args).cmdline
}

const TCP_KINDS: [(EventKind, TcpAction); 6] = [
    (EventKind::TcpConnect, TcpAction::Connect),
    (EventKind::TcpConnectFailed, TcpAction::ConnectFailed),
    (EventKind::TcpAccept, TcpAction::Accept),
    (EventKind::TcpState, TcpAction::State),
    (EventKind::TcpTimeWait, TcpAction::TimeWait),
    (EventKind::TcpClose, TcpAction::Close),
];

const FD_KINDS: [(EventKind, FdAction); 4] = [
    (EventKind::FdInstall, FdAction::Installed),
    (EventKind::FdOpenFailed, FdAction::OpenFailed),
    (EventKind::FdExhausted, FdAction::Exhausted),
    (EventKind::FdClose, FdAction::Closed),
];

/// A valid record of each kind; those that can carry a tail carry one.
fn one_of_each_kind() -> Vec<Vec<u8>> {
    let tcp = TCP_KINDS.map(|(kind, _)| sample::bytes(&sample::tcp(kind), &[]));
    let fd = FD_KINDS.map(|(kind, _)| {
        let path = b"a.jar\0lib\0srv\0";
        let record = sample::fd(kind, path_form::RESOLVED, path.len());
        sample::bytes(&record, path)
    });
    let args = b"java\0-jar\0app.jar\0";
    let process = sample::bytes(&sample::process(args.len()), args);
    let exit = sample::bytes(&sample::exit(), &[]);
    let records: Vec<_> = tcp.into_iter().chain(fd).chain([process, exit]).collect();
    assert_eq!(records.len(), EventKind::COUNT);
    records
}

#[test]
fn every_field_of_a_connection() {
    for (kind, action) in TCP_KINDS {
        let event = decode(&sample::bytes(&sample::tcp(kind), &[])).unwrap();
        let expected = Event {
            ts: Nanos(1_500_000_000),
            pid: Pid(4711),
            tid: Tid(4713),
            thread: Comm::from("SendThread"),
            stack: None,
            body: EventBody::Tcp(TcpEvent {
                action,
                sock: SockId(0x0123_4567_89AB_CDEF),
                cookie: Cookie(8193),
                start: Some(Nanos(1_484_000_000)),
                tx_bytes: 45,
                rx_bytes: 41,
                local: Endpoint {
                    addr: [10, 0, 0, 7].into(),
                    port: 45_678,
                },
                remote: Endpoint {
                    addr: [10, 0, 0, 9].into(),
                    port: 2181,
                },
                netns: Netns(4_026_531_840),
                old_state: TcpState::Established,
                new_state: TcpState::FinWait1,
                errno: 0,
                role: Role::Client,
            }),
        };
        assert_eq!(event, expected, "{kind:?}");
    }
}

#[test]
fn a_beginning_that_was_not_seen() {
    let record = RawTcp {
        start_ns: 0,
        role: Role::Unknown as u32,
        errno: 111,
        ..sample::tcp(EventKind::TcpState)
    };
    let tcp = tcp_of(&record);
    assert_eq!(tcp.start, None);
    assert_eq!((tcp.role, tcp.errno), (Role::Unknown, 111));
}

#[test]
fn an_ipv4_address_ignores_what_lies_behind_it() {
    let record = RawTcp {
        laddr: [0xFF; 16],
        ..sample::tcp(EventKind::TcpConnect)
    };
    assert_eq!(tcp_of(&record).local.addr.to_string(), "255.255.255.255");
}

#[test]
fn ipv6_addresses() {
    let cases = [
        ("2001:db8::5", "2001:db8::5"),
        ("::1", "::1"),
        ("::", "::"),
        // What every Java server socket uses.
        ("::ffff:10.0.0.9", "10.0.0.9"),
        // Compatible, not mapped: an IPv6 address of its own.
        ("::10.0.0.9", "::a00:9"),
    ];
    for (in_kernel, shown) in cases {
        let record = RawTcp {
            family: AF_INET6,
            raddr: in_kernel.parse::<Ipv6Addr>().unwrap().octets(),
            ..sample::tcp(EventKind::TcpConnect)
        };
        assert_eq!(tcp_of(&record).remote.addr.to_string(), shown);
    }
}

#[test]
fn states_are_the_kernels_numbers() {
    let names = [
        (state::ESTABLISHED, TcpState::Established),
        (state::SYN_SENT, TcpState::SynSent),
        (state::SYN_RECV, TcpState::SynRecv),
        (state::FIN_WAIT1, TcpState::FinWait1),
        (state::FIN_WAIT2, TcpState::FinWait2),
        (state::TIME_WAIT, TcpState::TimeWait),
        (state::CLOSE, TcpState::Close),
        (state::CLOSE_WAIT, TcpState::CloseWait),
        (state::LAST_ACK, TcpState::LastAck),
        (state::LISTEN, TcpState::Listen),
        (state::CLOSING, TcpState::Closing),
        // TCP_NEW_SYN_RECV, which no socket with a process shows.
        (12, TcpState::Unknown(12)),
        (0, TcpState::Unknown(0)),
    ];
    for (number, name) in names {
        let record = RawTcp {
            old_state: number,
            new_state: number,
            ..sample::tcp(EventKind::TcpState)
        };
        let tcp = tcp_of(&record);
        assert_eq!((tcp.old_state, tcp.new_state), (name, name));
    }
}

#[test]
fn every_field_of_a_descriptor() {
    for (kind, action) in FD_KINDS {
        let path = b"guava.jar\0lib\0WEB-INF\0";
        let record = sample::fd(kind, path_form::RESOLVED, path.len());
        let expected = FdEvent {
            action,
            fd: Some(57),
            source: FdSource::Open,
            kind: FdKind::File,
            errno: 0,
            opens: 228,
            fds_net: 193,
            files_net: -3,
            path: Some(Path {
                text: "/WEB-INF/lib/guava.jar".to_owned(),
                form: PathForm::Resolved,
            }),
        };
        assert_eq!(fd_of(&sample::bytes(&record, path)), expected, "{kind:?}");
    }
}

#[test]
fn a_refused_descriptor_has_no_number() {
    let record = RawFd {
        fd: -1,
        errno: 24,
        source: FdSource::Accept as u8,
        fd_kind: FdKind::Socket as u8,
        ..sample::fd(EventKind::FdExhausted, path_form::NONE, 0)
    };
    let fd = fd_of(&sample::bytes(&record, &[]));
    assert_eq!((fd.fd, fd.errno, fd.path), (None, 24, None));
    assert_eq!((fd.source, fd.kind), (FdSource::Accept, FdKind::Socket));
}

#[test]
fn resolved_paths_come_from_the_file_up() {
    assert_eq!(resolved_text(b"hosts\0etc\0"), "/etc/hosts");
    assert_eq!(resolved_text(b"vmlinuz\0"), "/vmlinuz");
    // The root itself has no name.
    assert_eq!(resolved_text(b""), "/");
    // The last NUL did not fit.
    assert_eq!(resolved_text(b"hosts\0etc"), "/etc/hosts");
    assert_eq!(resolved_text(b"a\xFFb\0etc\0"), "/etc/a\u{FFFD}b");
    assert_eq!(resolved_text("日志\0δ\0".as_bytes()), "/δ/日志");
}

#[test]
fn a_cut_resolved_path_begins_with_an_ellipsis() {
    let path = path_of(path_form::RESOLVED_CUT, b"a.jar\0lib\0").unwrap();
    assert_eq!(path.text, "…/lib/a.jar");
    assert_eq!(path.form, PathForm::Resolved);
}

#[test]
fn paths_as_given() {
    let text_of = |form, bytes: &[u8]| {
        let path = path_of(form, bytes).unwrap();
        assert_eq!(path.form, PathForm::AsGiven);
        path.text
    };
    assert_eq!(
        text_of(path_form::AS_GIVEN, b"conf/app.yml\0"),
        "conf/app.yml"
    );
    assert_eq!(text_of(path_form::AS_GIVEN, b"/no/nul"), "/no/nul");
    assert_eq!(text_of(path_form::AS_GIVEN, b""), "");
    assert_eq!(text_of(path_form::AS_GIVEN, b"a\0left over"), "a");
    assert_eq!(text_of(path_form::AS_GIVEN, b"\xC3\0"), "\u{FFFD}");
    assert_eq!(text_of(path_form::AS_GIVEN_CUT, b"/very/lo\0"), "/very/lo…");
}

#[test]
fn no_path_is_no_path_whatever_follows() {
    assert_eq!(path_of(path_form::NONE, b"left over"), None);
}

#[test]
fn the_longest_path() {
    let longest = vec![b'x'; PATH_BYTES_MAX];
    assert_eq!(
        resolved_text(&longest),
        format!("/{}", "x".repeat(PATH_BYTES_MAX))
    );
    let announced = 1 << 20;
    let record = sample::fd(EventKind::FdInstall, path_form::RESOLVED, announced);
    assert_eq!(
        decode(&sample::bytes(&record, &vec![b'x'; announced])),
        Err(DecodeError::Field("path_bytes"))
    );
}

#[test]
fn every_field_of_a_process() {
    let args = b"java\0-cp\0/opt/a b\0Main\0";
    let expected = ProcessSeen {
        start: Nanos(900_000_000),
        cgroup_id: 6021,
        ppid: Pid(4700),
        parent_comm: Comm::from("catalina.sh"),
        uid: 104,
        ns_pid: 9,
        netns: Netns(4_026_532_281),
        hostname: "shop-7d4f9c-x2x8k".into(),
        comm: Comm::from("java"),
        is_exec: true,
        cmdline: "java -cp /opt/a b Main".to_owned(),
    };
    assert_eq!(process_of(&sample::process(args.len()), args), expected);
}

#[test]
fn a_host_name_may_fill_its_room_or_not_be_known() {
    let hostname = |hostname| {
        let record = ProcessEvent {
            hostname,
            ..sample::process(0)
        };
        process_of(&record, b"").hostname
    };
    assert_eq!(*hostname([b'x'; 64]), *"x".repeat(64));
    assert_eq!(*hostname([0; 64]), *"");
}

#[test]
fn command_lines() {
    assert_eq!(cmdline_of(b""), "");
    assert_eq!(cmdline_of(b"sh\0"), "sh");
    assert_eq!(cmdline_of(b"sh\0-c\0\0\0"), "sh -c");
    assert_eq!(cmdline_of(b"sh\0\0x\0"), "sh  x");
    assert_eq!(cmdline_of(b"a\xFE\0b\0"), "a\u{FFFD} b");

    let args = vec![b'x'; ARGS_BYTES_MAX];
    let record = ProcessEvent {
        args_cut: 1,
        is_exec: 0,
        ..sample::process(args.len())
    };
    let process = process_of(&record, &args);
    assert_eq!(process.cmdline, format!("{}…", "x".repeat(512)));
    assert!(!process.is_exec);

    let too_long = ARGS_BYTES_MAX + 1;
    let record = sample::bytes(&sample::process(too_long), &vec![b'x'; too_long]);
    assert_eq!(decode(&record), Err(DecodeError::Field("args_bytes")));
}

#[test]
fn every_counter_of_a_process_that_ended() {
    let expected = EventBody::Exit {
        comm: Comm::from("java"),
        // What only the kernel half needs is left out.
        counters: Box::new(tracer_common::ProcessCounters {
            budget_window_ns: 0,
            budget_used: 0,
            announced: 0,
            pid_here: 0,
            ..sample::counters()
        }),
    };
    assert_eq!(body(&sample::bytes(&sample::exit(), &[])), expected);
}

#[test]
fn thread_names_end_at_the_first_nul_and_may_be_no_text() {
    let thread_of = |thread| {
        let mut record = sample::tcp(EventKind::TcpConnect);
        record.header.thread = thread;
        decode(&sample::bytes(&record, &[])).unwrap().thread
    };
    assert_eq!(thread_of(*b"0123456789abcdef").as_str(), "0123456789abcde");
    assert_eq!(thread_of(*b"one\0two\0\0\0\0\0\0\0\0\0"), Comm::from("one"));
    assert_eq!(thread_of([0; COMM_BYTES]), Comm::default());
    // No text: what is not is told as `?`, also a letter that the kernel cut.
    assert_eq!(
        thread_of(*b"\xFF\x1Ba\xC3\xA9\xC3\0\0\0\0\0\0\0\0\0\0").as_str(),
        "?\x1Ba\u{e9}?"
    );
}

#[test]
fn every_prefix_of_a_record_is_short() {
    for record in one_of_each_kind() {
        for have in 0..record.len() {
            match decode(&record[..have]) {
                Err(DecodeError::Short { need, have: told }) => {
                    assert_eq!(told, have);
                    assert!(have < need && need <= record.len(), "{need} of {have}");
                }
                other => panic!("{have} bytes of {record:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_follows_a_record_is_padding() {
    for mut record in one_of_each_kind() {
        let event = decode(&record).unwrap();
        record.extend_from_slice(&[0xAA; 7]);
        assert_eq!(decode(&record), Ok(event));
    }
}

#[test]
fn numbers_without_a_name() {
    let mut header = sample::header(EventKind::Exit);
    header.kind = 12;
    assert_eq!(
        decode(&sample::bytes(&header, &[])),
        Err(DecodeError::UnknownKind(12))
    );

    let tcp = sample::tcp(EventKind::TcpAccept);
    let fd = sample::fd(EventKind::FdInstall, path_form::RESOLVED, 0);
    let records = [
        ("family", sample::bytes(&RawTcp { family: 1, ..tcp }, &[])),
        ("role", sample::bytes(&RawTcp { role: 3, ..tcp }, &[])),
        ("source", sample::bytes(&RawFd { source: 10, ..fd }, &[])),
        ("fd_kind", sample::bytes(&RawFd { fd_kind: 5, ..fd }, &[])),
        (
            "path_form",
            sample::bytes(&RawFd { path_form: 5, ..fd }, &[]),
        ),
    ];
    for (field, record) in records {
        assert_eq!(decode(&record), Err(DecodeError::Field(field)));
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let texts = [
        (
            DecodeError::UnknownKind(12),
            "a record of the unknown kind 12",
        ),
        (
            DecodeError::Short { need: 40, have: 7 },
            "a record of 7 bytes where 40 are needed",
        ),
        (
            DecodeError::Field("role"),
            "a record whose field role makes no sense",
        ),
    ];
    for (error, text) in texts {
        assert_eq!(error.to_string(), text);
    }
}

/// Every text that an event carries, with the most bytes that it may have: a byte that is no text
/// becomes three, and an ellipsis has three.
fn assert_within_bounds(record: &[u8], event: &Event) {
    let longest = |bytes: usize| bytes * 3 + ELLIPSIS.len() + 1;
    match &event.body {
        EventBody::Tcp(tcp) => {
            for endpoint in [tcp.local, tcp.remote] {
                assert_eq!(endpoint.addr, endpoint.addr.to_canonical());
            }
            assert_ne!(tcp.start, Some(Nanos(0)));
        }
        EventBody::Fd(fd) => {
            assert!(fd.fd.is_none_or(|fd| i32::try_from(fd).is_ok()));
            if let Some(path) = &fd.path {
                let bytes = record.len() - size_of::<RawFd>();
                assert!(path.text.len() <= longest(bytes.min(PATH_BYTES_MAX + 256)));
                assert!(!path.text.contains('\0'));
            }
        }
        EventBody::Process(process) => {
            let bytes = record.len() - size_of::<ProcessEvent>();
            assert!(process.cmdline.len() <= longest(bytes.min(ARGS_BYTES_MAX)));
            assert!(!process.cmdline.contains('\0'));
        }
        EventBody::Exit { .. } => {}
    }
    assert!(event.thread.as_str().len() <= COMM_BYTES);
}

/// Where [`EventHeader::kind`] lies.
const KIND_AT: usize = 16;

proptest! {
    #[test]
    fn any_bytes_are_an_event_or_an_error(record in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(event) = decode(&record) {
            assert_within_bounds(&record, &event);
        }
    }

    #[test]
    fn any_bytes_of_a_known_kind(
        kind in prop::sample::select(EventKind::ALL.to_vec()),
        mut record in prop::collection::vec(any::<u8>(), 40..600),
    ) {
        record[KIND_AT..KIND_AT + 4].copy_from_slice(&(kind as u32).to_ne_bytes());
        match decode(&record) {
            Ok(event) => assert_within_bounds(&record, &event),
            Err(error) => prop_assert!(!matches!(error, DecodeError::UnknownKind(_))),
        }
    }

    #[test]
    fn a_valid_record_with_some_bytes_changed(
        which in 0..EventKind::COUNT,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        tail in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut record = one_of_each_kind().swap_remove(which);
        record.extend(tail);
        for (at, byte) in changes {
            let at = at.index(record.len());
            record[at] = byte;
        }
        if let Ok(event) = decode(&record) {
            assert_within_bounds(&record, &event);
        }
    }
}

#[test]
fn a_stack_has_a_number_or_a_reason() {
    let told = |stack| {
        let mut record = sample::tcp(EventKind::TcpConnect);
        record.header.stack = stack;
        decode(&sample::bytes(&record, &[])).unwrap().stack
    };
    assert_eq!(told(0), None);
    assert_eq!(told(1), Some(UserStack::Taken(StackId(0))));
    assert_eq!(told(8_192), Some(UserStack::Taken(StackId(8_191))));
    // EEXIST: another stack has its place in the kernel's table.
    assert_eq!(told(-17), Some(UserStack::Missing(17)));
    assert_eq!(told(i32::MIN), Some(UserStack::Missing(i32::MAX)));
}
