//! Writes inputs as a trace, batch after batch; never goes back to what it has written.

use std::io::{self, Write};

use arrow_buffer::Buffer;
use arrow_ipc::{
    CompressionType, MetadataVersion,
    writer::{IpcWriteOptions, StreamEncoder},
};
use arrow_schema::{ArrowError, SchemaRef};

use super::{
    columns::schema,
    encode::Encoder,
    format::{Head, metadata},
};
use crate::model::{Input, Nanos};

/// How hard zstd tries: a trace's columns hold long runs, which the first level finds as well.
const COMPRESSION_LEVEL: i32 = 1;

/// What buffers begin at a multiple of: the least that Arrow allows. A batch has some hundred of
/// them, mostly small.
const ALIGNMENT_BYTES: usize = 8;

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    /// At so many rows. Each batch describes its columns anew in some kilobytes, which is little for
    /// each of thousands of rows.
    pub rows: usize,
    /// At the first tick that is so long after its first input: what a crash can lose.
    pub age: Nanos,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            rows: 4096,
            age: Nanos::from_secs(5),
        }
    }
}

/// Turns inputs into encoded batches.
pub(super) struct BatchEncoder {
    schema: SchemaRef,
    encoder: Encoder,
    stream: StreamEncoder,
    batching: Batching,
    /// The time of the first input of the batch.
    begun: Option<Nanos>,
    /// The latest time that any input told.
    latest: Nanos,
}

impl BatchEncoder {
    pub(super) fn new(head: &Head, batching: Batching) -> Result<Self, ArrowError> {
        let schema = schema(metadata(head));
        let options = IpcWriteOptions::try_new(ALIGNMENT_BYTES, false, MetadataVersion::V5)?
            .try_with_compression(Some(CompressionType::ZSTD))?
            .try_with_compression_level(Some(COMPRESSION_LEVEL))?;
        Ok(Self {
            stream: StreamEncoder::try_new_with_options(&schema, options)?,
            schema,
            encoder: Encoder::new(),
            batching,
            begun: None,
            latest: head.session.start,
        })
    }

    /// Takes an input; says whether the batch is full.
    pub(super) fn push(&mut self, input: &Input) -> bool {
        if let Some(at) = input.time() {
            self.latest = self.latest.max(at);
        }
        self.encoder.push(input, self.latest);
        let begun = *self.begun.get_or_insert(self.latest);
        let is_old =
            matches!(input, Input::Tick(_)) && self.latest.since(begun) >= self.batching.age;
        is_old || self.encoder.rows.len() >= self.batching.rows
    }

    /// Whether inputs wait for their batch to be full.
    pub(super) fn is_empty(&self) -> bool {
        self.encoder.rows.len() == 0
    }

    /// Takes the batch; the first has the head before it.
    pub(super) fn batch(&mut self) -> Result<Vec<Buffer>, ArrowError> {
        self.begun = None;
        let batch = self.encoder.rows.finish(&self.schema)?;
        self.stream.encode(&batch)
    }
}

/// Writes a trace.
pub struct Writer<W> {
    encoder: BatchEncoder,
    out: W,
    bytes_written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a trace: its head is written at once, so that a file that cannot be written is known
    /// before anything is lost.
    pub fn new(out: W, head: &Head, batching: Batching) -> io::Result<Self> {
        let mut writer = Self {
            encoder: BatchEncoder::new(head, batching).map_err(encoding)?,
            out,
            bytes_written: 0,
        };
        writer.write_batch()?;
        Ok(writer)
    }

    /// Takes an input, and writes the batch if it is full.
    pub fn push(&mut self, input: &Input) -> io::Result<()> {
        if self.encoder.push(input) {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Writes what was taken so far.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.encoder.is_empty() {
            self.write_batch()?;
        }
        self.out.flush()
    }

    /// Writes what was taken so far and the mark of a trace that was ended in order.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush()?;
        for buffer in self.encoder.stream.finish().map_err(encoding)? {
            self.out.write_all(&buffer)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Bytes written in whole batches.
    pub const fn bytes_written(&self) -> u64 {
        self.bytes_written
    }

    /// Where it is written to.
    pub const fn out(&self) -> &W {
        &self.out
    }

    fn write_batch(&mut self) -> io::Result<()> {
        let mut bytes = 0;
        for buffer in self.encoder.batch().map_err(encoding)? {
            self.out.write_all(&buffer)?;
            bytes += buffer.len() as u64;
        }
        self.bytes_written += bytes;
        Ok(())
    }
}

/// Arrow refuses no batch of ours; were it to, no disk is at fault.
pub(super) fn encoding(error: ArrowError) -> io::Error {
    io::Error::other(error)
}
