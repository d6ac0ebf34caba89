//! Counts of descriptors that go astray, and the looks that correct them.

use crate::{
    analysis::{
        report::ProcessRow,
        timeline::{Timeline, Who, who},
    },
    model::Pid,
};

const SERVICE: Who = who(500, 500, "service");

fn row(t: &Timeline) -> ProcessRow {
    let mut rows = t.report().processes.into_iter();
    rows.find(|row| row.who.pid == Some(Pid(500))).unwrap()
}

/// Looked at a second after it is met: ten descriptors, of which it opened one.
fn looked_at() -> Timeline {
    let mut t = Timeline::new();
    t.process(500, "service", (1, "systemd"));
    t.open(SERVICE, "/etc/service.conf");
    t.at(1.0).look_at_descriptors(500, 10, 1_024).look_at_table(
        500,
        [9, 0, 0, 1, 0],
        &[("/etc/service.conf", 1)],
    );
    t.engine.take_lookups();
    t
}

#[test]
fn a_table_that_changes_is_looked_at_again() {
    let mut t = looked_at();
    t.at(20.0).open(SERVICE, "/var/lib/service/a");
    t.at(30.0);
    assert_eq!(t.engine.take_lookups(), []);
    t.at(31.0);
    assert_eq!(t.engine.take_lookups(), [Pid(500)]);
    t.look_at_descriptors(500, 11, 1_024);
    t.at(120.0);
    assert_eq!(t.engine.take_lookups(), [], "nothing has changed since");
}

#[test]
fn one_whose_content_was_not_read_is_looked_at_again() {
    let mut t = Timeline::new();
    t.process(500, "service", (1, "systemd"));
    t.at(1.0).look_at_descriptors(500, 10, 1_024);
    t.engine.take_lookups();
    t.at(31.0);
    assert_eq!(t.engine.take_lookups(), [Pid(500)], "it was too young");
    t.look_at_descriptors(500, 10, 1_024);
    t.at(62.0);
    assert_eq!(t.engine.take_lookups(), []);
}

#[test]
fn one_at_rest_is_looked_at_from_time_to_time() {
    let mut t = looked_at();
    t.at(602.0);
    assert_eq!(
        t.engine.take_lookups(),
        [Pid(500)],
        "another may share its table"
    );
    t.look_at_descriptors(500, 10, 1_024);
    t.at(1_100.0);
    assert_eq!(t.engine.take_lookups(), []);
}

#[test]
fn what_a_look_corrects_is_counted() {
    let mut t = looked_at();
    t.at(20.0).open(SERVICE, "/var/lib/service/a");
    assert_eq!((row(&t).fds_open, row(&t).fds_corrected), (Some(11), 0));
    t.at(31.0).look_at_descriptors(500, 14, 2_048);
    let corrected = row(&t);
    assert_eq!((corrected.fds_open, corrected.fds_corrected), (Some(14), 3));
    assert_eq!(
        (corrected.fds_peak, corrected.fd_limit),
        (Some(14), Some(2_048))
    );
    t.at(62.0).look_at_descriptors(500, 12, 2_048);
    let corrected = row(&t);
    assert_eq!((corrected.fds_open, corrected.fds_corrected), (Some(12), 5));
    assert_eq!(corrected.fds_peak, Some(14));
}

#[test]
fn one_that_has_ended_is_not() {
    let mut t = looked_at();
    t.at(20.0).open(SERVICE, "/var/lib/service/a");
    t.at(21.0).exit(500, "service");
    t.at(120.0);
    assert_eq!(t.engine.take_lookups(), []);
}
