//! The words of the command line: what they are, what each means, and which go together; never what
//! is done about them.

mod action;
mod examples;
mod manual;
mod metrics;
mod otlp;
mod record;
mod report;
mod rights;
mod serve;
mod settings;
mod thresholds;
mod traces;
mod url;
mod views;

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::RangedU64ValueParser};
use clap_verbosity_flag::{Verbosity, WarnLevel};

use crate::{
    analysis::report::FINDING_NAMES,
    model::{Nanos, Pid, Selection},
    sink::ColorWhen,
};

pub use action::ActionArgs;
use examples::EXAMPLES;
pub use manual::{CompletionsArgs, ManArgs};
pub use metrics::{DetailArgs, MetricsAt};
pub use otlp::OtlpArgs;
pub use record::{DumpArgs, FlightArgs, KeepArgs, Rotation};
pub use report::{ReportArgs, ReportFormat};
pub use rights::RightsArgs;
pub use serve::ServeArgs;
pub use settings::{Changes, Settings};
pub use thresholds::ThresholdArgs;
pub use traces::{Moment, Speed, TraceArgs};
pub use url::HttpUrl;
pub use views::{DiffArgs, EventsArgs, ExportArgs, ExportAs};

/// The codes that tracer ends with.
pub mod exit {
    /// All went well.
    pub const CLEAN: u8 = 0;
    /// Something failed on the way.
    pub const FAILURE: u8 = 1;
    /// This machine cannot trace, or the command line is wrong (clap's code for it).
    pub const CANNOT_TRACE: u8 = 2;
    /// There was a verdict, and `--fail-on-verdict` asked for this.
    pub const VERDICT: u8 = 3;
    /// A trace is cut or damaged, and `--strict` asked for this.
    pub const INCOMPLETE: u8 = 4;
}

/// The shortest `--interval`: a person reads no faster, and each refresh costs a report.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The smallest `--ring-size`: one page, the least that the kernel takes.
const RING_BYTES_MIN: u32 = 4 << 10;

/// The largest `--ring-size`: the kernel maps the data twice into a 32-bit range of offsets.
const RING_BYTES_MAX: u32 = 1 << 30;

/// The part of the help that all commands have in common.
const GENERAL: &str = "Logging and colours";

