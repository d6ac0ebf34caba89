//! Runs a scenario with the real programs of an incident in a virtual machine, and holds what tracer
//! said of them against what happened; it never runs them on this machine's own kernel.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::command::output_of;
use crate::setup::{self, JAVAC};
use crate::vm::{Finished, Output, Root, Vm};

/// What the scripts share.
const COMMON: &str = include_str!("real.sh");

/// Two JVMs, the programs' files, and what they write in memory.
const MEMORY_MIB: u32 = 3072;

/// JVMs are slow on emulated processors, more so beside others.
const TIMEOUT: Duration = Duration::from_mins(12);

/// How often a scenario is tried whose script fails: on emulated processors a JVM now and then dies, or
/// misses its own deadlines. What tracer told of a scenario that ran to its end is judged once.
const TRIES: u32 = 2;

/// A scenario with real programs.
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What happens, as a headline.
    pub story: &'static str,
    script: &'static str,
    /// Finds the folder with its programs.
    programs: fn() -> Result<PathBuf>,
    /// Other files that the script finds beside it.
    files: &'static [(&'static str, &'static str)],
    /// Whether the script finds the workload beside it.
    uses_workload: bool,
    /// Its Java program's name and source, and what that is compiled with, in the programs' folder.
    java: Option<(&'static str, &'static str, &'static str)>,
    findings: &'static [Finding],
    /// Which verdicts are true; any other is a false alarm.
    is_true: fn(&Value) -> bool,
}

/// A verdict that tracer must have told last of what it names.
struct Finding {
    /// What is missing where there is none.
    what: &'static str,
    /// The file with the lines that it stands in.
    file: &'static str,
    is: fn(&Value) -> bool,
}

/// The file with the lines that the live watch told.
const WATCH: &str = "watch.jsonl";

/// The file with what a replay of the flight recorder's dump told.
const DUMP: &str = "dump.jsonl";

/// The file with the alerts that fired.
const ALERTS: &str = "alerts.jsonl";

/// The container of the application that misbehaves, as its scenario's script calls it.
const ZOOKEEPER_SHOP: &str = "5409b0a4d1c2e3f4a5b6c7d8e9f0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";
const STACKS_SHOP: &str = "57ac5000112233445566778899aabbccddeeff00112233445566778899aabbcc";
const TOMCAT: &str = "70a3ca7000112233445566778899aabbccddeeff00112233445566778899aabb";

/// The first incident.
pub const ZOOKEEPER: Scenario = Scenario {
    name: "zookeeper",
    story: "a real ZooKeeper client whose application was stopped reconnects for ever",
    script: include_str!("zookeeper.sh"),
    programs: setup::programs,
    files: &[],
    uses_workload: false,
    java: Some((
        "ZooKeeperClient",
        include_str!("java/ZooKeeperClient.java"),
        "usr/share/java/zookeeper.jar",
    )),
    // Whoever asks a server that is not there yet fails, and one that is not ready yet turns all away.
    is_true: |line| line["rport"] == 2181 || (line["role"] == "server" && line["lport"] == 2181),
    findings: &[
        Finding {
            what: "the thread that flaps: who, where, how, and that no session came about",
            file: WATCH,
            is: |line| {
                line["verdict"] == "flapping"
                    && line["role"] == "client"
                    && line["container"] == ZOOKEEPER_SHOP
                    && line["comm"] == "java"
                    && line["ns_pid"] == 1
                    // As much of `Thread-3-SendThread(127.0.0.1:2181)` as the kernel keeps.
                    && line["thread"] == "Thread-3-SendTh"
                    && line["rport"] == 2181
                    && line["rx_bytes"] == 0
                    && line["ongoing"] == true
                    && share(line, "local") > 0.9
            },
        },
        Finding {
            what: "the flapping peer, on the server's side",
            file: WATCH,
            is: |line| {
                line["verdict"] == "flapping"
                    && line["role"] == "server"
                    && line["lport"] == 2181
                    && line["raddr"] == "127.0.0.1"
            },
        },
        Finding {
            what: "the owner of the TIME_WAIT sockets",
            file: WATCH,
            is: |line| {
                line["type"] == "time_wait"
                    && line["container"] == ZOOKEEPER_SHOP
                    && line["thread"] == "Thread-3-SendTh"
                    && line["attribution"] == "cookie"
            },
        },
    ],
};

