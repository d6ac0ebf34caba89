//! The thread of look-ups in a container or a pod; never outside of one.

use super::*;

/// A container in which the process that the host calls 4711 is number 7, and no other is to be seen.
fn container() -> FakeWorld {
    let (pid, mut fact) = running(7, START);
    fact.ppid = Some(Pid(1));
    fact.parents = vec![Ancestor {
        pid: Pid(1),
        comm: Comm::from("sh"),
    }];
    FakeWorld {
        processes: HashMap::from([(pid, fact)]),
        tables: HashMap::from([(Pid(7), table(12))]),
        places: HashMap::from([(
            99,
            Place {
                container: Some("beside".to_owned()),
                ..Place::default()
            },
        )]),
        ancestors: HashMap::from([(
            Pid(4),
            vec![Ancestor {
                pid: Pid(4),
                comm: Comm::from("another's"),
            }],
        )]),
        before: vec![owner(1, 2181)],
        pids_here: Some(HashMap::from([(Pid(4711), Pid(7))])),
        ..FakeWorld::default()
    }
}

/// What /proc tells of its parents are the container's numbers, and so left out.
#[test]
fn in_a_container_a_process_is_looked_up_by_its_number_there() {
    let inputs = told(
        container(),
        Options::default(),
        |_| Some(files(3)),
        |worker| worker.answer(process(4711, 99)),
    );
    let (_, found) = running(4711, START);
    assert_eq!(
        inputs,
        [
            Input::Host(NOW, HostFact::Process(Box::new(found))),
            twelve_descriptors(4711),
        ]
    );
}

/// Number 7 there is another process, and so is parent 4.
#[test]
fn in_a_container_what_is_not_to_be_seen_is_told_by_its_cgroup() {
    let inputs = told(
        container(),
        Options::default(),
        |_| Some(files(3)),
        |worker| worker.answer(process(7, 99)),
    );
    let left = ProcessFact {
        pid: Pid(7),
        start: Some(EXACT_START),
        user: Some("user104".to_owned()),
        container: Some("beside".to_owned()),
        ..ProcessFact::default()
    };
    assert_eq!(
        inputs,
        [Input::Host(NOW, HostFact::Process(Box::new(left)))]
    );
}

#[test]
fn in_a_container_nobody_owns_sockets_from_before() {
    let inputs = told(
        container(),
        Options::default(),
        |_| None,
        |worker| {
            worker.begin();
        },
    );
    let ports = HostFact::EphemeralPorts {
        netns: OWN,
        range: PORTS,
    };
    assert_eq!(inputs, [Input::Host(NOW, ports)]);
}

#[test]
fn sockets_from_before_are_those_of_the_pod() {
    let of = |netns| {
        let world = FakeWorld {
            before: vec![owner(1, 2181)],
            ..FakeWorld::default()
        };
        let options = Options {
            netns: Some(netns),
            ..Options::default()
        };
        let told = told(
            world,
            options,
            |_| None,
            |worker| {
                worker.begin();
            },
        );
        told.len()
    };
    assert_eq!((of(OWN), of(Netns(2))), (2, 1));
}

/// What its cgroup tells goes before.
#[test]
fn the_pod_is_told_of_what_shares_its_network_alone() {
    let pod_of = |netns, of_cgroup: Option<&str>| {
        let mut world = container();
        for place in world.places.values_mut() {
            place.pod_uid = of_cgroup.map(str::to_owned);
        }
        let options = Options {
            pod_uid: Some("own".to_owned()),
            ..Options::default()
        };
        let mut request = process(7, 99);
        if let Request::Process {
            introduced: Some(introduced),
            ..
        } = &mut request
        {
            introduced.netns = netns;
        }
        let told = told(world, options, |_| None, |worker| worker.answer(request));
        match told.as_slice() {
            [Input::Host(_, HostFact::Process(fact))] => fact.pod_uid.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(pod_of(OWN, None).as_deref(), Some("own"));
    assert_eq!(pod_of(OWN, Some("told")).as_deref(), Some("told"));
    assert_eq!(pod_of(Netns(2), None), None);
}
