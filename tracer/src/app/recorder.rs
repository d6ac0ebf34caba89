//! Writes what the engine learns to files: one, or a rotated set; never stops a watch because it
//! cannot.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    cli::{KeepArgs, Rotation, nanos},
    model::{Input, Nanos},
    trace::{Baseline, Batching, Head, Part, Writer},
};

/// Where a recording goes, and how large it may get.
#[derive(Clone)]
pub(super) struct Recording {
    pub(super) path: PathBuf,
    pub(super) keep: KeepArgs,
}

/// Why nothing is recorded any more.
#[derive(Clone, Debug)]
pub(super) enum Stopped {
    /// It has the size that it may have.
    Full,
    /// It cannot be written.
    Failed(String),
}

/// A recording that goes on, or has stopped.
pub(super) struct Recorder {
    recording: Recording,
    head: Head,
    /// `None` once it has stopped.
    writer: Option<Writer<File>>,
    /// What the next file of a rotated set must begin with.
    baseline: Option<Baseline>,
    part_begun: Nanos,
    /// Files of the set, the oldest first; the last is being written.
    files: VecDeque<PathBuf>,
    removed: u64,
    bytes_before: u64,
    inputs: u64,
    stopped: Option<Stopped>,
}

impl Recorder {
    /// Begins to record to a file that does not exist yet.
    pub(super) fn create(recording: Recording, mut head: Head) -> Result<Self> {
        let is_set = recording.keep.rotate.is_some();
        if is_set {
            // No other recording begins at the same time in the same boot.
            head.part.set = format!("{}-{}", head.session.boot_id, head.session.start);
        }
        let mut recorder = Self {
            baseline: is_set.then(Baseline::default),
            part_begun: head.session.start,
            recording,
            head,
            writer: None,
            files: VecDeque::new(),
            removed: 0,
            bytes_before: 0,
            inputs: 0,
            stopped: None,
        };
        let path = recorder.part_path(0);
        let writer = begin(&path, &recorder.head)
            .with_context(|| format!("cannot record to {}", path.display()))?;
        recorder.files.push_back(path);
        recorder.writer = Some(writer);
        Ok(recorder)
    }

