//! tracer as a library: what it learns, what it concludes, and how that is shown.
//!
//! The way of the data is told in ARCHITECTURE.md. Only [`model`] and [`analysis`] are free of the
//! outside world; everything that touches the running host is behind the feature `live`.

pub mod analysis;
#[cfg(feature = "live")]
pub mod app;
pub mod cli;
#[cfg(feature = "live")]
pub mod confine;
#[cfg(feature = "live")]
pub mod doctor;
#[cfg(feature = "live")]
pub mod host;
pub mod model;
pub mod sink;
pub mod source;
pub mod trace;
