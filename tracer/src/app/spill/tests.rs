//! What a killed tracer leaves, with real files; a tracer is killed here by dropping its spill.

use super::*;
use crate::trace::{Ending, Reader};

fn head() -> Head {
    let mut head = Head::default();
    head.session.start = Nanos::from_secs(1);
    head
}

fn start(dir: &Path, window_secs: u64, bytes: u64) -> Spill {
    Spill::start(dir, Duration::from_secs(window_secs), bytes, head()).unwrap()
}

fn tick(spill: &mut Spill, seconds: impl Iterator<Item = u64>) {
    for second in seconds {
        spill.push(&Input::Tick(Nanos::from_secs(second)));
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The ticks of the only leftover, in seconds, and why it was dumped.
fn dumped(dir: &Path) -> (Vec<u64>, String) {
    let [leftover] = <[Leftover; 1]>::try_from(Leftover::all(dir)).ok().unwrap();
    let dump = leftover.dump(dir).unwrap();
    let mut reader = Reader::open(File::open(&dump).unwrap()).unwrap();
    let reason = reader.head().reason.clone();
    assert_eq!(reader.head().part, Part::default());
    let ticks = reader.by_ref().filter_map(|input| match input {
        Input::Tick(at) => Some(at.0 / 1_000_000_000),
        _ => None,
    });
    let ticks = ticks.collect();
    assert_eq!(reader.ending(), Some(&Ending::Complete));
    let dump = dump.file_name().and_then(OsStr::to_str).unwrap();
    assert!(recording::is_dump_name(dump), "{dump}");
    (ticks, reason)
}

#[test]
fn what_was_written_becomes_a_dump_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = start(dir.path(), 3600, 1 << 20);
    tick(&mut spill, 2..100);
    spill.flush();
    assert!(Leftover::all(dir.path()).is_empty(), "its tracer lives");
    drop(spill);
    let (ticks, reason) = dumped(dir.path());
    assert_eq!(ticks, (2..100).collect::<Vec<_>>());
    assert!(reason.contains("killed"), "{reason}");
    assert!(names(&folder(dir.path())).is_empty());
    assert!(Leftover::all(dir.path()).is_empty());
}

#[test]
fn no_more_is_kept_than_the_minutes_and_a_part() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = start(dir.path(), 60, 1 << 30);
    tick(&mut spill, 2..1000);
    spill.flush();
    drop(spill);
    let (ticks, _) = dumped(dir.path());
    assert!((60..=76).contains(&ticks.len()), "{}", ticks.len());
    assert_eq!(ticks.last(), Some(&999));
    assert!(ticks.is_sorted_by(|a, b| a + 1 == *b));

    let mut spill = start(dir.path(), 1 << 20, 400 << 10);
    tick(&mut spill, 2..1_000);
    spill.flush();
    let parts = fs::read_dir(folder(dir.path())).unwrap();
    let bytes: u64 = parts
        .map(|part| part.unwrap().metadata().unwrap().len())
        .sum();
    // A part ends with the batch that fills it.
    assert!((400 << 10..600 << 10).contains(&bytes), "{bytes}");
}

#[test]
fn who_ends_in_order_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spill = start(dir.path(), 60, 1 << 20);
    tick(&mut spill, 2..100);
    spill.remove();
    assert!(names(&folder(dir.path())).is_empty());
}

#[test]
fn what_cannot_be_read_is_left_and_what_is_empty_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    make(&folder).unwrap();
    for (name, text) in [
        ("a.0001.arrows", "not a trace"),
        ("a.lock", ""),
        ("b.0001.arrows", ""),
        ("b.lock", ""),
        ("mine.txt", "not of tracer"),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    assert!(Leftover::all(dir.path()).is_empty());
    assert_eq!(names(&folder), ["a.0001.arrows", "a.lock", "mine.txt"]);
}
