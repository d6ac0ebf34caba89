//! Which setting wins, what a wrong file is told, and that docs/serve.md is as clap is.

use std::{fmt::Write as _, time::Duration};

use super::*;
use crate::analysis::Thresholds;

/// What a file, an environment and a command line come to.
fn serve_with(
    file: &str,
    env: &[(&str, &str)],
    words: &str,
) -> Result<(Box<ServeArgs>, Settings), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracer.toml");
    fs::write(&path, file).unwrap();
    let words = format!("tracer serve --config {} {words}", path.display());
    serve(env, &words).map_err(|error| error.replace(&path.display().to_string(), "FILE"))
}

fn serve(env: &[(&str, &str)], words: &str) -> Result<(Box<ServeArgs>, Settings), String> {
    let words = words.split_whitespace().map(OsString::from).collect();
    let (cli, settings) =
        Cli::from_words(words, variables(env)).map_err(|error| error.to_string())?;
    match cli.command {
        super::super::Command::Serve(args) => Ok((args, settings.unwrap())),
        other => panic!("not serve: {other:?}"),
    }
}

fn variables(env: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
    |name| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    }
}

fn refusal(file: &str) -> String {
    let error = serve_with(file, &[], "").unwrap_err();
    error.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn without_a_file_the_defaults_hold() {
    let (args, _) = serve(&[], "tracer serve").unwrap();
    assert_eq!(
        args.thresholds.over(Thresholds::default()),
        Thresholds::default()
    );
    assert_eq!(args.flight.window(), None);
}

#[test]
fn the_file_sets_what_nobody_else_does() {
    let file = "flap-count = 7\nchurn-count = 8\nfail-count = 9\nport = [2181, 80]\n\
                dump-dir = \"/tmp/dumps\"\nburst-window = \"3s\"\nno-fds = true\n";
    let words = "--fail-count 11";
    let (args, _) = serve_with(file, &[], words).unwrap();
    assert_eq!(args.thresholds.flap_count, Some(7));
    assert_eq!(args.thresholds.fail_count, Some(11));
    assert_eq!(args.thresholds.burst_window, Some(Duration::from_secs(3)));
    assert_eq!(args.scope.selection().ports, [80, 2181]);
    assert!(args.scope.no_fds);
    assert_eq!(args.flight.dump_dir(), Path::new("/tmp/dumps"));
    assert_eq!(args.flight.window(), Some(Duration::from_mins(5)));
}

#[test]
fn other_commands_have_no_settings() {
    let words = ["tracer", "-v", "watch", "--port", "80"].map(OsString::from);
    let (_, settings) = Cli::from_words(words.to_vec(), |_| None).unwrap();
    assert!(settings.is_none());
}

#[test]
fn a_wrong_file_is_told_where_and_why() {
    assert_eq!(
        refusal("flap-cuont = 3\n"),
        "error: FILE: there is no setting \"flap-cuont\": did you mean `flap-count`?"
    );
    assert_eq!(
        refusal("config = \"x\"\n"),
        "error: FILE: there is no setting \"config\": `tracer serve --help` lists the options, whose \
         names the keys are"
    );
    assert_eq!(
        refusal("flap-count = 0\n"),
        "error: FILE: flap-count: 0 is not in 1..18446744073709551615"
    );
    assert_eq!(
        refusal("burst-window = \"soon\"\n"),
        "error: FILE: burst-window: expected number at 0"
    );
    assert_eq!(
        refusal("no-tcp = \"yes\"\n"),
        "error: FILE: no-tcp: expected true or false"
    );
    assert_eq!(
        refusal("flap-count = 1.5\n"),
        "error: FILE: flap-count: expected a text in quotes, a whole number, or a list of them"
    );
    assert_eq!(
        refusal("flap-count =\n"),
        "error: FILE: this is not TOML: TOML parse error at line 1, column 13"
    );
    assert!(
        serve(&[], "tracer serve --config /nonexistent/tracer.toml")
            .unwrap_err()
            .contains("/nonexistent/tracer.toml: the settings cannot be read: No such file")
    );
}

#[test]
fn what_contradicts_itself_is_refused_wherever_it_comes_from() {
    let error = serve_with("no-tcp = true\n", &[], "--port 80").unwrap_err();
    assert!(error.contains("cannot be used with"), "{error}");
    let error = serve_with("flight-size = \"1M\"\n", &[], "").unwrap_err();
    assert!(error.contains("required"), "{error}");
}

#[test]
fn a_broken_command_line_is_told_as_always() {
    let error = serve(&[], "tracer serve --flap-count").unwrap_err();
    assert!(error.contains("a value is required"), "{error}");
    let error = serve(&[], "tracer serve --flap-cuont 3").unwrap_err();
    assert!(
        error.contains("similar argument exists: '--flap-count'"),
        "{error}"
    );
}

#[test]
fn a_changed_file_changes_what_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tracer.toml");
    fs::write(&path, "flap-count = 7\nring-size = \"1M\"\n").unwrap();
    let words = format!("tracer serve --churn-count 40 --config {}", path.display());
    let (_, mut settings) = serve(&[], &words).unwrap();

    fs::write(
        &path,
        "flap-count = 9\nchurn-count = 50\nring-size = \"2M\"\n",
    )
    .unwrap();
    let (args, changes) = settings.read_again(|_| None).unwrap();
    assert_eq!(args.thresholds.flap_count, Some(9));
    assert_eq!(args.thresholds.churn_count, Some(40));
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let expected = Changes {
        taken: of(&["--flap-count"]),
        left: of(&["--ring-size"]),
    };
    assert_eq!(changes, expected);

    // What takes a restart is said again until it is restarted, or set back.
    let (_, changes) = settings.read_again(|_| None).unwrap();
    assert_eq!(changes.taken, Vec::<String>::new());
    assert_eq!(changes.left, ["--ring-size"]);

    fs::write(&path, "flap-count = nine\n").unwrap();
    let error = settings.read_again(|_| None).unwrap_err();
    assert!(error.contains("this is not TOML"), "{error}");

    // Nothing at all is the default again.
    fs::write(&path, "ring-size = \"1M\"\n").unwrap();
    let (args, changes) = settings.read_again(|_| None).unwrap();
    assert_eq!(args.thresholds.flap_count, None);
    assert_eq!(changes.taken, ["--flap-count"]);
    assert_eq!(changes.left, Vec::<String>::new());
}

