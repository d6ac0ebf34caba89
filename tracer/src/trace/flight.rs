//! The flight recorder: keeps the last minutes of a watch in bounded memory, and gives them as a trace
//! when they are wanted; never decides when that is.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
};

use arrow_buffer::Buffer;

use super::{
    baseline::Baseline,
    decode::Decoder,
    format::Head,
    frame::{Frame, Frames, list_number},
    reader::BatchDecoder,
    writer::{BatchEncoder, Batching, Writer, encoding},
};
use crate::model::{Input, Nanos};

/// Some inputs, encoded.
pub struct Segment {
    /// All messages in one piece of exactly their size: as the encoder gives them, each has room for what
    /// it could not compress, which would be kept for as long as the segment is.
    messages: Buffer,
    begin: Nanos,
    end: Nanos,
}

/// The last minutes.
pub struct Flight {
    head: Arc<Head>,
    window: Nanos,
    bytes_max: usize,
    encoder: BatchEncoder,
    /// What comes before the first segment in a stream.
    preamble: Preamble,
    segments: VecDeque<Arc<Segment>>,
    bytes: usize,
    /// When the segment that is being filled began.
    begin: Nanos,
    latest: Nanos,
    /// What is known where the oldest segment begins.
    forgotten: Forgotten,
}

/// What a stream says before its rows: the schema, and the lists that hold where the rows begin.
#[derive(Clone, Default)]
struct Preamble {
    schema: Option<Buffer>,
    lists: BTreeMap<i64, Buffer>,
}

impl Preamble {
    /// Takes what some messages say of it.
    fn take(&mut self, messages: &Buffer) -> io::Result<()> {
        let mut frames = Frames::new(messages.as_slice());
        while let Frame::Message(message) = frames.next()? {
            if let Some(number) = list_number(&message) {
                self.lists.insert(number, message);
            } else if self.schema.is_none() {
                self.schema = Some(message);
            }
        }
        Ok(())
    }

    /// A decoder that has read it, and knows what rows before had told.
    fn decoder(&self, decoder: Decoder) -> io::Result<BatchDecoder> {
        let mut batches = BatchDecoder::new(decoder);
        for message in self.schema.iter().chain(self.lists.values()) {
            batches.message(message.clone()).map_err(io::Error::other)?;
        }
        Ok(batches)
    }
}

/// What segments that were let go had told.
struct Forgotten {
    baseline: Baseline,
    batches: BatchDecoder,
}

impl Flight {
    /// Keeps what happened within a window, as far as it fits into so many bytes of segments. The
    /// segment that is being filled (4,096 rows) and what is known of processes and sockets come on
    /// top.
    pub fn new(head: Head, window: Nanos, bytes_max: usize) -> io::Result<Self> {
        let mut encoder = BatchEncoder::new(&head, Batching::default()).map_err(encoding)?;
        let mut preamble = Preamble::default();
        preamble.take(&in_one(&encoder.batch().map_err(encoding)?))?;
        let batches = preamble.decoder(Decoder::default())?;
        Ok(Self {
            window,
            bytes_max,
            encoder,
            preamble,
            segments: VecDeque::new(),
            bytes: 0,
            begin: head.session.start,
            latest: head.session.start,
            forgotten: Forgotten {
                baseline: Baseline::default(),
                batches,
            },
            head: Arc::new(head),
        })
    }

    /// Takes an input; gives a segment that it has filled.
    pub fn push(&mut self, input: &Input) -> io::Result<Option<Arc<Segment>>> {
        if let Some(at) = input.time() {
            self.latest = self.latest.max(at);
        }
        if self.encoder.push(input) {
            return self.close_segment();
        }
        Ok(None)
    }

    /// Closes the segment that is being filled, whether or not it is full; `None` where nothing is in
    /// it.
    pub fn flush(&mut self) -> io::Result<Option<Arc<Segment>>> {
        self.close_segment()
    }

    /// Tells other thresholds with every excerpt from now on.
    pub fn set_thresholds(&mut self, thresholds: serde_json::Value) {
        Arc::make_mut(&mut self.head).thresholds = thresholds;
    }

    /// All that is kept, to be written by somebody else while this goes on. [`Self::flush`] first.
    #[must_use]
    pub fn excerpt(&self) -> Excerpt {
        let begin = self
            .segments
            .front()
            .map_or(self.begin, |first| first.begin);
        let mut head = Head::clone(&self.head);
        head.session.start = begin.max(head.session.start);
        Excerpt {
            head,
            preamble: self.preamble.clone(),
            decoder: self.forgotten.batches.decoder().clone(),
            baseline: self.forgotten.baseline.clone(),
            segments: self.segments.iter().cloned().collect(),
        }
    }

    /// Bytes of all segments.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    fn close_segment(&mut self) -> io::Result<Option<Arc<Segment>>> {
        if self.encoder.is_empty() {
            return Ok(None);
        }
        let segment = Arc::new(Segment {
            messages: in_one(&self.encoder.batch().map_err(encoding)?),
            begin: self.begin,
            end: self.latest,
        });
        self.begin = self.latest;
        self.bytes += segment.messages.len();
        self.segments.push_back(Arc::clone(&segment));
        let oldest = Nanos(self.latest.0.saturating_sub(self.window.0));
        while let Some(first) = self.segments.front()
            && (self.bytes > self.bytes_max || first.end < oldest)
        {
            self.bytes -= first.messages.len();
            let first = self.segments.pop_front();
            if let Some(first) = first {
                self.preamble.take(&first.messages)?;
                self.forgotten.take(&first);
            }
        }
        Ok(Some(segment))
    }
}

