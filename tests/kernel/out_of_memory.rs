//! What is left when the kernel kills tracer itself for want of memory; never what it would have told.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Failed;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    list::Test,
    programs::{Log, Tracer, Workload, tracer, wait_for},
};

pub fn tests() -> Vec<Test> {
    vec![Test::new(
        "out_of_memory::the_last_minutes_outlive_tracer",
        outlive,
    )]
}

const PORT: u16 = 2189;
const COUNT: u64 = 8;
const DUMPS: &str = "/tmp/outlived";
const CONTROL: &str = "/tmp/outlived.sock";
const CGROUPS: &str = "/sys/fs/cgroup";

/// Less than tracer needs to live.
const TOO_LITTLE: &str = "4M";

/// A cgroup whose memory can be taken away.
fn cgroup() -> Result<PathBuf> {
    let path = Path::new(CGROUPS).join("doomed");
    fs::write(Path::new(CGROUPS).join("cgroup.subtree_control"), "+memory")
        .context("cgroups cannot bound memory here")?;
    fs::create_dir_all(&path)?;
    fs::write(path.join("memory.max"), "max")?;
    Ok(path)
}

/// A tracer in a cgroup, once it watches.
fn watch_in(cgroup: &Path, log: &Log) -> Result<Tracer> {
    let mut command = Command::new("sh");
    command.args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""]);
    command.arg(cgroup).arg(tracer());
    command.args(["watch", "--format", "json", "--port", &PORT.to_string()]);
    command.args(["--flight", "5m", "--dump-dir", DUMPS, "--control", CONTROL]);
    // No dump of its own: what is left must come from the files.
    command.args(["--on", "fd_leak", "--spill", "--dump-keep", "3"]);
    Tracer::until_it_watches(log, command)
}

fn files(dir: &str) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.is_file());
    Ok(paths)
}

fn outlive() -> Result<(), Failed> {
    let log = Log::default();
    try_it(&log).map_err(|error| format!("{error:#}\n{}", log.text()).into())
}

fn try_it(log: &Log) -> Result<()> {
    if Path::new(DUMPS).exists() {
        // What a failed try has left.
        fs::remove_dir_all(DUMPS)?;
    }
    let spill = format!("{DUMPS}/spill");
    let cgroup = cgroup()?;
    let mut doomed = watch_in(&cgroup, log)?;
    let _server = Workload::start(log, &format!("serve --port {PORT}"))?;
    let pid = Workload::run_to_end(
        log,
        &format!("flap --port {PORT} --count {COUNT} --thread doomed"),
    )?;
    doomed.until_flapping(pid)?;
    fs::write(cgroup.join("memory.max"), TOO_LITTLE)?;
    let run = doomed.end()?;
    ensure!(run.code.is_none(), "not killed: {:?}", run.code);
    let events = fs::read_to_string(cgroup.join("memory.events"))?;
    let is_for_memory = |line: &str| line.starts_with("oom_kill ") && !line.ends_with(" 0");
    ensure!(
        events.lines().any(is_for_memory),
        "not for memory: {events}"
    );
    ensure!(!files(&spill)?.is_empty(), "it left nothing");

    fs::write(cgroup.join("memory.max"), "max")?;
    let next = watch_in(&cgroup, log)?;
    let dump = wait_for("the dump of what it left", || Ok(files(DUMPS)?.pop()))?;
    wait_for("the dump to be whole", || {
        let said = log.text().contains("dumped the minutes before");
        Ok(said.then_some(()))
    })?;
    let left = files(&spill)?;
    // Those of the one that lives.
    ensure!(left.len() == 2, "not removed: {left:?}");
    next.signal(Signal::TERM)?;
    let run = next.end()?;
    ensure!(run.code == Some(0), "exit code {:?}", run.code);
    let left = files(&spill)?;
    ensure!(left.is_empty(), "not removed at the end: {left:?}");

    let replay = Command::new(tracer())
        .args(["replay", "--strict", "--format", "json"])
        .arg(&dump)
        .output()?;
    ensure!(replay.status.success(), "cannot be read: {replay:?}");
    let text = String::from_utf8(replay.stdout)?;
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut told = lines.filter(|line: &Value| line["verdict"] == "flapping" && line["pid"] == pid);
    let flapping = told.next_back().context("the verdict is not in it")?;
    ensure!(flapping["comm"] == "workload", "{flapping}");
    Ok(())
}
