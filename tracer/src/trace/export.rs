//! Inputs to the columns of other programs: the rows of a trace with the time on the wall clock beside
//! them, as Parquet, CSV or JSON lines; never reads a trace itself.

use std::{io::Write, sync::Arc};

use arrow_array::{
    ArrayRef, RecordBatch, TimestampNanosecondArray, UInt64Array, cast::AsArray as _,
    types::UInt64Type,
};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
};

use super::{
    columns::schema,
    encode::Encoder,
    format::{Head, metadata},
};
use crate::model::{Input, Nanos};

/// Rows turned into columns at once: some MB, whatever the trace's length.
const BATCH_ROWS: usize = 8_192;

/// Rows of a group of a Parquet file, which is held in memory until it is written: enough that a
/// column compresses well, and some ten MB.
const GROUP_ROWS: usize = 262_144;

/// The column that tells the time on the wall clock, before those of a trace.
pub const TIME_COLUMN: &str = "time";

/// UTC as an offset: names of time zones need a table of them to be read.
const UTC: &str = "+00:00";

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Apache Parquet, compressed by zstd.
    Parquet,
    /// An object a line; what a row does not have is left out.
    Jsonl,
    /// Comma-separated values with a line of names; what a row does not have is empty.
    Csv,
}

/// Writes the rows of inputs.
pub struct Exporter<W: Write + Send> {
    encoder: Encoder,
    /// That of a trace.
    rows: SchemaRef,
    /// The same with the time before it.
    timed: SchemaRef,
    wall_offset_ns: i64,
    latest: Nanos,
    rows_written: u64,
    out: Out<W>,
}

enum Out<W: Write + Send> {
    Parquet(Box<ArrowWriter<W>>),
    Jsonl(arrow_json::LineDelimitedWriter<W>),
    Csv(Box<arrow_csv::Writer<W>>),
}

impl<W: Write + Send> Exporter<W> {
    /// Begins to write in a format what a trace with this head holds.
    pub fn new(format: ExportFormat, head: &Head, out: W) -> Result<Self, ArrowError> {
        let rows = schema(metadata(head));
        let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into()));
        let mut fields = vec![Arc::new(Field::new(TIME_COLUMN, timestamp, false))];
        fields.extend(rows.fields().iter().cloned());
        let timed = Arc::new(Schema::new_with_metadata(fields, rows.metadata().clone()));
        let out = match format {
            ExportFormat::Parquet => {
                let properties = properties(head)?;
                let writer = ArrowWriter::try_new(out, Arc::clone(&timed), Some(properties))?;
                Out::Parquet(Box::new(writer))
            }
            ExportFormat::Jsonl => Out::Jsonl(arrow_json::LineDelimitedWriter::new(out)),
            ExportFormat::Csv => Out::Csv(Box::new(arrow_csv::Writer::new(out))),
        };
        let mut exporter = Self {
            encoder: Encoder::new(),
            rows,
            timed,
            wall_offset_ns: head.session.wall_offset_ns,
            latest: head.session.start,
            rows_written: 0,
            out,
        };
        // The names of the columns are told even where no row follows.
        exporter.write_batch()?;
        Ok(exporter)
    }

    /// Takes an input.
    pub fn push(&mut self, input: &Input) -> Result<(), ArrowError> {
        if let Some(at) = input.time() {
            self.latest = self.latest.max(at);
        }
        self.encoder.push(input, self.latest);
        if self.encoder.rows.len() >= BATCH_ROWS {
            self.write_batch()?;
        }
        Ok(())
    }

    /// Writes the rest; gives back where it was written to, and how many rows were.
    pub fn finish(mut self) -> Result<(W, u64), ArrowError> {
        self.write_batch()?;
        let out = match self.out {
            Out::Parquet(writer) => writer.into_inner()?,
            Out::Jsonl(mut writer) => {
                writer.finish()?;
                writer.into_inner()
            }
            Out::Csv(writer) => writer.into_inner(),
        };
        Ok((out, self.rows_written))
    }

    fn write_batch(&mut self) -> Result<(), ArrowError> {
        let batch = self.encoder.rows.finish(&self.rows)?;
        self.rows_written += batch.num_rows() as u64;
        let mut columns = vec![self.times(&batch)];
        columns.extend_from_slice(batch.columns());
        let batch = RecordBatch::try_new(Arc::clone(&self.timed), columns)?;
        match &mut self.out {
            Out::Parquet(writer) => Ok(writer.write(&batch)?),
            Out::Jsonl(writer) => writer.write(&batch),
            Out::Csv(writer) => writer.write(&batch),
        }
    }

    /// The times of a batch's rows on the wall clock; the last one that there is for what is beyond.
    fn times(&self, batch: &RecordBatch) -> ArrayRef {
        let ts = batch
            .column_by_name("ts")
            .and_then(|column| column.as_primitive_opt::<UInt64Type>());
        let wall = |ts: u64| {
            i64::try_from(ts)
                .unwrap_or(i64::MAX)
                .saturating_add(self.wall_offset_ns)
        };
        let times = ts
            .map(UInt64Array::values)
            .map(|ts| ts.iter().map(|ts| wall(*ts)));
        let times = TimestampNanosecondArray::from_iter_values(times.into_iter().flatten());
        debug_assert_eq!(times.len(), batch.num_rows());
        Arc::new(times.with_timezone(UTC))
    }
}

