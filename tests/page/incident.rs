//! Both incidents on one host as literal inputs, with names that the test chooses; never read from
//! a file.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use tracer::{
    analysis::{Engine, Report, Series, SeriesRecorder, Thresholds},
    model::{
        Comm, Cookie, DescriptorFact, Endpoint, Event, EventBody, FdAction, FdEvent, HostFact,
        Input, Losses, Nanos, Netns, Path, PathForm, Pid, ProcessFact, Session, SockId, SocketRow,
        TcpAction, TcpEvent, TcpState, Tid, TimeWaitListing,
    },
};
use tracer_common::{EventKind, FdKind, FdSource, ProcessCounters, Role};

/// 2026-11-21T14:03:00Z, where the host had been up for 1000 s.
const WALL_OFFSET_NS: i64 = 1_795_269_780_000_000_000 - 1_000_000_000_000;
const START: Nanos = Nanos::from_secs(1_000);
const NETNS: Netns = Netns(4_026_531_840);
const ECONNREFUSED: i32 = 111;

/// The names that programs chose.
#[derive(Clone, Debug)]
pub struct Names {
    /// The server that opens the files and flaps.
    pub server: String,
    pub cmdline: String,
    pub container: String,
    pub thread: String,
    /// The directory that its files lie in.
    pub dir: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            server: "java".into(),
            cmdline: "java -Dcatalina.base=/srv/tomcat org.apache.catalina.startup.Bootstrap start"
                .into(),
            container: "3f2a9c81d0b7e6f5a4b3c2d1e0f9a8b7".into(),
            thread: "Catalina-utilit".into(),
            dir: "/srv/tomcat/webapps/shop/WEB-INF/lib".into(),
        }
    }
}

/// What is known at the end.
pub struct Told {
    pub report: Report,
    pub series: Series,
}

struct Host {
    engine: Engine,
    recorder: SeriesRecorder,
    now: Nanos,
    next_sock: u64,
    /// Sockets in `TIME_WAIT`, each with the time of its end.
    time_wait: Vec<(Nanos, SocketRow)>,
    counters: BTreeMap<u32, ProcessCounters>,
}

const SERVER: u32 = 4_711;

/// Tells the story of 90 s: a client flaps all the time; at 30 s a burst of files fills the
/// descriptor table, calls fail until the files are closed at 41 s; some events are lost at 60 s.
/// At the end `time_wait` sockets of an unknown owner are listed besides.
pub fn told(names: &Names, time_wait: u16) -> Told {
    let mut host = Host {
        engine: Engine::new(Thresholds::default()),
        recorder: SeriesRecorder::default(),
        now: START,
        next_sock: 1,
        time_wait: Vec::new(),
        counters: BTreeMap::new(),
    };
    host.input(&Input::Session(Box::new(Session {
        start: START,
        wall_offset_ns: WALL_OFFSET_NS,
        host: "shop-07".into(),
        kernel: "6.1.0-49-cloud-amd64".into(),
        version: "0.1.0".into(),
        ..Session::default()
    })));
    host.introduce(names);
    for tenth in 0..900_u64 {
        host.now = START + Nanos::from_millis(tenth * 100);
        host.moment(tenth, names);
        if tenth.is_multiple_of(5) {
            host.tell_counters();
            host.input(&Input::Tick(host.now));
        }
        if tenth.is_multiple_of(10) {
            host.list(if tenth == 890 { time_wait } else { 17 });
        }
    }
    host.input(&Input::Tick(host.now));
    Told {
        report: host.engine.report(),
        series: host.recorder.series(&host.engine),
    }
}

impl Host {
    fn input(&mut self, input: &Input) {
        self.engine.apply(input);
        self.recorder.observe(&self.engine, input);
    }

    fn fact(&mut self, fact: HostFact) {
        self.input(&Input::Host(self.now, fact));
    }

    fn event(&mut self, pid: u32, tid: u32, thread: &str, body: EventBody) {
        self.input(&Input::Event(Event {
            ts: self.now,
            pid: Pid(pid),
            tid: Tid(tid),
            thread: Comm::from(thread),
            stack: None,
            body,
        }));
    }

    fn introduce(&mut self, names: &Names) {
        let others = [
            (900, "zookeeper", None),
            (812, "nginx", Some("9b1c0f77aa21".to_owned())),
            (1_204, "redis-server", None),
            (77, "systemd-journal", None),
        ];
        for (pid, comm, container) in others {
            self.fact(HostFact::Process(Box::new(ProcessFact {
                pid: Pid(pid),
                comm: Some(comm.into()),
                exe: Some(format!("/usr/sbin/{comm}")),
                cmdline: Some(format!("/usr/sbin/{comm} --foreground")),
                user: Some("root".into()),
                container,
                ..ProcessFact::default()
            })));
        }
        self.fact(HostFact::Process(Box::new(ProcessFact {
            pid: Pid(SERVER),
            start: Some(Nanos::from_secs(600)),
            comm: Some(names.server.clone()),
            exe: Some("/usr/lib/jvm/java-17-openjdk-amd64/bin/java".into()),
            cmdline: Some(names.cmdline.clone()),
            ppid: Some(Pid(1)),
            user: Some("tomcat".into()),
            ns_pid: Some(17),
            container: Some(names.container.clone()),
            ..ProcessFact::default()
        })));
        for (pid, open, limit) in [(SERVER, 3_863, 4_096), (900, 61, 65_536), (812, 140, 1_024)] {
            self.fact(HostFact::Descriptors(DescriptorFact {
                pid: Pid(pid),
                start: None,
                open,
                net: Some(0),
                soft_limit: Some(limit),
                hard_limit: None,
            }));
        }
    }

