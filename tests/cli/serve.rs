//! Where the settings of `tracer serve` come from, and what a wrong one is told; never a watch.

use std::process::Output;

use crate::{program::tracer, stderr, stdout};

/// Runs it with these variables and words.
fn serve(env: &[(&str, &str)], words: &str) -> Output {
    let mut command = tracer();
    command
        .arg("serve")
        .args(words.split_whitespace())
        .envs(env.iter().copied());
    command.output().unwrap()
}

/// What `--check` says of an option.
fn setting<'a>(output: &'a Output, option: &str) -> &'a str {
    let line = stdout(output)
        .lines()
        .find_map(|line| line.strip_prefix(option)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {option} in {}{}", stdout(output), stderr(output)))
}

#[test]
fn an_option_goes_before_a_variable_before_the_file_before_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracer.toml");
    let text = "flap-count = 1\nchurn-count = 2\nfail-count = 3\nport = [80, 443]\nno-fds = true\n";
    std::fs::write(&file, text).unwrap();
    let env = [
        ("TRACER_CONFIG", file.to_str().unwrap()),
        ("TRACER_FLAP_COUNT", "10"),
        ("TRACER_CHURN_COUNT", "20"),
        ("TRACER_BURST_FILES", ""),
        ("TRACER_NO_FDS", "false"),
        // As Kubernetes sets it beside a service called tracer.
        ("TRACER_PORT", "tcp://10.0.0.1:80"),
    ];
    let output = serve(&env, "--check --flap-count 100");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(setting(&output, "--flap-count"), "100 (option)");
    assert_eq!(setting(&output, "--churn-count"), "20 (variable)");
    assert_eq!(setting(&output, "--fail-count"), "3 (file)");
    assert_eq!(setting(&output, "--port"), "80,443 (file)");
    assert_eq!(setting(&output, "--no-fds"), "false (default)");
    assert_eq!(setting(&output, "--metrics"), "127.0.0.1:9740 (default)");
}

#[test]
fn a_wrong_setting_is_told_wherever_it_comes_from() {
    let output = serve(&[("TRACER_FLAP_COUNT", "few")], "--check");
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("'few' for '--flap-count <COUNT>'"),
        "{}",
        stderr(&output)
    );

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tracer.toml");
    std::fs::write(&file, "dump_dir = \"/tmp\"\n").unwrap();
    let output = serve(&[("TRACER_CONFIG", file.to_str().unwrap())], "--check");
    assert_eq!(output.status.code(), Some(2));
    let said = "there is no setting \"dump_dir\": did you mean `dump-dir`?";
    assert!(stderr(&output).contains(said), "{}", stderr(&output));
}
