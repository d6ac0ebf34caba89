//! Where the settings of `tracer serve` come from: an option goes before an environment variable, that
//! before the file, and the file before the default; never what a setting means.
//!
//! What the file sets is put behind the words of the command line, where neither an option nor a
//! variable sets the same: so clap judges all of them by the same rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgAction, ArgMatches, Command, CommandFactory as _, Error, FromArgMatches as _,
    builder::BoolishValueParser, error::ErrorKind, parser::ValueSource,
};
use toml::{Table, Value};

use super::{Cli, ServeArgs};

/// The subcommand that has settings.
const SERVE: &str = "serve";

/// Options that the file cannot set: where it is, whether it is only looked at, and what is for tests.
const NOT_IN_FILE: [&str; 4] = ["config", "check", "attach", "map_entries"];

/// How alike an unknown key and a valid one must be to be mentioned; from 0 to 1, by Jaro's measure.
const ALIKE: f64 = 0.8;

/// The settings of a running `tracer serve`, to be read again.
#[derive(Clone, Debug)]
pub struct Settings {
    words: Vec<OsString>,
    given: Given,
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Option,
    Variable,
    File,
    Default,
}

/// The values of each option as they were given, by its id.
type Given = BTreeMap<String, (Vec<OsString>, Origin)>;

/// What is set differently than it was, by the names of the options.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What is taken over.
    pub taken: Vec<String>,
    /// What takes a restart.
    pub left: Vec<String>,
}

impl Cli {
    /// Reads the words of the command line, and for `tracer serve` the environment and the file; gives
    /// the settings too where there are any. An error is as clap's are, and says what to do.
    pub fn from_words(
        words: Vec<OsString>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, Option<Settings>), Error> {
        let mut command = Cli::command();
        let Some(sketch) = sketch(&words) else {
            let matches = command.try_get_matches_from(words)?;
            return Ok((Self::from_arg_matches(&matches)?, None));
        };
        command = command.mut_subcommand(SERVE, |serve| with_env(serve, &env));
        let is_set = |arg: &Arg| is_given(&sketch, arg) || is_in_env(arg, &env);
        let from_file = match config(&sketch, &env) {
            None => BTreeMap::new(),
            Some(path) => read(&path, &command, is_set)
                .map_err(|why| command.error(ErrorKind::InvalidValue, why))?,
        };
        let all = words.iter().chain(from_file.values());
        let matches = command.try_get_matches_from_mut(all)?;
        let given = matches
            .subcommand()
            .zip(command.find_subcommand(SERVE))
            .map(|((_, matches), serve)| given(serve, matches, &from_file))
            .unwrap_or_default();
        Ok((
            Self::from_arg_matches(&matches)?,
            Some(Settings { words, given }),
        ))
    }
}

impl Settings {
    /// Reads the settings again; gives them with what has changed. An error says what is wrong, and
    /// leaves all as it was.
    pub fn read_again(
        &mut self,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Box<ServeArgs>, Changes), String> {
        let (cli, settings) =
            Cli::from_words(self.words.clone(), env).map_err(|error| error.to_string())?;
        let (super::Command::Serve(args), Some(settings)) = (cli.command, settings) else {
            return Err("the command line is not that of `tracer serve`".to_owned());
        };
        let ids: BTreeSet<_> = self.given.keys().chain(settings.given.keys()).collect();
        let mut changes = Changes::default();
        for id in ids {
            let values = |given: &Given| given.get(id).map(|(values, _)| values.clone());
            if values(&self.given) != values(&settings.given) {
                let list = if ServeArgs::is_reloaded(id) {
                    &mut changes.taken
                } else {
                    &mut changes.left
                };
                list.push(option_name(id));
            }
        }
        // What takes a restart is still as it was.
        let stays = |given: &mut Given, stays: bool| {
            given.retain(|id, _| ServeArgs::is_reloaded(id) != stays);
        };
        let mut read = settings.given;
        stays(&mut self.given, true);
        stays(&mut read, false);
        self.given.extend(read);
        Ok((args, changes))
    }

