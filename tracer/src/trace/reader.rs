//! Reads a trace input by input, as far as it can be read, and says why it ends where it does; never
//! trusts a byte of it.

use std::{
    fmt,
    io::{self, Read},
};

use arrow_buffer::Buffer;
use arrow_ipc::{convert::try_fb_to_schema, reader::StreamDecoder, root_as_message};
use arrow_schema::{ArrowError, Schema};

use super::{
    columns::Batch,
    decode::{BadRow, Decoder},
    format::{Head, HeadError, VERSION, head},
    frame::{Frame, Frames, PREFIX_BYTES},
};
use crate::model::{Input, Nanos};

/// Why something is not a trace that can be read at all.
#[derive(Debug)]
pub enum TraceError {
    /// It cannot be read.
    Io(io::Error),
    /// It is empty.
    Empty,
    /// It is no trace.
    Foreign,
    /// A later version of tracer wrote it, in this format.
    Newer(u32),
    /// It begins like a trace, and then makes no sense.
    Broken(String),
}

impl fmt::Display for TraceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Empty => f.write_str("it is empty: the recording was stopped before it began"),
            Self::Foreign => f.write_str("it is not a trace of tracer"),
            Self::Newer(format) => write!(
                f,
                "it has trace format {format}, and this version of tracer reads formats up to \
                 {VERSION}: a newer tracer reads it"
            ),
            Self::Broken(why) => write!(f, "its head is damaged: {why}"),
        }
    }
}

impl std::error::Error for TraceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a trace has no more inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The recording was ended in order.
    Complete,
    /// It ends before the recording did; a person reads why.
    Early(String),
}

/// Encoded batches to inputs.
pub(super) struct BatchDecoder {
    stream: StreamDecoder,
    decoder: Decoder,
    /// The batch that is being read, and its next row.
    batch: Option<(Batch, usize)>,
}

impl BatchDecoder {
    /// For a stream from its begin, of which `decoder` may know what was told before.
    pub(super) fn new(decoder: Decoder) -> Self {
        Self {
            stream: StreamDecoder::new(),
            decoder,
            batch: None,
        }
    }

    /// What is remembered of the inputs so far.
    pub(super) const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Takes a message. The inputs of the batch before must have been taken.
    pub(super) fn message(&mut self, mut message: Buffer) -> Result<(), String> {
        let damaged = |error: ArrowError| format!("a batch is damaged ({error})");
        while !message.is_empty() {
            if let Some(batch) = self.stream.decode(&mut message).map_err(damaged)? {
                let batch = Batch::new(&batch)
                    .map_err(|wrong| format!("the column {} has a strange type", wrong.0))?;
                self.batch = Some((batch, 0));
            }
        }
        Ok(())
    }

    /// The next input of the batch.
    pub(super) fn next(&mut self) -> Result<Option<Input>, BadRow> {
        let Some((batch, row)) = &mut self.batch else {
            return Ok(None);
        };
        let next = self.decoder.next(batch, row);
        if !matches!(next, Ok(Some(_))) {
            self.batch = None;
        }
        next
    }
}

/// Reads a trace: an iterator of its inputs, the session first.
pub struct Reader<R> {
    frames: Frames<R>,
    batches: BatchDecoder,
    head: Head,
    session_is_told: bool,
    ending: Option<Ending>,
    latest: Nanos,
}

impl<R: Read> Reader<R> {
    /// Reads the head of a trace.
    pub fn open(stream: R) -> Result<Self, TraceError> {
        let mut frames = Frames::new(stream);
        let mut batches = BatchDecoder::new(Decoder::default());
        let message = match frames.next().map_err(TraceError::Io)? {
            Frame::Message(message) => message,
            Frame::Open => return Err(TraceError::Empty),
            // Whatever is shorter than a head may have been going to be one.
            Frame::End | Frame::Cut | Frame::Bad(_) => return Err(TraceError::Foreign),
        };
        let schema = schema(&message).ok_or(TraceError::Foreign)?;
        batches.message(message).map_err(|_| TraceError::Foreign)?;
        let head = head(schema.metadata()).map_err(|error| match error {
            HeadError::Foreign => TraceError::Foreign,
            HeadError::Newer(format) => TraceError::Newer(format),
            HeadError::Broken(why) => TraceError::Broken(why),
        })?;
        Ok(Self {
            frames,
            batches,
            latest: head.session.start,
            head,
            session_is_told: false,
            ending: None,
        })
    }

    /// What the trace says of itself.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Why there are no more inputs; `None` as long as there may be.
    pub const fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// The latest time that any input told so far.
    pub const fn latest(&self) -> Nanos {
        self.latest
    }

    /// Takes the next batch; says why there is none.
    fn advance(&mut self) -> Result<(), Ending> {
        let early = |why: &str| Ending::Early(why.to_owned());
        match self.frames.next() {
            Ok(Frame::Message(message)) => self.batches.message(message).map_err(Ending::Early),
            Ok(Frame::End) => Err(Ending::Complete),
            Ok(Frame::Open) => Err(early(
                "the recording was not ended in order: it was killed, its disk was full, or it still \
                 goes on",
            )),
            Ok(Frame::Cut) => Err(early("the file is cut within a batch")),
            Ok(Frame::Bad(why)) => Err(Ending::Early(format!("the file is damaged: {why}"))),
            Err(error) => Err(Ending::Early(format!("it cannot be read further: {error}"))),
        }
    }
}

/// The schema in a message. Arrow's decoder itself takes a message without a body only when the next
/// one comes.
fn schema(message: &[u8]) -> Option<Schema> {
    let description = root_as_message(message.get(PREFIX_BYTES..)?).ok()?;
    try_fb_to_schema(description.header_as_schema()?).ok()
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        if !std::mem::replace(&mut self.session_is_told, true) {
            return Some(Input::Session(Box::new(self.head.session.clone())));
        }
        while self.ending.is_none() {
            match self.batches.next() {
                Ok(Some(input)) => {
                    if let Some(at) = input.time() {
                        self.latest = self.latest.max(at);
                    }
                    return Some(input);
                }
                Err(bad) => self.ending = Some(Ending::Early(bad.to_string())),
                Ok(None) => self.ending = self.advance().err(),
            }
        }
        None
    }
}
