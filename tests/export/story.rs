//! A minute of a host with both incidents as literal inputs; never read from a file.

use std::{io, path::Path};

use tracer::{
    model::{
        Comm, Cookie, DescriptorFact, Endpoint, Event, EventBody, FdAction, FdEvent, HostFact,
        Input, Losses, Nanos, Netns, Path as FilePath, PathForm, Pid, ProcessFact, Session, SockId,
        TcpAction, TcpEvent, TcpState, Tid,
    },
    trace::{Batching, Head, Writer},
};
use tracer_common::{EventKind, FdKind, FdSource, ProcessCounters, Role};

/// 2026-11-21T14:03:00Z, where the host had been up for 1000 s.
const WALL_OFFSET_NS: i64 = 1_795_269_780_000_000_000 - 1_000_000_000_000;
const START: Nanos = Nanos::from_secs(1_000);
const ECONNREFUSED: i32 = 111;

const SHOP: u32 = 4_711;
const NGINX: u32 = 812;

/// Writes the story as a trace: `shop` flaps at port 2181 every 1.7 s and is refused at port 6379, and at
/// 30 s opens 228 jars in a second; `nginx` opens a file now and then, and accepts connections.
pub fn write(path: &Path) -> io::Result<()> {
    let head = Head {
        session: session(),
        ..Head::default()
    };
    let mut writer = Writer::new(std::fs::File::create(path)?, &head, Batching::default())?;
    for input in inputs() {
        writer.push(&input)?;
    }
    writer.finish().map(drop)
}

fn session() -> Session {
    Session {
        start: START,
        wall_offset_ns: WALL_OFFSET_NS,
        host: "shop-07".into(),
        kernel: "6.1.0-49-cloud-amd64".into(),
        version: "0.1.0".into(),
        ..Session::default()
    }
}

fn inputs() -> Vec<Input> {
    let mut host = Host {
        inputs: vec![Input::Session(Box::new(session()))],
        now: START,
        next_sock: 0,
        counters: [ProcessCounters::ZERO; 2],
    };
    host.introduce(SHOP, "shop", 3_863);
    host.introduce(NGINX, "nginx", 140);
    for tenth in 0..600_u64 {
        host.now = START + Nanos::from_millis(tenth * 100);
        host.moment(tenth);
        if tenth % 5 == 0 {
            host.tick();
        }
    }
    host.now = START + Nanos::from_secs(60);
    host.tick();
    host.inputs
}

struct Host {
    inputs: Vec<Input>,
    now: Nanos,
    next_sock: u64,
    /// Of [`SHOP`] and of [`NGINX`].
    counters: [ProcessCounters; 2],
}

impl Host {
    fn moment(&mut self, tenth: u64) {
        if tenth % 17 == 3 {
            self.client(2181, true);
        }
        if tenth % 90 == 50 {
            self.client(6379, false);
        }
        if tenth % 40 == 1 {
            self.accept();
            self.open(NGINX, "/var/cache/nginx/a");
        }
        if (300..312).contains(&tenth) {
            for n in 0..19 {
                let jar = format!("/srv/shop/WEB-INF/lib/lib-{}.jar", (tenth - 300) * 19 + n);
                self.open(SHOP, &jar);
            }
        }
        if tenth == 400 {
            self.counters_of(SHOP).fds_closed_of_kind[FdKind::File as usize] += 228;
        }
    }

    fn introduce(&mut self, pid: u32, comm: &str, open: u64) {
        self.fact(HostFact::Process(Box::new(ProcessFact {
            pid: Pid(pid),
            start: Some(Nanos::from_secs(600)),
            comm: Some(comm.into()),
            exe: Some(format!("/usr/bin/{comm}")),
            cmdline: Some(format!("/usr/bin/{comm} --foreground")),
            user: Some("app".into()),
            ..ProcessFact::default()
        })));
        self.fact(HostFact::Descriptors(DescriptorFact {
            pid: Pid(pid),
            start: None,
            open,
            net: Some(0),
            soft_limit: Some(4_096),
            hard_limit: None,
        }));
    }

    fn tick(&mut self) {
        for pid in [SHOP, NGINX] {
            let counters = Box::new(*self.counters_of(pid));
            let pid = Pid(pid);
            self.fact(HostFact::Counters { pid, counters });
        }
        let mut losses = Losses::default();
        let opened = self.counters.iter().map(|c| c.fds_got[0]).sum();
        let streamed = &mut losses.by_kind[EventKind::FdInstall as usize];
        (streamed.seen, streamed.streamed) = (opened, opened);
        self.inputs.push(Input::Losses(Box::new(losses)));
        self.inputs.push(Input::Tick(self.now));
    }

