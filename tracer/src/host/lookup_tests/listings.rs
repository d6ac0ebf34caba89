//! The thread of look-ups and `TIME_WAIT` sockets: which are listed, where, and how often.

use super::{super::listings::NAMESPACES_MAX, *};

#[test]
fn what_is_empty_and_quiet_is_listed_seldom() {
    let listings = |time_wait: Vec<SocketRow>, connections: &[bool], seconds: &[u64]| {
        let world = FakeWorld {
            time_wait,
            ..FakeWorld::default()
        };
        let told = told(
            world,
            Options::default(),
            |_| None,
            |worker| {
                for (has_connection, second) in connections.iter().zip(seconds) {
                    worker
                        .has_connections
                        .fetch_or(*has_connection, Ordering::Relaxed);
                    worker.list_if_any(NOW + Nanos::from_secs(*second));
                }
            },
        );
        told.len()
    };
    assert_eq!(listings(vec![], &[false; 4], &[0, 1, 2, 29]), 1);
    assert_eq!(listings(vec![], &[false; 2], &[0, 30]), 2);
    assert_eq!(listings(vec![], &[false, true, false], &[0, 1, 2]), 2);
    assert_eq!(listings(vec![row(1, 2181)], &[false; 3], &[0, 1, 2]), 3);
}

#[test]
fn listings_hold_the_wanted_ports_of_every_namespace() {
    let world = FakeWorld {
        time_wait: vec![row(1, 2181), row(2, 80)],
        namespaces: HashMap::from([((Netns(2), Pid(5)), vec![row(3, 80), row(4, 2181)])]),
        ..FakeWorld::default()
    };
    let options = Options {
        ports: vec![2181],
        ..Options::default()
    };
    let inputs = told(
        world,
        options,
        |_| None,
        |worker| {
            worker.remember(OWN, Pid(4));
            worker.remember(Netns(2), Pid(5));
            worker.list_time_wait();
            assert_eq!(worker.next_listing, Some(NOW + Nanos::from_secs(1)));
        },
    );
    assert_eq!(
        inputs,
        [
            listing(OWN, vec![row(1, 2181)]),
            listing(Netns(2), vec![row(4, 2181)]),
        ]
    );
}

#[test]
fn a_namespace_is_entered_by_whoever_is_left_there() {
    let world = FakeWorld {
        namespaces: HashMap::from([((Netns(2), Pid(9)), vec![row(3, 80)])]),
        ..FakeWorld::default()
    };
    let inputs = told(
        world,
        Options::default(),
        |_| None,
        |worker| {
            worker.remember(Netns(2), Pid(5));
            worker.remember(Netns(2), Pid(6));
            worker.remember(Netns(3), Pid(7));
            worker.list_time_wait();
            worker.list_time_wait();
        },
    );
    assert_eq!(
        inputs,
        [
            listing(OWN, vec![]),
            // Nobody lives there any more.
            listing(Netns(3), vec![]),
            listing(OWN, vec![]),
            listing(Netns(2), vec![row(3, 80)]),
        ]
    );
}

#[test]
fn without_the_right_to_enter_only_the_own_namespace_is_listed() {
    let world = FakeWorld {
        may_not_enter: true,
        ..FakeWorld::default()
    };
    let inputs = told(
        world,
        Options::default(),
        |_| None,
        |worker| {
            worker.remember(Netns(2), Pid(5));
            worker.list_time_wait();
            worker.remember(Netns(2), Pid(5));
            assert_eq!(worker.namespaces.len(), 0);
            worker.list_time_wait();
        },
    );
    assert_eq!(inputs, [listing(OWN, vec![]), listing(OWN, vec![])]);
}

#[test]
fn a_kernel_that_lists_no_sockets_is_not_asked_again() {
    let world = FakeWorld {
        lacks_sock_diag: true,
        ..FakeWorld::default()
    };
    let inputs = told(
        world,
        Options::default(),
        |_| None,
        |worker| {
            worker.list_time_wait();
            assert_eq!(worker.next_listing, None);
        },
    );
    assert_eq!(inputs, []);
}

#[test]
fn processes_remembered_of_a_namespace_are_bounded() {
    told(
        FakeWorld::default(),
        Options::default(),
        |_| None,
        |worker| {
            for pid in 1..=10 {
                worker.remember(Netns(2), Pid(pid));
            }
            assert_eq!(
                worker.namespaces[&Netns(2)],
                [Pid(7), Pid(8), Pid(9), Pid(10)]
            );
            for netns in 0..2 * u32::try_from(NAMESPACES_MAX).unwrap() {
                worker.remember(Netns(10 + netns), Pid(1));
            }
            assert_eq!(worker.namespaces.len(), NAMESPACES_MAX);
        },
    );
}
