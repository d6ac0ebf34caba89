//! Takes an Arrow IPC stream apart into messages, and lets none pass that claims more memory than a
//! trace ever needs; never reads what they say.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use arrow_buffer::Buffer;
use arrow_ipc::{Message, MessageHeader, RecordBatch, root_as_message};

use super::layout::{Layout, Units};

/// What comes before each message's length; an older form of the stream had none.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// What comes before a message's description: that, and the description's length.
pub(super) const PREFIX_BYTES: usize = 8;

/// The longest description of a message. A schema with its hooks has some ten kilobytes.
const DESCRIPTION_BYTES_MAX: u32 = 4 << 20;

/// The longest body of a message, as it stands in the file.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The longest body of a batch when it is no longer compressed. The largest that we write holds a
/// listing of all `TIME_WAIT` sockets that a kernel allows (262,144), some 250 bytes each.
const BATCH_BYTES_MAX: usize = 256 << 20;

/// The same of all lists of names and texts together. The longest that we write are those of the
/// addresses of such a listing, some 50 bytes each.
const LISTS_BYTES_MAX: usize = 64 << 20;

/// The most rows of a batch: twice the sockets of the largest listing, come and gone.
const ROWS_MAX: i64 = 1 << 20;

/// The most columns: ours, and room for those of later versions.
const COLUMNS_MAX: usize = 512;

/// Memory that a claim alone is given: what a batch mostly has, so that it need not be moved while it
/// is read.
const RESERVED_BYTES_MAX: usize = 256 << 10;

/// What comes next in a stream.
pub(super) enum Frame {
    /// A whole message, as it stands in the file.
    Message(Buffer),
    /// The mark at the end of a stream that was ended in order.
    End,
    /// The stream ends here without that mark, between two messages.
    Open,
    /// It ends within a message.
    Cut,
    /// It goes on with something that no trace has.
    Bad(&'static str),
}

/// The messages of a stream.
pub(super) struct Frames<R> {
    stream: R,
    /// Bytes of each list that holds now, by its number.
    lists: HashMap<i64, usize>,
    /// Of the batches; not known of a part of a stream.
    layout: Option<Layout>,
}

impl<R: Read> Frames<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            lists: HashMap::new(),
            layout: None,
        }
    }

    /// The next message. After anything else than a message nothing more comes.
    pub(super) fn next(&mut self) -> io::Result<Frame> {
        let mut message = Vec::new();
        match self.take(&mut message, PREFIX_BYTES)? {
            0 => return Ok(Frame::Open),
            PREFIX_BYTES => {}
            _ => return Ok(Frame::Cut),
        }
        let Some((&CONTINUATION, length)) = message.split_first_chunk() else {
            return Ok(Frame::Bad("no message begins here"));
        };
        let mut word = [0; 4];
        word.copy_from_slice(length);
        let length = u32::from_le_bytes(word);
        if length == 0 {
            return Ok(Frame::End);
        }
        if length > DESCRIPTION_BYTES_MAX {
            return Ok(Frame::Bad("a message's description is too long"));
        }
        let description_end = message.len() + length as usize;
        if self.take(&mut message, length as usize)? < length as usize {
            return Ok(Frame::Cut);
        }
        let Ok(description) = root_as_message(&message[PREFIX_BYTES..]) else {
            return Ok(Frame::Bad("a message's description makes no sense"));
        };
        let Some(body) = usize::try_from(description.bodyLength())
            .ok()
            .filter(|length| *length <= BODY_BYTES_MAX)
        else {
            return Ok(Frame::Bad("a message is too long"));
        };
        if self.take(&mut message, body)? < body {
            return Ok(Frame::Cut);
        }
        let (head, body) = message.split_at(description_end);
        // Read again, as the bytes have moved.
        let checked = root_as_message(&head[PREFIX_BYTES..])
            .map_err(|_| "a message's description makes no sense")
            .and_then(|description| self.check(&description, body));
        Ok(match checked {
            Ok(()) => Frame::Message(Buffer::from_vec(message)),
            Err(why) => Frame::Bad(why),
        })
    }

    /// Reads so many bytes, or as many as there are. Memory grows with what comes, not with what is
    /// claimed.
    fn take(&mut self, to: &mut Vec<u8>, count: usize) -> io::Result<usize> {
        to.reserve(count.min(RESERVED_BYTES_MAX));
        (&mut self.stream).take(count as u64).read_to_end(to)
    }

    fn check(&mut self, message: &Message<'_>, body: &[u8]) -> Result<(), &'static str> {
        match message.header_type() {
            MessageHeader::Schema => {
                let schema = message.header_as_schema().ok_or("a schema is not there")?;
                let columns = schema.fields().map_or(0, |fields| fields.len());
                if columns > COLUMNS_MAX {
                    return Err("there are too many columns");
                }
                let layout = Layout::of(&schema);
                self.layout = Some(layout.ok_or("a column is of a type that no trace has")?);
                Ok(())
            }
            MessageHeader::DictionaryBatch => {
                let list = message
                    .header_as_dictionary_batch()
                    .filter(|list| !list.isDelta())
                    .ok_or(NO_LIST)?;
                let units = match &self.layout {
                    Some(layout) => Some(layout.lists.get(&list.id()).ok_or(NO_LIST)?),
                    None => None,
                };
                let bytes = size(&list.data().ok_or(NO_LIST)?, body, units)?;
                self.lists.insert(list.id(), bytes);
                let mut lists = self.lists.values();
                let all = lists.try_fold(0, |all: usize, bytes| all.checked_add(*bytes));
                if all.is_none_or(|all| all > LISTS_BYTES_MAX) {
                    return Err("its lists are too long");
                }
                Ok(())
            }
            MessageHeader::RecordBatch => {
                let batch = message
                    .header_as_record_batch()
                    .ok_or("a batch is not there")?;
                let units = self.layout.as_ref().map(|layout| &layout.batch);
                if size(&batch, body, units)? > BATCH_BYTES_MAX {
                    return Err("a batch is too large");
                }
                Ok(())
            }
            _ => Err("a message is of a kind that no trace has"),
        }
    }
}

