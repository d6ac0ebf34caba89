//! What clients are answered, polite and hostile ones; never whether numbers are right.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    sync::mpsc,
    thread,
};

use super::*;
use crate::analysis::Thresholds;

fn exporter() -> (Exporter, SocketAddr) {
    let exports = Exports {
        at: (Ipv4Addr::LOCALHOST, 0).into(),
        detail: Detail::default(),
    };
    let exporter = Exporter::listen(exports, 4096, Others::default(), || ()).unwrap();
    let at = exporter.at;
    (exporter, at)
}

/// Sends some text; gives all that is answered.
fn answered(at: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    // Whoever is refused half way may find the connection closed.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(at: SocketAddr, path: &str) -> String {
    answered(at, &format!("GET {path} HTTP/1.1\r\nHost: tracer\r\n\r\n"))
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

/// Lets the watch turn until a client has its answer.
fn turn_for(exporter: &mut Exporter, client: impl FnOnce() -> String + Send + 'static) -> String {
    let engine = Engine::new(Thresholds::default());
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || sender.send(client()));
    loop {
        exporter.turn(&engine);
        if let Ok(answer) = answer.recv_timeout(Duration::from_millis(10)) {
            return answer;
        }
    }
}

#[test]
fn a_watch_is_ready_once_it_begins() {
    let (mut exporter, at) = exporter();
    assert_eq!(status(&get(at, "/readyz")), "503");
    assert_eq!(status(&get(at, "/healthz")), "200");
    exporter.begin(&Session::default());
    assert_eq!(status(&get(at, "/readyz")), "200");
}

#[test]
fn a_watch_that_hangs_is_not_healthy() {
    let (exporter, at) = exporter();
    exporter.shared.alive_until_ms.store(0, Ordering::Relaxed);
    // Its clock has gone on by a millisecond before an answer can come.
    while exporter.shared.is_alive() {
        thread::yield_now();
    }
    let answer = get(at, "/healthz");
    assert_eq!(status(&answer), "503");
    assert!(
        answer.ends_with("the watch has not turned for 10 s\n"),
        "{answer}"
    );
}

#[test]
fn metrics_are_those_of_the_next_turn() {
    let (mut exporter, at) = exporter();
    exporter.begin(&Session::default());
    let answer = turn_for(&mut exporter, move || get(at, "/metrics"));
    assert_eq!(status(&answer), "200");
    assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
    assert!(answer.contains("\ntracer_ring_bytes 4096\n"), "{answer}");
    assert!(answer.ends_with("# EOF\n"));
}

#[test]
fn nothing_else_is_answered() {
    let (_exporter, at) = exporter();
    assert_eq!(status(&get(at, "/")), "404");
    assert_eq!(status(&get(at, "/metrics/../../etc/passwd")), "404");
    let post = "POST /metrics HTTP/1.1\r\nHost: tracer\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(&answered(at, post)), "405");
    assert_eq!(
        status(&answered(at, "\x16\x03\x01 nonsense\r\n\r\n")),
        "400"
    );
}

#[test]
fn a_huge_head_is_refused() {
    let (_exporter, at) = exporter();
    let huge = format!(
        "GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    assert_ne!(status(&answered(at, &huge)), "200");
    assert_eq!(status(&get(at, "/healthz")), "200");
}

/// More clients than are served at once, none of which says anything, lose their places.
#[test]
fn silent_clients_give_way() {
    let (_exporter, at) = exporter();
    let silent: Vec<_> = (0..=server::CLIENTS_MAX)
        .map(|_| TcpStream::connect(at).unwrap())
        .collect();
    assert_eq!(status(&get(at, "/healthz")), "200");
    drop(silent);
}

#[test]
fn a_taken_address_is_told_with_what_to_do() {
    let (_exporter, at) = exporter();
    let exports = Exports {
        at,
        detail: Detail::default(),
    };
    let error = Exporter::listen(exports, 4096, Others::default(), || ())
        .err()
        .unwrap();
    let error = format!("{error:#}");
    assert!(
        error.contains(&format!("cannot serve metrics at {at}")),
        "{error}"
    );
    assert!(error.contains("--metrics, or off"), "{error}");
}