/// The second incident.
pub const TOMCAT_JARS: Scenario = Scenario {
    name: "tomcat",
    story: "a real Tomcat opens 228 jars at once, and can no longer reach Redis",
    script: include_str!("tomcat.sh"),
    programs: setup::programs,
    files: &[],
    uses_workload: false,
    java: Some((
        "Shop",
        include_str!("java/Shop.java"),
        "usr/share/tomcat10/lib/servlet-api.jar",
    )),
    is_true: |line| line["container"] == TOMCAT,
    findings: &[
        Finding {
            what: "the burst of jars",
            file: WATCH,
            is: is_burst_of_jars,
        },
        Finding {
            what: "the full table, and that Redis could no longer be reached",
            file: WATCH,
            is: is_full_table,
        },
        Finding {
            what: "the burst of jars in the flight recorder's dump",
            file: DUMP,
            is: is_burst_of_jars,
        },
        Finding {
            what: "the full table in the flight recorder's dump",
            file: DUMP,
            is: is_full_table,
        },
    ],
};

/// Which code does it.
pub const STACKS: Scenario = Scenario {
    name: "stacks",
    story: "a real JVM flaps, and tracer names the Java methods that do it",
    script: include_str!("stacks.sh"),
    programs: setup::programs,
    files: &[],
    uses_workload: false,
    java: Some(("Reconnect", include_str!("java/Reconnect.java"), ".")),
    is_true: |line| line["rport"] == 6379 || line["lport"] == 6379,
    findings: &[Finding {
        what: "the JVM's native and Java functions, from the connect outwards",
        file: WATCH,
        is: |line| {
            line["verdict"] == "flapping"
                && line["container"] == STACKS_SHOP
                && line["thread"] == "Reconnect"
                && has_frames(
                    &line["stacks"][0],
                    &[
                        "connect (libc.so.6)",
                        "Reconnect.tryOnce",
                        "Reconnect.lambda",
                        "(libjvm.so)",
                    ],
                )
        },
    }],
};

/// Whether a stack has frames in which these words occur, in this order.
fn has_frames(stack: &Value, words: &[&str]) -> bool {
    let frames = stack["frames"].as_array().into_iter().flatten();
    let mut frames = frames.filter_map(Value::as_str);
    words
        .iter()
        .all(|word| frames.any(|frame| frame.contains(word)))
}

/// Programs that do a lot, and nothing wrong.
pub const HEALTHY: Scenario = Scenario {
    name: "healthy",
    story: "programs that do a lot and nothing wrong: a build, an installation, servers under load",
    script: include_str!("healthy.sh"),
    programs: setup::programs,
    files: &[],
    uses_workload: false,
    java: None,
    findings: &[Finding {
        what: "the client that opens a connection for each request",
        file: WATCH,
        is: |line| {
            line["verdict"] == "churn"
                && line["role"] == "client"
                && line["comm"] == "ab"
                && line["rport"] == 8080
        },
    }],
    // Of the client without keep-alive, and of the same connections on the server's side.
    is_true: |line| {
        line["verdict"] == "churn"
            && ((line["role"] == "client" && line["comm"] == "ab")
                || (line["role"] == "server" && line["comm"] == "nginx"))
    },
};

/// A real Prometheus that reads tracer's metrics.
pub const PROMETHEUS: Scenario = Scenario {
    name: "prometheus",
    story: "a real Prometheus reads tracer's metrics, and an alert comes for who flaps",
    script: include_str!("prometheus.sh"),
    programs: setup::prometheus,
    files: &[(
        "tracer.rules.yml",
        include_str!("../../../deploy/prometheus/tracer.rules.yml"),
    )],
    uses_workload: true,
    java: None,
    findings: &[
        Finding {
            what: "Prometheus of who flaps",
            file: ALERTS,
            is: |line| has_alert(line, "TracerFlapping", "shop"),
        },
        Finding {
            what: "Prometheus that nobody else does anything wrong",
            file: ALERTS,
            is: |line| {
                line.as_array()
                    .is_some_and(|all| all.iter().all(is_of_flapping))
            },
        },
    ],
    // Of the client, and of the same connections on the server's side.
    is_true: |line| {
        line["verdict"] == "flapping" && (line["comm"] == "shop" || line["comm"] == "zookeeper")
    },
};

/// A real collector that is told of verdicts.
pub const OPENTELEMETRY: Scenario = Scenario {
    name: "opentelemetry",
    story: "a real OpenTelemetry collector is told of who flaps, although it comes late",
    script: include_str!("opentelemetry.sh"),
    programs: setup::collector,
    files: &[],
    uses_workload: true,
    java: None,
    // That the verdicts arrive, the script waits for.
    findings: &[Finding {
        what: "the thread that flaps",
        file: WATCH,
        is: |line| {
            line["verdict"] == "flapping"
                && line["comm"] == "shop"
                && line["thread"] == "Thread-3-SendTh"
        },
    }],
    is_true: |line| line["verdict"] == "flapping" || line["verdict"] == "churn",
};

fn has_alert(line: &Value, alert: &str, comm: &str) -> bool {
    let is_it = |one: &Value| one["metric"]["alertname"] == alert && one["metric"]["comm"] == comm;
    line.as_array().is_some_and(|all| all.iter().any(is_it))
}

