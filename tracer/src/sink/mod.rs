//! Shows what the engine concluded: reports to text or JSON, and frames to the terminal; never a
//! threshold, and never a conclusion of its own.

mod clock;
mod completeness;
pub mod diff;
mod errno;
mod escape;
pub mod events;
mod grid;
pub mod html;
pub mod json;
mod look;
pub mod markdown;
pub mod metrics;
#[cfg(feature = "live")]
pub mod otlp;
mod provenance;
pub mod recording;
pub mod screen;
mod sentence;
mod stack;
pub mod table;
#[cfg(test)]
mod testing;
pub mod timewait;
mod units;

pub use escape::Escaped;
pub use look::{ColorWhen, Look};
pub use provenance::Provenance;
pub use sentence::{labelled as labelled_sentence, whole as whole_sentence};
