//! tracer in a systemd unit: its verdicts and log lines as entries of the journal, which the test takes in
//! journald's place; never what a verdict says.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{fd::AsFd as _, unix::net::UnixDatagram},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use libtest_mimic::Failed;
use rustix::{
    fs::fstat,
    process::{Pid, Signal, kill_process},
};

use crate::{
    list::Test,
    programs::{Log, Workload, tracer, wait_for},
};

pub fn tests() -> Vec<Test> {
    vec![Test::new("journal::a_verdict_is_an_entry", entries)]
}

const PORT: u16 = 2183;
/// Where journald listens (its native protocol).
const SOCKET: &str = "/run/systemd/journal/socket";
/// What standard output and error of the unit lead to.
const STREAM: &str = "/tmp/journal-stream";
const READY: &str = "/tmp/journal-ready";

/// The fields of an entry. A value with a line break stands behind its length (8 bytes, little-endian).
fn fields(mut entry: &[u8]) -> Result<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| *byte == b'\n');
        let (line, rest) = entry.split_at(end.context("an entry is cut")?);
        let rest = &rest[1..];
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if let Some(sign) = line.iter().position(|byte| *byte == b'=') {
            fields.insert(text(&line[..sign]), text(&line[sign + 1..]));
            entry = rest;
        } else {
            let (length, rest) = rest.split_first_chunk().context("an entry is cut")?;
            let length = usize::try_from(u64::from_le_bytes(*length))?;
            ensure!(rest.len() > length, "an entry is cut");
            fields.insert(text(line), text(&rest[..length]));
            entry = &rest[length + 1..];
        }
    }
    Ok(fields)
}

/// The next entry that has a field with this in it.
fn next(journal: &UnixDatagram, name: &str, part: &str) -> Result<BTreeMap<String, String>> {
    let mut buffer = vec![0; 256 << 10];
    loop {
        let length = journal
            .recv(&mut buffer)
            .with_context(|| format!("no {name} {part}"))?;
        let fields = fields(&buffer[..length])?;
        if fields.get(name).is_some_and(|value| value.contains(part)) {
            return Ok(fields);
        }
    }
}

fn entries() -> Result<(), Failed> {
    let log = Log::default();
    check(&log).map_err(|error| format!("{error:#}\n{}", log.text()).into())
}

fn check(log: &Log) -> Result<()> {
    fs::create_dir_all("/run/systemd/journal")?;
    let journal = UnixDatagram::bind(SOCKET)?;
    journal.set_read_timeout(Some(Duration::from_mins(1)))?;
    let stream = File::create(STREAM)?;
    let found = fstat(stream.as_fd())?;
    let mut service = Command::new(tracer())
        .args(["serve", "--metrics=off", "--no-fds", "--ready-file", READY])
        .args(["--port", &PORT.to_string()])
        .env(
            "JOURNAL_STREAM",
            format!("{}:{}", found.st_dev, found.st_ino),
        )
        .stdin(Stdio::null())
        .stdout(stream.try_clone()?)
        .stderr(stream)
        .spawn()?;
    wait_for("tracer's ready file", || {
        Ok(fs::exists(READY)?.then_some(()))
    })?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let words = format!("flap --port {PORT} --count 6 --thread flapper");
    let mut flap = Workload::stepwise(log, &words)?;
    flap.act()?;

    let told = next(&journal, "MESSAGE", "FLAPPING workload[")?;
    let pid = Pid::from_raw(service.id().cast_signed()).context("no pid")?;
    kill_process(pid, Signal::HUP)?;
    let said = next(&journal, "MESSAGE", "SIGHUP")?;
    kill_process(pid, Signal::TERM)?;
    let status = service.wait()?;
    fs::remove_file(SOCKET)?;

    ensure!(status.success(), "tracer ended with {status}");
    let wanted = [
        ("PRIORITY", "4".to_owned()),
        ("SYSLOG_IDENTIFIER", "tracer".to_owned()),
        ("VERDICT_NAME", "flapping".to_owned()),
        ("VERDICT_PID", flap.pid().to_string()),
        ("VERDICT_COMM", "workload".to_owned()),
        ("VERDICT_THREAD", "flapper".to_owned()),
        ("VERDICT_ONGOING", "true".to_owned()),
    ];
    for (name, value) in wanted {
        ensure!(
            told.get(name) == Some(&value),
            "{name} is not {value}: {told:#?}"
        );
    }
    ensure!(!told.contains_key("VERDICT_CONTAINER"), "{told:#?}");
    let json = told.get("VERDICT_JSON").context("no VERDICT_JSON")?;
    let json: serde_json::Value = serde_json::from_str(json)?;
    ensure!(json["pid"] == flap.pid(), "{json}");
    let priority = said.get("PRIORITY").map(String::as_str);
    ensure!(priority == Some("4"), "{said:#?}");
    let text = fs::read_to_string(STREAM)?;
    if !text.is_empty() {
        bail!("something came past the journal: {text}");
    }
    Ok(())
}
