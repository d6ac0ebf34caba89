//! What was recorded says the same as the live watch did, and stays whatever ends the recording.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Failed;
use rustix::process::Signal;

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, Workload, tracer, wait_for},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("recordings::a_replay_prints_what_json_was_printed", json),
        Test::new("recordings::a_replay_prints_what_text_was_printed", text),
        Test::new(
            "recordings::a_full_disk_stops_the_recording_only",
            full_disk,
        ),
        Test::new("recordings::a_rotated_set_reads_as_one", rotated),
        Test::new("recordings::the_newest_file_of_a_set_reads_alone", newest),
        Test::new("recordings::what_a_killed_recording_wrote_stays", killed),
        Test::new(
            "recordings::a_verdict_dumps_the_minutes_before",
            verdict_dump,
        ),
        Test::new("recordings::a_dump_can_be_asked_for", asked_dump),
        Test::new("recordings::a_signal_makes_a_dump", signalled_dump),
    ]
}

const PORT: u16 = 2172;
const TRIES: u64 = 8;
/// `nobody`.
const NOBODY: u32 = 65534;

/// What a command that reads traces did.
struct Read {
    code: Option<i32>,
    text: String,
    errors: String,
}

/// Runs tracer as somebody who could not trace.
fn read(words: &[&str], files: &[PathBuf]) -> Result<Read> {
    for file in files {
        fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
    }
    let output = Command::new(tracer())
        .args(words)
        .args(files)
        .uid(NOBODY)
        .output()?;
    Ok(Read {
        code: output.status.code(),
        text: String::from_utf8(output.stdout)?,
        errors: String::from_utf8(output.stderr)?,
    })
}

impl Read {
    /// The last line of the flapping of a process.
    fn flapping(&self, pid: u32) -> Option<serde_json::Value> {
        self.text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .rfind(|line| line["verdict"] == "flapping" && line["pid"] == pid)
    }
}

/// A client that flaps, under a tracer with these words; gives the client's pid.
fn flap(log: &Log, words: &str) -> Result<(Tracer, Workload, u32)> {
    let tracer = Tracer::until_ready_file(log, words)?;
    let server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let count = TRIES;
    let flap = format!("flap --port {PORT} --count {count} --thread flapper");
    let mut flap = Workload::stepwise(log, &flap)?;
    flap.act()?;
    let pid = flap.pid();
    flap.end()?;
    Ok((tracer, server, pid))
}

struct Recorded {
    run: Run,
    pid: u32,
    file: PathBuf,
}

fn watch_and_record(log: &Log, format: &str) -> Result<Recorded> {
    let file = PathBuf::from(format!("/tmp/recorded-{format}.arrows"));
    let words = format!(
        "watch --port {PORT} --format {format} --record {}",
        file.display()
    );
    let (tracer, _server, pid) = flap(log, &words)?;
    Ok(Recorded {
        run: tracer.interrupt()?,
        pid,
        file,
    })
}

static JSON: Shared<Recorded> = Shared::new(|log| watch_and_record(log, "json"));
static TEXT: Shared<Recorded> = Shared::new(|log| watch_and_record(log, "table"));

fn same(recorded: &Recorded, format: &str) -> Result<(), Failed> {
    let files = [recorded.file.clone()];
    let replay = read(&["replay", "--format", format], &files)?;
    let mut checks = Checks::of(&recorded.run);
    checks.same("exit code of the watch", &recorded.run.code, &Some(0));
    checks.same("exit code of the replay", &replay.code, &Some(0));
    checks.same("its complaints", &replay.errors.as_str(), &"");
    let replayed: Vec<_> = replay.text.lines().collect();
    checks.same("number of lines", &replayed.len(), &recorded.run.text.len());
    for (replayed, live) in replayed.iter().zip(&recorded.run.text) {
        checks.same("a line", replayed, &live.as_str());
    }
    checks.that(
        "the verdict is among them",
        replay.text.to_lowercase().contains("flapping")
            && replay.text.contains(&recorded.pid.to_string()),
    );
    checks.end()
}

