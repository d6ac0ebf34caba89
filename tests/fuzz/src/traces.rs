//! The way from a trace's bytes to a report, for any bytes whatever; never opens a file.

use tracer::{
    analysis::{Engine, Thresholds},
    model::Input,
    trace::{Ending, Reader},
};

use super::{assert_json, assert_plain, show};
use tracer::sink::{Look, json, table};

/// Inputs that one trace may amount to: enough for every detector, and done in milliseconds.
const INPUTS_MAX: usize = 8192;

/// Reads a trace as far as it reads, and shows what the engine concludes of it.
///
/// # Panics
/// Where anything on the way does, and where a trace ends without saying why.
pub fn replay(trace: &[u8]) {
    let mut reader = match Reader::open(trace) {
        Ok(reader) => reader,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let session = reader.head().session.clone();
    let mut engine = Engine::new(Thresholds::default());
    for input in reader.by_ref().take(INPUTS_MAX) {
        engine.apply(&input);
        if let Input::Tick(_) = input {
            engine.take_lookups();
            for verdict in engine.take_verdict_updates() {
                assert_plain(&table::verdict_line(Look::PLAIN, &session, &verdict));
                assert_json(&json::verdict(&session, &verdict));
            }
        }
    }
    match reader.ending() {
        // It has more inputs than are taken here.
        None | Some(Ending::Complete) => {}
        Some(Ending::Early(why)) => assert!(!why.is_empty()),
    }
    show(&engine.report());
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::PathBuf};

    use arrow_ipc::{reader::StreamReader, writer::StreamWriter};
    use tracer::trace::{Batching, VERSION, Writer};

    use super::*;

    /// Inputs of a seed: all that happens in two tries, in some ten kilobytes.
    const INPUTS: usize = 40;

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
    }

    /// The begin of a recorded trace, not compressed, so that a changed byte is a changed value.
    fn seed(trace: &str) -> Vec<u8> {
        let trace = fs::read(folder("../traces").join(trace)).unwrap();
        let mut reader = Reader::open(trace.as_slice()).unwrap();
        let mut writer = Writer::new(Vec::new(), reader.head(), Batching::default()).unwrap();
        for input in reader.by_ref().take(INPUTS) {
            writer.push(&input).unwrap();
        }
        let short = writer.finish().unwrap();
        let batches = StreamReader::try_new(short.as_slice(), None).unwrap();
        let mut plain = StreamWriter::try_new(Vec::new(), &batches.schema()).unwrap();
        for batch in batches {
            plain.write(&batch.unwrap()).unwrap();
        }
        plain.into_inner().unwrap()
    }

    #[test]
    fn the_seeds_are_traces() {
        for name in ["v1-flapping", "v1-burst", "v2-flapping", "v2-burst"] {
            let path = folder("corpus-traces").join(name);
            // Those of older formats stay as they are.
            let is_ours = name.starts_with(&format!("v{VERSION}-"));
            if is_ours && env::var_os("WRITE_SEEDS").is_some() {
                fs::write(&path, seed(&format!("{name}.arrows"))).unwrap();
            }
            let kept = fs::read(&path).unwrap();
            let mut reader = Reader::open(kept.as_slice()).unwrap();
            assert_eq!(reader.by_ref().count(), INPUTS, "{name}");
            assert_eq!(reader.ending(), Some(&Ending::Complete), "{name}");
        }
    }

    #[test]
    fn the_whole_corpus_is_replayed_without_a_panic() {
        let mut seen = 0;
        for entry in fs::read_dir(folder("corpus-traces")).unwrap() {
            replay(&fs::read(entry.unwrap().path()).unwrap());
            seen += 1;
        }
        assert!(seen >= 2);
    }
}