impl Forgotten {
    fn take(&mut self, segment: &Segment) {
        // We have encoded it ourselves: it decodes.
        let baseline = &mut self.baseline;
        let _ = each_input(&mut self.batches, &segment.messages, |input| {
            baseline.learn(&input);
            Ok(())
        });
    }
}

/// What a flight recorder kept, and all that it takes to write it.
pub struct Excerpt {
    head: Head,
    preamble: Preamble,
    decoder: Decoder,
    baseline: Baseline,
    segments: Vec<Arc<Segment>>,
}

impl Excerpt {
    /// What the trace will say of itself.
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Begins the trace: what was known, then what was kept. Later segments may follow.
    pub fn begin<W: io::Write>(mut self, out: W, reason: &str) -> io::Result<Dump<W>> {
        reason.clone_into(&mut self.head.reason);
        let mut writer = Writer::new(out, &self.head, Batching::default())?;
        for input in self.baseline.inputs() {
            writer.push(&input)?;
        }
        let mut dump = Dump {
            batches: self.preamble.decoder(self.decoder)?,
            writer,
        };
        for segment in &self.segments {
            dump.push(segment)?;
        }
        Ok(dump)
    }
}

/// A trace that is being written of segments.
pub struct Dump<W> {
    batches: BatchDecoder,
    writer: Writer<W>,
}

impl<W: io::Write> Dump<W> {
    /// Writes the next segment.
    pub fn push(&mut self, segment: &Segment) -> io::Result<()> {
        let writer = &mut self.writer;
        each_input(&mut self.batches, &segment.messages, |input| {
            writer.push(&input)
        })?;
        self.writer.flush()
    }

    /// Ends the trace in order.
    pub fn finish(self) -> io::Result<W> {
        self.writer.finish()
    }
}

fn each_input(
    batches: &mut BatchDecoder,
    messages: &Buffer,
    mut to: impl FnMut(Input) -> io::Result<()>,
) -> io::Result<()> {
    // A segment is one batch, and the lists that come before it.
    let messages = messages.clone();
    batches.message(messages).map_err(io::Error::other)?;
    while let Some(input) = batches.next().map_err(io::Error::other)? {
        to(input)?;
    }
    Ok(())
}

/// Messages in one piece.
fn in_one(messages: &[Buffer]) -> Buffer {
    let parts: Vec<_> = messages.iter().map(Buffer::as_slice).collect();
    Buffer::from(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{EventBody, HostFact, Pid},
        trace::{Ending, Reader, sample_inputs},
    };

    fn flight(bytes_max: usize) -> Flight {
        Flight::new(Head::default(), Nanos::from_secs(60), bytes_max).unwrap()
    }

    /// The inputs of a trace but for the session.
    fn written(excerpt: Excerpt, later: &[Arc<Segment>]) -> Vec<Input> {
        let mut dump = excerpt.begin(Vec::new(), "flapping").unwrap();
        for segment in later {
            dump.push(segment).unwrap();
        }
        let trace = dump.finish().unwrap();
        let mut reader = Reader::open(trace.as_slice()).unwrap();
        assert_eq!(reader.head().reason, "flapping");
        let inputs = reader.by_ref().skip(1).collect();
        assert_eq!(reader.ending(), Some(&Ending::Complete));
        inputs
    }

    #[test]
    fn what_fits_is_given_as_it_came() {
        let inputs: Vec<_> = (1..40).map(|s| Input::Tick(Nanos::from_secs(s))).collect();
        let mut flight = flight(1 << 20);
        for input in &inputs[..30] {
            flight.push(input).unwrap();
        }
        flight.flush().unwrap();
        let excerpt = flight.excerpt();
        let mut later = Vec::new();
        for input in &inputs[30..] {
            later.extend(flight.push(input).unwrap());
        }
        later.extend(flight.flush().unwrap());
        assert_eq!(written(excerpt, &later), inputs);
    }

    #[test]
    fn what_is_older_than_the_window_is_let_go() {
        let mut flight = flight(1 << 30);
        for second in 1..1000 {
            flight.push(&Input::Tick(Nanos::from_secs(second))).unwrap();
        }
        flight.flush().unwrap();
        let ticks = written(flight.excerpt(), &[]);
        // A segment is let go as a whole.
        assert!((60..=66).contains(&ticks.len()), "{}", ticks.len());
        assert_eq!(ticks.last(), Some(&Input::Tick(Nanos::from_secs(999))));
    }

    #[test]
    fn the_bytes_stay_within_their_bound_and_what_is_known_stays() {
        use proptest::{
            strategy::Strategy as _, strategy::ValueTree as _, test_runner::TestRunner,
        };
        let inputs = sample_inputs::inputs()
            .new_tree(&mut TestRunner::deterministic())
            .unwrap()
            .current();
        let bytes_max = 100 << 10;
        let mut flight = flight(bytes_max);
        let mut most = 0;
        for second in 1..60 {
            for input in &inputs {
                flight.push(input).unwrap();
            }
            flight.push(&Input::Tick(Nanos::from_secs(second))).unwrap();
            flight.flush().unwrap();
            assert!(flight.bytes() <= bytes_max);
            most = most.max(flight.bytes());
        }
        assert!(most > bytes_max / 2, "{most}");
        // Whatever was let go, the last fact about a process is told.
        let facts = |inputs: &[Input]| {
            inputs
                .iter()
                .filter_map(|input| match input {
                    Input::Host(_, HostFact::Process(fact)) => Some(fact.pid),
                    _ => None,
                })
                .collect::<std::collections::BTreeSet<Pid>>()
        };
        let dumped = written(flight.excerpt(), &[]);
        assert!(facts(&dumped).is_superset(&facts(&inputs)));
        let events = dumped.iter().any(|input| {
            matches!(input, Input::Event(event) if !matches!(event.body, EventBody::Process(_)))
        });
        assert!(events);
    }
}
