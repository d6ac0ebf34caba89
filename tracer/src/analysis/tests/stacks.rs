//! The user stacks that verdicts tell of.

use crate::{
    analysis::{
        report::{StackCount, StackState, Verdict},
        stacks::StackWanted,
        timeline::{Timeline, Who, instant, who},
    },
    model::{Frame, HostFact, Nanos, Pid, Session, StackFact, StackId, UserStack},
};

const SEND_THREAD: Who = who(4_711, 4_713, "SendThread");
const SERVER: &str = "127.0.0.1:2181";
const EEXIST: i32 = 17;

fn with_stacks() -> Timeline {
    let mut t = Timeline::with(Session {
        stacks: true,
        ..Session::default()
    });
    t.process(4_711, "java", (1, "systemd"));
    t
}

/// Five tries from here on, 1.7 s apart, each with one of these stacks in turn.
fn flap(t: &mut Timeline, begin: f64, stacks: &[UserStack]) {
    for (n, stack) in (0..5).zip(stacks.iter().cycle()) {
        t.stack = Some(*stack);
        t.at(begin + 1.7 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, (0, 0));
    }
    t.stack = None;
}

const fn taken(number: u32) -> UserStack {
    UserStack::Taken(StackId(number))
}

/// What the host tells of a stack of the process 4711; names in brackets are of no known function.
fn looked_up(stack: u32, frames: &[&str]) -> HostFact {
    HostFact::Stack(Box::new(StackFact {
        pid: Pid(4_711),
        start: None,
        stack: StackId(stack),
        frames: frames
            .iter()
            .map(|text| Frame {
                text: (*text).to_owned(),
                is_named: !text.contains('+'),
            })
            .collect(),
    }))
}

fn wanted(t: &mut Timeline) -> Vec<StackId> {
    let wanted = t.engine.take_stack_lookups();
    assert!(wanted.iter().all(|wanted| wanted.pid == Pid(4_711)));
    wanted.into_iter().map(|wanted| wanted.stack).collect()
}

/// Count, frames and state of each.
fn told(verdict: &Verdict) -> Vec<(u64, Vec<&str>, StackState)> {
    let row = |row: &'_ StackCount| (row.count, row.state);
    let stacks = verdict.stacks.as_deref().unwrap_or_default();
    stacks
        .iter()
        .map(|stack| {
            let frames = stack.frames.iter().map(|frame| &**frame).collect();
            (row(stack).0, frames, row(stack).1)
        })
        .collect()
}

#[test]
fn the_stacks_of_a_verdict_are_asked_for_when_it_begins_and_then_told() {
    let mut t = with_stacks();
    flap(&mut t, 0.0, &[taken(7), taken(7), taken(9)]);
    assert!(wanted(&mut t).is_empty(), "nothing is conspicuous yet");
    t.at(7.0);
    assert_eq!(wanted(&mut t), [StackId(7), StackId(9)]);
    assert_eq!(
        told(&t.verdict()),
        [(5, vec![], StackState::NotLookedUp)],
        "those of which nothing is known look the same"
    );
    let _ = t.engine.take_verdict_updates();
    t.fact(looked_up(
        7,
        &["connect (libc.so.6)", "retry (app)", "main (app)"],
    ));
    t.fact(looked_up(9, &["connect (libc.so.6)"]));
    t.at(8.0);
    let verdict = t.verdict();
    assert_eq!(
        told(&verdict),
        [
            (
                4,
                vec!["connect (libc.so.6)", "retry (app)", "main (app)"],
                StackState::Whole
            ),
            (1, vec!["connect (libc.so.6)"], StackState::NoFramePointers),
        ]
    );
    assert_eq!(verdict.update, 1, "what a stack looks like is news");
}

#[test]
fn without_the_option_nothing_is_told_or_asked() {
    let mut t = Timeline::new();
    for n in 0..5 {
        t.at(1.7 * f64::from(n))
            .short_connection(SEND_THREAD, 1, SERVER, 16.0, (0, 0));
    }
    t.at(7.0);
    assert_eq!(t.verdict().stacks, None);
    assert_eq!(t.engine.take_stack_lookups(), []);
}