    fn counters_of(&mut self, pid: u32) -> &mut ProcessCounters {
        &mut self.counters[usize::from(pid == NGINX)]
    }

    fn fact(&mut self, fact: HostFact) {
        self.inputs.push(Input::Host(self.now, fact));
    }

    fn event(&mut self, pid: u32, thread: &str, body: EventBody) {
        self.inputs.push(Input::Event(Event {
            ts: self.now,
            pid: Pid(pid),
            tid: Tid(pid + 2),
            thread: Comm::from(thread),
            stack: None,
            body,
        }));
    }

    fn open(&mut self, pid: u32, path: &str) {
        let file = FdKind::File as usize;
        let counters = self.counters_of(pid);
        counters.fds_got[FdSource::Open as usize] += 1;
        counters.fds_got_of_kind[file] += 1;
        let net = counters.fds_got_of_kind[file].cast_signed()
            - counters.fds_closed_of_kind[file].cast_signed();
        let opens = counters.fds_got[FdSource::Open as usize];
        let body = EventBody::Fd(FdEvent {
            action: FdAction::Installed,
            fd: Some(57),
            source: FdSource::Open,
            kind: FdKind::File,
            errno: 0,
            opens,
            fds_net: net,
            files_net: net,
            path: Some(FilePath {
                text: path.to_owned(),
                form: PathForm::Resolved,
            }),
        });
        self.event(pid, "worker", body);
    }

    /// A connection of `shop` that it ends after 16 ms, or that is refused. Its descriptor is closed when
    /// the socket has forgotten its port.
    fn client(&mut self, port: u16, succeeds: bool) {
        use TcpState::{Close, Established, FinWait1, SynSent, TimeWait};
        self.counters_of(SHOP).connects += 1;
        let begun = self.connection(SHOP, Role::Client, (40_000, port));
        self.tcp(&begun, TcpAction::Connect, (Close, SynSent));
        if !succeeds {
            let refused = Connection {
                errno: ECONNREFUSED,
                ..begun
            };
            self.tcp(&refused, TcpAction::State, (SynSent, Close));
            return;
        }
        self.tcp(&begun, TcpAction::State, (SynSent, Established));
        self.now = self.now + Nanos::from_millis(16);
        let used = Connection {
            tx_bytes: 45,
            ..begun
        };
        self.tcp(&used, TcpAction::State, (Established, FinWait1));
        self.tcp(&used, TcpAction::TimeWait, (FinWait1, TimeWait));
        let ports = (0, port);
        self.tcp(
            &Connection { ports, ..used },
            TcpAction::Close,
            (Close, Close),
        );
    }

    /// A connection that `nginx` accepts, answers, and sees closed by the peer.
    fn accept(&mut self) {
        use TcpState::{Close, CloseWait, Established};
        self.counters_of(NGINX).accepts += 1;
        let begun = self.connection(NGINX, Role::Server, (8080, 50_000));
        self.tcp(&begun, TcpAction::Accept, (Established, Established));
        self.now = self.now + Nanos::from_millis(40);
        let used = Connection {
            tx_bytes: 4_000,
            ..begun
        };
        self.tcp(&used, TcpAction::State, (Established, CloseWait));
        self.tcp(&used, TcpAction::Close, (CloseWait, CloseWait));
        self.tcp(&used, TcpAction::State, (CloseWait, Close));
    }

    fn connection(&mut self, pid: u32, role: Role, ports: (u16, u16)) -> Connection {
        self.next_sock += 1;
        Connection {
            sock: self.next_sock,
            pid,
            role,
            ports,
            start: self.now,
            tx_bytes: 0,
            errno: 0,
        }
    }

    fn tcp(&mut self, of: &Connection, action: TcpAction, states: (TcpState, TcpState)) {
        // The kernel tells changes of state outside of the process.
        let thread = match action {
            TcpAction::State | TcpAction::TimeWait => "",
            _ => "SendThread",
        };
        let body = EventBody::Tcp(TcpEvent {
            action,
            sock: SockId(of.sock),
            cookie: Cookie(of.sock),
            start: Some(of.start),
            tx_bytes: of.tx_bytes,
            rx_bytes: 0,
            local: endpoint(of.ports.0),
            remote: endpoint(of.ports.1),
            netns: Netns(4_026_531_840),
            old_state: states.0,
            new_state: states.1,
            errno: of.errno,
            role: of.role,
        });
        self.event(of.pid, thread, body);
    }
}

/// A connection as its next event tells it.
struct Connection {
    sock: u64,
    pid: u32,
    role: Role,
    ports: (u16, u16),
    start: Nanos,
    tx_bytes: u64,
    errno: i32,
}

fn endpoint(port: u16) -> Endpoint {
    Endpoint {
        addr: "10.0.0.7".parse().expect("it is an address"),
        port,
    }
}
