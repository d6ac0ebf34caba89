//! Commands that are run, fail, take too long or come too often; never a real verdict.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
};

use tokio::time::sleep;

use super::*;
use crate::{
    analysis::report::{FdNearLimit, Finding},
    model::{Nanos, Pid as OfHost, Tid},
};

fn action(command: &str) -> Action {
    Action::new(&ActionArgs {
        on_verdict: Some(command.to_owned()),
        on_verdict_timeout: Duration::from_mins(1),
        on_verdict_pause: Duration::ZERO,
        on_verdict_at_once: 1,
    })
    .unwrap()
    .unwrap()
}

/// A verdict about a program whose name would end a shell's word.
pub(in crate::app) fn verdict(id: u64) -> Verdict {
    Verdict {
        id,
        update: 0,
        who: Identity {
            pid: Some(OfHost(4711)),
            tid: Some(Tid(4713)),
            comm: "a';touch b;'$(c)".to_owned(),
            ..Identity::default()
        },
        first_seen: Nanos(0),
        last_seen: Nanos(0),
        ongoing: true,
        lossy: false,
        caused_by: Vec::new(),
        led_to: Vec::new(),
        stacks: None,
        finding: Finding::FdNearLimit(FdNearLimit {
            fds_now: 900,
            fds_peak: 900,
            fd_limit: 1000,
            room: 100,
            kinds: std::collections::BTreeMap::new(),
            top_dirs: Vec::new(),
            top_peers: Vec::new(),
        }),
    }
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test)
}

/// Waits until so many verdicts have come to this.
async fn until(counts: &Counts, outcome: &str, wanted: u64) {
    let count = || {
        let all = counts.all();
        all.iter().find(|(name, _)| *name == outcome).unwrap().1
    };
    while count() < wanted {
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count(), wanted);
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_command_has_the_verdict_and_its_main_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (input, fields) = (folder.path().join("input"), folder.path().join("fields"));
    let command = format!(
        "cat > {}; echo \"$VERDICT_NAME $VERDICT_PID $VERDICT_NID $VERDICT_COMM<$VERDICT_UNIT>\" > {}",
        input.display(),
        fields.display()
    );
    run(async {
        let mut action = action(&command);
        action.verdicts(&Session::default(), &[verdict(1)]);
        until(&action.counts, "ended_well", 1).await;
    });
    assert_eq!(
        content(&fields),
        "fd_near_limit 4711 0x1269 a';touch b;'$(c)<>\n"
    );
    let told: serde_json::Value = serde_json::from_str(&content(&input)).unwrap();
    assert_eq!(told["verdict"], "fd_near_limit");
    assert_eq!(told["room"], 100);
}

#[test]
fn only_what_is_new_runs_it() {
    run(async {
        let mut action = action("true");
        let update = Verdict {
            update: 1,
            ..verdict(1)
        };
        action.verdicts(&Session::default(), &[update]);
        assert_eq!(action.slots.available_permits(), 1);
        action.verdicts(&Session::default(), &[verdict(2)]);
        until(&action.counts, "ended_well", 1).await;
    });
}

#[test]
fn a_command_that_fails_is_counted() {
    run(async {
        let mut action = action("exit 3");
        action.verdicts(&Session::default(), &[verdict(1)]);
        until(&action.counts, "failed", 1).await;
    });
}

/// The shell starts something that ignores what ends the shell alone.
#[test]
fn a_command_that_takes_too_long_is_killed_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    run(async {
        let mut action = Action {
            time_max: Duration::from_millis(300),
            ..action(&format!("sleep 1000 & echo $! > {}; wait", pid.display()))
        };
        action.verdicts(&Session::default(), &[verdict(1)]);
        until(&action.counts, "timed_out", 1).await;
    });
    let pid: u32 = content(&pid).trim().parse().unwrap();
    // Gone, or what is left of it until somebody takes its status; a busy machine takes a moment for that.
    let lives = || {
        let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let state = status.rsplit(") ").next().unwrap_or_default();
        !(state.is_empty() || state.starts_with(['Z', 'X']))
    };
    while lives() {
        std::thread::yield_now();
    }
}

#[test]
fn what_is_passed_over_is_counted() {
    run(async {
        let mut busy = action("cat; exec sleep 1000");
        busy.verdicts(&Session::default(), &[verdict(1), verdict(2), verdict(3)]);
        until(&busy.counts, "too_many", 2).await;
        let mut early = Action {
            pause: Duration::from_hours(1),
            ..action("true")
        };
        early.verdicts(&Session::default(), &[verdict(1), verdict(2)]);
        until(&early.counts, "too_soon", 1).await;
        until(&early.counts, "ended_well", 1).await;
    });
}

/// A server that takes one request and answers it; what came.
fn take(listener: &TcpListener, status: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut came = Vec::new();
    while !came.ends_with(b"}\n") {
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).unwrap();
        assert_ne!(read, 0, "it is cut");
        came.extend_from_slice(&bytes[..read]);
    }
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
    String::from_utf8(came).unwrap()
}

fn webhook() -> (TcpListener, Action) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
    let mut action = action(&url);
    assert!(!action.runs_commands());
    action.start(|| ()).unwrap();
    (listener, action)
}

#[test]
fn a_server_is_told_of_a_verdict() {
    let (listener, mut action) = webhook();
    action.verdicts(&Session::default(), &[verdict(1)]);
    let came = take(&listener, "204 No Content");
    let (head, body) = came.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains("content-type: application/json\r\n"),
        "{head}"
    );
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(told["verdict"], "fd_near_limit");
    run(until(&action.counts, "ended_well", 1));
}

#[test]
fn a_server_that_fails_or_is_not_there_is_counted() {
    let (listener, mut action) = webhook();
    action.verdicts(&Session::default(), &[verdict(1)]);
    take(&listener, "500 Internal Server Error");
    run(until(&action.counts, "failed", 1));
    drop(listener);
    action.verdicts(&Session::default(), &[verdict(2)]);
    run(until(&action.counts, "failed", 2));
}

#[test]
fn a_server_that_takes_too_long_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut action = Action {
        time_max: Duration::from_millis(300),
        ..action(&url)
    };
    action.start(|| ()).unwrap();
    action.verdicts(&Session::default(), &[verdict(1), verdict(2)]);
    run(until(&action.counts, "timed_out", 1));
    run(until(&action.counts, "too_many", 1));
}
