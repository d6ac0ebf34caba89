//! The thread of look-ups and descriptor tables: how full they are, and what they hold.

use super::{super::tables::SETTLED_AGE, *};

/// What is told of a process of this age with so many descriptors, of which this is held.
fn told_of(age: Nanos, table: DescriptorTable, nets: Vec<i64>) -> (TableFact, Vec<Input>) {
    let held = TableFact {
        pid: Pid(5),
        start: Some(START),
        kinds: [7, 5, 0, 0, 0],
        nets: None,
        paths: vec![("/srv/lib/a.jar".to_owned(), 7)],
    };
    let start = Some(Nanos(NOW.0.saturating_sub(age.0)));
    let world = FakeWorld {
        tables: HashMap::from([(Pid(5), DescriptorTable { start, ..table })]),
        held: HashMap::from([(Pid(5), held.clone())]),
        ..FakeWorld::default()
    };
    let mut nets = nets.into_iter();
    let told = told(
        world,
        Options::default(),
        |_| nets.next().map(files),
        |worker| worker.answer(stranger(5)),
    );
    (held, told)
}

#[test]
fn what_a_table_holds_is_told_once_it_fills_or_its_process_has_settled() {
    let (young, old) = (Nanos(0), SETTLED_AGE);
    for (age, open, soft_limit, is_told) in [
        (young, 12, Some(24), true),
        (young, 12, Some(25), true),
        (young, 12, Some(26), false),
        (young, 12, None, false),
        (old, 12, Some(26), true),
        (old, 12, None, true),
        (old, 2_000, Some(4_096), false),
        (old, 2_000, None, false),
        (old, 2_048, Some(4_096), true),
    ] {
        let table = DescriptorTable {
            soft_limit,
            ..table(open)
        };
        let (held, told) = told_of(age, table, vec![]);
        let fact = Input::Host(NOW, HostFact::Table(Box::new(held)));
        assert_eq!(
            told.contains(&fact),
            is_told,
            "{age:?} {open} {soft_limit:?}"
        );
    }
}

#[test]
fn what_a_table_holds_belongs_to_net_counts_only_where_those_stood_still() {
    let nets_told = |nets: Vec<i64>| {
        let (_, told) = told_of(SETTLED_AGE, table(12), nets);
        match told.last() {
            Some(Input::Host(NOW, HostFact::Table(fact))) => fact.nets,
            other => panic!("{other:?}"),
        }
    };
    // The first two are of the count.
    assert_eq!(nets_told(vec![3, 3, 4, 4]), Some(files(4)));
    assert_eq!(nets_told(vec![3, 3, 4, 5, 6, 6]), Some(files(6)));
    assert_eq!(nets_told(vec![3, 3, 4, 5, 6, 7]), None);
    assert_eq!(nets_told(vec![]), None);
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
            |_| net_counts.next().map(files),
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
