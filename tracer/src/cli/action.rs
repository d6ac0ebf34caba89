//! The words that say what is done when there is a verdict; never how.

use std::time::Duration;

use clap::Args;

use super::{HttpUrl, positive_time};

/// What is done when there is a verdict.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Commands")]
pub struct ActionArgs {
    /// Run this command by the shell for each new verdict, with the verdict as JSON on its standard
    /// input and `VERDICT_NAME`, `VERDICT_PID` and others in its environment; or, where it is an
    /// address that begins with `http://` or `https://`, post the verdict there (see docs/serve.md)
    #[arg(long, value_name = "COMMAND|URL", value_parser = deed)]
    pub on_verdict: Option<String>,
    /// Kill the command, and all that it has started, or give the server up, after this time
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

/// What begins like an address must be one.
fn deed(text: &str) -> Result<String, &'static str> {
    if HttpUrl::is_meant(text) && HttpUrl::parse(text).is_none() {
        return Err("expected an address such as https://alerts.example.com/tracer, or a command");
    }
    Ok(text.to_owned())
}