    /// The file that is read again, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        let (values, _) = self.given.get("config")?;
        values.first().map(Path::new)
    }

    /// Each setting and where it comes from, a line each.
    #[must_use]
    pub fn render(&self) -> String {
        let lines = self.given.iter().map(|(id, (values, origin))| {
            let values: Vec<_> = values.iter().map(|value| value.to_string_lossy()).collect();
            let origin = match origin {
                Origin::Option => "option",
                Origin::Variable => "variable",
                Origin::File => "file",
                Origin::Default => "default",
            };
            format!("{} {} ({origin})\n", option_name(id), values.join(","))
        });
        lines.collect()
    }
}

/// The variable that sets an option: `TRACER_` and the option's name. Those that select are in the
/// plural, as Kubernetes gives containers a `TRACER_PORT` of its own beside a service called tracer.
fn env_name(arg: &Arg) -> Option<String> {
    if arg.is_hide_set() || arg.get_id() == "check" {
        return None;
    }
    Some(format!("TRACER_{}", arg.get_id().as_str().to_uppercase()))
}

/// The key that sets an option in the file: its name.
fn key(arg: &Arg) -> Option<&str> {
    arg.get_long()
        .filter(|_| !NOT_IN_FILE.contains(&arg.get_id().as_str()))
}

/// An option's name by its id.
fn option_name(id: &str) -> String {
    let command = Cli::command();
    let serve = command.find_subcommand(SERVE);
    let arg = serve.and_then(|serve| serve.get_arguments().find(|arg| arg.get_id() == id));
    let name = arg.and_then(Arg::get_long).unwrap_or(id);
    format!("--{name}")
}

/// The subcommand with the variables of its options. One that is empty, or says no to a flag, is as
/// good as none: clap would take it for given, and for a contradiction to others.
fn with_env(serve: Command, env: &impl Fn(&str) -> Option<OsString>) -> Command {
    serve.mut_args(|arg| {
        let is_flag = is_flag(&arg);
        let arg = if is_flag {
            arg.value_parser(BoolishValueParser::new())
        } else {
            arg
        };
        match env_name(&arg) {
            Some(name) if env(&name).is_none_or(|value| says_anything(&value, is_flag)) => {
                arg.env(name)
            }
            _ => arg,
        }
    })
}

fn is_flag(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::SetTrue)
}

fn says_anything(value: &OsString, is_flag: bool) -> bool {
    const NO: [&str; 5] = ["false", "no", "n", "off", "0"];
    let is_no = |value: &str| is_flag && NO.contains(&value.to_lowercase().as_str());
    !value.is_empty() && value.to_str().is_none_or(|value| !is_no(value))
}

/// Whether a variable sets an option, be it to no.
fn is_in_env(arg: &Arg, env: &impl Fn(&str) -> Option<OsString>) -> bool {
    let value = env_name(arg).and_then(|name| env(&name));
    value.is_some_and(|value| !value.is_empty())
}

/// The words of `tracer serve` without any judgement: which options they name, and what they say of the
/// file; `None` for other commands.
fn sketch(words: &[OsString]) -> Option<ArgMatches> {
    let command = Cli::command();
    let serve = command.find_subcommand(SERVE)?;
    let general = command.get_arguments().map(lenient);
    let lenient = Command::new("tracer")
        .args(general.map(|arg| arg.global(true)))
        .subcommand(
            Command::new(SERVE)
                .args(serve.get_arguments().map(lenient))
                .disable_help_flag(true),
        )
        .disable_help_flag(true)
        .allow_external_subcommands(true)
        .ignore_errors(true);
    let matches = lenient.try_get_matches_from(words).ok()?;
    matches.subcommand_matches(SERVE).cloned()
}

/// An option that takes anything, and goes with anything.
fn lenient(arg: &Arg) -> Arg {
    let mut lenient = Arg::new(arg.get_id().clone()).action(arg.get_action().clone());
    if arg.get_action().takes_values() {
        lenient = lenient.value_parser(clap::value_parser!(OsString));
    }
    if let Some(long) = arg.get_long() {
        lenient = lenient.long(long.to_owned());
    }
    match arg.get_short() {
        Some(short) => lenient.short(short),
        None => lenient,
    }
}

fn is_given(sketch: &ArgMatches, arg: &Arg) -> bool {
    sketch.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
}