fn properties(head: &Head) -> Result<WriterProperties, ParquetError> {
    let metadata = metadata(head);
    let mut entries: Vec<_> = metadata
        .into_iter()
        .map(|(key, value)| KeyValue::new(key, value))
        .collect();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .set_key_value_metadata(Some(entries))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        Comm, Event, EventBody, FdAction, FdEvent, HostFact, Netns, Path, PathForm, Pid, PortRange,
        Session, Tid,
    };
    use tracer_common::{FdKind, FdSource};

    /// 2026-11-21T14:03:00Z at the boot.
    fn head() -> Head {
        Head {
            session: Session {
                wall_offset_ns: 1_795_269_780_000_000_000,
                ..Session::default()
            },
            ..Head::default()
        }
    }

    fn open(path: &str) -> Input {
        Input::Event(Event {
            ts: Nanos(7_000_000_120),
            pid: Pid(4711),
            tid: Tid(4713),
            thread: Comm::from("http-nio"),
            stack: None,
            body: EventBody::Fd(FdEvent {
                action: FdAction::Installed,
                fd: Some(57),
                source: FdSource::Open,
                kind: FdKind::File,
                errno: 0,
                opens: 228,
                fds_net: 193,
                files_net: -3,
                path: Some(Path {
                    text: path.to_owned(),
                    form: PathForm::Resolved,
                }),
            }),
        })
    }

    fn exported(format: ExportFormat, inputs: &[Input]) -> Vec<u8> {
        let mut exporter = Exporter::new(format, &head(), Vec::new()).unwrap();
        for input in inputs {
            exporter.push(input).unwrap();
        }
        let (file, rows) = exporter.finish().unwrap();
        assert!(rows >= inputs.len() as u64);
        file
    }

    #[test]
    fn json_lines_have_what_a_row_has() {
        let ports = HostFact::EphemeralPorts {
            netns: Netns::default(),
            range: PortRange {
                low: 32_768,
                high: 60_999,
            },
        };
        let inputs = [
            open("/srv/a \"b\"\n.jar"),
            Input::Tick(Nanos(8_000_000_000)),
            Input::Host(Nanos(8_000_000_000), ports),
        ];
        let text = String::from_utf8(exported(ExportFormat::Jsonl, &inputs)).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[0],
            serde_json::json!({
                "time": "2026-11-21T14:03:07.000000120Z", "kind": "fd_install",
                "ts": 7_000_000_120_u64, "pid": 4711, "tid": 4713, "thread": "http-nio",
                "fd": 57, "source": "open", "fd_kind": "file", "opens": 228, "fds_net": 193,
                "files_net": -3, "path": "/srv/a \"b\"\n.jar", "path_form": "resolved",
            })
        );
        let kinds: Vec<_> = lines
            .iter()
            .map(|line| line["kind"].as_str().unwrap())
            .collect();
        assert_eq!(
            kinds,
            [
                "fd_install",
                "tick",
                "host_ephemeral_ports",
                "counter",
                "counter"
            ]
        );
        assert_eq!(lines[2]["items"], 2);
        assert_eq!(lines[3]["name"], "low");
        assert_eq!(lines[3]["value"], 32_768);
    }

    #[test]
    fn csv_has_a_line_of_names() {
        let text = String::from_utf8(exported(ExportFormat::Csv, &[open("/a,b")])).unwrap();
        let mut lines = text.lines();
        let names = lines.next().unwrap();
        assert!(
            names.starts_with("time,kind,ts,items,pid,tid,thread,"),
            "{names}"
        );
        let row = lines.next().unwrap();
        assert!(
            row.starts_with("2026-11-21T14:03:07.000000120Z,fd_install,7000000120,,4711,4713,"),
            "{row}"
        );
        assert!(row.contains(",\"/a,b\","), "{row}");
        assert_eq!(lines.next(), None);
        let empty = String::from_utf8(exported(ExportFormat::Csv, &[])).unwrap();
        assert_eq!(empty, format!("{names}\n"));
    }

    #[test]
    fn parquet_is_written_in_groups_and_framed_by_its_mark() {
        let file = exported(ExportFormat::Parquet, &vec![open("/a.jar"); 3 * BATCH_ROWS]);
        assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
        // A row repeated takes next to nothing.
        assert!(file.len() < 64 << 10, "{} bytes", file.len());
    }
}
