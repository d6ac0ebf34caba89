//! Shows a newcomer what tracer does: builds it, starts programs that misbehave, here or in a
//! virtual machine, and lets it name them; it never touches more of this machine than a port on
//! loopback, and never ends well where tracer did not name them.

mod real;

use std::fs;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;

use crate::command::run_shown;
use crate::progress::found;
use crate::setup::{self, Kernel};
use crate::vm::{Output, Vm};
use crate::{build, workspace};
pub use real::{HEALTHY, OPENTELEMETRY, PROMETHEUS, STACKS, Scenario, TOMCAT_JARS, ZOOKEEPER};

/// How the scripts talk.
const SAY: &str = include_str!("say.sh");

/// What runs inside: starts the programs, and tracer.
const SCRIPT: &str = include_str!("workloads.sh");

/// `ZooKeeper`'s port, as in the incident.
const PORT: u16 = 2181;

/// Where a virtual machine's other server listens.
const OTHER_PORT: u16 = 8080;

/// How long tracer watches: five tries of the flapping client take two seconds, the burst half a
/// second, and an emulated machine beside others is slow.
const WATCH: &str = "5s";

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
        &["shop[", " Thread-3-SendTh ", " 127.0.0.1:* "],
    ),
    (
        "the burst of descriptors",
        &["FD BURST", "tomcat[", "228 × ", "/WEB-INF/lib/"],
    ),
];

/// What the demo shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// Both incidents, imitated by small programs: half a minute.
    #[default]
    Workloads,
    /// The first one with the real ZooKeeper, in a virtual machine: some minutes.
    Zookeeper,
    /// The second one with the real Tomcat and Redis, in a virtual machine: some minutes.
    Tomcat,
    /// Which Java method flaps, in a virtual machine: some minutes.
    Stacks,
    /// Real programs that do a lot and nothing wrong, in a virtual machine: some minutes.
    Healthy,
    /// Prometheus reads the metrics of `tracer serve`, in a virtual machine: some minutes.
    Prometheus,
    /// An OpenTelemetry collector is told of verdicts, in a virtual machine: some minutes.
    Opentelemetry,
}

