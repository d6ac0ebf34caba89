//! The program: reads the command line, runs what it asks for, and ends with its code; never more.

use std::process::ExitCode;

use clap::Parser as _;
use tracer::{app, cli::Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    env_logger::Builder::new()
        .filter_level(cli.verbosity.log_level_filter())
        .parse_default_env()
        .format_target(false)
        .init();
    app::run(&cli)
}
