//! A verdict as the collector reads it, of the made-up incidents; never over a network.

use tracer_common::Role;

use super::{
    super::testing::{at, endpoint as at_port, flapping, session, unknown},
    *,
};
use crate::model::{Comm, Cookie, Netns, Pid, SockId, TcpAction, TcpEvent, TcpState, Tid};

/// A connect that nobody answered.
fn refused() -> Event {
    Event {
        ts: at(8_000),
        pid: Pid(4711),
        tid: Tid(4713),
        thread: Comm::from("redis-pool"),
        stack: None,
        body: EventBody::Tcp(TcpEvent {
            action: TcpAction::ConnectFailed,
            sock: SockId(1),
            cookie: Cookie(8193),
            start: None,
            tx_bytes: 0,
            rx_bytes: 0,
            local: at_port("10.1.0.7", 45_678),
            remote: at_port("10.1.0.9", 6379),
            netns: Netns(4_026_531_840),
            old_state: TcpState::SynSent,
            new_state: TcpState::Close,
            errno: 111,
            role: Role::Client,
        }),
    }
}

/// An attribute's value.
fn value(record: &LogRecord, key: &str) -> Option<Value> {
    let found = record.attributes.iter().find(|found| found.key == key)?;
    found.value.clone()?.value
}

fn told(record: &LogRecord, key: &str) -> String {
    match value(record, key) {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    }
}

#[test]
fn fields_have_the_conventions_names_or_their_own() {
    let record = verdict(&session(), &flapping());
    assert_eq!(told(&record, "tracer.verdict"), "flapping");
    assert_eq!(value(&record, "process.pid"), Some(Value::IntValue(4711)));
    assert_eq!(value(&record, "thread.id"), Some(Value::IntValue(4713)));
    assert_eq!(told(&record, "process.executable.name"), "java");
    assert_eq!(told(&record, "container.id"), "3f2a9c81d0b7");
    assert_eq!(told(&record, "tracer.thread"), "Catalina-utilit");
    assert_eq!(
        value(&record, "tracer.ongoing"),
        Some(Value::BoolValue(true))
    );
    let is_list = matches!(value(&record, "tracer.parents"), Some(Value::ArrayValue(list)) if list.values.len() == 3);
    assert!(is_list);
    // The resource has the host, and the body the text.
    assert_eq!(value(&record, "tracer.host"), None);
    assert_eq!(value(&record, "tracer.text"), None);
}

#[test]
fn the_body_is_the_sentence_and_the_time_that_of_the_last_cause() {
    let session = session();
    let record = verdict(&session, &flapping());
    let Some(Value::StringValue(body)) = record.body.and_then(|body| body.value) else {
        panic!("no text");
    };
    assert!(body.starts_with("FLAPPING java[4711] thread Catalina-utilit[4713"));
    let at = unix_nanos(&session, flapping().last_seen);
    assert_eq!(record.time_unix_nano, at);
    assert_eq!(record.severity_number, 13);
    assert_eq!(record.event_name, "tracer.verdict");
}

#[test]
fn an_event_names_who_and_what() {
    let session = session();
    let record = event(&session, &refused(), "sh\x1bop");
    assert_eq!(record.event_name, "tracer.event");
    assert_eq!(record.severity_text, "WARN");
    assert_eq!(told(&record, "tracer.kind"), "tcp_connect_failed");
    assert_eq!(told(&record, "network.peer.address"), "10.1.0.9");
    assert_eq!(
        value(&record, "network.peer.port"),
        Some(Value::IntValue(6379))
    );
    assert_eq!(told(&record, "tracer.error"), "ECONNREFUSED");
    let Some(Value::StringValue(body)) = record.body.and_then(|body| body.value) else {
        panic!("no text");
    };
    assert_eq!(
        body,
        "tcp_connect_failed sh\\u{1b}op[4711] 10.1.0.7:45678 to 10.1.0.9:6379: ECONNREFUSED"
    );
    let at = unix_nanos(&session, refused().ts);
    assert_eq!(record.time_unix_nano, at);
}

#[test]
fn what_is_not_known_is_left_out() {
    let record = verdict(&session(), &unknown(flapping()));
    let is_empty = |attribute: &KeyValue| {
        let value = attribute.value.as_ref();
        value.is_none_or(|value| value.value.is_none())
    };
    assert!(!record.attributes.iter().any(is_empty));
    assert_eq!(value(&record, "container.id"), None);
}

#[test]
fn a_request_says_who_speaks() {
    let bytes = request(&session(), vec![verdict(&session(), &flapping())]);
    let read = ExportLogsServiceRequest::decode(&*bytes).unwrap();
    let resource = read.resource_logs[0].resource.as_ref().unwrap();
    let told: Vec<_> = resource
        .attributes
        .iter()
        .map(|attribute| &*attribute.key)
        .collect();
    assert_eq!(
        told,
        [
            "service.name",
            "service.version",
            "host.name",
            "os.type",
            "os.version"
        ]
    );
    assert_eq!(read.resource_logs[0].scope_logs[0].log_records.len(), 1);
}

#[test]
fn an_answer_that_is_none_rejects_nothing() {
    assert_eq!(rejected(b"<html>"), (0, String::new()));
    assert_eq!(rejected(b""), (0, String::new()));
}
