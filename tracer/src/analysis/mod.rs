//! What the inputs mean: one pure engine that tracks, judges and reports; never reads a clock, a
//! file or the kernel, so that a replay concludes what the live run concluded.
//!
//! The way of an input: [`Engine::apply`] takes it to the tables (`process`, `connections`,
//! `descriptors`, `time_wait`); ended and failed connections are counted in `groups`; on a tick the
//! detectors (`flapping`, `churn`, `failing_connects`, `fd_burst`, `fd_near_limit`, `fd_exhaustion`,
//! `fd_leak`, `close_wait`) are asked what has become conspicuous, and `verdicts` keeps what they found and how it is linked.

mod burst;
mod churn;
mod close_wait;
pub mod compare;
mod connection;
mod connections;
mod content;
mod descriptors;
mod ended;
mod engine;
mod episode;
mod exchange;
mod failing_connects;
mod fd_burst;
mod fd_exhaustion;
mod fd_leak;
mod fd_near_limit;
mod flapping;
mod group;
mod groups;
mod held;
mod history;
pub mod limits;
pub mod lives;
mod losses;
mod pattern;
mod peers;
mod place;
mod port_exhaustion;
mod process;
mod relooks;
pub mod report;
pub mod series;
mod stacks;
mod stats;
mod tally;
#[cfg(test)]
mod tests;
mod thresholds;
mod time_wait;
#[cfg(test)]
mod timeline;
pub mod totals;
mod verdicts;

pub use engine::Engine;
pub use report::Report;
pub use series::{Series, SeriesRecorder};
pub use stacks::StackWanted;
pub use thresholds::Thresholds;
pub use totals::{Totals, TotalsRecorder};
