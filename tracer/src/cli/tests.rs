//! What each word of the command line means, and which are refused; never what is done about them.

use clap::{CommandFactory as _, error::ErrorKind};

use super::*;
use crate::analysis::Thresholds;

fn watch(words: &str) -> Result<WatchArgs, clap::Error> {
    let words = ["tracer", "watch"]
        .into_iter()
        .chain(words.split_whitespace());
    match Cli::try_parse_from(words)?.command {
        Command::Watch(args) => Ok(*args),
        other => panic!("not watch: {other:?}"),
    }
}

fn refusal(words: &str) -> String {
    watch(words).unwrap_err().to_string()
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn without_options_all_is_watched_by_the_default_thresholds() {
    let args = watch("").unwrap();
    assert_eq!(args.scope.selection(), Selection::default());
    assert_eq!(
        args.thresholds.over(Thresholds::default()),
        Thresholds::default()
    );
    assert_eq!(args.view.interval, Duration::from_secs(1));
    assert_eq!(args.scope.duration, None);
    assert_eq!(args.view.format, Format::Table);
    assert_eq!(args.cost.fd_budget, 1000);
    assert_eq!(args.cost.ring_size, 4 << 20);
    assert_eq!(args.scope.attach, AttachMode::Auto);
    assert_eq!(args.scope.map_entries, None);
}

#[test]
fn ports_and_pids_repeat_and_take_commas() {
    let args = watch("--port 2181,443 --port 80 --port 80 --pid 7 --pid 5,6").unwrap();
    assert_eq!(
        args.scope.selection(),
        Selection {
            ports: vec![80, 443, 2181],
            pids: vec![Pid(5), Pid(6), Pid(7)],
            netns: None,
            tcp: true,
            fds: true,
        }
    );
}

#[test]
fn each_threshold_reaches_the_engine() {
    let args = watch(
        "--flap-count 1 --flap-window 2s --churn-count 3 --churn-window 4s --short-lifetime 5s \
         --fail-count 6 --fail-window 7s --burst-files 8 --burst-window 1m30s",
    )
    .unwrap();
    assert_eq!(
        args.thresholds.over(Thresholds::default()),
        Thresholds {
            flapping_count: 1,
            flapping_window: Nanos::from_secs(2),
            churn_count: 3,
            churn_window: Nanos::from_secs(4),
            short_lifetime: Nanos::from_secs(5),
            failing_count: 6,
            failing_window: Nanos::from_secs(7),
            burst_files: 8,
            burst_window: Nanos::from_secs(90),
            ..Thresholds::default()
        }
    );
}

#[test]
fn what_contradicts_itself_is_refused() {
    for words in ["--no-tcp --no-fds", "--no-tcp --port 80"] {
        let error = watch(words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ArgumentConflict, "{words}");
        assert_eq!(error.exit_code(), i32::from(exit::CANNOT_TRACE), "{words}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert!(refusal("--port 0").contains("0 is not in 1..=65535"));
    assert!(refusal("--port 65536").contains("65536 is not in 1..=65535"));
    assert!(refusal("--pid 0").contains("0 is not in 1..=4294967295"));
    assert!(refusal("--duration 0s").contains("must be longer than nothing"));
    assert!(refusal("--duration 30").contains("time unit needed"));
    assert!(refusal("--interval 99ms").contains("must be at least 100ms"));
    assert!(refusal("--flap-count 0").contains("0 is not in 1.."));
    assert!(refusal("--burst-window 0s").contains("must be longer than nothing"));
}

#[test]
fn a_ring_has_a_power_of_two_of_bytes() {
    assert_eq!(ring_bytes("4096"), Ok(4096));
    assert_eq!(ring_bytes("256k"), Ok(256 << 10));
    assert_eq!(ring_bytes("4M"), Ok(4 << 20));
    assert_eq!(ring_bytes("1024M"), Ok(1 << 30));
    let not_a_ring = Err("must be a power of two from 4K to 1024M".to_owned());
    for text in ["0", "2K", "3M", "2048M", "4095M"] {
        assert_eq!(ring_bytes(text), not_a_ring, "{text}");
    }
    for text in ["", "M", "4G", "-4M", "4 M", "4é"] {
        assert_eq!(
            ring_bytes(text),
            Err("expected bytes, or a number with K or M, such as 4M".to_owned()),
            "{text}"
        );
    }
}

#[test]
fn timewait_watches_connections_only() {
    let cli = Cli::try_parse_from(["tracer", "timewait", "--port", "2181", "--for", "0s"]);
    let Command::Timewait(args) = cli.unwrap().command else {
        panic!("not timewait");
    };
    assert_eq!(args.watch_for, Duration::ZERO);
    assert_eq!(
        args.selection(),
        Selection {
            ports: vec![2181],
            pids: Vec::new(),
            netns: None,
            tcp: true,
            fds: false,
        }
    );
}

#[test]
fn help_teaches() {
    let help = Cli::command().render_long_help().to_string();
    for word in [
        "Examples:",
        "Exit codes:",
        "NO_COLOR",
        "RUST_LOG",
        "watch",
        "doctor",
    ] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn the_readmes_command_lines_are_understood() {
    let readme = include_str!("../../../README.md");
    let mut seen = 0;
    for command in [
        "tracer watch",
        "tracer serve",
        "tracer timewait",
        "tracer doctor",
        "tracer replay",
        "tracer events",
        "tracer export",
        "tracer diff",
    ] {
        for (at, _) in readme.match_indices(command) {
            let end = |letter| matches!(letter, '`' | '#' | '|' | '\n');
            let line = readme[at..].split(end).next().unwrap_or_default();
            if let Err(error) = Cli::try_parse_from(line.split_whitespace()) {
                panic!("{line}: {error}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "only {seen} command lines were found");
}