/// Names the process and thread behind flapping connections, TIME_WAIT sockets and descriptor
/// bursts.
///
/// Two stories it was made for: a client that opened and closed connections to port 2181 all day,
/// while netstat showed TIME_WAIT sockets that belonged to nobody; and a service that ran out of
/// file descriptors in seconds, with no trace of who had opened them once it was restarted.
///
/// It watches the kernel with eBPF, where the process itself acts, so that it can say who: process,
/// thread, executable, container. It changes nothing. It needs root and Linux 5.10 or later;
/// `tracer doctor` says what exactly, and what this machine has of it.
#[derive(Debug, Parser)]
#[command(name = "tracer", version, after_long_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// What is to be done.
    #[command(subcommand)]
    pub command: Command,
    /// How much is logged to standard error.
    #[command(flatten, next_help_heading = GENERAL)]
    pub verbosity: Verbosity<WarnLevel>,
    /// When to use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", help_heading = GENERAL)]
    pub color: ColorWhen,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch connections and descriptors, and say who does what is wrong with them
    ///
    /// On a terminal the report refreshes in place: verdicts first, then processes by activity,
    /// then TIME_WAIT sockets by owner, then what was lost. In a pipe each verdict is printed when
    /// it is made and when it is over, and the report at the end. Ctrl-C ends it with the last
    /// report.
    #[command(after_long_help = EXAMPLES)]
    Watch(Box<WatchArgs>),
    /// Record what happens, to be looked at later
    ///
    /// The trace holds every event and fact that a report is made of, and is an Arrow stream that
    /// pandas, Polars and others open too (see docs/trace.md). What was written stays readable if
    /// tracer is killed. Ctrl-C ends it in order.
    ///
    /// With --flight it can run all the time: it keeps the last minutes in memory, and writes them
    /// when there is a verdict.
    #[command(after_long_help = EXAMPLES)]
    Record(Box<RecordArgs>),
    /// Watch for months, beside an application or once a node, and tell what is already there
    ///
    /// Prints one JSON object a line for each verdict and for each change of one, and runs until
    /// SIGTERM. Each option can also be set by an environment variable or in a file (see
    /// docs/serve.md); an option goes before a variable, and that before the file. SIGHUP reads the
    /// file again.
    #[command(after_long_help = EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Ask a running tracer with a flight recorder for a dump of the last minutes
    ///
    /// The tracer is one that was started with --flight. Prints the path of the trace that it wrote.
    #[command(after_long_help = EXAMPLES)]
    Dump(DumpArgs),
    /// Show what a trace says, as `tracer watch` would have shown it
    ///
    /// The same inputs go through the same analysis: the report is the live one. Thresholds are those
    /// of the recording, unless others are given. Needs no root and no particular kernel.
    #[command(after_long_help = EXAMPLES)]
    Replay(Box<ReplayArgs>),
    /// Make one page of a trace, to attach to an incident, or a ticket's text
    ///
    /// The page holds the verdicts, one timeline of descriptors, opens, connections, failures and
    /// TIME_WAIT sockets, and tables to sort and filter. It loads nothing and sends nothing. Needs no
    /// root and no particular kernel.
    #[command(after_long_help = EXAMPLES)]
    Report(Box<ReportArgs>),
    /// Print the events of a trace, a line each
    ///
    /// The columns are those that users of tcplife, tcptracer and opensnoop know. With --lives a line
    /// for each connection that ended, with its bytes, how long it lived, and who ended it.
    #[command(after_long_help = EXAMPLES)]
    Events(EventsArgs),
    /// Write a trace as Parquet, JSON lines or CSV, for other programs
    ///
    /// The columns are those of the trace (see docs/trace.md), with the time on the wall clock (UTC)
    /// before them.
    #[command(after_long_help = EXAMPLES)]
    Export(ExportArgs),
    /// Say what differs between two traces, such as before and after a deploy
    ///
    /// By program, not by process: connections and failures a minute with each peer, verdicts gained
    /// and lost, files opened by directory; what changed most first.
    #[command(after_long_help = EXAMPLES)]
    Diff(DiffArgs),
    /// List TIME_WAIT sockets with the processes that they belonged to
    ///
    /// The columns are netstat's, with the one filled in that netstat cannot: the kernel no longer
    /// knows the owner of a TIME_WAIT socket, so tracer must have seen its connection. Each lasts
    /// 60 seconds: after watching so long, every one that is listed has its owner.
    #[command(after_long_help = EXAMPLES)]
    Timewait(TimewaitArgs),
    /// Check whether this machine can be traced, and what is missing
    ///
    /// Each check says yes or no, what is lost without it, and what to do. Works without root as
    /// far as it can.
    #[command(after_long_help = EXAMPLES)]
    Doctor(DoctorArgs),
    /// Print a script by which a shell completes tracer's options
    ///
    /// For bash: `tracer completions bash > /etc/bash_completion.d/tracer`. Packages bring it along.
    Completions(CompletionsArgs),
    /// Write the manual pages, for packages
    #[command(hide = true)]
    Man(ManArgs),
}