fn is_of_flapping(alert: &Value) -> bool {
    let comm = &alert["metric"]["comm"];
    alert["metric"]["alertname"] == "TracerFlapping" && (comm == "shop" || comm == "zookeeper")
}

fn is_burst_of_jars(line: &Value) -> bool {
    line["verdict"] == "fd_burst"
        && line["container"] == TOMCAT
        && line["fd_limit"] == 512
        && line["fds_peak"].as_u64().is_some_and(|peak| peak >= 500)
        && line["top_dirs"][0]["pattern"]
            .as_str()
            .is_some_and(|pattern| pattern.ends_with("/webapps/shop/WEB-INF/lib/*.jar"))
}

fn is_full_table(line: &Value) -> bool {
    let failed = |call: &str| line["calls"][call].as_u64().unwrap_or_default();
    line["verdict"] == "fd_exhaustion"
        && line["container"] == TOMCAT
        && line["fd_limit"] == 512
        && line["first_errno"] == "EMFILE"
        && failed("open") > 0
        && failed("socket") > 0
        && line["unreached_peers"][0]["port"] == 6379
        && line["caused_by"]
            .as_array()
            .is_some_and(|causes| !causes.is_empty())
}

/// The share of a group's connections that a side closed.
fn share(line: &Value, side: &str) -> f64 {
    line["closed_by"][side].as_f64().unwrap_or_default()
}

impl Scenario {
    /// Runs it under a kernel with a built tracer. Fails where tracer did not say what it must.
    pub fn run(
        &self,
        kernel: &str,
        tracer: &Path,
        color: &str,
        output: Output,
    ) -> Result<Finished> {
        let programs = (self.programs)()?;
        let folder = self.prepare(kernel, &programs, tracer)?;
        let out = folder.join("out");
        let mut vm = Vm::new(kernel);
        vm.root = Root::Host;
        vm.memory_mib = MEMORY_MIB;
        vm.timeout = TIMEOUT;
        vm.folder = Some(folder);
        vm.out = Some(out.clone());
        vm.output = output;
        let command = format!(
            "PROGRAMS='{}' COLOR={color} sh ./{}.sh",
            programs.display(),
            self.name
        );
        let mut finished = vm.run(std::slice::from_ref(&command))?;
        for _ in 1..TRIES {
            if finished.code != 0 {
                eprintln!(
                    "      ... running {} again: {}",
                    self.name,
                    failure(&finished)
                );
                finished = vm.run(std::slice::from_ref(&command))?;
            }
        }
        ensure!(finished.code == 0, "{}", failure(&finished));
        let wrong = self.wrong(&out)?;
        ensure!(
            wrong.is_empty(),
            "{}; all that tracer told is in {}",
            wrong.join("; "),
            out.display()
        );
        Ok(finished)
    }

    /// A folder with all that runs.
    fn prepare(&self, kernel: &str, programs: &Path, tracer: &Path) -> Result<PathBuf> {
        let folder = super::new_folder(&format!("{}-{kernel}", self.name), tracer)?;
        fs::write(folder.join("real.sh"), COMMON)?;
        fs::write(folder.join(self.name).with_extension("sh"), self.script)?;
        for (name, content) in self.files {
            fs::write(folder.join(name), content)?;
        }
        if self.uses_workload {
            super::copy(&super::build_workload()?, &folder.join("workload"))?;
        }
        if let Some((name, source, classes)) = self.java {
            let file = folder.join(name).with_extension("java");
            fs::write(&file, source)?;
            let mut javac = Command::new(programs.join(JAVAC));
            javac.arg("-cp").arg(programs.join(classes));
            output_of(javac.arg("-d").arg(&folder).arg(file))?;
        }
        Ok(folder)
    }

    /// What tracer should have said and did not, and what it said and should not have.
    fn wrong(&self, out: &Path) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for finding in self.findings {
            if !lines(out, finding.file)?.iter().any(finding.is) {
                wrong.push(format!("tracer did not tell {}", finding.what));
            }
        }
        for line in lines(out, WATCH)? {
            if line["type"] == "verdict" && !(self.is_true)(&line) {
                wrong.push(format!("a false alarm: {}", line["text"]));
            }
        }
        Ok(wrong)
    }
}

/// How the script failed, with all that it said.
fn failure(finished: &Finished) -> String {
    format!(
        "the scenario failed in the virtual machine (exit code {})\n{}{}",
        finished.code,
        String::from_utf8_lossy(&finished.stdout),
        String::from_utf8_lossy(&finished.stderr)
    )
}

/// The lines of one of the files that tracer wrote.
fn lines(out: &Path, file: &str) -> Result<Vec<Value>> {
    let path = out.join(file);
    let text =
        fs::read_to_string(&path).with_context(|| format!("tracer left no {}", path.display()))?;
    let lines = text.lines().map(serde_json::from_str);
    lines
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} holds a line that is no JSON", path.display()))
}
