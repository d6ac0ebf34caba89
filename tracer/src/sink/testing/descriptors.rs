//! Sample verdicts about descriptors for the sinks' tests; never part of the product.

use std::collections::BTreeMap;

use tracer_common::Role;

use super::{address, at, endpoint, tomcat, tomcat_process, verdict};
use crate::{
    analysis::report::{
        BurstBefore, CloseWaitLeak, FdContent, FdExhaustion, FdLeak, FdNearLimit, Finding,
        FirstFailure, PeerCount, PortExhaustion, PortOwner, ThreadCount, UnreachedPeer, Verdict,
    },
    model::{Pid, PortRange, Tid},
};

/// The second incident's table before its burst.
pub(in crate::sink) fn fd_near_limit() -> Verdict {
    verdict(
        8,
        tomcat_process(),
        Finding::FdNearLimit(FdNearLimit {
            fds_now: 3_312,
            fds_peak: 3_868,
            fd_limit: 4_096,
            room: 784,
            kinds: BTreeMap::from([("anonymous", 40), ("file", 31), ("socket", 3_241)]),
            top_dirs: vec![("/srv/tomcat/webapps/shop/WEB-INF/lib/*.jar".into(), 12)],
            top_peers: table_peers(),
        }),
    )
}

/// The second incident's end.
pub(in crate::sink) fn fd_exhaustion() -> Verdict {
    Verdict {
        first_seen: at(8_100),
        last_seen: at(36_000),
        ongoing: false,
        caused_by: vec![7, 8],
        led_to: vec![6],
        ..verdict(
            9,
            tomcat_process(),
            Finding::FdExhaustion(FdExhaustion {
                calls: BTreeMap::from([("accept", 3), ("open", 12), ("socket", 37)]),
                first_failure: FirstFailure {
                    at: at(8_100),
                    call: Some("open"),
                    errno: 24,
                    tid: Some(Tid(4_790)),
                    thread: Some("http-nio-8080-e".into()),
                },
                threads: vec![
                    thread_count(4_801, "redis-pool", 37),
                    thread_count(4_790, "http-nio-8080-e", 12),
                    thread_count(4_760, "http-nio-8080-A", 3),
                ],
                fds_peak: Some(4_096),
                fd_limit: Some(4_096),
                kinds: BTreeMap::from([("file", 260), ("socket", 3_836)]),
                top_dirs: vec![("/srv/tomcat/webapps/shop/WEB-INF/lib/*.jar".into(), 228)],
                top_peers: table_peers(),
                unreached_peers: vec![UnreachedPeer {
                    remote: endpoint("10.0.0.5", 6379),
                    connects_before: 12,
                    last_connect: at(6_400),
                    reached_again: Some(at(38_500)),
                }],
                recovered: Some(at(37_900)),
                burst: Some(BurstBefore {
                    at: at(7_000),
                    opens: 230,
                    pattern: Some("/srv/tomcat/webapps/shop/WEB-INF/lib/*.jar".into()),
                }),
            }),
        )
    }
}

/// A service that never closes its connections to a cache.
pub(in crate::sink) fn fd_leak() -> Verdict {
    verdict(
        10,
        tomcat_process(),
        Finding::FdLeak(FdLeak {
            rate_per_min: 12.066_666,
            grown: 181,
            fds_now: Some(1_204),
            fd_limit: Some(4_096),
            top_dirs: vec![("/srv/tomcat/temp/*.tmp".into(), 3)],
            top_peers: table_peers(),
            eta: Some(at(14_400_000)),
        }),
    )
}

/// A service that forgets its connections once a cache has closed them.
pub(in crate::sink) fn close_wait_leak() -> Verdict {
    verdict(
        11,
        tomcat(),
        Finding::CloseWaitLeak(CloseWaitLeak {
            count: 41,
            peak: 44,
            oldest: Some(at(7_000)),
            threads: vec![thread_count(4_713, "Catalina-utilit", 41)],
            top_peers: table_peers(),
        }),
    )
}

/// A service without a pool that has used up most ports towards its cache.
pub(in crate::sink) fn port_exhaustion() -> Verdict {
    verdict(
        12,
        tomcat_process(),
        Finding::PortExhaustion(PortExhaustion {
            local: address("10.0.0.9"),
            remote: endpoint("10.0.0.5", 6379),
            range: PortRange {
                low: 32_768,
                high: 60_999,
            },
            ports_in_use: 26_110,
            ports_peak: 28_232,
            time_wait: 25_900,
            open: 210,
            owners: vec![
                PortOwner {
                    pid: Pid(4_711),
                    comm: "java".into(),
                    ports: 24_000,
                },
                PortOwner {
                    pid: Pid(5_000),
                    comm: "php-fpm".into(),
                    ports: 1_200,
                },
            ],
            rate_per_min: 5_091.333_3,
            eta: Some(at(90_000)),
            failures: 1_203,
            first_failure: Some(at(41_000)),
        }),
    )
}

fn thread_count(tid: u32, thread: &str, count: u64) -> ThreadCount {
    ThreadCount {
        tid: Tid(tid),
        thread: thread.into(),
        count,
    }
}

/// What the second incident's table holds after its burst.
pub(in crate::sink) fn content() -> FdContent {
    FdContent {
        looked: Some(at(5_000)),
        kinds: BTreeMap::from([("anonymous", 4), ("file", 20), ("pipe", 2), ("socket", 168)]),
        top_dirs: vec![
            ("/srv/tomcat/webapps/shop/WEB-INF/lib/*.jar".into(), 12),
            ("/srv/tomcat/\u{1b}[31mlogs/*.log".into(), 3),
        ],
        top_peers: table_peers(),
    }
}

fn table_peers() -> Vec<PeerCount> {
    vec![
        PeerCount {
            role: Role::Client,
            addr: address("10.0.0.5"),
            port: 6379,
            count: 3_200,
            close_wait: 0,
        },
        PeerCount {
            role: Role::Server,
            addr: address("10.0.0.7"),
            port: 8080,
            count: 41,
            close_wait: 7,
        },
    ]
}
