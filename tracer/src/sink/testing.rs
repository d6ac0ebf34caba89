//! Sample reports for the sinks' tests, made of the two incidents; never part of the product.

mod descriptors;

use std::{collections::BTreeMap, net::IpAddr};

use tracer_common::{EventKind, EventStats, Role};

use crate::{
    analysis::report::{
        Attribution, Closer, Connections, Evicted, FailingConnects, FdBurst, FdContent, FdRates,
        Finding, Identity, ProcessRow, Report, Spread, StackCount, StackState, TimeWaitRow,
        Verdict,
    },
    model::{Ancestor, Endpoint, HookState, Losses, Nanos, Netns, Pid, Selection, Session, Tid},
};

pub(super) use descriptors::{
    close_wait_leak, fd_exhaustion, fd_leak, fd_near_limit, port_exhaustion,
};

/// Holds text against the file of this name under `snapshots/`; with `UPDATE_SNAPSHOTS=1` in the
/// environment it writes the file instead, to be read before it is committed.
#[track_caller]
pub(super) fn assert_snapshot(name: &str, text: &str) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/sink/snapshots");
    let file = std::path::Path::new(folder).join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(text, expected, "{}", file.display());
}

/// 2026-11-21T14:00:00Z, less the 1000 s that the host had been up.
const WALL_OFFSET_NS: i64 = 1_795_269_600_000_000_000 - 1_000_000_000_000;

/// A moment so many milliseconds after 14:03:00 UTC.
pub(super) const fn at(millis: u64) -> Nanos {
    Nanos::from_millis(1_000_000 + 180_000 + millis)
}

pub(super) fn endpoint(addr: &str, port: u16) -> Endpoint {
    Endpoint {
        addr: addr.parse().unwrap(),
        port,
    }
}

fn address(addr: &str) -> IpAddr {
    addr.parse().unwrap()
}

pub(super) fn session() -> Session {
    Session {
        start: at(0),
        wall_offset_ns: WALL_OFFSET_NS,
        host: "web-03".into(),
        kernel: "6.1.0-49-cloud-amd64".into(),
        boot_id: "2c9e7a14-5d0b-4f5e-9f43-6a8b1d2e3f40".into(),
        version: "0.1.0".into(),
        selection: Selection {
            ports: vec![2181],
            pids: vec![Pid(4711)],
            ..Selection::default()
        },
        stacks: false,
        hooks: vec![HookState {
            hook: "tcp_connect".into(),
            attached: Some("fentry".into()),
            provides: "connects".into(),
            reason: String::new(),
        }],
    }
}

/// All is known of it.
pub(super) fn tomcat() -> Identity {
    Identity {
        pid: Some(Pid(4711)),
        ns_pid: Some(17),
        start: Some(Nanos::from_secs(600)),
        comm: "java".into(),
        exe: Some("/usr/lib/jvm/java-17-openjdk-amd64/bin/java".into()),
        cmdline: Some(
            "java -Djava.util.logging.config.file=/srv/tomcat/conf/logging.properties \
             org.apache.catalina.startup.Bootstrap start"
                .into(),
        ),
        user: Some("tomcat".into()),
        container: Some("3f2a9c81d0b7".into()),
        runtime: Some("containerd".into()),
        pod_uid: Some("1f0a2c3d-4e5f-6071-8293-a4b5c6d7e8f9".into()),
        unit: None,
        hostname: Some("shop-7d4f9c-x2x8k".into()),
        netns: Some(Netns(4_026_532_281)),
        ppid: Some(Pid(4_700)),
        parent_comm: Some("catalina.sh".into()),
        parents: Some(
            [
                (4_700, "catalina.sh"),
                (4_650, "containerd-shim"),
                (1, "systemd"),
            ]
            .map(|(pid, comm)| Ancestor {
                pid: Pid(pid),
                comm: comm.into(),
            })
            .into(),
        ),
        tid: Some(Tid(4713)),
        thread: Some("Catalina-utilit".into()),
        children: None,
        ended: false,
    }
}

/// The same process without a thread.
pub(super) fn tomcat_process() -> Identity {
    Identity {
        tid: None,
        thread: None,
        ..tomcat()
    }
}

