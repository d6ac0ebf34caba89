//! Traces written and read again, whole and damaged.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::{
    Batching, Ending, Head, Part, Reader, TraceError, VERSION, Writer, format::FORMAT_KEY,
    sample_inputs,
};
use crate::model::{HookState, Input, Nanos, Netns, Pid, Selection, Session};

/// Small batches, so that a few inputs make several.
const SMALL: Batching = Batching {
    rows: 8,
    age: Nanos::from_secs(1),
};

fn head() -> Head {
    Head {
        session: Session {
            start: Nanos(17),
            wall_offset_ns: -3,
            host: "web-1".to_owned(),
            kernel: "6.1.0".to_owned(),
            boot_id: "11d9a2ae".to_owned(),
            version: "0.1.0".to_owned(),
            selection: Selection {
                ports: vec![2181],
                pids: vec![Pid(7)],
                netns: Some(Netns(4_026_532_281)),
                tcp: true,
                fds: false,
            },
            stacks: false,
            hooks: vec![HookState {
                hook: "tcp_connect".to_owned(),
                attached: Some("fentry".to_owned()),
                provides: "connections".to_owned(),
                reason: String::new(),
            }],
        },
        thresholds: serde_json::json!({"flapping_count": 5}),
        part: Part {
            set: "a".to_owned(),
            number: 2,
            baseline_inputs: 9,
        },
        reason: "flapping".to_owned(),
    }
}

fn written(inputs: &[Input], batching: Batching) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &head(), batching).unwrap();
    for input in inputs {
        writer.push(input).unwrap();
    }
    writer.finish().unwrap()
}

/// The inputs but for the session, and how they end.
fn read(trace: &[u8]) -> (Vec<Input>, Ending) {
    let mut reader = Reader::open(trace).unwrap();
    assert_eq!(reader.head(), &head());
    let session = reader.next().unwrap();
    assert_eq!(session, Input::Session(Box::new(head().session)));
    let inputs = reader.by_ref().collect();
    (inputs, reader.ending().cloned().unwrap())
}

/// Some inputs of every kind, always the same.
fn some_inputs() -> Vec<Input> {
    use proptest::{strategy::ValueTree as _, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let tree = prop::collection::vec(sample_inputs::inputs(), 6).new_tree(&mut runner);
    tree.unwrap().current().into_iter().flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_written_is_read(inputs in sample_inputs::inputs(), rows in 1..20_usize) {
        let batching = Batching { rows, ..SMALL };
        prop_assert_eq!(read(&written(&inputs, batching)), (inputs, Ending::Complete));
    }

    #[test]
    fn no_bytes_make_the_reader_fail(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        at in any::<prop::sample::Index>(),
    ) {
        // A trace with some bytes of it replaced.
        static TRACE: LazyLock<Vec<u8>> = LazyLock::new(|| written(&some_inputs(), SMALL));
        let mut trace = TRACE.clone();
        let at = at.index(trace.len());
        let end = trace.len().min(at + bytes.len());
        trace[at..end].copy_from_slice(&bytes[..end - at]);
        if let Ok(reader) = Reader::open(trace.as_slice()) {
            prop_assert!(reader.count() > 0);
        }
    }
}

#[test]
fn a_trace_that_is_cut_anywhere_reads_up_to_the_cut() {
    let inputs = some_inputs();
    let trace = written(&inputs, SMALL);
    // Around every end of a batch, and at many places between.
    let ends = batch_ends(&inputs);
    assert!(ends.len() > 10, "only {} batches", ends.len());
    assert_eq!(ends.last(), Some(&trace.len()));
    let around = ends.iter().flat_map(|end| [end - 1, *end, end + 1]);
    let mut cuts: Vec<_> = (0..trace.len()).step_by(509).chain(around).collect();
    cuts.retain(|cut| *cut < trace.len());
    cuts.sort_unstable();
    let mut most = 0;
    for cut in cuts {
        let mut reader = match Reader::open(&trace[..cut]) {
            Ok(reader) => reader,
            Err(TraceError::Empty | TraceError::Foreign) if cut < ends[0] => continue,
            Err(error) => panic!("at {cut}: {error}"),
        };
        let read: Vec<_> = reader.by_ref().skip(1).collect();
        assert!(inputs.starts_with(&read), "at {cut}");
        assert!(read.len() >= most, "at {cut}");
        most = read.len();
        assert!(
            matches!(reader.ending(), Some(Ending::Early(_))),
            "at {cut}"
        );
    }
    assert_eq!(most, inputs.len());
}

/// Where each batch of a trace of these inputs ends, the head and the mark at the end counted as one.
fn batch_ends(inputs: &[Input]) -> Vec<usize> {
    let mut writer = Writer::new(Vec::new(), &head(), SMALL).unwrap();
    let mut ends = vec![writer.out().len()];
    for input in inputs {
        writer.push(input).unwrap();
        ends.push(writer.out().len());
    }
    ends.push(writer.finish().unwrap().len());
    ends.dedup();
    ends
}

#[test]
fn what_is_flushed_is_there() {
    let inputs = some_inputs();
    let whole = Batching {
        rows: usize::MAX,
        age: Nanos(u64::MAX),
    };
    let mut writer = Writer::new(Vec::new(), &head(), whole).unwrap();
    for input in &inputs {
        writer.push(input).unwrap();
    }
    let before = writer.out().len();
    writer.flush().unwrap();
    assert!(writer.out().len() > before);
    assert_eq!(writer.out().len() as u64, writer.bytes_written());
    let (read, ending) = read(writer.out());
    assert_eq!(read, inputs);
    assert!(matches!(ending, Ending::Early(why) if why.contains("not ended in order")));
}

#[test]
fn a_batch_is_written_at_the_tick_that_finds_it_old() {
    let batching = Batching {
        rows: usize::MAX,
        age: Nanos::from_secs(2),
    };
    let mut writer = Writer::new(Vec::new(), &head(), batching).unwrap();
    let begin = writer.out().len();
    for (second, is_written) in [(1, false), (2, false), (3, true), (4, false), (6, true)] {
        let before = writer.out().len();
        writer.push(&Input::Tick(Nanos::from_secs(second))).unwrap();
        assert_eq!(writer.out().len() > before, is_written, "{second}");
    }
    assert!(writer.out().len() > begin);
}

#[test]
fn what_is_no_trace_is_told_so() {
    let open = |bytes: &[u8]| Reader::open(bytes).map(|_| ()).unwrap_err().to_string();
    assert_eq!(
        open(b""),
        "it is empty: the recording was stopped before it began"
    );
    for foreign in [
        &b"PK\x03\x04"[..],
        b"\x7fELF\x02\x01\x01\0\0\0\0\0",
        b"[{}]\n",
    ] {
        assert_eq!(open(foreign), "it is not a trace of tracer");
    }
}

#[test]
fn a_trace_of_a_newer_format_says_so() {
    let mut trace = written(&[], SMALL);
    let key = FORMAT_KEY.as_bytes();
    let at = trace
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    // The value is told before or after its key: it is the only text of one digit there.
    let format = format!("\x01\0\0\0{VERSION}\0");
    let value = (at.saturating_sub(24)..at + 48)
        .find(|at| trace[*at..].starts_with(format.as_bytes()))
        .unwrap()
        + 4;
    trace[value] = b'9';
    let error = Reader::open(trace.as_slice()).map(|_| ()).unwrap_err();
    assert!(matches!(error, TraceError::Newer(9)), "{error}");
    assert!(error.to_string().contains("a newer tracer reads it"));
}