/// What is watched, and how long: what `watch` and `record` have in common.
#[derive(Clone, Debug, Args)]
pub struct ScopeArgs {
    /// What is watched: all of this machine (`host`), or the pod alone that tracer is in (`pod`), which
    /// is all that shares its network
    #[arg(long, value_name = "WHAT", default_value = "host")]
    pub scope: Reach,
    /// The uid of the pod that tracer is in, for processes of it that nothing else tells the pod of: with
    /// `--scope pod`, where a sidecar sees its own cgroup alone. Kubernetes tells it as `metadata.uid`
    #[arg(long, value_name = "UID", value_parser = pod_uid)]
    pub pod_uid: Option<String>,
    /// Only connections with this port on either side; repeat it or separate by commas
    #[arg(
        long = "port", value_name = "PORT", value_delimiter = ',',
        conflicts_with = "no_tcp", value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub ports: Vec<u16>,
    /// Only this process, in the host's numbering; repeat it or separate by commas
    #[arg(
        long = "pid", value_name = "PID", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pids: Vec<u32>,
    /// Stop after so long, such as 30s or 5m [default: at Ctrl-C]
    #[arg(short, long, value_name = "TIME", value_parser = positive_time)]
    pub duration: Option<Duration>,
    /// Do not watch descriptors
    #[arg(long, conflicts_with = "no_tcp")]
    pub no_fds: bool,
    /// Do not watch connections
    #[arg(long)]
    pub no_tcp: bool,
    /// Create this file once every hook is attached, so that a script can wait for it
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// End with exit code 3 if there was a verdict
    #[arg(long)]
    pub fail_on_verdict: bool,
    /// Attach in this way only, to test the fall-back
    #[arg(long, hide = true, value_name = "HOW", default_value = "auto")]
    pub attach: AttachMode,
    /// Give the kernel half's tables of processes, connections and stacks so many places only, to test what
    /// happens once they are full
    #[arg(long, hide = true, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub map_entries: Option<u32>,
}

/// A UUID, or the sum in hexadecimal that stands for one.
fn pod_uid(text: &str) -> Result<String, String> {
    let is_uid = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    if text.is_empty() || !text.bytes().all(is_uid) {
        return Err("expected the uid of a pod, as Kubernetes tells it (metadata.uid)".to_owned());
    }
    Ok(text.to_owned())
}

impl ScopeArgs {
    /// What the user selected, but for [`ScopeArgs::scope`]: which pod that is, only the machine knows.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            netns: None,
            ports: sorted(self.ports.clone()),
            pids: sorted(self.pids.iter().copied().map(Pid).collect()),
            tcp: !self.no_tcp,
            fds: !self.no_fds,
        }
    }
}

/// How far a watch reaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Reach {
    /// All processes of the machine
    #[default]
    Host,
    /// Those of tracer's own pod
    Pod,
}

/// How `tracer watch` is to watch.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// What is watched.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How it is shown.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Record it as well, to this file
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    pub record: Option<PathBuf>,
    /// How large that may get.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// What is kept in memory.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// Serve metrics and health by HTTP: a port of this machine's own address, such as 9740, or an
    /// address, such as 0.0.0.0:9740 (see docs/serve.md)
    #[arg(
        long, value_name = "ADDR", value_parser = metrics::metrics_at, help_heading = "Metrics"
    )]
    pub metrics: Option<MetricsAt>,
    /// In which detail.
    #[command(flatten)]
    pub metrics_detail: DetailArgs,
    /// What it costs.
    #[command(flatten)]
    pub cost: CostArgs,
    /// What it keeps of its rights.
    #[command(flatten)]
    pub rights: RightsArgs,
    /// When it speaks up.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
}

/// How a report is shown.
#[derive(Debug, Args)]
pub struct ViewArgs {
    /// Refresh the report each so long, at least 100ms
    #[arg(short, long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// What to print: a report for people, or one JSON object a line (see docs/fields.md)
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// What `tracer record` is to record.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Write the trace to this file
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["flight", "dump_dir"])]
    pub output: Option<PathBuf>,
    /// What is recorded.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// How large it may get.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// What is kept in memory.
    #[command(flatten)]
    pub flight: FlightArgs,
    /// What it costs.
    #[command(flatten)]
    pub cost: CostArgs,
    /// What it keeps of its rights.
    #[command(flatten)]
    pub rights: RightsArgs,
    /// When there is a verdict.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
}

