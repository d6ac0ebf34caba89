//! The program: reads the command line, runs what it asks for, and ends with its code; never more.

use std::process::ExitCode;

use tracer::{app, cli::Cli};

fn main() -> ExitCode {
    let words = std::env::args_os().collect();
    let (cli, settings) = match Cli::from_words(words, |name| std::env::var_os(name)) {
        Ok(read) => read,
        Err(error) => error.exit(),
    };
    app::start_log(cli.verbosity.log_level_filter());
    app::run(&cli, settings)
}
