//! Keeps the flight recorder's minutes in files as well, which outlive a tracer that is killed, and finds what
//! such a one has left; never touches what belongs to a tracer that lives.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use super::recorder::{Recorder, Recording, create_file};
use crate::{
    cli::{KeepArgs, Rotation},
    model::{Input, Nanos},
    sink::recording,
    trace::{Batching, Head, Part, TraceSet, Writer},
};

/// Where it is, below the folder for dumps.
const FOLDER: &str = "spill";

/// A set of files has its own name before their numbers, and this one after it of the file that is locked for
/// as long as its tracer lives.
const LOCK: &str = "lock";

/// Files that the minutes are divided into: the oldest is removed as a whole, so that a part more is kept.
const PARTS: u32 = 4;

/// Where spills are, of all tracers that have this folder for their dumps.
pub(super) fn folder(dump_dir: &Path) -> PathBuf {
    dump_dir.join(FOLDER)
}

/// The minutes of a tracer that lives.
pub(super) struct Spill {
    recorder: Recorder,
    lock_path: PathBuf,
    /// The lock is let go of with it.
    _lock: File,
}

impl Spill {
    /// Begins to keep them: so long, or as many bytes as that, and a part more.
    pub(super) fn start(dump_dir: &Path, window: Duration, bytes: u64, head: Head) -> Result<Self> {
        let folder = folder(dump_dir);
        let name = recording::spill_name(&head.session, std::process::id());
        (|| {
            make(&folder)?;
            let lock_path = folder.join(format!("{name}.{LOCK}"));
            let lock = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&lock_path)?;
            lock.try_lock()?;
            let recording = Recording {
                path: folder.join(format!("{name}.arrows")),
                keep: KeepArgs {
                    max_size: None,
                    rotate: Some(Rotation {
                        bytes: Some((bytes / u64::from(PARTS)).max(1)),
                        time: Some(window / PARTS),
                    }),
                    keep: Some(u64::from(PARTS) + 1),
                },
            };
            anyhow::Ok(Self {
                recorder: Recorder::create(recording, head)?,
                lock_path,
                _lock: lock,
            })
        })()
        .with_context(|| format!("cannot keep what happens in {}", folder.display()))
    }

    /// Keeps an input.
    pub(super) fn push(&mut self, input: &Input) {
        self.recorder.push(input);
    }

    /// Writes what it has, so that it stays whatever happens.
    pub(super) fn flush(&mut self) {
        self.recorder.flush();
    }

    /// Removes it: who ends in order has told all.
    pub(super) fn remove(self) {
        let files = self.recorder.finish().files;
        remove(&files, &self.lock_path);
    }
}

/// What a tracer has left that was killed.
pub(super) struct Leftover {
    set: TraceSet,
    files: Vec<PathBuf>,
    lock_path: PathBuf,
    /// So that no other tracer takes it as well.
    _lock: File,
}

impl Leftover {
    /// Those below a folder for dumps. What cannot be read is said, and left.
    pub(super) fn all(dump_dir: &Path) -> Vec<Self> {
        let folder = folder(dump_dir);
        match Self::find(&folder) {
            Ok(found) => found,
            // There never was one.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                log::warn!("cannot look into {}: {error}", folder.display());
                Vec::new()
            }
        }
    }

    fn find(folder: &Path) -> io::Result<Vec<Self>> {
        let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        let is_lock = |path: &&PathBuf| path.extension() == Some(OsStr::new(LOCK));
        let locks = paths.iter().filter(is_lock);
        let found = locks.filter_map(|lock_path| {
            let name = lock_path.file_stem()?.to_str()?;
            let is_part = |path: &&PathBuf| {
                let part = path.file_name().and_then(OsStr::to_str);
                let rest = part.and_then(|part| part.strip_prefix(name));
                rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".arrows"))
            };
            let files = paths.iter().filter(is_part).cloned().collect();
            let taken = Self::take(lock_path, files);
            taken.unwrap_or_else(|error| {
                log::warn!("what {} belongs to is left: {error:#}", lock_path.display());
                None
            })
        });
        Ok(found.collect())
    }

    /// Takes one, unless its tracer lives, or has left nothing.
    fn take(lock_path: &Path, files: Vec<PathBuf>) -> Result<Option<Self>> {
        let lock = File::open(lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // It may have been killed when it had just made the last one.
        let is_begun = |path: &PathBuf| fs::metadata(path).map_or(true, |file| file.len() > 0);
        let (begun, empty): (Vec<_>, Vec<_>) = files.into_iter().partition(is_begun);
        if begun.is_empty() {
            remove(&empty, lock_path);
            return Ok(None);
        }
        let set = TraceSet::open(&begun)?;
        Ok(Some(Self {
            set,
            files: [begun, empty].concat(),
            lock_path: lock_path.to_owned(),
            _lock: lock,
        }))
    }

    /// Makes a dump of it, and removes it; gives the dump.
    pub(super) fn dump(mut self, dump_dir: &Path) -> Result<PathBuf> {
        let mut head = self.set.head().clone();
        head.part = Part::default();
        let at = self.last_written(&head);
        head.reason = recording::killed(&head.session, at);
        let path = dump_dir.join(recording::dump_name(&head.session, at));
        let mut writer = Writer::new(create_file(&path)?, &head, Batching::default())?;
        // The session is in the head.
        for input in self.set.by_ref().skip(1) {
            writer.push(&input)?;
        }
        writer.finish()?;
        remove(&self.files, &self.lock_path);
        Ok(path)
    }

    /// When its tracer wrote to it last.
    fn last_written(&self, head: &Head) -> Nanos {
        let written = |file: &PathBuf| fs::metadata(file).ok()?.modified().ok();
        let last = self.files.iter().filter_map(written).max();
        let since_1970 = last.and_then(|last| last.duration_since(UNIX_EPOCH).ok());
        let since_1970_ns = since_1970.map_or(0, |span| span.as_nanos());
        let at_ns =
            i128::try_from(since_1970_ns).unwrap_or(0) - i128::from(head.session.wall_offset_ns);
        Nanos(u64::try_from(at_ns).unwrap_or(0)).max(head.session.start)
    }
}

/// Removes the files of a spill; the one that is locked last, as nothing is found without it.
fn remove(files: &[PathBuf], lock_path: &Path) {
    for path in files.iter().map(PathBuf::as_path).chain([lock_path]) {
        if let Err(error) = fs::remove_file(path) {
            log::warn!("cannot remove {}: {error}", path.display());
        }
    }
}

/// Makes the folder for spills, which tell of command lines.
fn make(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests;
