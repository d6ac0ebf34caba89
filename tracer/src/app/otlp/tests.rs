//! A collector that takes, rejects, fails or is not there; the bytes are read by the protocol's own types.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
};

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message as _;

use super::*;
use crate::{app::action::tests::verdict, cli::HttpUrl};

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
    let to = Deliveries::new(Server::new(url).unwrap());
    (listener, to)
}

fn start(to: &Deliveries) -> Delivery {
    Delivery::start(to.clone(), &Session::default(), || ()).unwrap()
}

fn of(to: &Deliveries, outcome: &str) -> u64 {
    let all = to.counts.all();
    all.iter().find(|(name, _)| *name == outcome).unwrap().1
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
    delivery.verdicts(&Session::default(), &[begun]);
    let first = take(&listener, "200 OK", b"");
    delivery.verdicts(&Session::default(), &[update, over]);
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
    assert_eq!(of(&to, "delivered"), 2);
}

#[test]
fn what_a_busy_collector_puts_off_is_tried_again() {
    let (listener, to) = listen();
    let delivery = start(&to);
    delivery.verdicts(&Session::default(), &[verdict(1)]);
    let first = take(&listener, "503 Service Unavailable", b"");
    let second = take(&listener, "200 OK", b"");
    delivery.finish();
    assert_eq!(first.request, second.request);
    assert_eq!(of(&to, "delivered"), 1);
}

#[test]
fn what_a_collector_rejects_is_counted_and_not_tried_again() {
    let (listener, to) = listen();
    let delivery = start(&to);
    delivery.verdicts(&Session::default(), &[verdict(1)]);
    take(&listener, "400 Bad Request", b"no");
    let answer = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "\x1b[31m".to_owned(),
        }),
    };
    delivery.verdicts(&Session::default(), &[verdict(1)]);
    take(&listener, "200 OK", &answer.encode_to_vec());
    delivery.finish();
    assert_eq!(of(&to, "rejected"), 2);
    assert_eq!(of(&to, "delivered"), 0);
}

/// Nobody takes what waits: it is bounded, and the end comes soon all the same.
#[test]
fn a_dead_collector_costs_a_counted_loss() {
    let (listener, to) = listen();
    drop(listener);
    let delivery = start(&to);
    let many = vec![verdict(1); WAITING_MAX + BATCH_MAX + 7];
    delivery.verdicts(&Session::default(), &many);
    assert!(of(&to, "queue_full") >= 7);
    let begun = Instant::now();
    delivery.finish();
    assert!(begun.elapsed() < LAST_TIME + REQUEST_TIME);
    assert_eq!(of(&to, "delivered"), 0);
}
