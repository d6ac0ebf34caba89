//! The words of the sidecar: what it watches and keeps, and which of that can change while it runs;
//! never where a setting comes from.

use std::path::PathBuf;

use clap::{Args, Command};

use super::{
    ActionArgs, CostArgs, DetailArgs, FlightArgs, MetricsAt, OtlpArgs, RightsArgs, ScopeArgs,
    ThresholdArgs, metrics::metrics_at,
};

/// Where metrics are served unless told otherwise: to this machine alone.
const METRICS_AT: &str = "127.0.0.1:9740";

/// How `tracer serve` is to run.
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Take what neither an option nor a variable sets from this file
    #[arg(long, value_name = "FILE", help_heading = "Settings")]
    pub config: Option<PathBuf>,
    /// Print each setting and where it comes from, and end
    #[arg(long, help_heading = "Settings")]
    pub check: bool,
    /// What is watched.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// What is kept in memory.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// Serve metrics and health by HTTP: a port of this machine's own address, an address, such as
    /// 0.0.0.0:9740, or off
    #[arg(
        long, value_name = "ADDR", default_value = METRICS_AT, value_parser = metrics_at,
        help_heading = "Metrics"
    )]
    pub metrics: MetricsAt,
    /// In which detail.
    #[command(flatten)]
    pub metrics_detail: DetailArgs,
    /// Which collector is told.
    #[command(flatten)]
    pub otlp: OtlpArgs,
    /// What is run when there is a verdict.
    #[command(flatten)]
    pub action: ActionArgs,
    /// What it costs.
    #[command(flatten)]
    pub cost: CostArgs,
    /// What it keeps of its rights.
    #[command(flatten)]
    pub rights: RightsArgs,
    /// When it speaks up.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
}

/// What can change while tracer runs, beside the thresholds: when a dump is written, and for how long.
const RELOADED: [&str; 3] = ["on", "dump_after", "dump_pause"];

impl ServeArgs {
    /// Whether the option with this id is taken over when the settings are read again.
    #[must_use]
    pub fn is_reloaded(id: &str) -> bool {
        let thresholds = ThresholdArgs::augment_args(Command::new(""));
        RELOADED.contains(&id) || thresholds.get_arguments().any(|arg| arg.get_id() == id)
    }
}