fn spread(p50: u64, p99: u64, min: u64, max: u64) -> Spread {
    Spread {
        p50: Nanos::from_millis(p50),
        p99: Nanos::from_millis(p99),
        min: Nanos::from_millis(min),
        max: Nanos::from_millis(max),
    }
}

fn verdict(id: u64, who: Identity, finding: Finding) -> Verdict {
    Verdict {
        id,
        update: 0,
        who,
        first_seen: at(7_000),
        last_seen: at(68_000),
        ongoing: true,
        lossy: false,
        caused_by: Vec::new(),
        led_to: Vec::new(),
        stacks: None,
        finding,
    }
}

/// The stack of a client that was written in Java.
fn stacks(count: u64) -> Vec<StackCount> {
    let frames = [
        "__connect (libc.so.6)",
        "Java_sun_nio_ch_Net_connect0 (libnio.so)",
        "void org.apache.zookeeper.ClientCnxn$SendThread.run()",
    ];
    let row = |count, frames: &[&str], state| StackCount {
        count,
        frames: frames.iter().map(|frame| (*frame).into()).collect(),
        state,
    };
    vec![
        row(count, &frames, StackState::Whole),
        row(1, &["libnative.so+0x1bed"], StackState::NoFramePointers),
        row(1, &[], StackState::NoRoom),
    ]
}

/// The first incident, on the client's host.
pub(super) fn flapping() -> Verdict {
    let plain = verdict(
        3,
        tomcat(),
        Finding::Flapping(Connections {
            role: Role::Client,
            local: endpoint("127.0.0.1", 43_210),
            remote: endpoint("127.0.0.1", 2181),
            peers: vec![(address("127.0.0.1"), 37)],
            count: 37,
            rate_per_min: 36.393_442_6,
            period: Some(spread(1_700, 2_000, 1_100, 2_000)),
            lifetime: Some(spread(16, 33, 9, 41)),
            tx_bytes: 1_813,
            rx_bytes: 1_517,
            closed_by_local: 35,
            closed_by_remote: 2,
            closer: Some(Closer {
                pid: Pid(4_711),
                comm: "java".into(),
                tid: Tid(4_790),
                thread: "http-nio-8080-e".into(),
                is_other_process: false,
            }),
            failed: 4,
            time_wait_now: 31,
        }),
    );
    Verdict {
        stacks: Some(stacks(35)),
        ..plain
    }
}

/// The first incident, on the server's host.
pub(super) fn flapping_server() -> Verdict {
    verdict(
        4,
        Identity {
            pid: Some(Pid(900)),
            comm: "zookeeper".into(),
            ..Identity::default()
        },
        Finding::Flapping(Connections {
            role: Role::Server,
            local: endpoint("10.0.0.1", 2181),
            remote: endpoint("10.0.0.7", 51_234),
            peers: vec![(address("10.0.0.7"), 37)],
            count: 37,
            rate_per_min: 36.4,
            period: Some(spread(1_700, 2_000, 1_100, 2_000)),
            lifetime: Some(spread(16, 33, 9, 41)),
            tx_bytes: 0,
            rx_bytes: 0,
            closed_by_local: 2,
            closed_by_remote: 35,
            closer: None,
            failed: 0,
            time_wait_now: 0,
        }),
    )
}

/// A script without a pool, over several addresses, that has ended.
pub(super) fn churn() -> Verdict {
    Verdict {
        stacks: Some(stacks(590)),
        update: 6,
        ongoing: false,
        ..verdict(
            5,
            Identity {
                pid: Some(Pid(5_000)),
                comm: "python3".into(),
                ppid: Some(Pid(4_990)),
                parent_comm: Some("cron".into()),
                ended: true,
                ..Identity::default()
            },
            Finding::Churn(Connections {
                role: Role::Client,
                local: endpoint("2001:db8::1", 43_211),
                remote: endpoint("2001:db8::2", 443),
                peers: vec![
                    (address("2001:db8::2"), 300),
                    (address("2001:db8::3"), 200),
                    (address("2001:db8::4"), 90),
                    (address("2001:db8::5"), 10),
                ],
                count: 600,
                rate_per_min: 590.2,
                period: Some(spread(101, 130, 88, 131)),
                lifetime: Some(spread(12, 30, 8, 44)),
                tx_bytes: 187_200,
                rx_bytes: 737_280,
                closed_by_local: 600,
                closed_by_remote: 0,
                closer: Some(Closer {
                    pid: Pid(5_002),
                    comm: "worker".into(),
                    tid: Tid(5_002),
                    thread: "worker".into(),
                    is_other_process: true,
                }),
                failed: 0,
                time_wait_now: 1,
            }),
        )
    }
}

