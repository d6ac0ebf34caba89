//! What confined threads can still do, tried in threads that end with it; never in that of the test.

use std::{fs, io, process::Command, thread};

use rustix::{
    process::{Pid, Signal, getppid, kill_process},
    thread::{CapabilitySets, capabilities},
};
use tempfile::TempDir;

use super::{capabilities::suffices, *};

/// What comes of something in a thread with this duty.
fn confined<T: Send + 'static>(duty: Duty, act: impl FnOnce() -> T + Send + 'static) -> T {
    let confinement = Confinement::new(true);
    let first = confinement.of(duty);
    let thread = thread::spawn(move || {
        first();
        act()
    });
    thread.join().unwrap()
}

fn has_seccomp() -> bool {
    offers()
        .syscalls
        .inspect_err(|why| eprintln!("skipped: {why}"))
        .is_ok()
}

/// What a call that seccomp refuses says.
fn refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

#[test]
fn a_thread_that_opens_no_file_leaves_others_alone() {
    let read = || fs::read("/proc/self/status");
    let refused_there = refused(where_no_file_opens(read));
    assert!(refused_there || !has_seccomp());
    read().unwrap();
}

#[test]
fn no_capability_is_left() {
    let none = CapabilitySet::empty();
    let held = confined(Duty::Plain, || capabilities(None).unwrap());
    let expected = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    assert_eq!(held, expected);
}

#[test]
fn what_is_tried_without_capabilities_leaves_them() {
    let before = capabilities(None).unwrap();
    let mut during = None;
    suffices(CapabilitySet::empty(), || {
        during = capabilities(None).ok();
        true
    });
    let none = CapabilitySet::empty();
    assert_eq!(during.map(|sets| sets.effective), Some(none));
    assert_eq!(capabilities(None).unwrap(), before);
}

#[test]
fn the_first_that_is_enough_is_found() {
    let none = CapabilitySet::empty();
    assert_eq!(is_enough(&[CapabilitySet::BPF], || true), none);
    assert_eq!(is_enough(&[CapabilitySet::BPF], || false), none);
    let mut tries = 0;
    let third = || {
        tries += 1;
        tries == 3
    };
    let candidates = [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN];
    assert_eq!(is_enough(&candidates, third), CapabilitySet::SYS_ADMIN);
}

#[test]
fn nobody_starts_a_program_or_signals_another() {
    if !has_seccomp() {
        return;
    }
    for duty in [
        Duty::Plain,
        Duty::Looks(CapabilitySet::all()),
        Duty::Writes(Vec::new(), CapabilitySet::all()),
    ] {
        let parent = getppid().unwrap();
        let (started, signalled, own) = confined(duty, move || {
            let own = Pid::from_raw(std::process::id().cast_signed()).unwrap();
            (
                Command::new("true").status(),
                kill_process(parent, Signal::CONT),
                rustix::process::test_kill_process(own),
            )
        });
        assert!(refused(started));
        assert!(refused(signalled.map_err(io::Error::from)));
        assert_eq!(own, Ok(()));
    }
}

#[test]
fn who_looks_reads_everything_and_writes_nothing() {
    if !has_seccomp() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let (there, new) = (folder.path().join("there"), folder.path().join("new"));
    fs::write(&there, "kept").unwrap();
    let acts = confined(Duty::Looks(CapabilitySet::all()), {
        let there = there.clone();
        move || {
            assert_eq!(fs::read_to_string(&there).unwrap(), "kept");
            fs::read_dir("/proc").unwrap().count();
            [
                refused(fs::write(&there, "changed")),
                refused(fs::OpenOptions::new().append(true).open(&there)),
                refused(fs::File::create_new(&new)),
                refused(fs::rename(&there, &new)),
                refused(fs::remove_file(&there)),
                refused(fs::create_dir(&new)),
            ]
        }
    });
    assert_eq!(acts, [true; 6]);
    assert_eq!(fs::read_to_string(&there).unwrap(), "kept");
}

#[test]
fn who_writes_does_so_in_its_places_alone() {
    let folder = TempDir::new().unwrap();
    let names = ["dumps", "run", "elsewhere"];
    let [dumps, run, elsewhere] = names.map(|name| folder.path().join(name));
    for made in [&dumps, &run, &elsewhere] {
        fs::create_dir(made).unwrap();
        fs::write(made.join("old"), "").unwrap();
    }
    if let Err(why) = offers().files {
        eprintln!("skipped: {why}");
        return;
    }
    let place = |folder: &std::path::Path, is_written, is_cleared| Place {
        folder: folder.to_owned(),
        is_written,
        is_cleared,
    };
    let places = vec![place(&dumps, true, false), place(&run, false, true)];
    let denied = |result: io::Result<()>| {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let acts = confined(Duty::Writes(places, CapabilitySet::empty()), move || {
        fs::write(dumps.join("new"), "").unwrap();
        fs::remove_file(run.join("old")).unwrap();
        [
            denied(fs::remove_file(dumps.join("old"))),
            denied(fs::write(run.join("new"), "")),
            denied(fs::write(elsewhere.join("new"), "")),
            denied(fs::write(elsewhere.join("old"), "")),
            denied(fs::remove_file(elsewhere.join("old"))),
        ]
    });
    assert_eq!(acts, [true; 5]);
}

#[test]
fn who_writes_looks_at_no_process() {
    if let Err(why) = offers().files {
        eprintln!("skipped: {why}");
        return;
    }
    let exe = format!("/proc/{}/exe", getppid().unwrap().as_raw_nonzero());
    let duty = Duty::Writes(Vec::new(), CapabilitySet::all());
    let look = confined(duty, move || fs::read_link(exe));
    let error = look.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
}

#[test]
fn where_it_is_not_wanted_nothing_is_given_up() {
    let confinement = Confinement::new(false);
    let first = confinement.of(Duty::Plain);
    let before = capabilities(None).unwrap();
    let after = thread::spawn(move || {
        first();
        (capabilities(None).unwrap(), Command::new("true").status())
    });
    let (held, started) = after.join().unwrap();
    assert_eq!(held, before);
    assert!(started.is_ok());
    confinement.finish(|| unreachable!("nothing is to be done"));
}

#[test]
fn the_last_thread_is_waited_for() {
    let confinement = Confinement::new(true);
    let first = confinement.of(Duty::Plain);
    let all = thread::spawn(move || confinement.finish(|| Some(Duty::Plain)));
    // Without this one the other waits for ever.
    thread::spawn(first).join().unwrap();
    all.join().unwrap();
}
