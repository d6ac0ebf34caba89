//! The words that say what is run when there is a verdict; never how.

use std::time::Duration;

use clap::Args;

use super::positive_time;

/// What is run when there is a verdict.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Commands")]
pub struct ActionArgs {
    /// Run this command by the shell for each new verdict, with the verdict as JSON on its standard
    /// input and `VERDICT_NAME`, `VERDICT_PID` and others in its environment (see docs/serve.md)
    #[arg(long, value_name = "COMMAND")]
    pub on_verdict: Option<String>,
    /// Kill the command, and all that it has started, after this time
    #[arg(
        long, value_name = "TIME", default_value = "30s", value_parser = positive_time,
        requires = "on_verdict"
    )]
    pub on_verdict_timeout: Duration,
    /// Begin one no more often than this; each verdict that is passed over is counted
    #[arg(
        long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration,
        requires = "on_verdict"
    )]
    pub on_verdict_pause: Duration,
    /// Let so many run at once; each verdict that is passed over is counted
    #[arg(
        long, value_name = "COUNT", default_value_t = 2, requires = "on_verdict",
        value_parser = clap::value_parser!(u32).range(1..=64)
    )]
    pub on_verdict_at_once: u32,
}
