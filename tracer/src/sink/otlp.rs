//! Verdicts as OpenTelemetry's log records, in the protocol's own types and bytes; never sends them.
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

use super::{clock::unix_nanos, json, sentence};
use crate::{analysis::report::Verdict, model::Session};

pub use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// What tells a record of a verdict from other events (the record's `event_name`).
const EVENT: &str = "tracer.verdict";

/// Fields of the JSON lines that OpenTelemetry has a name for.
const CONVENTIONS: [(&str, &str); 10] = [
    ("cmdline", "process.command_line"),
    ("comm", "process.executable.name"),
    ("container", "container.id"),
    ("exe", "process.executable.path"),
    ("pid", "process.pid"),
    ("pod_uid", "k8s.pod.uid"),
    ("ppid", "process.parent_pid"),
    ("runtime", "container.runtime"),
    ("tid", "thread.id"),
    ("user", "process.owner"),
];

/// Those that the resource or the record itself tells.
const TOLD_ELSEWHERE: [&str; 4] = ["type", "ts", "host", "text"];

/// A verdict: a warning while it goes on, information when it is over.
#[must_use]
pub fn record(session: &Session, verdict: &Verdict) -> LogRecord {
    let fields = serde_json::from_str(&json::verdict(session, verdict));
    let fields: serde_json::Map<_, _> = fields.unwrap_or_default();
    let told = |(name, value): (String, serde_json::Value)| {
        let is_new = !TOLD_ELSEWHERE.contains(&&*name);
        attribute(&name, value).filter(|_| is_new)
    };
    let at = unix_nanos(session, verdict.last_seen);
    let severity = if verdict.ongoing {
        SeverityNumber::Warn
    } else {
        SeverityNumber::Info
    };
    LogRecord {
        time_unix_nano: at,
        observed_time_unix_nano: at,
        severity_number: severity.into(),
        severity_text: if verdict.ongoing { "WARN" } else { "INFO" }.to_owned(),
        body: Some(text(sentence::labelled(session, verdict))),
        attributes: fields.into_iter().filter_map(told).collect(),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
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
