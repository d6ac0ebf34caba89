//! Shows a newcomer what tracer does: builds it, starts programs that misbehave, here or in a
//! virtual machine, and lets it name them; it never touches more of this machine than a port on
//! loopback, and never ends well where tracer did not name them.

use std::fs;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::command::run_shown;
use crate::progress::found;
use crate::setup::{self, Kernel};
use crate::vm::Vm;
use crate::{build, workspace};

/// What runs inside: starts the programs, and tracer.
const SCRIPT: &str = include_str!("demo.sh");

/// `ZooKeeper`'s port, as in the incident.
const PORT: u16 = 2181;

/// Where a virtual machine's other server listens.
const OTHER_PORT: u16 = 8080;

/// How long tracer watches: five tries of the flapping client take two seconds, the burst another
/// two, and an emulated machine beside others is slow.
const WATCH: &str = "6s";

/// How long a virtual machine may take, its boot included.
const TIMEOUT: Duration = Duration::from_mins(4);

/// The exit code by which `tracer doctor` says that the machine cannot be traced.
const CANNOT_TRACE: i32 = 2;

/// What tracer must have found: what it is called, and what one line of the report must contain.
const FINDINGS: [(&str, &[&str]); 3] = [
    (
        "the thread that flaps",
        &["FLAPPING", "shop[", "thread Thread-3-SendTh["],
    ),
    (
        "the owner of the TIME_WAIT sockets",
        &["shop[", " Thread-3-SendTh ", ":2181 "],
    ),
    (
        "the burst of descriptors",
        &["FD BURST", "tomcat[", "228 × ", "/WEB-INF/lib/"],
    ),
];

/// Where the demo is to run.
#[derive(Args)]
pub struct Arguments {
    /// The virtual machine's kernel: 5.10, 6.1, 6.12, or 7 for the newest.
    #[arg(long, value_name = "VERSION", default_value = "6.1")]
    kernel: String,
    /// Run on this machine's own kernel, without asking; needs root.
    #[arg(long, conflicts_with_all = ["vm", "kernel"])]
    here: bool,
    /// Run in a virtual machine, without asking.
    #[arg(long)]
    vm: bool,
}

/// Where the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    Vm,
    /// Where the user says.
    Asked,
}

/// Builds all, runs the demo where `arguments` or the user say, and checks what tracer said. Ends
/// silently, with a failure's exit code, where nobody reads it any more.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    match show(arguments) {
        Err(error) if is_unread(&error) => Ok(ExitCode::FAILURE),
        result => result.map(|()| ExitCode::SUCCESS),
    }
}

fn show(arguments: &Arguments) -> Result<()> {
    let look = Look::of_stdout();
    look.step(
        "Building tracer, one static binary with its kernel half inside, and programs for it to \
         watch. What that takes is installed where absent.",
    )?;
    let tracer = build::tracer()?;
    let workload = build_workload()?;
    let obstacle = obstacle(&tracer)?;
    let can_ask = io::stdin().is_terminal() && io::stdout().is_terminal();
    let place = match place(arguments, obstacle.as_deref(), can_ask)? {
        Place::Asked => ask()?,
        place => place,
    };
    let name = match place {
        Place::Here => "here",
        _ => &arguments.kernel,
    };
    let folder = prepare(name, &tracer, &workload)?;
    let out = folder.join("out");
    if place == Place::Here {
        run_here(look, &folder, &out)?;
    } else {
        run_in_vm(look, &arguments.kernel, obstacle.as_deref(), folder, &out)?;
    }
    let report = out.join("report.txt");
    let report = fs::read_to_string(&report)
        .with_context(|| format!("tracer left no report in {}", report.display()))?;
    let missing = missing(&report);
    ensure!(
        missing.is_empty(),
        "tracer's report above does not name {}: the demo, or tracer, is broken",
        missing.join(", nor ")
    );
    explain(look, &tracer)
}