/// How `tracer replay` is to show a trace.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Which trace.
    #[command(flatten)]
    pub trace: TraceArgs,
    /// How it is shown.
    #[command(flatten)]
    pub view: ViewArgs,
    /// Show only these verdicts, such as `flapping,fd_burst`
    #[arg(long = "verdict", value_name = "NAME", value_delimiter = ',', value_parser = verdict_name)]
    pub verdicts: Vec<String>,
    /// How fast: 1x is as it happened
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = traces::speed)]
    pub speed: Speed,
    /// End with exit code 3 if there was a verdict
    #[arg(long)]
    pub fail_on_verdict: bool,
    /// When it speaks up.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
}

/// The name of a verdict that there is.
fn verdict_name(name: &str) -> Result<String, String> {
    if FINDING_NAMES.contains(&name) {
        return Ok(name.to_owned());
    }
    Err(format!("the verdicts are {}", FINDING_NAMES.join(", ")))
}

/// What watching may cost.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cost")]
pub struct CostArgs {
    /// Descriptor events with paths that one process may send in one second; what is beyond is
    /// counted only. 0 counts all and sends none. A process chosen by --pid is sent whole
    #[arg(long, value_name = "EVENTS", default_value_t = 1000)]
    pub fd_budget: u64,
    /// Size of the buffer between kernel and tracer in bytes, K or M: a power of two
    #[arg(long, value_name = "SIZE", default_value = "4M", value_parser = ring_bytes)]
    pub ring_size: u32,
    /// Tell the most frequent user stacks of a verdict's connects or opened files
    ///
    /// Needs frame pointers; of Java a JVM with -XX:+PreserveFramePointer, and `jcmd PID Compiler.perfmap`
    /// meanwhile. Costs 9 MB of kernel memory, and a walk of the stack for each connect and open
    #[arg(long)]
    pub stacks: bool,
}

/// How `tracer timewait` is to watch and list.
#[derive(Debug, Args)]
pub struct TimewaitArgs {
    /// Only sockets with this port on either side; repeat it or separate by commas
    #[arg(
        long = "port", value_name = "PORT", value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub ports: Vec<u16>,
    /// Watch so long before listing; 0s lists at once, without owners. Ctrl-C lists earlier
    #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub watch_for: Duration,
    /// What to print: netstat's columns, or one JSON object a line (see docs/fields.md)
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
    /// Create this file once every hook is attached, so that a script can wait for it
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

impl TimewaitArgs {
    /// What the user selected: connections only.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            ports: sorted(self.ports.clone()),
            fds: false,
            ..Selection::default()
        }
    }
}

/// How `tracer doctor` is to tell what it found.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// What to print: a list for people, or one JSON object a line
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For machines: one JSON object a line.
    Json,
}

/// How the probes are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AttachMode {
    /// As the kernel allows, fentry first.
    #[default]
    Auto,
    /// As fentry and fexit only.
    Fentry,
    /// As kprobes and kretprobes only.
    Kprobe,
}

/// A time as the engine counts it.
pub(crate) fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn count() -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(1..)
}

/// Each once, in order, so that the same selection is told in the same way.
fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();
    items
}

fn positive_time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time.is_zero() {
        return Err("must be longer than nothing".to_owned());
    }
    Ok(time)
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time < INTERVAL_MIN {
        let least = humantime::format_duration(INTERVAL_MIN);
        return Err(format!("must be at least {least}"));
    }
    Ok(time)
}

/// A ring buffer's size: the kernel takes powers of two only, of whole pages.
fn ring_bytes(text: &str) -> Result<u32, String> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'k' | b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'm' | b'M') => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    let number: u32 = digits
        .parse()
        .map_err(|_| "expected bytes, or a number with K or M, such as 4M".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|bytes| {
            bytes.is_power_of_two() && (RING_BYTES_MIN..=RING_BYTES_MAX).contains(bytes)
        })
        .ok_or_else(|| "must be a power of two from 4K to 1024M".to_owned())
}

#[cfg(test)]
mod tests;
