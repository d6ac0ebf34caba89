//! Places of stacks as processes come and go, by literal timelines.

use super::*;

const NO_MEMORY: UserStack = UserStack::Missing(12);
const UNREADABLE: UserStack = UserStack::Missing(14);

const fn ms(ms: u64) -> Nanos {
    Nanos(ms * 1_000_000)
}

const fn taken(place: u32) -> UserStack {
    UserStack::Taken(StackId(place))
}

fn in_use(places: &mut StackPlaces, at: Nanos, alive: &[u32]) -> Vec<u32> {
    let alive = alive.iter().copied().map(Pid).collect();
    let mut kept: Vec<_> = places
        .in_use(at, &alive)
        .into_iter()
        .map(|id| id.0)
        .collect();
    kept.sort_unstable();
    kept
}

#[test]
fn a_place_is_kept_while_one_of_its_processes_lives() {
    let mut places = StackPlaces::new();
    for (pid, place) in [(1, 7), (2, 7), (2, 8)] {
        assert_eq!(places.note(ms(1), Pid(pid), taken(place)), taken(place));
    }
    assert_eq!(in_use(&mut places, ms(2), &[1, 2]), [7, 8]);
    assert_eq!(in_use(&mut places, ms(3), &[1]), [7]);
    assert_eq!(in_use(&mut places, ms(4), &[3]), [0_u32; 0]);
}

#[test]
fn who_acted_after_the_living_were_counted_lives() {
    let mut places = StackPlaces::new();
    places.note(ms(5), Pid(1), taken(7));
    assert_eq!(in_use(&mut places, ms(5), &[]), [7]);
    assert_eq!(in_use(&mut places, ms(6), &[]), [0_u32; 0]);
}

#[test]
fn room_is_wanted_once_a_stack_finds_none() {
    let mut places = StackPlaces::new();
    places.note(ms(1), Pid(1), taken(7));
    places.note(ms(1), Pid(1), UNREADABLE);
    assert!(!places.wants_room());
    for without_room in [UserStack::PLACE_TAKEN, NO_MEMORY] {
        assert_eq!(places.note(ms(2), Pid(1), without_room), without_room);
        assert!(places.wants_room());
        in_use(&mut places, ms(3), &[1]);
        assert!(!places.wants_room());
    }
}

#[test]
fn an_event_that_was_on_its_way_does_not_mean_what_came_later() {
    let mut places = StackPlaces::new();
    places.give_back(vec![StackId(7)], ms(100));
    assert_eq!(
        places.note(ms(99), Pid(1), taken(7)),
        UserStack::PLACE_TAKEN
    );
    assert_eq!(
        places.note(ms(110), Pid(1), taken(7)),
        UserStack::PLACE_TAKEN
    );
    assert_eq!(places.note(ms(99), Pid(1), taken(8)), taken(8));
    assert_eq!(places.note(ms(111), Pid(1), taken(7)), taken(7));
    assert_eq!(in_use(&mut places, ms(111), &[1]), [7, 8]);
}

#[test]
fn uses_of_ended_processes_are_forgotten_though_there_is_room() {
    let mut places = StackPlaces::new();
    let mut most = 0;
    for pid in 1..=100_000 {
        places.note(ms(pid.into()), Pid(pid), taken(7));
        if places.wants_room() {
            in_use(&mut places, ms(pid.into()), &[pid]);
        }
        most = most.max(places.used.len());
    }
    assert_eq!(most, USES);
}
