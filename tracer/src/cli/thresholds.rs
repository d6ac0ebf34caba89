//! The thresholds that the command line can change, each with its default in its help; never the
//! reason for one.

use std::time::Duration;

use clap::Args;

use super::{count, nanos, positive_time};
use crate::{analysis::Thresholds, model::Nanos};

/// A span as `--help` shows it and as it is read again.
fn text(span: Nanos) -> String {
    humantime::format_duration(Duration::from_nanos(span.0)).to_string()
}

macro_rules! thresholds {
    ($($(#[doc = $help:literal])+ $option:ident($value_name:literal, $parser:expr, $type:ty) => $field:ident, $into:path, $show:path;)+) => {
        /// The thresholds that the command line can change; the others, and the reason for each
        /// default, are in [`Thresholds`].
        #[derive(Clone, Debug, Default, Args)]
        #[command(next_help_heading = "When it speaks up")]
        pub struct ThresholdArgs {
            $(
                #[arg(
                    long, value_name = $value_name, value_parser = $parser,
                    help = format!(concat!($($help),+, " [default: {}]"), $show(Thresholds::default().$field)).trim().to_owned()
                )]
                #[expect(missing_docs, reason = "the help says it")]
                pub $option: Option<$type>,
            )+
        }

        impl ThresholdArgs {
            /// The thresholds with those that were given.
            #[must_use]
            pub fn over(&self, thresholds: Thresholds) -> Thresholds {
                Thresholds {
                    $($field: self.$option.map_or(thresholds.$field, $into),)+
                    ..thresholds
                }
            }
        }
    };
}

thresholds! {
    /// Flapping: connections without a useful exchange
    flap_count("COUNT", count(), u64) => flapping_count, u64::from, u64::from;
    /// Flapping: within this time
    flap_window("TIME", positive_time, Duration) => flapping_window, nanos, text;
    /// Churn: connections with a useful exchange, of one client
    churn_count("COUNT", count(), u64) => churn_count, u64::from, u64::from;
    /// Churn: within this time
    churn_window("TIME", positive_time, Duration) => churn_window, nanos, text;
    /// Flapping and churn: the longest life of a connection that counts
    short_lifetime("TIME", positive_time, Duration) => short_lifetime, nanos, text;
    /// Failing connects: failures in a row
    fail_count("COUNT", count(), u64) => failing_count, u64::from, u64::from;
    /// Failing connects: within this time
    fail_window("TIME", positive_time, Duration) => failing_window, nanos, text;
    /// Descriptor burst: files opened and kept open
    burst_files("COUNT", count(), u64) => burst_files, u64::from, u64::from;
    /// Descriptor burst: within this time
    burst_window("TIME", positive_time, Duration) => burst_window, nanos, text;
    /// Descriptor table nearly full: percent of the soft limit
    near_limit("PERCENT", count(), u64) => fd_near_limit_percent, u64::from, u64::from;
    /// Descriptor table full: over when no call failed for so long
    exhaustion_silence("TIME", positive_time, Duration) => exhaustion_silence, nanos, text;
    /// Descriptor leak: descriptors that become more, steadily
    leak_fds("COUNT", count(), u64) => leak_fds, u64::from, u64::from;
    /// Descriptor leak: over this time
    leak_window("TIME", positive_time, Duration) => leak_window, nanos, text;
    /// CLOSE_WAIT leak: connections that only the peer has closed
    close_wait_count("COUNT", count(), u64) => close_wait_count, u64::from, u64::from;
    /// CLOSE_WAIT leak: for at least this time
    close_wait_age("TIME", positive_time, Duration) => close_wait_age, nanos, text;
    /// Ephemeral ports: percent of the range in use towards one peer
    near_ports("PERCENT", count(), u64) => port_exhaustion_percent, u64::from, u64::from;
}