fn run_here(look: Look, folder: &Path, out: &Path) -> Result<()> {
    let free = || -> Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        Ok(listener.local_addr()?.port())
    };
    let port = match TcpListener::bind((Ipv4Addr::LOCALHOST, PORT)) {
        Ok(_) => PORT,
        Err(error) => {
            let port = free()?;
            look.step(&format!(
                "Port {PORT} cannot be used here ({error}), so port {port} stands for it."
            ))?;
            port
        }
    };
    look.step(
        "Running on this machine. Nothing of it is changed: the programs talk over loopback, and \
         end with the demo.",
    )?;
    // However this program ends, the script is told to, and cleans up.
    let mut script = Command::new("setpriv");
    script
        .args(["--pdeathsig", "TERM", "--", "sh", "demo.sh"])
        .current_dir(folder)
        .env("OUT", out)
        .envs(settings(look, port, free()?))
        .stdin(Stdio::null());
    let status = script.status().context("cannot start sh by setpriv")?;
    ensure!(status.success(), "the demo failed ({status})");
    Ok(())
}

fn run_in_vm(
    look: Look,
    kernel: &str,
    obstacle: Option<&str>,
    folder: PathBuf,
    out: &Path,
) -> Result<()> {
    let why = obstacle.map_or_else(
        || "chosen instead of this machine's own".to_owned(),
        |obstacle| format!("this machine's own cannot trace ({obstacle})"),
    );
    look.step(&format!("Booting Debian's kernel {kernel} in QEMU: {why}."))?;
    found("QEMU", &setup::qemu()?.display().to_string());
    found("kernel", &Kernel::with_prefix(kernel)?.release);
    let mut vm = Vm::new(kernel);
    vm.folder = Some(folder);
    vm.out = Some(out.to_owned());
    vm.timeout = TIMEOUT;
    let mut command: String = settings(look, PORT, OTHER_PORT)
        .iter()
        .map(|(name, value)| format!("{name}={value} "))
        .collect();
    command.push_str("sh ./demo.sh");
    let finished = vm.run(&[command])?;
    ensure!(
        finished.code == 0,
        "the demo failed in the virtual machine (exit code {})",
        finished.code
    );
    Ok(())
}

/// What the script asks for, beside the folder for the report. No value needs quoting in a shell.
fn settings(look: Look, port: u16, other_port: u16) -> [(&'static str, String); 4] {
    [
        ("PORT", port.to_string()),
        ("OTHER_PORT", other_port.to_string()),
        ("WATCH", WATCH.to_owned()),
        ("COLOR", look.when().to_owned()),
    ]
}

/// Builds the programs that tracer is to watch; they need nothing of where they run.
fn build_workload() -> Result<PathBuf> {
    let mut cargo = workspace::cargo("build");
    cargo.args(["--package", "tracer-tests", "--bin", "workload"]);
    let target = workspace::make_static(&mut cargo);
    run_shown(&mut cargo)?;
    let path = workspace::target().join(target).join("debug/workload");
    ensure!(
        setup::is_static(&path),
        "{} needs libraries that no guest has",
        path.display()
    );
    Ok(path)
}

/// Makes a new folder with all that runs, and an empty `out` in it. It lies among what cargo
/// builds, so that nothing stays behind elsewhere when the demo is interrupted.
fn prepare(name: &str, tracer: &Path, workload: &Path) -> Result<PathBuf> {
    let folder = workspace::target().join("demo").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("out"))?;
    for (program, name) in [(tracer, "tracer"), (workload, "workload")] {
        fs::copy(program, folder.join(name))
            .with_context(|| format!("cannot copy {}", program.display()))?;
    }
    fs::write(folder.join("demo.sh"), SCRIPT)?;
    Ok(folder)
}

/// Why this machine cannot be traced, by what `tracer doctor` says; nothing where it can.
fn obstacle(tracer: &Path) -> Result<Option<String>> {
    let mut doctor = Command::new(tracer);
    doctor.args(["doctor", "--format", "json"]);
    let output = doctor.output().context("cannot start tracer")?;
    let checks = String::from_utf8_lossy(&output.stdout);
    match output.status.code() {
        Some(0) => Ok(None),
        Some(CANNOT_TRACE) => Ok(Some(lacking(&checks))),
        _ => bail!("`tracer doctor` failed ({})", output.status),
    }
}

