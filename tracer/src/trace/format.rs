//! What a trace says of itself before its first row; never what its rows say.

use std::collections::HashMap;

use arrow_schema::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::Session;

/// The format that this version writes. Each change of a column's type or meaning, or of the way
/// that rows make an input, makes it one more; a new column does not. All older ones are read:
///
/// 1. All text is written out.
/// 2. Names and addresses are numbers in lists (`listed`).
pub const VERSION: u32 = 2;

/// Key of the format's number in the schema's metadata. That it is there tells a trace from any other
/// Arrow stream.
pub(super) const FORMAT_KEY: &str = "tracer.format";

/// Key of the [`Head`] in the schema's metadata, as JSON.
pub(super) const HEAD_KEY: &str = "tracer.head";

/// What makes a trace readable by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Head {
    /// How, where and what was watched.
    pub session: Session,
    /// The thresholds that the live run judged by, so that a replay judges alike; not read here.
    pub thresholds: Value,
    /// The place of this file in a set of rotated ones.
    pub part: Part,
    /// Why the trace was written, where that was not simply asked for (a verdict, a signal).
    pub reason: String,
}

/// A file's place in a set of rotated ones, which together are one trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// The set's name: the same in all of its files, and no other set's.
    pub set: String,
    /// 0 for the first file.
    pub number: u64,
    /// So many inputs at the begin repeat what the files before had told, for whoever has only this
    /// one.
    pub baseline_inputs: u64,
}

/// The metadata of a trace's schema.
pub(super) fn metadata(head: &Head) -> HashMap<String, String> {
    let head = serde_json::to_string(head)
        .expect("only maps with keys that are no strings fail to serialise, and there are none");
    HashMap::from([
        (FORMAT_KEY.to_owned(), VERSION.to_string()),
        (HEAD_KEY.to_owned(), head),
    ])
}

/// Why a schema's metadata is not that of a trace that can be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// It is no trace.
    Foreign,
    /// It has a format that this version does not know yet.
    Newer(u32),
    /// Its head does not read.
    Broken(String),
}

/// The reverse of [`metadata`].
pub(super) fn head(metadata: &Metadata) -> Result<Head, HeadError> {
    let format = metadata.get(FORMAT_KEY).ok_or(HeadError::Foreign)?;
    let format: u32 = format
        .parse()
        .map_err(|_| HeadError::Broken(format!("the format is called {format:?}")))?;
    if format > VERSION {
        return Err(HeadError::Newer(format));
    }
    let head = metadata.get(HEAD_KEY).map_or("{}", String::as_str);
    serde_json::from_str(head).map_err(|error| HeadError::Broken(error.to_string()))
}
