//! The lives of connections as they are told, one by one.

use tracer_common::Role;

use super::super::{
    lives::{EndedBy, Life, Lives},
    timeline::{Timeline, endpoint, instant, who},
};
use crate::model::{Input, Pid, Tid};

fn lives(inputs: &[Input]) -> Vec<Life> {
    let mut lives = Lives::default();
    let mut told = Vec::new();
    for input in inputs {
        lives.apply(input);
        told.extend(std::iter::from_fn(|| lives.take()));
    }
    lives.finish();
    told.extend(std::iter::from_fn(|| lives.take()));
    told
}

#[test]
fn a_connection_is_told_with_all_that_it_carried() {
    let java = who(4711, 4713, "SendThread");
    let mut timeline = Timeline::new();
    timeline
        .process(4711, "java", (1, "systemd"))
        .at(1.0)
        .connect(java, 7, "10.0.0.9:2181")
        .established(7)
        .after_ms(16.0)
        .bytes(7, 45, 0)
        .fin_sent(7)
        .after_ms(1.0)
        .bytes(7, 49, 41)
        .time_wait(7)
        .close(7);
    let told = lives(&timeline.inputs);
    let [life] = told.as_slice() else {
        panic!("{told:#?}");
    };
    assert_eq!(life.who.pid, Some(Pid(4711)));
    assert_eq!(life.who.comm, "java");
    assert_eq!(life.who.tid, Some(Tid(4713)));
    assert_eq!(life.who.thread.as_deref(), Some("SendThread"));
    assert_eq!(life.role, Role::Client);
    assert_eq!(life.remote, endpoint("10.0.0.9:2181"));
    assert_eq!(life.start, Some(instant(1.0)));
    assert_eq!(life.end, instant(1.016));
    assert_eq!(life.ended_by, EndedBy::Local);
    assert_eq!((life.tx_bytes, life.rx_bytes), (49, 41));
}

#[test]
fn failures_and_servers_are_told_in_the_order_of_their_ends() {
    let web = who(80, 80, "web");
    let shop = who(99, 99, "shop");
    let mut timeline = Timeline::new();
    timeline
        .process(80, "web", (1, "init"))
        .process(99, "shop", (1, "init"))
        .at(1.0)
        .handshake(1, "10.0.0.1:8080", "10.0.0.2:50000")
        .accept(web, 1)
        .after_ms(5.0)
        .fin_received(1)
        .close(1)
        .gone(1, 0)
        .at(2.0)
        .connect(shop, 2, "10.0.0.9:2181")
        .fails(2, 111)
        .at(9.0);
    let told = lives(&timeline.inputs);
    let short: Vec<_> = told
        .iter()
        .map(|life| (life.who.comm.as_str(), life.role, life.ended_by))
        .collect();
    assert_eq!(
        short,
        [
            ("web", Role::Server, EndedBy::Remote),
            ("shop", Role::Client, EndedBy::Failure(111)),
        ]
    );
}