fn json() -> Result<(), Failed> {
    same(JSON.get()?, "json")
}

fn text() -> Result<(), Failed> {
    same(TEXT.get()?, "table")
}

static FULL: Shared<Recorded> = Shared::new(|log| {
    let dir = Path::new("/tmp/small-disk");
    fs::create_dir_all(dir)?;
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24k", "tmpfs"])
        .arg(dir)
        .status()?;
    ensure!(mounted.success(), "no small disk could be mounted");
    let file = dir.join("full.arrows");
    let words = format!(
        "watch --port {PORT} --format json --record {}",
        file.display()
    );
    let (tracer, _server, pid) = flap(log, &words)?;
    // Until it has said that the disk is full.
    wait_for("a full disk", || {
        if log.text().contains("recording has stopped") {
            return Ok(Some(()));
        }
        Workload::stepwise(log, "storm --opens 300")?.act()?;
        Ok(None)
    })?;
    Ok(Recorded {
        run: tracer.interrupt()?,
        pid,
        file,
    })
});

fn full_disk() -> Result<(), Failed> {
    let recorded = FULL.get()?;
    let mut checks = Checks::of(&recorded.run);
    checks.same("exit code", &recorded.run.code, &Some(0));
    let verdict = recorded.run.verdict("flapping", recorded.pid);
    checks.some("verdict of the watch, which went on", verdict);
    let replay = read(&["replay"], std::slice::from_ref(&recorded.file))?;
    checks.same("exit code of the replay", &replay.code, &Some(0));
    checks.that(
        format_args!("the end is told: {}", replay.errors),
        replay.errors.contains("the trace lacks what came after"),
    );
    checks.end()
}

struct RotatedSet {
    run: Run,
    files: Vec<PathBuf>,
    pid: u32,
}

static ROTATED: Shared<RotatedSet> = Shared::new(|log| {
    let dir = PathBuf::from("/tmp/rotated");
    fs::create_dir_all(&dir)?;
    let words = format!(
        "watch --port {PORT} --format json --record {}/set.arrows --rotate 1s",
        dir.display()
    );
    let (tracer, _server, pid) = flap(log, &words)?;
    let files = || -> Result<Vec<PathBuf>> {
        let mut files: Vec<_> = fs::read_dir(&dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.sort();
        Ok(files)
    };
    wait_for("four files", || Ok((files()?.len() >= 4).then_some(())))?;
    Ok(RotatedSet {
        run: tracer.interrupt()?,
        files: files()?,
        pid,
    })
});

fn rotated() -> Result<(), Failed> {
    let set = ROTATED.get()?;
    // Whatever their order.
    let files: Vec<_> = set.files.iter().rev().cloned().collect();
    let replay = read(&["replay", "--format", "json", "--strict"], &files)?;
    let mut checks = Checks::of(&set.run);
    checks.same("exit code of the replay", &replay.code, &Some(0));
    let replayed: Vec<_> = replay.text.lines().map(str::to_owned).collect();
    checks.same("lines", &replayed, &set.run.text);
    checks.end()
}

fn newest() -> Result<(), Failed> {
    let set = ROTATED.get()?;
    let newest = set.files.last().context("there is no file")?;
    let replay = read(
        &["replay", "--format", "json"],
        std::slice::from_ref(newest),
    )?;
    let mut checks = Checks::of(&set.run);
    checks.same("exit code of the replay", &replay.code, &Some(0));
    // The flapping was over by then: its sockets are still there, and whose they were is known.
    let owned = replay
        .text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["type"] == "time_wait" && line["pid"] == set.pid)
        .count();
    let live = set
        .run
        .of_type("time_wait")
        .filter(|line| line["pid"] == set.pid);
    let (owned, live) = (
        owned,
        live.filter(|line| line["attribution"] == "cookie").count(),
    );
    checks.that(
        format_args!("{owned} of {live} sockets have their owner"),
        owned >= live,
    );
    checks.end()
}

