//! Which rights a tracer that watches still has, thread by thread, and what it can no longer do; never
//! whether what it tells is right, which the other tests see while it has no more than these.

use std::{collections::BTreeMap, fs, os::unix::fs as unix, process::Command};

use anyhow::{Context as _, Result, ensure};
use libtest_mimic::Failed;
use rustix::{process::Signal, system::uname};

use crate::{
    list::{Checks, Test},
    programs::{Log, Tracer, tracer},
    run::{Run, Shared},
};

pub fn tests() -> Vec<Test> {
    vec![
        Test::new("rights::each_thread_keeps_what_it_needs", threads),
        Test::new(
            "rights::a_closed_folder_takes_one_right_more",
            closed_folder,
        ),
        Test::new("rights::dumps_go_to_their_folder_alone", dumps),
        Test::new("rights::all_stay_where_that_is_asked_for", kept),
    ]
}

// Their bits in a set (capabilities(7), `include/uapi/linux/capability.h`).
const DAC_OVERRIDE: u64 = 1 << 1;
const DAC_READ_SEARCH: u64 = 1 << 2;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const BPF: u64 = 1 << 39;

const DUMPS: &str = "/tmp/rights-dumps";
const ELSEWHERE: &str = "/tmp/rights-elsewhere";
const CLOSED: &str = "/tmp/rights-closed";
const CONTROL: &str = "/tmp/rights.sock";
/// Some user who is not root.
const USER: u32 = 1000;

/// Of a thread, from its `status` in /proc.
#[derive(Debug, PartialEq, Eq)]
struct Rights {
    effective: u64,
    permitted: u64,
    inheritable: u64,
    bounding: u64,
    no_new_privs: u64,
    /// Its mode: 2 is a filter.
    seccomp: u64,
}

impl Rights {
    /// Of one that has been confined.
    fn only(kept: u64) -> Self {
        Self {
            effective: kept,
            permitted: kept,
            inheritable: 0,
            bounding: 0,
            no_new_privs: 1,
            seccomp: 2,
        }
    }

    fn read(status: &str) -> Result<Self> {
        let field = |name: &str, radix| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let text = line.with_context(|| format!("no {name}"))?.trim();
            u64::from_str_radix(text, radix).with_context(|| format!("{name} {text}"))
        };
        Ok(Self {
            effective: field("CapEff:", 16)?,
            permitted: field("CapPrm:", 16)?,
            inheritable: field("CapInh:", 16)?,
            bounding: field("CapBnd:", 16)?,
            no_new_privs: field("NoNewPrivs:", 10)?,
            seccomp: field("Seccomp:", 10)?,
        })
    }
}

/// Each thread of a process, by its name.
type Threads = BTreeMap<String, Rights>;

fn threads_of(pid: u32) -> Result<Threads> {
    let mut threads = Threads::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let name = status.lines().next().unwrap_or_default();
        let name = name.trim_start_matches("Name:").trim().to_owned();
        threads.insert(name, Rights::read(&status)?);
    }
    Ok(threads)
}

/// Up to 5.18 reading a map takes this right, where users without it may make none.
fn to_read_maps() -> u64 {
    let release = uname().release().to_string_lossy().into_owned();
    let mut numbers = release
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let setting = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    if version < (5, 19) && setting.is_ok_and(|setting| setting.trim() != "0") {
        BPF
    } else {
        0
    }
}

