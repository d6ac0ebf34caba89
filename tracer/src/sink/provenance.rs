//! Where a report comes from: the files that it was made of, and what its reader should know of
//! them; never read from anywhere here.

/// Where a report comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The trace files, as the user named them; empty for a live run.
    pub files: Vec<String>,
    /// What was found about them, a sentence each, such as that one is cut.
    pub notes: Vec<String>,
}
