//! What the programs of each mix do, and how often; never how that is told.
//!
//! The rates are those of hosts that one would look at: the tries of a thread that flaps come some
//! times a second at most, and what is busy is busy with many peers.

use std::net::{IpAddr, Ipv4Addr};

use fastrand::Rng;
use tracer::model::{Comm, Endpoint, Nanos, Pid, Tid};
use tracer_common::{FdKind, FdSource};

use super::{
    Mix,
    connection::{Connection, Ending},
    host::{Act, Host, Program, Thread},
};

/// Plans what one kind of program does.
pub trait Source {
    /// Plans all that begins before a moment and has not been planned.
    fn plan(&mut self, host: &mut Host, until: Nanos);
}

/// The sources of a mix, their processes planned to begin.
pub fn sources(mix: Mix, host: &mut Host, at: Nanos) -> Vec<Box<dyn Source>> {
    let mut sources: Vec<Box<dyn Source>> = Vec::new();
    if matches!(mix, Mix::Flapping | Mix::All) {
        sources.push(Box::new(Flapping::new(host, at)));
    }
    if matches!(mix, Mix::Burst | Mix::All) {
        sources.push(Box::new(Burst::new(host, at)));
    }
    if matches!(mix, Mix::BusyServer | Mix::All) {
        sources.push(Box::new(BusyServer::new(host, at)));
    }
    if matches!(mix, Mix::Processes | Mix::All) {
        sources.push(Box::new(Processes::new(host, at)));
    }
    sources
}

const INIT: (Pid, &str) = (Pid(1), "systemd");

/// This host's address.
const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 7));

fn begin(host: &mut Host, at: Nanos, program: Program) -> Thread {
    let pid = host.new_pid();
    let thread = Thread {
        pid: Pid(pid),
        tid: Tid(pid),
        name: Comm::from(program.comm),
    };
    host.at(at, Act::Begin(thread, Box::new(program)));
    thread
}

fn thread_of(host: &mut Host, process: Thread, name: &str) -> Thread {
    Thread {
        tid: Tid(host.new_pid()),
        name: Comm::from(name),
        ..process
    }
}

fn java(number: usize, limit: u64) -> Program {
    Program {
        comm: "java",
        exe: "/usr/lib/jvm/java-17-openjdk-amd64/bin/java",
        cmdline: format!(
            "/usr/lib/jvm/java-17-openjdk-amd64/bin/java -Xmx2g -Dcatalina.base=/srv/tomcat{number} \
             -Dcatalina.home=/usr/share/tomcat10 org.apache.catalina.startup.Bootstrap start"
        ),
        user: "tomcat",
        uid: 998,
        container: Some("4be1c0de7a52f9d1807f2a7e0f9b3a1d6cc5e8840912f7ab3d5c6e7f80912a3b"),
        parent: INIT,
        limit,
    }
}

/// Ports that the kernel takes ephemeral ones from by default.
fn ephemeral(rng: &mut Rng) -> u16 {
    rng.u16(32_768..61_000)
}

/// A span around `mean`, from half of it to one and a half.
fn around(rng: &mut Rng, mean: Nanos) -> Nanos {
    Nanos(mean.0 / 2 + rng.u64(0..=mean.0))
}

/// A thread that connects and closes again and again.
struct Flapper {
    thread: Thread,
    to: [Endpoint; 3],
    period: Nanos,
    next: Nanos,
    is_jvm: bool,
}

/// Twelve processes of four threads each, 130 tries a second in all: most as slow as a `ZooKeeper`
/// client, some as fast as a health check that has lost its pause.
struct Flapping {
    rng: Rng,
    flappers: Vec<Flapper>,
}

impl Flapping {
    fn new(host: &mut Host, at: Nanos) -> Self {
        const PERIODS_MS: [u64; 4] = [1_700, 1_100, 250, 150];
        let mut flappers = Vec::new();
        for number in 0..12_u8 {
            let process = begin(host, at, java(number.into(), 65_536));
            for (index, period) in PERIODS_MS.into_iter().enumerate() {
                let port = 2_181 + u16::from(number % 4);
                let to = [21, 22, 23].map(|last| Endpoint {
                    addr: [10, 1, number, last].into(),
                    port,
                });
                flappers.push(Flapper {
                    thread: thread_of(host, process, &format!("Thread-{index}-SendTh")),
                    to,
                    period: Nanos::from_millis(period),
                    next: at + Nanos::from_millis(100 + 7 * u64::from(number)),
                    is_jvm: index < 2,
                });
            }
        }
        let rng = Rng::with_seed(1);
        Self { rng, flappers }
    }
}

