//! Made-up totals and the text that they are told as, to the letter.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tracer_common::EventKind;

use super::{super::testing::assert_snapshot, *};
use crate::{
    analysis::{
        report::Evicted,
        totals::{GroupNow, Lifetimes},
    },
    model::{Endpoint, Losses, Nanos, Pid},
};

fn end(text: &str) -> Endpoint {
    let address: SocketAddr = text.parse().unwrap();
    Endpoint {
        addr: address.ip(),
        port: address.port(),
    }
}

fn totals() -> Totals {
    let client = PeerLabel {
        role: Role::Client,
        server: Some(end("[2001:db8::7]:2181")),
    };
    let mut lifetimes = Lifetimes::default();
    lifetimes.counts[2] = 31;
    lifetimes.sum = Nanos::from_millis(31 * 37);
    let flapping = PeerTotals {
        opened: 32,
        closed_by_local: 31,
        failed: BTreeMap::from([(0, 1), (111, 4)]),
        lifetimes,
        ..PeerTotals::default()
    };
    let java = GroupTotals {
        peers: vec![(Some(client), flapping), (None, PeerTotals::default())],
        fds_refused: 2,
        verdicts: BTreeMap::from([("fd_burst", 1), ("flapping", 2)]),
        verdicts_ongoing: BTreeMap::from([("flapping", 1)]),
        now: GroupNow {
            processes: 1,
            connections_open: 1,
            time_wait: 31,
            fds_open: Some(200),
            fd_limit: Some(4096),
            fd_room: Some(3896),
        },
    };
    let label = GroupLabel {
        comm: "ja\"va\\\n\u{1b}[31m".to_owned(),
        container: Some(Arc::from("c0ffee")),
        pod: Some(Arc::from("shop-7f")),
        unit: Some(Arc::from("tomcat.service")),
        pid: Some(Pid(4711)),
        cmdline: Some("java -jar shop.jar".to_owned()),
    };
    let mut losses = Losses::default();
    losses.by_kind[EventKind::TcpState as usize].seen = 70;
    losses.by_kind[EventKind::TcpState as usize].ring_full = 3;
    Totals {
        groups: vec![(Some(label), java), (None, GroupTotals::default())],
        time_wait_unowned: 5,
        losses,
        evicted: Evicted {
            groups: 1,
            ..Evicted::default()
        },
    }
}

fn own() -> Own {
    Own {
        version: "0.1.0".to_owned(),
        kernel: "6.1.0".to_owned(),
        cpu_seconds: 1.5,
        resident_bytes: 23 << 20,
        ring_bytes: 4 << 20,
        commands: Some([
            ("ended_well", 3),
            ("failed", 0),
            ("timed_out", 1),
            ("too_soon", 2),
            ("too_many", 0),
        ]),
        deliveries: vec![
            ("verdict", "delivered", 7),
            ("verdict", "rejected", 1),
            ("verdict", "given_up", 0),
            ("verdict", "queue_full", 0),
            ("event", "delivered", 512),
            ("event", "rejected", 0),
            ("event", "given_up", 128),
            ("event", "queue_full", 3),
        ],
        hooks: vec![HookState {
            hook: "tcp_connect".to_owned(),
            attached: Some("fentry".to_owned()),
            ..HookState::default()
        }],
    }
}

#[test]
fn totals_are_told_to_the_letter() {
    let text = render(totals(), own()).unwrap();
    assert_snapshot("metrics.txt", &text);
}
