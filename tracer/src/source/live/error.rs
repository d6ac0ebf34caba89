//! Why nothing can be watched, in words that tell what is missing; never what is done about it.

use std::{fmt, io};

use aya::{EbpfError, maps::MapError};

/// Why nothing can be watched.
#[derive(Debug)]
pub enum AttachError {
    /// The kernel does not tell its types, or not as needed.
    Types(anyhow::Error),
    /// The BPF object could not be loaded.
    Load(EbpfError),
    /// A map could not be used.
    Map(MapError),
    /// The BPF object lacks a part: the build is broken.
    Object(&'static str),
    /// The kernel does not tell who this process is on the host.
    Collector(String),
    /// The ring buffer cannot be read.
    Ring(io::Error),
    /// Not one hook that tells who acts could be attached; the reason of the first.
    NoHooks(String),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Types(error) => write!(f, "the kernel's description of its types: {error:#}"),
            Self::Load(error) => write!(f, "loading the BPF object: {}", with_causes(error)),
            Self::Map(error) => write!(f, "a BPF map: {}", with_causes(error)),
            Self::Object(name) => write!(f, "the BPF object has no {name}: build tracer anew"),
            Self::Collector(reason) => write!(
                f,
                "this is a container without the host's pids, and the kernel does not tell which of them \
                 is tracer's: {reason}"
            ),
            Self::Ring(error) => write!(f, "the ring buffer: {error}"),
            Self::NoHooks(reason) => write!(f, "no hook could be attached: {reason}"),
        }
    }
}

impl std::error::Error for AttachError {}

impl From<MapError> for AttachError {
    fn from(error: MapError) -> Self {
        Self::Map(error)
    }
}

/// An error with its causes on one line; the verifier's log, which can be pages long, only at debug
/// level.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message = error.to_string();
        log::debug!("{message}");
        let line = message.lines().next().unwrap_or_default();
        if !text.contains(line) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(line);
        }
        next = error.source();
    }
    text
}
