//! A collector that takes, rejects, fails or is not there; the bytes are read by the protocol's own types.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message as _;
use tracer_common::ProcessCounters;

use super::*;
use crate::{
    analysis::Thresholds,
    app::action::tests::verdict,
    cli::HttpUrl,
    model::{Comm, Event, EventBody, Nanos, Pid, Tid},
};

/// What came in one request.
struct Came {
    head: String,
    request: ExportLogsServiceRequest,
}

impl Came {
    fn records(&self) -> &[LogRecord] {
        &self.request.resource_logs[0].scope_logs[0].log_records
    }
}

/// Takes one request, and answers it.
fn take(listener: &TcpListener, status: &str, answer: &[u8]) -> Came {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let mut stream: TcpStream = reader.into_inner();
    let length = answer.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(answer).unwrap();
    Came {
        head,
        request: ExportLogsServiceRequest::decode(&*body).unwrap(),
    }
}

fn listen() -> (TcpListener, Deliveries) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let url = HttpUrl::parse(&format!("http://{at}/v1/logs")).unwrap();
    let to = Deliveries::new(Server::new(url).unwrap(), Vec::new());
    (listener, to)
}

fn listen_to_exits() -> (TcpListener, Deliveries) {
    let (listener, to) = listen();
    let events = vec![EventKind::Exit];
    (listener, Deliveries { events, ..to })
}

fn start(to: &Deliveries) -> Delivery {
    Delivery::start(to.clone(), &Session::default(), || ()).unwrap()
}

fn of(to: &Deliveries, record: &str, outcome: &str) -> u64 {
    let all = to.counts.all();
    let it = all
        .iter()
        .find(|count| (count.0, count.1) == (record, outcome));
    it.unwrap().2
}

#[test]
fn a_verdict_arrives_when_it_is_made_and_when_it_is_over() {
    let (listener, to) = listen();
    let delivery = start(&to);
    let begun = verdict(1);
    let update = Verdict {
        update: 1,
        ..begun.clone()
    };
    let over = Verdict {
        update: 2,
        ongoing: false,
        ..begun.clone()
    };
    delivery.verdicts(&[begun]);
    let first = take(&listener, "200 OK", b"");
    delivery.verdicts(&[update, over]);
    let second = take(&listener, "200 OK", b"");
    delivery.finish();

    assert!(first.head.starts_with("POST /v1/logs HTTP/1.1\r\n"));
    let kind = "content-type: application/x-protobuf\r\n";
    assert!(first.head.contains(kind), "{}", first.head);
    let severities = [&first, &second].map(|came| {
        let records = came.records();
        (records.len(), records[0].severity_text.clone())
    });
    assert_eq!(severities, [(1, "WARN".to_owned()), (1, "INFO".to_owned())]);
    assert_eq!(of(&to, "verdict", "delivered"), 2);
}

#[test]
fn what_a_busy_collector_puts_off_is_tried_again() {
    let (listener, to) = listen();
    let delivery = start(&to);
    delivery.verdicts(&[verdict(1)]);
    let first = take(&listener, "503 Service Unavailable", b"");
    let second = take(&listener, "200 OK", b"");
    delivery.finish();
    assert_eq!(first.request, second.request);
    assert_eq!(of(&to, "verdict", "delivered"), 1);
}

#[test]
fn what_a_collector_rejects_is_counted_and_not_tried_again() {
    let (listener, to) = listen();
    let delivery = start(&to);
    delivery.verdicts(&[verdict(1)]);
    take(&listener, "400 Bad Request", b"no");
    let answer = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "\x1b[31m".to_owned(),
        }),
    };
    delivery.verdicts(&[verdict(1)]);
    take(&listener, "200 OK", &answer.encode_to_vec());
    delivery.finish();
    assert_eq!(of(&to, "verdict", "rejected"), 2);
    assert_eq!(of(&to, "verdict", "delivered"), 0);
}

/// Nobody takes what waits: it is bounded, and the end comes soon all the same.
#[test]
fn a_dead_collector_costs_a_counted_loss() {
    let (listener, to) = listen();
    drop(listener);
    let delivery = start(&to);
    let many = vec![verdict(1); VERDICTS_WAITING_MAX + BATCH_MAX + 7];
    delivery.verdicts(&many);
    assert!(of(&to, "verdict", "queue_full") >= 7);
    let begun = Instant::now();
    delivery.finish();
    assert!(begun.elapsed() < LAST_TIME + REQUEST_TIME);
    assert_eq!(of(&to, "verdict", "delivered"), 0);
}

/// An exit, of a process without a name.
fn exit() -> Input {
    Input::Event(Event {
        ts: Nanos::from_secs(7),
        pid: Pid(4711),
        tid: Tid(4711),
        thread: Comm::from("sh"),
        stack: None,
        body: EventBody::Exit {
            comm: Comm::from("sh"),
            counters: Box::new(ProcessCounters::ZERO),
        },
    })
}

#[test]
fn events_of_wanted_kinds_arrive_together_and_verdicts_go_before_them() {
    let (listener, to) = listen_to_exits();
    let delivery = start(&to);
    let engine = Engine::new(Thresholds::default());
    for input in [exit(), Input::Tick(Nanos::from_secs(7)), exit(), exit()] {
        delivery.observe(&engine, &input);
    }
    let events = take(&listener, "200 OK", b"");
    delivery.observe(&engine, &exit());
    delivery.verdicts(&[verdict(1)]);
    let [second, third] = [(); 2].map(|()| take(&listener, "200 OK", b""));
    delivery.finish();
    let names = |came: &Came| -> Vec<String> {
        let records = came.records().iter();
        records.map(|record| record.event_name.clone()).collect()
    };
    assert_eq!(names(&events), ["tracer.event"; 3]);
    // Those of the second may have been gathered already.
    let mut rest = [names(&second), names(&third)].concat();
    rest.sort();
    assert_eq!(rest, ["tracer.event", "tracer.verdict"]);
    assert_eq!(of(&to, "event", "delivered"), 4);
    assert_eq!(of(&to, "verdict", "delivered"), 1);
}

#[test]
fn events_that_find_no_room_cost_no_verdict() {
    let (listener, to) = listen_to_exits();
    let delivery = start(&to);
    let engine = Engine::new(Thresholds::default());
    for _ in 0..EVENTS_WAITING_MAX + BATCH_MAX + 7 {
        delivery.observe(&engine, &exit());
    }
    assert!(of(&to, "event", "queue_full") >= 7);
    delivery.verdicts(&[verdict(1)]);
    assert_eq!(of(&to, "verdict", "queue_full"), 0);
    let first = take(&listener, "200 OK", b"");
    let second = take(&listener, "200 OK", b"");
    drop(listener);
    delivery.finish();
    let is_verdict = |came: &Came| came.records()[0].event_name == "tracer.verdict";
    assert!(is_verdict(&first) || is_verdict(&second));
}
