//! The words that say which rights tracer keeps while it watches; never how it gives the others up.

use clap::Args;

/// Which rights are kept.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Rights")]
pub struct RightsArgs {
    /// Keep all rights once every hook is attached. Without this, those that watching does not need are
    /// given up (see docs/serve.md)
    #[arg(long)]
    pub keep_privileges: bool,
}
