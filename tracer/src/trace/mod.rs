//! Traces: the inputs of the engine, in order, in a file that outlives what it tells of; never what
//! they mean.
//!
//! A trace is an Arrow IPC stream with one flat schema. Most inputs are a row; one that holds a list
//! is a row that says how many follow, and a row for each. `docs/trace.md` explains every column.

mod baseline;
mod columns;
mod decode;
mod encode;
mod export;
mod flight;
mod format;
mod frame;
mod layout;
mod listed;
mod names;
mod narrow;
mod reader;
mod set;
mod writer;

pub use baseline::Baseline;
pub use columns::{DICTIONARY, DictionaryEntry};
pub use export::{ExportFormat, Exporter, TIME_COLUMN};
pub use flight::{Dump, Excerpt, Flight, Segment};
pub use format::{Head, Part, VERSION};
pub use narrow::Narrow;
pub use reader::{Ending, Reader, TraceError};
pub use set::{Gap, SetError, TraceSet};
pub use writer::{Batching, Writer};

#[cfg(test)]
mod sample_inputs;
#[cfg(test)]
mod tests;