/// The bytes that a batch will need, by what each of its buffers claims to be. `units` are what their lengths
/// are multiples of, where that is known.
fn size(
    batch: &RecordBatch<'_>,
    body: &[u8],
    units: Option<&Units>,
) -> Result<usize, &'static str> {
    if !(0..=ROWS_MAX).contains(&batch.length()) {
        return Err("a batch has too many rows");
    }
    let rows = batch.nodes().into_iter().flatten();
    if rows.into_iter().any(|node| node.length() != batch.length()) {
        return Err("columns of a batch differ in length");
    }
    let buffers = batch.buffers();
    let count = buffers.map_or(0, |buffers| buffers.len());
    if units.is_some_and(|units| units.len() != count) {
        return Err("a batch has other buffers than its columns");
    }
    let mut units = units.into_iter().flatten();
    let mut bytes: usize = 0;
    for buffer in buffers.into_iter().flatten() {
        let begin = usize::try_from(buffer.offset()).map_err(|_| OUTSIDE)?;
        let length = usize::try_from(buffer.length()).map_err(|_| OUTSIDE)?;
        let end = begin.checked_add(length).ok_or(OUTSIDE)?;
        let buffer = body.get(begin..end).ok_or(OUTSIDE)?;
        let uncompressed = match (batch.compression(), buffer.first_chunk()) {
            // -1 is Arrow's mark for what is not compressed after all.
            (Some(_), Some(claimed)) => match i64::from_le_bytes(*claimed) {
                -1 => length,
                claimed => usize::try_from(claimed).map_err(|_| OUTSIDE)?,
            },
            _ => length,
        };
        if units.next().is_some_and(|unit| uncompressed % unit != 0) {
            return Err("a batch has a part of an offset");
        }
        bytes = bytes.saturating_add(uncompressed);
    }
    Ok(bytes)
}

/// The number of the list that a whole message holds, if it holds one.
pub(super) fn list_number(message: &[u8]) -> Option<i64> {
    let description = root_as_message(message.get(PREFIX_BYTES..)?).ok()?;
    let list = description.header_as_dictionary_batch()?;
    Some(list.id())
}

const NO_LIST: &str = "a list is not there";
const OUTSIDE: &str = "a batch refers to what is outside of it";