impl Source for Flapping {
    fn plan(&mut self, host: &mut Host, until: Nanos) {
        for flapper in &mut self.flappers {
            while flapper.next < until {
                let at = flapper.next;
                let period = around(&mut self.rng, flapper.period);
                flapper.next = at + period;
                let remote = flapper.to[self.rng.usize(..flapper.to.len())];
                let connection = Connection {
                    thread: flapper.thread,
                    local: Endpoint {
                        addr: OWN,
                        port: ephemeral(&mut self.rng),
                    },
                    remote,
                    lifetime: around(&mut self.rng, Nanos::from_millis(16)),
                    tx_bytes: 49,
                    rx_bytes: if self.rng.u8(..) < 40 { 41 } else { 0 },
                    ending: if flapper.is_jvm {
                        Ending::ShutDown {
                            closed_after: period,
                        }
                    } else if self.rng.u8(..) < 13 {
                        Ending::Peer
                    } else {
                        Ending::Close
                    },
                };
                if self.rng.u8(..) < 5 {
                    connection.connect_refused(host, at);
                } else {
                    connection.connect(host, at);
                }
            }
        }
    }
}

/// An application server.
struct Server {
    thread: Thread,
    number: usize,
    acceptor: Thread,
    next_burst: Nanos,
    next_file: Nanos,
}

/// Eight application servers that look for a class in all their jars, each every half a minute, and
/// open some file ten times a second meanwhile. One of them is near its limit.
struct Burst {
    rng: Rng,
    servers: Vec<Server>,
}

/// Jars of one application, and for how long a class loader keeps them.
const JARS: usize = 228;
const KEPT: Nanos = Nanos::from_secs(10);

impl Burst {
    fn new(host: &mut Host, at: Nanos) -> Self {
        let mut servers = Vec::new();
        for number in 0..8 {
            let limit = if number == 0 { 400 } else { 65_536 };
            let process = begin(host, at, java(number, limit));
            if number == 0 {
                for _ in 0..JARS {
                    host.at(at, Act::Get(process, FdSource::Accept, None));
                }
            }
            servers.push(Server {
                thread: thread_of(host, process, "http-nio-8080-e"),
                number,
                acceptor: thread_of(host, process, "http-nio-8080-A"),
                next_burst: at + Nanos::from_millis(2_000 + 3_700 * number as u64),
                next_file: at + Nanos::from_millis(50 * number as u64),
            });
        }
        let rng = Rng::with_seed(2);
        Self { rng, servers }
    }
}

impl Source for Burst {
    fn plan(&mut self, host: &mut Host, until: Nanos) {
        /// Names as the jars of a web application have them.
        const NAMES: [&str; 8] = [
            "spring-context",
            "jackson-databind",
            "zookeeper-jute",
            "commons-pool2",
            "jedis",
            "logback-classic",
            "netty-transport-native-epoll",
            "hibernate-core",
        ];
        for server in &mut self.servers {
            while server.next_burst < until {
                let mut at = server.next_burst;
                server.next_burst = at + around(&mut self.rng, Nanos::from_secs(30));
                for jar in 0..JARS {
                    let name = NAMES[jar % NAMES.len()];
                    let (major, minor) = (jar / 20, jar % 20);
                    let path = format!(
                        "/srv/tomcat{}/webapps/shop/WEB-INF/lib/{name}-{major}.{minor}.jar",
                        server.number
                    );
                    host.at(at, Act::Get(server.thread, FdSource::Open, Some(path)));
                    host.at(at + KEPT, Act::Close(server.thread.pid, FdKind::File));
                    if jar % 16 == 15 {
                        // Who accepts meanwhile finds the table full, where it is.
                        let accept = Act::Get(server.acceptor, FdSource::Accept, None);
                        host.at(at, accept);
                        host.at(at + KEPT, Act::Close(server.thread.pid, FdKind::Socket));
                    }
                    at = at + around(&mut self.rng, Nanos::from_millis(5));
                }
            }
            while server.next_file < until {
                let at = server.next_file;
                server.next_file = at + around(&mut self.rng, Nanos::from_millis(100));
                let session = self.rng.u32(..);
                let path = format!(
                    "/srv/tomcat{}/work/session-{session:08x}.ser",
                    server.number
                );
                if self.rng.u8(..) < 8 {
                    host.at(at, Act::OpenForbidden(server.thread, path));
                } else {
                    host.at(at, Act::Get(server.thread, FdSource::Open, Some(path)));
                    let closed = at + Nanos::from_millis(2);
                    host.at(closed, Act::Close(server.thread.pid, FdKind::File));
                }
            }
        }
    }
}

/// Four workers of a web server that take 400 connections a second from 6,000 peers. Most peers
/// close first, after anything from a request to half a minute.
struct BusyServer {
    rng: Rng,
    workers: Vec<Thread>,
    next: Nanos,
}