    /// Records an input, unless recording has stopped.
    pub(super) fn push(&mut self, input: &Input) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        self.inputs += 1;
        let pushed = writer.push(input);
        if let Some(baseline) = &mut self.baseline {
            baseline.learn(input);
        }
        if let Err(error) = pushed {
            self.fail(&error);
        } else if let Input::Tick(now) = input {
            self.keep_within(*now);
        }
    }

    /// Writes what was recorded so far, so that it stays whatever happens.
    pub(super) fn flush(&mut self) {
        if let Some(Err(error)) = self.writer.as_mut().map(Writer::flush) {
            self.fail(&error);
        }
    }

    /// Why nothing is recorded any more, if that is so.
    pub(super) const fn stopped(&self) -> Option<&Stopped> {
        self.stopped.as_ref()
    }

    /// Ends the recording in order, and tells what there is.
    pub(super) fn finish(mut self) -> Summary {
        self.close();
        Summary {
            bytes: self.bytes_before,
            inputs: self.inputs,
            files: self.files.into(),
            removed: self.removed,
            stopped: self.stopped,
        }
    }

    fn close(&mut self) {
        let Some(mut writer) = self.writer.take() else {
            return;
        };
        let flushed = writer.flush();
        self.bytes_before += writer.bytes_written();
        let whole_batches = writer.bytes_written();
        let cut = writer.out().try_clone();
        if let Err(error) = flushed.and_then(|()| writer.finish().map(drop)) {
            self.stopped
                .get_or_insert(Stopped::Failed(error.to_string()));
            drop_half_a_batch(cut, whole_batches);
        }
    }

    /// Rotates or stops where the size or the time is reached.
    fn keep_within(&mut self, now: Nanos) {
        let Some(writer) = &self.writer else {
            return;
        };
        let bytes = writer.bytes_written();
        if self.recording.keep.max_size.is_some_and(|max| bytes >= max) {
            self.stopped = Some(Stopped::Full);
            self.close();
            return;
        }
        let Rotation { bytes: max, time } = self.recording.keep.rotate.unwrap_or_default();
        let is_full = max.is_some_and(|max| bytes >= max);
        let is_old = time.is_some_and(|time| now.since(self.part_begun) >= nanos(time));
        if (is_full || is_old)
            && let Err(error) = self.rotate(now)
        {
            self.fail(&error);
        }
    }

    fn rotate(&mut self, now: Nanos) -> io::Result<()> {
        self.close();
        if self.stopped.is_some() {
            return Ok(());
        }
        let baseline = self.baseline.as_ref().map(Baseline::inputs);
        let baseline = baseline.unwrap_or_default();
        self.head.part.number += 1;
        self.head.part.baseline_inputs = baseline.len() as u64;
        // Of a set whose first files were removed, the report begins where what is left does.
        self.head.session.start = now;
        self.part_begun = now;
        let path = self.part_path(self.head.part.number);
        let mut writer = begin(&path, &self.head)?;
        self.files.push_back(path);
        for input in &baseline {
            writer.push(input)?;
        }
        self.writer = Some(writer);
        // The new one is there before an old one goes.
        let keep = self.recording.keep.keep.unwrap_or(u64::MAX);
        while self.files.len() as u64 > keep {
            if let Some(oldest) = self.files.pop_front() {
                fs::remove_file(oldest)?;
                self.removed += 1;
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error) {
        if let Some(writer) = self.writer.take() {
            self.bytes_before += writer.bytes_written();
            drop_half_a_batch(writer.out().try_clone(), writer.bytes_written());
        }
        let path = self.files.back().map(|path| path.display());
        log::error!(
            "recording has stopped, {} holds what came before: {error}",
            path.map(|path| path.to_string()).unwrap_or_default()
        );
        self.stopped = Some(Stopped::Failed(error.to_string()));
    }

    /// `trace.arrows`, or `trace.0001.arrows` for the first of a set.
    fn part_path(&self, number: u64) -> PathBuf {
        let path = &self.recording.path;
        if self.recording.keep.rotate.is_none() {
            return path.clone();
        }
        let mut name = path.file_stem().unwrap_or_default().to_owned();
        name.push(format!(".{:04}", number + 1));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    }
}

/// What a recording came to.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) files: Vec<PathBuf>,
    /// Files that were removed to keep within the number that may stay.
    pub(super) removed: u64,
    pub(super) bytes: u64,
    pub(super) inputs: u64,
    pub(super) stopped: Option<Stopped>,
}

/// The disk may have taken a part of a batch: without it the file ends where a batch does.
fn drop_half_a_batch(file: io::Result<File>, whole_batches: u64) {
    // If that fails too, the reader finds the cut.
    let _ = file.and_then(|file| file.set_len(whole_batches));
}

/// Begins a trace in a file that does not exist yet.
fn begin(path: &Path, head: &Head) -> io::Result<Writer<File>> {
    Writer::new(create_file(path)?, head, Batching::default())
}

/// Creates a trace's file. It tells of command lines, so only its owner may read it: who called sudo,
/// so that a replay needs no root.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => io::Error::new(
                error.kind(),
                "it exists already; move it away or choose another name",
            ),
            _ => error,
        })?;
    let id = |name| std::env::var(name).ok()?.parse().ok();
    if let (Some(uid), Some(gid)) = (id("SUDO_UID"), id("SUDO_GID")) {
        // Without the right to give it away it stays ours.
        let _ = fchown(&file, Some(uid), Some(gid));
    }
    Ok(file)
}

/// The head of a recording.
pub(super) fn head(session: &crate::model::Session, thresholds: serde_json::Value) -> Head {
    Head {
        session: session.clone(),
        thresholds,
        part: Part::default(),
        reason: String::new(),
    }
}