/// A script that asks again and again by a new process each time.
pub(super) fn flapping_children() -> Verdict {
    Verdict {
        who: Identity {
            pid: Some(Pid(6_037)),
            comm: "nc".into(),
            ppid: Some(Pid(812)),
            parent_comm: Some("check.sh".into()),
            children: Some(37),
            ended: true,
            ..Identity::default()
        },
        ..flapping()
    }
}

/// A server that is not there, and a call that was given up.
pub(super) fn failing_connects() -> Verdict {
    let plain = verdict(
        6,
        tomcat(),
        Finding::FailingConnects(FailingConnects {
            local: endpoint("127.0.0.1", 0),
            remote: endpoint("127.0.0.1", 2181),
            peers: vec![(address("127.0.0.1"), 13)],
            count: 13,
            rate_per_min: 12.8,
            period: Some(spread(1_700, 2_000, 900, 2_000)),
            errnos: BTreeMap::from([(0, 1), (111, 12)]),
        }),
    );
    Verdict {
        stacks: Some(stacks(11)),
        ..plain
    }
}

/// The second incident.
pub(super) fn fd_burst() -> Verdict {
    Verdict {
        stacks: Some(stacks(228)),
        last_seen: at(8_200),
        ongoing: false,
        ..verdict(
            7,
            Identity {
                tid: Some(Tid(4_790)),
                thread: Some("http-nio-8080-e".into()),
                ..tomcat()
            },
            Finding::FdBurst(FdBurst {
                opens: 230,
                window: Nanos::from_millis(1_200),
                top_dirs: vec![
                    ("/srv/tomcat/webapps/shop/WEB-INF/lib/*.jar".into(), 228),
                    ("/etc/*".into(), 1),
                ],
                paths_missing: 1,
                fds_before: Some(192),
                fds_peak: Some(422),
                fds_now: Some(194),
                fd_limit: Some(4_096),
            }),
        )
    }
}

/// Nobody and nothing is known.
pub(super) fn unknown(mut verdict: Verdict) -> Verdict {
    verdict.who = Identity::default();
    match &mut verdict.finding {
        Finding::Flapping(found) | Finding::Churn(found) => {
            found.role = Role::Unknown;
            found.local.port = 0;
            found.period = None;
            found.lifetime = None;
            found.closed_by_local = 0;
            found.closed_by_remote = 0;
        }
        Finding::FailingConnects(found) => found.period = None,
        Finding::FdNearLimit(_) => {}
        Finding::PortExhaustion(found) => {
            found.remote.port = 0;
            (found.eta, found.first_failure) = (None, None);
            for owner in &mut found.owners {
                owner.comm.clear();
            }
        }
        Finding::CloseWaitLeak(found) => {
            found.oldest = None;
            for thread in &mut found.threads {
                thread.thread.clear();
            }
            for peer in &mut found.top_peers {
                (peer.role, peer.port) = (Role::Unknown, 0);
            }
        }
        Finding::FdLeak(found) => {
            found.fds_now = None;
            found.fd_limit = None;
            found.eta = None;
            for peer in &mut found.top_peers {
                (peer.role, peer.port) = (Role::Unknown, 0);
            }
        }
        Finding::FdExhaustion(found) => {
            found.first_failure.call = None;
            found.first_failure.tid = None;
            found.first_failure.thread = None;
            found.fds_peak = None;
            found.fd_limit = None;
            found.recovered = None;
            found.burst = None;
            for peer in &mut found.top_peers {
                (peer.role, peer.port) = (Role::Unknown, 0);
            }
            for thread in &mut found.threads {
                thread.thread.clear();
            }
            for peer in &mut found.unreached_peers {
                (peer.remote.port, peer.reached_again) = (0, None);
            }
        }
        Finding::FdBurst(found) => {
            found.fds_before = None;
            found.fds_peak = None;
            found.fds_now = None;
            found.fd_limit = None;
        }
    }
    verdict
}

