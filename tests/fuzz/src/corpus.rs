//! Holds the seeds against the records that they are made of, and takes every one of them the whole
//! way; never runs the fuzzer.

#[path = "../../../tracer/src/model/sample_records.rs"]
mod sample_records;

use std::{collections::BTreeMap, env, fs, path::PathBuf};

use sample_records as sample;
use tracer_common::{EventKind, FdEvent, FdSource, Role, TcpEvent, fd::path_form, net};

use super::*;

/// Where the seeds lie.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus-records")
}

/// A stream as [`watch`] takes it.
#[derive(Default)]
struct Stream(Vec<u8>);

impl Stream {
    fn record(mut self, record: &[u8]) -> Self {
        let length = u16::try_from(record.len()).unwrap();
        self.0.extend(length.to_le_bytes());
        self.0.extend(record);
        self
    }

    fn tcp(self, ts_ms: u64, mut event: TcpEvent) -> Self {
        event.header.ts_ns = ts_ms * 1_000_000;
        self.record(&sample::bytes(&event, &[]))
    }

    fn again(mut self, times: u8, apart_ms: u16) -> Self {
        self.0.extend([times, 0x80]);
        self.0.extend(apart_ms.to_le_bytes());
        self
    }

    fn tick(mut self) -> Self {
        self.0.extend([0, 0]);
        self
    }
}

fn one(record: &[u8]) -> Stream {
    Stream::default().record(record)
}

/// A state change of a client's connection.
fn change(old_state: u8, new_state: u8) -> TcpEvent {
    TcpEvent {
        old_state,
        new_state,
        ..sample::tcp(EventKind::TcpState)
    }
}

/// A client that connects, closes first within 16 ms, and lets go of its socket.
fn short_connection() -> Stream {
    use net::state::{CLOSE, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, SYN_SENT, TIME_WAIT};
    let connect = TcpEvent {
        old_state: SYN_SENT,
        new_state: SYN_SENT,
        ..sample::tcp(EventKind::TcpConnect)
    };
    let time_wait = TcpEvent {
        old_state: FIN_WAIT2,
        new_state: TIME_WAIT,
        ..sample::tcp(EventKind::TcpTimeWait)
    };
    let close = TcpEvent {
        old_state: CLOSE,
        new_state: CLOSE,
        lport: 0,
        ..sample::tcp(EventKind::TcpClose)
    };
    Stream::default()
        .tcp(1484, connect)
        .tcp(1485, change(SYN_SENT, ESTABLISHED))
        .tcp(1500, change(ESTABLISHED, FIN_WAIT1))
        .tcp(1501, time_wait)
        .tcp(2600, close)
}

fn opened(source: FdSource, path: &[u8], form: u8) -> Vec<u8> {
    let event = FdEvent {
        source: source as u8,
        ..sample::fd(EventKind::FdInstall, form, path.len())
    };
    sample::bytes(&event, path)
}

