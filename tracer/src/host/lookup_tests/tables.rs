//! The thread of look-ups and descriptor tables: how full they are, and what they hold.

use super::*;

#[test]
fn what_a_table_holds_is_told_once_it_fills() {
    let held = TableFact {
        pid: Pid(5),
        start: Some(START),
        kinds: [7, 5, 0, 0, 0],
        paths: vec![("/srv/lib/a.jar".to_owned(), 7)],
    };
    for (soft_limit, is_told) in [
        (Some(24), true),
        (Some(25), true),
        (Some(26), false),
        (None, false),
    ] {
        let full = DescriptorTable {
            soft_limit,
            ..table(12)
        };
        let world = FakeWorld {
            tables: HashMap::from([(Pid(5), full)]),
            held: HashMap::from([(Pid(5), held.clone())]),
            ..FakeWorld::default()
        };
        let told = told(
            world,
            Options::default(),
            |_| None,
            |worker| worker.answer(stranger(5)),
        );
        let fact = Input::Host(NOW, HostFact::Table(Box::new(held.clone())));
        assert_eq!(told.contains(&fact), is_told, "{soft_limit:?}");
    }
}

#[test]
fn a_count_belongs_to_a_net_count_only_where_that_stood_still() {
    let world = || FakeWorld {
        tables: HashMap::from([(Pid(5), table(12))]),
        ..FakeWorld::default()
    };
    let net_told = |net_counts: Vec<i64>| {
        let mut net_counts = net_counts.into_iter();
        let inputs = told(
            world(),
            Options::default(),
            |_| net_counts.next(),
            |worker| {
                worker.answer(stranger(5));
            },
        );
        match inputs.as_slice() {
            [Input::Host(NOW, HostFact::Descriptors(fact))] => fact.net,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(net_told(vec![3, 3]), Some(3));
    assert_eq!(net_told(vec![3, 4, 4, 5, 7, 7]), Some(7));
    assert_eq!(net_told((0..10).collect()), None);
    assert_eq!(net_told(vec![]), None);
}
