//! Verdicts and events as OpenTelemetry's log records, in the protocol's own types and bytes; never sends them.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions where those have one, so that a record
//! is found beside the traces of the same process; the others have those of the JSON lines behind `tracer.`.

use opentelemetry_proto::tonic::{
    collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse},
    common::v1::{
        AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    logs::v1::{ResourceLogs, ScopeLogs, SeverityNumber},
    resource::v1::Resource,
};
use prost::Message as _;

use tracer_common::EventKind;

use super::{
    clock::unix_nanos,
    errno,
    escape::Escaped,
    events::json_event,
    json,
    sentence::{self, endpoint},
};
use crate::{
    analysis::report::Verdict,
    model::{Event, EventBody, Session},
};

pub use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// What a record is of (its `event_name`): a verdict, or an event of a kind.
const VERDICT: &str = "tracer.verdict";
const EVENT: &str = "tracer.event";

/// Fields of the JSON lines that OpenTelemetry has a name for.
const CONVENTIONS: [(&str, &str); 15] = [
    ("cmdline", "process.command_line"),
    ("comm", "process.executable.name"),
    ("container", "container.id"),
    ("exe", "process.executable.path"),
    ("laddr", "network.local.address"),
    ("lport", "network.local.port"),
    ("path", "file.path"),
    ("pid", "process.pid"),
    ("pod_uid", "k8s.pod.uid"),
    ("ppid", "process.parent_pid"),
    ("raddr", "network.peer.address"),
    ("rport", "network.peer.port"),
    ("runtime", "container.runtime"),
    ("tid", "thread.id"),
    ("user", "process.owner"),
];

/// Those that the resource or the record itself tells.
const TOLD_ELSEWHERE: [&str; 4] = ["type", "ts", "host", "text"];

/// A verdict: a warning while it goes on, information when it is over.
#[must_use]
pub fn verdict(session: &Session, verdict: &Verdict) -> LogRecord {
    LogRecord {
        body: Some(text(sentence::labelled(session, verdict))),
        attributes: attributes(&json::verdict(session, verdict)),
        event_name: VERDICT.to_owned(),
        ..record(unix_nanos(session, verdict.last_seen), verdict.ongoing)
    }
}

/// An event by a process of this name: a warning where something failed.
#[must_use]
pub fn event(session: &Session, event: &Event, comm: &str) -> LogRecord {
    let is_failure = matches!(
        event.body.kind(),
        EventKind::TcpConnectFailed | EventKind::FdOpenFailed | EventKind::FdExhausted
    );
    LogRecord {
        body: Some(text(in_short(event, comm))),
        attributes: attributes(&json_event(session, event, comm)),
        event_name: EVENT.to_owned(),
        ..record(unix_nanos(session, event.ts), is_failure)
    }
}

/// A record of a moment.
fn record(at_unix_nanos: u64, is_warning: bool) -> LogRecord {
    let (severity, text) = if is_warning {
        (SeverityNumber::Warn, "WARN")
    } else {
        (SeverityNumber::Info, "INFO")
    };
    LogRecord {
        time_unix_nano: at_unix_nanos,
        observed_time_unix_nano: at_unix_nanos,
        severity_number: severity.into(),
        severity_text: text.to_owned(),
        ..LogRecord::default()
    }
}

/// What a person reads of an event among others.
fn in_short(event: &Event, comm: &str) -> String {
    let kind = event.body.kind().name();
    let (what, error) = match &event.body {
        EventBody::Tcp(tcp) => {
            let (local, remote) = (endpoint(tcp.local), endpoint(tcp.remote));
            (format!(" {local} to {remote}"), tcp.errno)
        }
        EventBody::Fd(fd) => {
            let path = fd
                .path
                .as_ref()
                .map(|path| format!(" {}", Escaped(&path.text)));
            (path.unwrap_or_default(), fd.errno)
        }
        EventBody::Process(_) | EventBody::Exit { .. } => (String::new(), 0),
    };
    let why = match error {
        0 => String::new(),
        error => format!(": {}", errno::name(error)),
    };
    format!("{kind} {}[{}]{what}{why}", Escaped(comm), event.pid)
}

/// The fields of a JSON line.
fn attributes(line: &str) -> Vec<KeyValue> {
    let fields: serde_json::Map<_, _> = serde_json::from_str(line).unwrap_or_default();
    let told = |(name, value): (String, serde_json::Value)| {
        let is_new = !TOLD_ELSEWHERE.contains(&&*name);
        attribute(&name, value).filter(|_| is_new)
    };
    fields.into_iter().filter_map(told).collect()
}

/// The body of a request that delivers records.
#[must_use]
pub fn request(session: &Session, records: Vec<LogRecord>) -> Vec<u8> {
    let named = |name: &str, value: &str| KeyValue {
        key: name.to_owned(),
        value: Some(text(value.to_owned())),
        ..KeyValue::default()
    };
    let resource = Resource {
        attributes: vec![
            named("service.name", "tracer"),
            named("service.version", &session.version),
            named("host.name", &session.host),
            named("os.type", "linux"),
            named("os.version", &session.kernel),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "tracer".to_owned(),
        version: session.version.clone(),
        ..InstrumentationScope::default()
    };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records: records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

/// The records that a collector rejected, by its answer, and why; none where that cannot be read: the request
/// as a whole was accepted.
#[must_use]
pub fn rejected(answer: &[u8]) -> (u64, String) {
    let answer = ExportLogsServiceResponse::decode(answer).unwrap_or_default();
    let part = answer.partial_success.unwrap_or_default();
    let count = u64::try_from(part.rejected_log_records).unwrap_or(0);
    (count, part.error_message)
}

fn text(text: String) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text)),
    }
}

/// None where the value is not known.
fn attribute(name: &str, value: serde_json::Value) -> Option<KeyValue> {
    let known = CONVENTIONS.iter().find(|(field, _)| *field == name);
    let key = known.map_or_else(|| format!("tracer.{name}"), |(_, key)| (*key).to_owned());
    Some(KeyValue {
        key,
        value: Some(any(value)?),
        ..KeyValue::default()
    })
}

fn any(value: serde_json::Value) -> Option<AnyValue> {
    use serde_json::Value as Json;

    let value = match value {
        Json::Null => return None,
        Json::Bool(is_so) => Value::BoolValue(is_so),
        // There are no unsigned 64-bit numbers; what does not fit is exact enough as a fraction.
        Json::Number(number) => number.as_i64().map_or_else(
            || Value::DoubleValue(number.as_f64().unwrap_or(f64::INFINITY)),
            Value::IntValue,
        ),
        Json::String(text) => Value::StringValue(text),
        Json::Array(items) => Value::ArrayValue(ArrayValue {
            values: items.into_iter().filter_map(any).collect(),
        }),
        Json::Object(fields) => Value::KvlistValue(KeyValueList {
            values: fields
                .into_iter()
                .filter_map(|(key, value)| {
                    Some(KeyValue {
                        key,
                        value: Some(any(value)?),
                        ..KeyValue::default()
                    })
                })
                .collect(),
        }),
    };
    Some(AnyValue { value: Some(value) })
}

#[cfg(test)]
mod tests;