/// What the lines of `tracer doctor` call essential and absent.
fn lacking(checks: &str) -> String {
    let details: Vec<String> = checks
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|check| check["essential"] == true && check["verdict"] == "no")
        .filter_map(|check| {
            let name = check["name"].as_str()?;
            Some(format!("{name}: {}", check["detail"].as_str()?))
        })
        .collect();
    details.join("; ")
}

/// Chooses where to run. Fails where that was asked for on this machine and cannot be.
fn place(arguments: &Arguments, obstacle: Option<&str>, can_ask: bool) -> Result<Place> {
    Ok(match obstacle {
        Some(obstacle) if arguments.here => bail!(
            "this machine cannot be traced ({obstacle}); `target/dist/tracer doctor` tells what to \
             do, and without --here the demo runs in a virtual machine"
        ),
        _ if arguments.here => Place::Here,
        None if !arguments.vm && can_ask => Place::Asked,
        _ => Place::Vm,
    })
}

fn ask() -> Result<Place> {
    let mut lines = io::stdin().lock().lines();
    loop {
        print_now(
            "This host can trace. Run the demo here instead of in a virtual machine? [Y/n] ",
        )?;
        // The end of the input is not consent.
        let answer = lines.next().transpose()?;
        match answer.as_deref().map_or(Some(Place::Vm), chosen) {
            Some(place) => return Ok(place),
            None => print_now("Please answer y or n. ")?,
        }
    }
}

/// What the user's answer means, if it is one.
fn chosen(answer: &str) -> Option<Place> {
    match answer.trim().to_ascii_lowercase().as_str() {
        "" | "y" | "yes" => Some(Place::Here),
        "n" | "no" => Some(Place::Vm),
        _ => None,
    }
}

/// Which findings the report lacks.
fn missing(report: &str) -> Vec<&'static str> {
    let plain = without_colors(report);
    let has = |words: &[&str]| {
        let mut lines = plain.lines();
        lines.any(|line| words.iter().all(|word| line.contains(word)))
    };
    let lacking = FINDINGS.iter().filter(|(_, words)| !has(words));
    lacking.map(|(name, _)| *name).collect()
}

/// The text without the escape sequences that set colours: from ESC to the letter `m`.
fn without_colors(text: &str) -> String {
    let mut parts = text.split("\x1b[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    plain.extend(parts.map(|part| part.split_once('m').map_or(part, |(_, rest)| rest)));
    plain
}

/// Says what to read in the report, and what to do next.
fn explain(look: Look, tracer: &Path) -> Result<()> {
    look.step(
        "What to read in it: FLAPPING names the process and the thread behind the connections \
         that netstat had no owner for, and TIME_WAIT counts each owner's sockets; those from \
         before tracer's start have none, and are gone within a minute.",
    )?;
    print_now(
        "    FD BURST names who filled a descriptor table, with what, and how near to the limit.\n",
    )?;
    look.step("On a real host: one file is all that it takes, on any Linux from 5.10 on.")?;
    print_now(&format!(
        "    sudo {} watch --port {PORT}\n",
        tracer.display()
    ))
}

/// Whether what failed was only that the reader, such as `head`, has seen enough.
fn is_unread(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    causes.any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
    })
}

/// Prints to stdout; unlike `print!`, survives a reader that has gone.
fn print_now(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Whether there are colours. It is decided once: a guest's streams are pipes, but may end on this
/// machine's terminal.
#[derive(Clone, Copy)]
struct Look {
    color: bool,
}

impl Look {
    fn of_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            color: io::stdout().is_terminal() && !refused,
        }
    }

    /// The value of tracer's `--color`.
    fn when(self) -> &'static str {
        if self.color { "always" } else { "never" }
    }

    /// Says what is done next, and why.
    fn step(self, what: &str) -> Result<()> {
        let (bold, plain) = if self.color {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        print_now(&format!("\n{bold}==> {what}{plain}\n"))
    }
}