#[test]
fn the_table_of_settings_is_as_clap_is() {
    let command = Cli::command();
    let serve = command.find_subcommand(SERVE).unwrap();
    let mut table = String::new();
    for arg in serve.get_arguments().filter(|arg| !arg.is_hide_set()) {
        let long = arg.get_long().unwrap();
        let value = arg.get_value_names().filter(|_| !is_flag(arg));
        let value = value.map_or(String::new(), |names| format!(" {}", names[0]));
        let key = key(arg).map_or("-".to_owned(), |key| format!("`{key}`"));
        let variable = env_name(arg).map_or("-".to_owned(), |name| format!("`{name}`"));
        let reload = if ServeArgs::is_reloaded(arg.get_id().as_str()) {
            "yes"
        } else {
            "no"
        };
        let mut help = arg.get_help().unwrap().to_string().replace('\n', " ");
        if let [default] = arg.get_default_values()
            && !is_flag(arg)
        {
            let default = default.to_string_lossy();
            write!(help, " [default: {default}]").unwrap();
        }
        writeln!(
            table,
            "| `--{long}{}` | {variable} | {key} | {reload} | {} |",
            value.replace('|', "\\|"),
            help.replace('|', "\\|"),
        )
        .unwrap();
    }
    let docs = include_str!("../../../../docs/serve.md");
    assert!(
        docs.contains(&table),
        "docs/serve.md must have this table:\n{table}"
    );
}