struct Flown {
    run: Run,
    file: PathBuf,
    pid: u32,
    /// Made at the verdict.
    at_verdict: PathBuf,
    /// Made by `tracer dump`.
    asked: PathBuf,
    /// Made at SIGUSR1.
    signalled: PathBuf,
}

static FLOWN: Shared<Flown> = Shared::new(|log| {
    let (dir, control) = ("/tmp/flown", "/tmp/flown.sock");
    let file = PathBuf::from("/tmp/killed.arrows");
    let words = format!(
        "record --port {PORT} -o {} --flight 5m --dump-dir {dir} --on flapping --dump-after 1s \
         --control {control}",
        file.display()
    );
    let (tracer, _server, pid) = flap(log, &words)?;
    let until_dumps = |count: usize| {
        let told = || log.text().matches("dumped the minutes before").count();
        wait_for("a dump", || Ok((told() >= count).then_some(())))
    };
    let dumps = || {
        let files = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
        files.collect::<Result<BTreeSet<PathBuf>>>()
    };
    until_dumps(1)?;
    let at_verdict = only(dumps()?)?;
    let output = Command::new(crate::programs::tracer())
        .args(["dump", "--control", control])
        .output()?;
    ensure!(output.status.success(), "tracer dump failed: {output:?}");
    let asked = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
    tracer.signal(Signal::USR1)?;
    until_dumps(3)?;
    let mut others = dumps()?;
    others.retain(|dump| *dump != at_verdict && *dump != asked);
    let signalled = only(others)?;
    tracer.signal(Signal::KILL)?;
    Ok(Flown {
        run: tracer.end()?,
        file,
        pid,
        at_verdict,
        asked,
        signalled,
    })
});

/// The only one of these files.
fn only(mut files: BTreeSet<PathBuf>) -> Result<PathBuf> {
    ensure!(files.len() <= 1, "more than one dump: {files:?}");
    files.pop_first().context("there is no dump")
}

fn killed() -> Result<(), Failed> {
    let flown = FLOWN.get()?;
    let files = std::slice::from_ref(&flown.file);
    let replay = read(&["replay", "--format", "json"], files)?;
    let mut checks = Checks::of(&flown.run);
    checks.same("exit code of the replay", &replay.code, &Some(0));
    checks.that(
        format_args!("the end is told: {}", replay.errors),
        replay.errors.contains("not ended in order"),
    );
    let verdict = replay.flapping(flown.pid);
    checks.some("verdict on the client", verdict.as_ref());
    let strict = read(&["replay", "--strict"], files)?;
    checks.same("exit code with --strict", &strict.code, &Some(4));
    checks.end()
}

fn dumped(flown: &Flown, dump: &Path) -> Result<(), Failed> {
    let files = [dump.to_owned()];
    let replay = read(&["replay", "--format", "json", "--strict"], &files)?;
    let mut checks = Checks::of(&flown.run);
    checks.same("exit code of the replay", &replay.code, &Some(0));
    let verdict = replay.flapping(flown.pid);
    let verdict = checks.some("verdict on the client", verdict.as_ref());
    // A dump may have been ended before the last of them.
    checks.lies(verdict, "count", 5.0, TRIES as f64);
    checks.is(verdict, "thread", "flapper");
    checks.end()
}

fn verdict_dump() -> Result<(), Failed> {
    let flown = FLOWN.get()?;
    dumped(flown, &flown.at_verdict)
}

fn asked_dump() -> Result<(), Failed> {
    let flown = FLOWN.get()?;
    dumped(flown, &flown.asked)
}

fn signalled_dump() -> Result<(), Failed> {
    let flown = FLOWN.get()?;
    dumped(flown, &flown.signalled)
}