/// Every seed by its file's name.
fn seeds() -> BTreeMap<&'static str, Vec<u8>> {
    use net::state::{CLOSE, CLOSE_WAIT, ESTABLISHED, SYN_RECV, SYN_SENT};

    let process = |args: &[u8]| sample::bytes(&sample::process(args.len()), args);
    let jar = b"guava.jar\0lib\0WEB-INF\0app\0webapps\0srv\0";
    let accept = TcpEvent {
        family: net::AF_INET6,
        laddr: mapped([10, 0, 0, 9]),
        raddr: mapped([10, 0, 0, 7]),
        lport: 2181,
        rport: 45_678,
        role: Role::Server as u32,
        new_state: ESTABLISHED,
        ..sample::tcp(EventKind::TcpAccept)
    };
    let as_server = |old_state, new_state| TcpEvent {
        header: sample::header(EventKind::TcpState),
        old_state,
        new_state,
        ..accept
    };
    let failed = TcpEvent {
        errno: 99,
        ..sample::tcp(EventKind::TcpConnectFailed)
    };
    let refused = TcpEvent {
        errno: 111,
        ..change(SYN_SENT, CLOSE)
    };
    let missing = sample::fd(EventKind::FdOpenFailed, path_form::AS_GIVEN, 7);
    let full = FdEvent {
        fd: -1,
        errno: 24,
        source: FdSource::Accept as u8,
        ..sample::fd(EventKind::FdExhausted, path_form::NONE, 0)
    };
    let closed = sample::fd(EventKind::FdClose, path_form::NONE, 0);
    let steering = b"\x1b[2J\0a\nb\0\xff\0";
    let streams = [
        ("accept_mapped", one(&sample::bytes(&accept, &[]))),
        (
            "burst_of_jars",
            one(&process(b"java\0-cp\0/opt/tomcat\0Bootstrap\0"))
                .again(0, 0)
                .record(&opened(FdSource::Open, jar, path_form::RESOLVED))
                .again(227, 4)
                .tick(),
        ),
        (
            "connect_failed",
            one(&sample::bytes(&failed, &[])).again(9, 1500).tick(),
        ),
        (
            "connect_refused",
            one(&sample::bytes(&sample::tcp(EventKind::TcpConnect), &[]))
                .tcp(1501, refused)
                .again(9, 1500)
                .tick(),
        ),
        (
            "exit",
            one(&process(b"sh\0"))
                .record(&sample::bytes(&sample::exit(), &[]))
                .tick(),
        ),
        ("fd_close", one(&sample::bytes(&closed, &[]))),
        (
            "fd_exhausted",
            one(&sample::bytes(&full, &[])).again(40, 5).tick(),
        ),
        ("flapping_client", short_connection().again(20, 1700).tick()),
        (
            "flapping_server",
            Stream::default()
                .tcp(1500, as_server(SYN_RECV, ESTABLISHED))
                .tcp(1501, accept)
                .tcp(1503, as_server(ESTABLISHED, CLOSE_WAIT))
                .tcp(1504, as_server(CLOSE_WAIT, CLOSE))
                .again(20, 1100)
                .tick(),
        ),
        (
            "open_cut",
            one(&opened(FdSource::Open, jar, path_form::RESOLVED_CUT)),
        ),
        ("open_failed", one(&sample::bytes(&missing, b"app.yml"))),
        (
            "open_steering",
            one(&process(steering))
                .record(&opened(
                    FdSource::IoUring,
                    steering,
                    path_form::AS_GIVEN_CUT,
                ))
                .again(255, 1)
                .tick(),
        ),
    ];
    streams
        .into_iter()
        .map(|(name, stream)| (name, stream.0))
        .collect()
}

/// An IPv4 address as a Java server's sockets hold it.
fn mapped(address: [u8; 4]) -> [u8; 16] {
    std::net::Ipv4Addr::from(address).to_ipv6_mapped().octets()
}

/// `WRITE_SEEDS=1 cargo test -p tracer-fuzz` writes them anew after a layout has changed.
#[test]
fn the_seeds_are_of_the_layouts_of_today() {
    for (name, seed) in seeds() {
        let path = folder().join(name);
        if env::var_os("WRITE_SEEDS").is_some() {
            fs::write(&path, &seed).unwrap();
        }
        let kept = fs::read(&path).unwrap_or_default();
        assert!(kept == seed, "{name} is not what it should be");
    }
}

#[test]
fn every_record_of_the_seeds_decodes_and_every_kind_is_there() {
    let mut kinds = [false; EventKind::COUNT];
    for (name, seed) in seeds() {
        for step in steps(&seed) {
            if let Step::Record(record) = step {
                decode(record).expect(name);
                kinds[usize::from(record[16])] = true;
            }
        }
    }
    assert_eq!(kinds, [true; EventKind::COUNT]);
}

#[test]
fn the_seeds_reach_the_verdicts() {
    let verdicts_of = |name: &str| {
        let mut watch = Watch::default();
        watch.take(&seeds()[name]);
        let report = watch.engine.report();
        let mut names: Vec<_> = (report.verdicts.iter())
            .map(|verdict| verdict.finding.name())
            // The tables that are made up for look-ups are full by chance.
            .filter(|name| *name != "fd_near_limit")
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(verdicts_of("burst_of_jars"), ["fd_burst"]);
    assert_eq!(verdicts_of("connect_refused"), ["failing_connects"]);
    assert_eq!(verdicts_of("flapping_client"), ["flapping"]);
    assert_eq!(verdicts_of("flapping_server"), ["flapping"]);
}

/// The seeds, and whatever was once found to break something and was then kept here.
#[test]
fn the_whole_corpus_is_watched_without_a_panic() {
    for entry in fs::read_dir(folder()).unwrap() {
        watch(&fs::read(entry.unwrap().path()).unwrap());
    }
}