#[test]
fn a_frame_without_a_name_is_asked_about_again_later() {
    let mut t = with_stacks();
    flap(&mut t, 0.0, &[taken(7)]);
    t.at(7.0);
    assert_eq!(wanted(&mut t), [StackId(7)]);
    t.fact(looked_up(7, &["connect (libc.so.6)", "libapp.so+0x77"]));
    flap(&mut t, 8.5, &[taken(7)]);
    t.at(16.0);
    assert!(wanted(&mut t).is_empty(), "ten seconds are not over");
    t.at(17.0);
    assert_eq!(wanted(&mut t), [StackId(7)]);
    t.fact(looked_up(7, &["connect (libc.so.6)", "void App.retry()"]));
    // What knows less does not replace it.
    t.fact(looked_up(7, &["connect (libc.so.6)", "libapp.so+0x77"]));
    t.fact(looked_up(7, &[]));
    flap(&mut t, 17.1, &[taken(7)]);
    t.at(29.0);
    assert!(wanted(&mut t).is_empty(), "all is known");
    assert_eq!(
        told(&t.verdict()),
        [(
            15,
            vec!["connect (libc.so.6)", "void App.retry()"],
            StackState::Whole
        )]
    );
}

#[test]
fn what_could_not_be_taken_or_looked_up_says_so() {
    let mut t = with_stacks();
    let missing = [
        UserStack::Missing(EEXIST),
        UserStack::Missing(EEXIST),
        UserStack::Missing(14),
    ];
    flap(&mut t, 0.0, &[missing.as_slice(), &[taken(3)]].concat());
    t.at(7.0).fact(looked_up(3, &[]));
    t.at(8.0);
    assert_eq!(
        told(&t.verdict()),
        [
            (3, vec![], StackState::NoRoom),
            (1, vec![], StackState::Unreadable),
            (1, vec![], StackState::ProcessEnded),
        ]
    );
}

#[test]
fn a_deep_stack_is_cut() {
    let mut t = with_stacks();
    flap(&mut t, 0.0, &[taken(3)]);
    t.at(7.0).fact(looked_up(3, &["recurse (app)"; 127]));
    t.at(8.0);
    let verdict = t.verdict();
    assert_eq!(told(&verdict)[0].2, StackState::Cut);
}

#[test]
fn a_fact_of_another_process_with_the_same_pid_tells_nothing() {
    let mut t = with_stacks();
    flap(&mut t, 0.0, &[taken(7)]);
    t.at(7.0);
    let asked = t.engine.take_stack_lookups();
    let [StackWanted { start, .. }] = asked[..] else {
        panic!("{asked:?}");
    };
    let HostFact::Stack(mut fact) = looked_up(7, &["main (other)"]) else {
        unreachable!()
    };
    fact.start = start.map(|start| start + Nanos::from_secs(60));
    assert!(fact.start.is_some());
    t.fact(HostFact::Stack(fact));
    t.at(8.0);
    assert_eq!(told(&t.verdict()), [(5, vec![], StackState::NotLookedUp)]);
}

#[test]
fn a_program_that_was_replaced_is_not_asked_about_the_stacks_of_the_old_one() {
    let mut t = with_stacks();
    flap(&mut t, 0.0, &[taken(7)]);
    t.exec(4_711, "other", (1, "systemd"), instant(0.0));
    t.at(7.0);
    assert!(wanted(&mut t).is_empty());
    assert_eq!(told(&t.verdict()), [(5, vec![], StackState::NotLookedUp)]);
}

#[test]
fn failing_connects_and_bursts_have_stacks_too() {
    let mut t = with_stacks();
    t.stack = Some(taken(4));
    for n in 0..5_u32 {
        t.at(f64::from(n)).connect(SEND_THREAD, n.into(), SERVER);
        t.fails(n.into(), 111);
    }
    t.at(5.0);
    assert_eq!(t.verdict().finding.name(), "failing_connects");
    assert_eq!(wanted(&mut t), [StackId(4)]);
    t.fact(looked_up(4, &["connect (libc.so.6)", "main (app)"]));
    t.at(6.0);
    assert_eq!(told(&t.verdict())[0].0, 5);

    let mut t = with_stacks();
    t.stack = Some(taken(5));
    t.look_at_descriptors(4_711, 192, 4_096);
    t.at(5.0)
        .open_many(SEND_THREAD, 228, 5.0, "/srv/app/lib{}.jar");
    t.at(7.0);
    assert_eq!(t.verdict().finding.name(), "fd_burst");
    assert_eq!(wanted(&mut t), [StackId(5)]);
    t.fact(looked_up(5, &["open (libc.so.6)", "load (app)"]));
    t.at(8.0);
    assert_eq!(
        told(&t.verdict()),
        [(
            228,
            vec!["open (libc.so.6)", "load (app)"],
            StackState::Whole
        )]
    );
}