impl BusyServer {
    fn new(host: &mut Host, at: Nanos) -> Self {
        let program = |cmdline: &str| Program {
            comm: "nginx",
            exe: "/usr/sbin/nginx",
            cmdline: cmdline.to_owned(),
            user: "www-data",
            uid: 33,
            container: None,
            parent: INIT,
            limit: 65_536,
        };
        let workers = (0..4).map(|_| begin(host, at, program("nginx: worker process")));
        Self {
            rng: Rng::with_seed(3),
            workers: workers.collect(),
            next: at + Nanos::from_millis(300),
        }
    }
}

impl Source for BusyServer {
    fn plan(&mut self, host: &mut Host, until: Nanos) {
        while self.next < until {
            let at = self.next;
            self.next = at + around(&mut self.rng, Nanos(2_500_000));
            let rng = &mut self.rng;
            let peer = rng.u16(..6_000);
            let lifetime = if rng.u8(..) < 64 {
                Nanos::from_millis(rng.u64(5_000..30_000))
            } else {
                Nanos::from_millis(rng.u64(1..400))
            };
            let connection = Connection {
                thread: self.workers[usize::from(peer) % self.workers.len()],
                local: Endpoint {
                    addr: OWN,
                    port: 443,
                },
                remote: Endpoint {
                    addr: [172, 16, peer.to_be_bytes()[0], peer.to_be_bytes()[1]].into(),
                    port: ephemeral(rng),
                },
                lifetime,
                tx_bytes: rng.u64(2_000..80_000),
                rx_bytes: rng.u64(300..3_000),
                ending: if rng.u8(..) < 60 {
                    Ending::Close
                } else {
                    Ending::Peer
                },
            };
            connection.accept(host, at);
        }
    }
}

/// Six scripts that start 60 programs a second together: each opens its libraries and a file, every
/// third asks a server something, and all end within a tenth of a second.
struct Processes {
    rng: Rng,
    scripts: Vec<(Thread, Nanos)>,
}

impl Processes {
    fn new(host: &mut Host, at: Nanos) -> Self {
        let script = Program {
            comm: "backup.sh",
            exe: "/usr/bin/dash",
            cmdline: "/bin/sh /usr/local/bin/backup.sh --all".to_owned(),
            user: "root",
            uid: 0,
            container: None,
            parent: (Pid(812), "cron"),
            limit: 1_024,
        };
        let scripts = (0..6).map(|n| {
            let first = at + Nanos::from_millis(200 + 10 * n);
            (begin(host, at, script.clone()), first)
        });
        Self {
            rng: Rng::with_seed(4),
            scripts: scripts.collect(),
        }
    }
}

impl Source for Processes {
    fn plan(&mut self, host: &mut Host, until: Nanos) {
        const LIBRARIES: [&str; 5] = [
            "/etc/ld.so.cache",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/usr/lib/x86_64-linux-gnu/libssl.so.3",
            "/usr/lib/x86_64-linux-gnu/libz.so.1.3.1",
            "/usr/lib/locale/locale-archive",
        ];
        for (script, next) in &mut self.scripts {
            while *next < until {
                let at = *next;
                *next = at + around(&mut self.rng, Nanos::from_millis(100));
                let day = self.rng.u32(..10_000);
                let program = Program {
                    comm: "curl",
                    exe: "/usr/bin/curl",
                    cmdline: format!("curl -fsS http://store.example/backup/{day:04}"),
                    user: "root",
                    uid: 0,
                    container: None,
                    parent: (script.pid, "backup.sh"),
                    limit: 1_024,
                };
                let thread = begin(host, at, program);
                let mut now = at;
                let own = format!("/var/backups/{:02}/store-{day:04}.tar.gz", day % 30);
                let files = LIBRARIES.into_iter().map(str::to_owned).chain([own]);
                for path in files {
                    now = now + Nanos(300_000);
                    host.at(now, Act::Get(thread, FdSource::Open, Some(path)));
                    let closed = now + Nanos(100_000);
                    host.at(closed, Act::Close(thread.pid, FdKind::File));
                }
                let mut end = now + around(&mut self.rng, Nanos::from_millis(20));
                if self.rng.u8(..) < 85 {
                    let lifetime = around(&mut self.rng, Nanos::from_millis(30));
                    let connection = Connection {
                        thread,
                        local: Endpoint {
                            addr: OWN,
                            port: ephemeral(&mut self.rng),
                        },
                        remote: Endpoint {
                            addr: [10, 1, 9, 9].into(),
                            port: 80,
                        },
                        lifetime,
                        tx_bytes: 320,
                        rx_bytes: self.rng.u64(1_000..50_000),
                        ending: Ending::Close,
                    };
                    connection.connect(host, now);
                    end = now + lifetime + Nanos::from_millis(1);
                }
                host.at(end, Act::End(thread));
            }
        }
    }
}