fn config(sketch: &ArgMatches, env: &impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let by_option = sketch.get_one::<OsString>("config").cloned();
    let path = by_option.or_else(|| env("TRACER_CONFIG"));
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// What each option was set to, and by whom.
fn given(serve: &Command, matches: &ArgMatches, from_file: &BTreeMap<String, OsString>) -> Given {
    let own = |arg: &&Arg| arg.get_id() == "config" || (key(arg).is_some() && !arg.is_global_set());
    let ids = serve.get_arguments().filter(own);
    let ids = ids.map(|arg| arg.get_id().as_str());
    let raw = ids.filter_map(|id| {
        let values = matches.try_get_raw(id).ok()??;
        let origin = match matches.value_source(id) {
            _ if from_file.contains_key(id) => Origin::File,
            Some(ValueSource::CommandLine) => Origin::Option,
            Some(ValueSource::EnvVariable) => Origin::Variable,
            _ => Origin::Default,
        };
        let values = values.map(OsString::from).collect();
        Some((id.to_owned(), (values, origin)))
    });
    raw.collect()
}

/// Reads the file into words of the command line: one for each option that is not set otherwise, by
/// its id.
fn read(
    path: &Path,
    command: &Command,
    is_set: impl Fn(&Arg) -> bool,
) -> Result<BTreeMap<String, OsString>, String> {
    let in_file = |why: String| format!("{}: {why}", path.display());
    let text = fs::read_to_string(path)
        .map_err(|error| in_file(format!("the settings cannot be read: {error}")))?;
    let table: Table = toml::from_str(&text).map_err(|error| {
        in_file(format!(
            "this is not TOML: {}",
            error.to_string().trim_end()
        ))
    })?;
    let serve = command
        .find_subcommand(SERVE)
        .ok_or("there is no such command")?;
    let mut words = BTreeMap::new();
    for (name, value) in &table {
        let arg = serve.get_arguments().find(|arg| key(arg) == Some(name));
        let arg = arg.ok_or_else(|| in_file(unknown(name, serve)))?;
        let own = word(name, value, is_flag(arg)).map_err(&in_file)?;
        check(serve, own.as_ref()).map_err(|why| in_file(format!("{name}: {why}")))?;
        if let Some(own) = own
            && !is_set(arg)
        {
            words.insert(arg.get_id().to_string(), own);
        }
    }
    Ok(words)
}

fn unknown(name: &str, serve: &Command) -> String {
    let keys = serve.get_arguments().filter_map(key);
    let nearest = keys
        .map(|key| (strsim::jaro(name, key), key))
        .max_by(|(alike, _), (other, _)| alike.total_cmp(other));
    let hint = match nearest {
        Some((alike, key)) if alike >= ALIKE => format!(": did you mean `{key}`?"),
        _ => ": `tracer serve --help` lists the options, whose names the keys are".to_owned(),
    };
    // Escaped, as the file may hold anything.
    format!("there is no setting {name:?}{hint}")
}

/// A key and its value as a word; none for a flag that is not set.
fn word(name: &str, value: &Value, is_flag: bool) -> Result<Option<OsString>, String> {
    if is_flag {
        return match value {
            Value::Boolean(true) => Ok(Some(format!("--{name}").into())),
            Value::Boolean(false) => Ok(None),
            _ => Err(format!("{name}: expected true or false")),
        };
    }
    let text = match value {
        Value::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| plain(name, item)).collect();
            items?.join(",")
        }
        value => plain(name, value)?,
    };
    Ok(Some(format!("--{name}={text}").into()))
}

fn plain(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        _ => Err(format!(
            "{name}: expected a text in quotes, a whole number, or a list of them"
        )),
    }
}

/// Whether clap takes a word, by itself: what it does not go with is judged with all others.
fn check(serve: &Command, word: Option<&OsString>) -> Result<(), String> {
    let words = [OsString::from(SERVE)].into_iter().chain(word.cloned());
    let Err(error) = serve.clone().try_get_matches_from(words) else {
        return Ok(());
    };
    match error.kind() {
        ErrorKind::ArgumentConflict | ErrorKind::MissingRequiredArgument => Ok(()),
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or_default();
            let why = line.trim_start_matches("error: ");
            // After the word itself, which is in the file in another form.
            Err(why.split_once("': ").map_or(why, |(_, why)| why).to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