/// What `tracer doctor` says of Landlock.
fn has_landlock() -> Result<bool> {
    let output = Command::new(tracer())
        .args(["doctor", "--format", "json"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    for line in text.lines() {
        let check: serde_json::Value = serde_json::from_str(line)?;
        if check["name"] == "Landlock" {
            return Ok(check["verdict"] == "yes");
        }
    }
    anyhow::bail!("tracer doctor says nothing of Landlock: {text}")
}

struct Served {
    run: Run,
    threads: Threads,
    /// What `tracer dump` said, before and after another folder took the name.
    dumps: [String; 2],
    has_landlock: bool,
    elsewhere: usize,
    /// Whether its socket was still there after its end.
    leaves_socket: bool,
}

static SERVED: Shared<Served> = Shared::new(serve);

fn serve_words(dump_dir: &str) -> String {
    format!("serve --metrics 127.0.0.1:9741 --dump-dir {dump_dir} --control {CONTROL}")
}

fn ask_for_dump() -> Result<String> {
    let output = Command::new(tracer())
        .args(["dump", "--control", CONTROL])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Ok(text.into_owned())
}

fn serve(log: &Log) -> Result<Served> {
    fs::create_dir_all(ELSEWHERE)?;
    let tracer = Tracer::until_ready_file(log, &serve_words(DUMPS))?;
    let before = ask_for_dump()?;
    // Who answers has given up its rights.
    let threads = threads_of(tracer.pid())?;
    // What somebody would do who wants a file of root's in another place.
    fs::rename(DUMPS, format!("{DUMPS}.old"))?;
    unix::symlink(ELSEWHERE, DUMPS)?;
    let after = ask_for_dump()?;
    tracer.signal(Signal::TERM)?;
    Ok(Served {
        run: tracer.end()?,
        threads,
        dumps: [before, after],
        has_landlock: has_landlock()?,
        elsewhere: fs::read_dir(ELSEWHERE)?.count(),
        leaves_socket: fs::exists(CONTROL)?,
    })
}

fn threads() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    let maps = to_read_maps();
    let looks = SYS_PTRACE | DAC_READ_SEARCH | SYS_ADMIN | maps;
    let wanted = [
        ("tracer", maps),
        ("tracer-drain", 0),
        ("tracer-lookup", looks),
        ("tracer-metrics", 0),
    ];
    let wanted = wanted.map(|(name, kept)| (name.to_owned(), Rights::only(kept)));
    checks.same("rights", &served.threads, &Threads::from(wanted));
    checks.same("exit code", &served.run.code, &Some(0));
    checks.that("its socket is removed", !served.leaves_socket);
    checks.end()
}

fn dumps() -> Result<(), Failed> {
    let served = SERVED.get()?;
    let mut checks = Checks::of(&served.run);
    let [before, after] = &served.dumps;
    checks.that(
        format!("the first is made: {before}"),
        before.starts_with(DUMPS),
    );
    if served.has_landlock {
        let is_denied = after.contains("Permission denied");
        checks.that(format!("the second is not: {after}"), is_denied);
        checks.same("files elsewhere", &served.elsewhere, &0);
    } else {
        // The filter of system calls cannot tell one folder from another.
        checks.same("files elsewhere", &served.elsewhere, &1);
    }
    checks.end()
}

fn closed_folder() -> Result<(), Failed> {
    let log = Log::default();
    fs::create_dir_all(CLOSED)?;
    unix::chown(CLOSED, Some(USER), Some(USER))?;
    let chmod = Command::new("chmod").args(["700", CLOSED]).status()?;
    (|| -> Result<()> {
        ensure!(chmod.success(), "chmod failed");
        let tracer = Tracer::until_ready_file(&log, &serve_words(CLOSED))?;
        let dump = ask_for_dump()?;
        let threads = threads_of(tracer.pid())?;
        tracer.interrupt()?;
        let wanted = Rights::only(DAC_OVERRIDE | to_read_maps());
        ensure!(threads.get("tracer") == Some(&wanted), "{threads:?}");
        ensure!(dump.starts_with(CLOSED), "no dump: {dump}");
        Ok(())
    })()
    .map_err(|error| format!("{error:#}\n{}", log.text()).into())
}

fn kept() -> Result<(), Failed> {
    let log = Log::default();
    (|| -> Result<()> {
        let own = Rights::read(&fs::read_to_string("/proc/self/status")?)?;
        let words = "serve --metrics off --keep-privileges";
        let tracer = Tracer::until_ready_file(&log, words)?;
        let threads = threads_of(tracer.pid())?;
        tracer.interrupt()?;
        let is_whole = threads.values().all(|rights| *rights == own);
        ensure!(
            threads.len() >= 3 && is_whole,
            "{threads:?}, not all {own:?}"
        );
        Ok(())
    })()
    .map_err(|error| format!("{error:#}\n{}", log.text()).into())
}