pub(super) fn tomcat_row() -> ProcessRow {
    ProcessRow {
        who: tomcat_process(),
        connects: 41,
        connects_failed: 4,
        accepts: 12,
        connections_ended: 49,
        connections_open: 3,
        opens: 1_204,
        opens_failed: 17,
        fds_got: 1_302,
        fds_closed: 1_108,
        fds_refused: 0,
        fd_rates: Some(FdRates {
            got: 12.25,
            closed: 9.5,
        }),
        fds_open: Some(194),
        fds_peak: Some(422),
        fd_limit: Some(4_096),
        fd_hard_limit: Some(1_048_576),
        fds_corrected: 2,
        content: descriptors::content(),
        not_streamed: 0,
    }
}

fn innocent_row() -> ProcessRow {
    ProcessRow {
        who: Identity {
            pid: Some(Pid(820)),
            comm: "in\u{1b}[31mnocent".into(),
            ..Identity::default()
        },
        connects: 1,
        connects_failed: 0,
        accepts: 0,
        connections_ended: 0,
        connections_open: 1,
        opens: 5,
        opens_failed: 0,
        fds_got: 6,
        fds_closed: 2,
        fds_refused: 0,
        fd_rates: None,
        fds_open: None,
        fds_peak: None,
        fd_limit: None,
        fd_hard_limit: None,
        fds_corrected: 0,
        content: FdContent::default(),
        not_streamed: 0,
    }
}

pub(super) fn time_wait_row(lport: u16, attribution: Attribution) -> TimeWaitRow {
    let who = match attribution {
        Attribution::BeforeStart => Identity::default(),
        Attribution::Cookie | Attribution::Tuple => tomcat(),
    };
    TimeWaitRow {
        who,
        local: endpoint("127.0.0.1", lport),
        remote: endpoint("127.0.0.1", 2181),
        netns: Netns(4_026_531_840),
        attribution,
    }
}

/// Everything was seen, and nothing is to be said.
pub(super) fn quiet() -> Report {
    Report {
        session: session(),
        at: at(68_000),
        verdicts: Vec::new(),
        processes: Vec::new(),
        time_wait: Vec::new(),
        losses: Losses::default(),
        evicted: Evicted::default(),
    }
}

/// Both incidents, with nothing lost.
pub(super) fn incidents() -> Report {
    Report {
        verdicts: vec![
            flapping(),
            failing_connects(),
            fd_near_limit(),
            fd_exhaustion(),
            fd_leak(),
            close_wait_leak(),
            port_exhaustion(),
            fd_burst(),
            churn(),
        ],
        processes: vec![tomcat_row(), innocent_row()],
        time_wait: vec![
            time_wait_row(43_210, Attribution::Cookie),
            time_wait_row(43_212, Attribution::Cookie),
            time_wait_row(43_100, Attribution::BeforeStart),
        ],
        ..quiet()
    }
}

/// Much was lost, and a hook is missing.
pub(super) fn lossy() -> Report {
    let mut report = quiet();
    report.session.hooks.push(HookState {
        hook: "inet_csk_accept".into(),
        attached: None,
        provides: "connections that servers accept".into(),
        reason: "the kernel refused it: no such function".into(),
    });
    let install = &mut report.losses.by_kind[EventKind::FdInstall as usize];
    *install = EventStats {
        seen: 1_300,
        streamed: 1_000,
        counted_only: 200,
        filtered: 50,
        ring_full: 40,
        map_full: 9,
        read_failed: 1,
    };
    let state = &mut report.losses.by_kind[EventKind::TcpState as usize];
    *state = EventStats {
        seen: 100,
        streamed: 98,
        ring_full: 2,
        ..EventStats::default()
    };
    report.losses.undecodable = 1;
    report.losses.kernel_skipped = 2;
    report.losses.lookups_dropped = 3;
    report.losses.hooks_off_ms = 12_500;
    report.evicted = Evicted {
        processes: 4,
        connections: 5,
        groups: 6,
        verdicts: 7,
    };
    report.verdicts = vec![Verdict {
        lossy: true,
        ..flapping_server()
    }];
    report
}