    fn moment(&mut self, tenth: u64, names: &Names) {
        if tenth % 17 == 3 {
            self.flap(names, 2181, true);
        }
        if tenth % 4 == 1 {
            self.open(812, 812, "nginx", FdAction::Installed, "/var/cache/nginx/a");
        }
        if tenth % 90 == 20 {
            self.open(
                SERVER,
                4_800,
                "http-nio-8080-A",
                FdAction::Installed,
                "/etc/hosts",
            );
        }
        if (300..312).contains(&tenth) {
            for n in 0..19 {
                let path = format!("{}/library-{}.jar", names.dir, (tenth - 300) * 19 + n);
                self.open(SERVER, 4_790, "http-nio-8080-e", FdAction::Installed, &path);
            }
        }
        if (312..410).contains(&tenth) && tenth.is_multiple_of(3) {
            for _ in 0..(tenth % 7) {
                self.open(SERVER, 4_800, "http-nio-8080-A", FdAction::Exhausted, "");
            }
        }
        if (320..420).contains(&tenth) && tenth.is_multiple_of(9) {
            self.flap(names, 6379, false);
        }
        if tenth == 410 {
            self.counters_of(SERVER).fds_closed_of_kind[FdKind::File as usize] += 228;
        }
        if tenth == 600 {
            let mut losses = Losses::default();
            losses.by_kind[EventKind::FdInstall as usize].ring_full = 42;
            losses.by_kind[EventKind::FdInstall as usize].counted_only = 1_112;
            self.input(&Input::Losses(Box::new(losses)));
        }
    }

    fn counters_of(&mut self, pid: u32) -> &mut ProcessCounters {
        self.counters.entry(pid).or_insert(ProcessCounters::ZERO)
    }

    fn tell_counters(&mut self) {
        let counters = Box::new(*self.counters_of(SERVER));
        let pid = Pid(SERVER);
        self.fact(HostFact::Counters { pid, counters });
    }

    fn open(&mut self, pid: u32, tid: u32, thread: &str, action: FdAction, path: &str) {
        let counters = self.counters_of(pid);
        if action == FdAction::Installed {
            counters.fds_got[FdSource::Open as usize] += 1;
            counters.fds_got_of_kind[FdKind::File as usize] += 1;
        } else {
            counters.fds_refused[FdSource::Accept as usize] += 1;
        }
        let file = FdKind::File as usize;
        let net = counters.fds_got_of_kind[file].cast_signed()
            - counters.fds_closed_of_kind[file].cast_signed();
        let event = FdEvent {
            action,
            fd: Some(5),
            source: FdSource::Open,
            kind: FdKind::File,
            errno: if action == FdAction::Exhausted { 24 } else { 0 },
            opens: counters.fds_got[FdSource::Open as usize],
            fds_net: net,
            files_net: net,
            path: (!path.is_empty()).then(|| Path {
                text: path.to_owned(),
                form: PathForm::Resolved,
            }),
        };
        self.event(pid, tid, thread, EventBody::Fd(event));
    }

    /// A connection of the server that ends at once, or is refused.
    fn flap(&mut self, names: &Names, port: u16, succeeds: bool) {
        use TcpState::{Close, Established, FinWait1, SynSent, TimeWait};
        let sock = self.next_sock;
        self.next_sock += 1;
        let local = endpoint(u16::try_from(40_000 + sock % 20_000).unwrap());
        let remote = endpoint(port);
        let start = self.now;
        let event = |action, states: (TcpState, TcpState), errno, bytes| {
            EventBody::Tcp(TcpEvent {
                action,
                sock: SockId(sock),
                cookie: Cookie(sock),
                start: Some(start),
                tx_bytes: bytes,
                rx_bytes: 0,
                local,
                remote,
                netns: NETNS,
                old_state: states.0,
                new_state: states.1,
                errno,
                role: Role::Client,
            })
        };
        let connect = event(TcpAction::Connect, (Close, SynSent), 0, 0);
        self.event(SERVER, 4_713, &names.thread, connect);
        if !succeeds {
            let refused = event(TcpAction::State, (SynSent, Close), ECONNREFUSED, 0);
            self.event(SERVER, 4_713, "", refused);
            return;
        }
        let open = event(TcpAction::State, (SynSent, Established), 0, 0);
        self.event(SERVER, 4_713, "", open);
        self.now = self.now + Nanos::from_millis(16);
        let ended = event(TcpAction::State, (Established, FinWait1), 0, 49);
        self.event(SERVER, 4_713, "", ended);
        let waits = event(TcpAction::TimeWait, (FinWait1, TimeWait), 0, 49);
        self.event(SERVER, 4_713, "", waits);
        let row = SocketRow {
            cookie: Cookie(sock),
            local,
            remote,
            state: TimeWait,
        };
        self.time_wait.push((self.now, row));
    }

    /// Lists the `TIME_WAIT` sockets of the last minute, and some from before the start.
    fn list(&mut self, unowned: u16) {
        let minute = Nanos::from_secs(60);
        let now = self.now;
        self.time_wait.retain(|(at, _)| now.since(*at) < minute);
        let owned = self.time_wait.iter().map(|(_, row)| *row);
        let unowned = (0..unowned).map(|n| SocketRow {
            cookie: Cookie(1_000_000 + u64::from(n)),
            local: endpoint(20_000 + n),
            remote: endpoint(443),
            state: TcpState::TimeWait,
        });
        let rows = owned.chain(unowned).collect();
        self.fact(HostFact::TimeWait(TimeWaitListing::new(NETNS, rows)));
    }
}

fn endpoint(port: u16) -> Endpoint {
    let addr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
    Endpoint { addr, port }
}