/// What the demo shows, and where it is to run.
#[derive(Args)]
pub struct Arguments {
    /// What happens.
    #[arg(long, value_enum, default_value_t)]
    scenario: Shown,
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
    let scenario = match arguments.scenario {
        Shown::Workloads => None,
        Shown::Zookeeper => Some(&ZOOKEEPER),
        Shown::Tomcat => Some(&TOMCAT_JARS),
        Shown::Stacks => Some(&STACKS),
        Shown::Healthy => Some(&HEALTHY),
        Shown::Prometheus => Some(&PROMETHEUS),
        Shown::Opentelemetry => Some(&OPENTELEMETRY),
    };
    if let Some(scenario) = scenario {
        ensure!(
            !arguments.here,
            "the scenario {} changes its host: it runs in a virtual machine only",
            scenario.name
        );
        look.step(&format!(
            "Booting Debian's kernel {}: {}",
            arguments.kernel, scenario.story
        ))?;
        scenario.run(&arguments.kernel, &tracer, look.when(), Output::Stream)?;
        return Ok(());
    }
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
    let mut command = String::new();
    for (name, value) in settings(look, PORT, OTHER_PORT) {
        command.push_str(&[name, "=", &value, " "].concat());
    }
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

/// Makes a new folder with tracer, what all scripts share, and an empty `out` in it. It lies among what
/// cargo builds, so that nothing stays behind elsewhere when the demo is interrupted.
fn new_folder(name: &str, tracer: &Path) -> Result<PathBuf> {
    let folder = workspace::target().join("demo").join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(folder.join("out"))?;
    copy(tracer, &folder.join("tracer"))?;
    fs::write(folder.join("say.sh"), SAY)?;
    Ok(folder)
}

fn copy(program: &Path, to: &Path) -> Result<()> {
    fs::copy(program, to).with_context(|| format!("cannot copy {}", program.display()))?;
    Ok(())
}

/// Makes a new folder with all that runs.
fn prepare(name: &str, tracer: &Path, workload: &Path) -> Result<PathBuf> {
    let folder = new_folder(name, tracer)?;
    copy(workload, &folder.join("workload"))?;
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
    look.step("What to read in it:")?;
    print_now(
        "    FLAPPING names the process and the thread, and TIME_WAIT the owner of each socket;
    those from before tracer began to watch have none, and are gone within a minute.
    FD BURST tells who filled a descriptor table, with what, and how near to the limit.
    Nobody accuses monitor and browser, which do nothing wrong.\n",
    )?;
    look.step("On a real host, this one file is all that it takes; it needs Linux 5.10 or later:")?;
    let tracer = tracer.strip_prefix(workspace::root()).unwrap_or(tracer);
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

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = "\
FLAPPING  zookeeper[9] has connections from 127.0.0.1 to its port 2181 that open and close
FLAPPING  shop[7] thread Thread-3-SendTh[8 = nid 0x8] opens and closes connections
FD BURST  tomcat[5] thread http-nio-8080-e[6 = nid 0x6] opened 228 files in 1.1 s: \
          228 × /tmp/webapps/shop/WEB-INF/lib/*.jar; descriptors 4 before
SOCKETS OWNER   THREAD          LOCAL       REMOTE         FOUND BY
      9 -                       127.0.0.1:* 127.0.0.1:2181 before start
      5 shop[7] Thread-3-SendTh 127.0.0.1:* 127.0.0.1:2181 cookie
";

    fn arguments(words: &[&str]) -> Arguments {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: Arguments,
        }
        let words = std::iter::once(&"demo").chain(words);
        <Line as clap::Parser>::parse_from(words).arguments
    }

    #[test]
    fn a_whole_report_lacks_nothing() {
        assert_eq!(missing(REPORT), Vec::<&str>::new());
    }

    #[test]
    fn each_finding_is_missed_when_its_line_is_gone() {
        let without = |line: usize| {
            let lines = REPORT.lines().enumerate();
            let left = lines.filter(|(number, _)| *number != line);
            let left: Vec<&str> = left.map(|(_, text)| text).collect();
            missing(&left.join("\n"))
        };
        assert_eq!(without(0), Vec::<&str>::new());
        assert_eq!(without(1), ["the thread that flaps"]);
        assert_eq!(without(2), ["the burst of descriptors"]);
        assert_eq!(without(5), ["the owner of the TIME_WAIT sockets"]);
        assert_eq!(missing("").len(), FINDINGS.len());
    }

    #[test]
    fn colors_hide_no_finding() {
        let colored = REPORT
            .replace("FLAPPING", "\x1b[1m\x1b[31mFLAPPING\x1b[0m")
            .replace("shop[7]", "\x1b[1mshop[7]\x1b[0m");
        assert_eq!(without_colors(&colored), REPORT);
        assert_eq!(missing(&colored), Vec::<&str>::new());
    }

    #[test]
    fn a_machine_that_cannot_trace_gets_a_virtual_one() {
        let obstacle = Some("no kprobes");
        assert_eq!(place(&arguments(&[]), obstacle, true).unwrap(), Place::Vm);
        assert_eq!(
            place(&arguments(&["--vm"]), obstacle, true).unwrap(),
            Place::Vm
        );
        let error = place(&arguments(&["--here"]), obstacle, true).unwrap_err();
        assert!(error.to_string().contains("(no kprobes)"), "{error}");
    }

    #[test]
    fn where_tracing_works_the_user_is_asked_if_that_can_be() {
        assert_eq!(place(&arguments(&[]), None, true).unwrap(), Place::Asked);
        assert_eq!(place(&arguments(&[]), None, false).unwrap(), Place::Vm);
        assert_eq!(
            place(&arguments(&["--here"]), None, false).unwrap(),
            Place::Here
        );
        assert_eq!(place(&arguments(&["--vm"]), None, true).unwrap(), Place::Vm);
    }

    #[test]
    fn an_empty_answer_is_yes_and_nonsense_is_none() {
        assert_eq!(chosen(""), Some(Place::Here));
        assert_eq!(chosen(" Yes\n"), Some(Place::Here));
        assert_eq!(chosen("N"), Some(Place::Vm));
        assert_eq!(chosen("maybe"), None);
    }

    #[test]
    fn only_what_is_essential_and_absent_is_told() {
        let checks = r#"{"name":"rights","verdict":"yes","detail":"all","essential":true}
{"name":"fentry","verdict":"no","detail":"refused","essential":false}
{"name":"hooks","verdict":"no","detail":"no fentry; no kprobes","essential":true}
{"name":"BTF","verdict":"no","detail":"no such file","essential":true}
"#;
        assert_eq!(
            lacking(checks),
            "hooks: no fentry; no kprobes; BTF: no such file"
        );
    }

    #[test]
    fn a_reader_that_has_gone_is_no_error_to_tell() {
        let gone = anyhow::Error::new(io::Error::from(ErrorKind::BrokenPipe));
        assert!(is_unread(
            &gone.context("cannot pass on what the guest wrote")
        ));
        assert!(!is_unread(&anyhow::anyhow!("the demo failed")));
    }
}
