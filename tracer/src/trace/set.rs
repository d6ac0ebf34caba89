//! Reads one trace, or the files of a rotated one as the one that they are; never two recordings as
//! if they were one.

use std::{
    fmt,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use super::{
    format::Head,
    reader::{Ending, Reader, TraceError},
};
use crate::model::{Input, Nanos};

/// Why files cannot be read as a trace.
#[derive(Debug)]
pub enum SetError {
    /// One of them cannot.
    File(PathBuf, TraceError),
    /// They belong to different recordings.
    Strangers(PathBuf, PathBuf),
    /// They hold the same part of a recording.
    Twice(PathBuf, PathBuf),
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Strangers(one, other) => write!(
                f,
                "{} and {} are not parts of one recording: only the files of one that was rotated \
                 read as one",
                one.display(),
                other.display()
            ),
            Self::Twice(one, other) => write!(
                f,
                "{} and {} are the same part of a recording",
                one.display(),
                other.display()
            ),
        }
    }
}

// Its message has all that its cause says.
impl std::error::Error for SetError {}

/// A place where a trace lacks something, or what it ends with too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The file.
    pub path: PathBuf,
    /// The latest time that was told before it.
    pub at: Nanos,
    /// What a person reads.
    pub why: String,
}

type FileReader = Reader<BufReader<File>>;

/// The inputs of a trace's files, in order.
pub struct TraceSet {
    current: (PathBuf, FileReader),
    /// Those that come later, the next one last.
    later: Vec<(PathBuf, FileReader)>,
    head: Head,
    gaps: Vec<Gap>,
    is_over: bool,
}

impl TraceSet {
    /// Opens files given in any order. There must be one at least.
    pub fn open(paths: &[PathBuf]) -> Result<Self, SetError> {
        let mut parts = Vec::new();
        for path in paths {
            let reader = open(path).map_err(|error| SetError::File(path.clone(), error))?;
            parts.push((path.clone(), reader));
        }
        parts.sort_by_key(|(_, reader)| std::cmp::Reverse(reader.head().part.number));
        for pair in parts.windows(2) {
            let [(later, b), (earlier, a)] = pair else {
                continue;
            };
            let (a, b) = (&a.head().part, &b.head().part);
            if a.set != b.set || a.set.is_empty() {
                return Err(SetError::Strangers(earlier.clone(), later.clone()));
            }
            if a.number == b.number {
                return Err(SetError::Twice(earlier.clone(), later.clone()));
            }
        }
        let Some(current) = parts.pop() else {
            return Err(SetError::File(PathBuf::new(), TraceError::Empty));
        };
        Ok(Self {
            head: current.1.head().clone(),
            current,
            later: parts,
            gaps: Vec::new(),
            is_over: false,
        })
    }

    /// What the first file says of itself.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// What was found missing so far; all of it once the inputs are at their end.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Goes on to the next file; `false` where there is none.
    fn advance(&mut self) -> bool {
        let (path, reader) = &self.current;
        let number = reader.head().part.number;
        let at = reader.latest();
        let mut is_whole = true;
        if let Some(Ending::Early(why)) = reader.ending() {
            is_whole = false;
            self.gaps.push(Gap {
                path: path.clone(),
                at,
                why: why.clone(),
            });
        }
        let Some((path, mut reader)) = self.later.pop() else {
            self.is_over = true;
            return false;
        };
        let part = &reader.head().part;
        let missing = part.number - number - 1;
        if missing > 0 {
            self.gaps.push(Gap {
                path: path.clone(),
                at,
                why: format!(
                    "{missing} {} of the recording before it {} not here",
                    if missing == 1 { "file" } else { "files" },
                    if missing == 1 { "is" } else { "are" },
                ),
            });
        }
        // The session was told, and without a gap all that the baseline repeats.
        let mut known = 1;
        if missing == 0 && is_whole {
            known += part.baseline_inputs;
        }
        for _ in 0..known {
            if reader.next().is_none() {
                break;
            }
        }
        self.current = (path, reader);
        true
    }
}

impl Iterator for TraceSet {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        while !self.is_over {
            let next = self.current.1.next();
            if next.is_some() {
                return next;
            }
            if !self.advance() {
                break;
            }
        }
        None
    }
}

fn open(path: &Path) -> Result<FileReader, TraceError> {
    let file = File::open(path).map_err(TraceError::Io)?;
    // A batch is some ten to some hundred kilobytes.
    Reader::open(BufReader::with_capacity(64 << 10, file))
}
