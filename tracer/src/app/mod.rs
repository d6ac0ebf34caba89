//! What each subcommand does, put together from all other parts; never what they do themselves.

mod action;
mod calls;
mod control;
mod diff;
mod events;
mod export;
mod exporter;
mod feed;
mod flight;
mod http;
mod journal;
mod notify;
mod otlp;
mod output;
mod pump;
mod ready_file;
mod record;
mod recorder;
mod reload;
mod replay;
mod report;
mod rights;
mod serve;
mod spill;
mod stack_places;
mod stop;
mod traces;

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    analysis::{Report, Thresholds, totals::Detail},
    cli::{
        AttachMode, Cli, Command, CompletionsArgs, CostArgs, DetailArgs, DoctorArgs, DumpArgs,
        Format, ManArgs, MetricsAt, Reach, ScopeArgs, Settings, TimewaitArgs, WatchArgs, exit,
    },
    confine::{Confinement, Duty},
    doctor, host,
    model::Selection,
    sink::{Look, timewait},
    source::live::{self, AttachError, Live, Method},
};
use action::Action;
use exporter::{Exporter, Exports, Others};
pub use journal::start_log;
use otlp::Deliveries;
use output::Output;
use pump::{Ended, Pump, Watch};
use recorder::Recording;
use stop::Stop;

/// How much of the ring buffer `tracer timewait` needs: connections only.
const TIMEWAIT_RING_BYTES: u32 = 4 << 20;

/// Runs what the command line asks for; `settings` are those of `tracer serve`. Whatever went wrong has
/// been said on standard error.
pub fn run(cli: &Cli, settings: Option<Settings>) -> ExitCode {
    let look = Look::of_stdout(cli.color);
    let ended = match &cli.command {
        Command::Watch(args) => watch(args, look),
        Command::Record(args) => record::record(args),
        Command::Serve(args) => serve::serve(args, settings),
        Command::Dump(args) => dump(args),
        Command::Replay(args) => replay::replay(args, look),
        Command::Report(args) => report::report(args),
        Command::Events(args) => events::events(args, look),
        Command::Export(args) => export::export(args),
        Command::Diff(args) => diff::diff(args, look),
        Command::Timewait(args) => list_time_wait(args, look),
        Command::Doctor(args) => examine(args),
        Command::Completions(args) => complete(args),
        Command::Man(args) => write_manual(args),
    };
    ExitCode::from(ended.unwrap_or_else(|error| {
        if let Some(obstacle) = error.downcast_ref::<Obstacle>() {
            eprintln!("{obstacle}");
            return exit::CANNOT_TRACE;
        }
        // A reader that has seen enough, such as `head`, is no failure.
        if is_broken_pipe(&error) {
            return exit::CLEAN;
        }
        eprintln!("error: {error:#}");
        exit::FAILURE
    }))
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Why this machine cannot trace, and what to do.
#[derive(Debug)]
struct Obstacle(String);

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Obstacle {}

/// Attaches, or says in one message why that cannot work here.
fn attach(options: &live::Options, confinement: &Confinement) -> Result<(Live, live::Drain)> {
    let first = confinement.of(Duty::Plain);
    Live::start(options, host::session::now, first).map_err(|error| {
        let found = doctor::obstacles(&doctor::run());
        match (found, error) {
            (Some(message), _) => Obstacle(message).into(),
            (None, error @ (AttachError::NoHooks(_) | AttachError::Types(_))) => {
                let hint = "`tracer doctor` lists what this machine has and lacks.";
                Obstacle(format!(
                    "tracer cannot trace on this machine: {error}.\n{hint}"
                ))
                .into()
            }
            (None, error) => error.into(),
        }
    })
}

fn watch(args: &WatchArgs, look: Look) -> Result<u8> {
    let watch = Watch {
        interval: args.view.interval,
        recording: args.record.clone().map(|path| Recording {
            path,
            keep: args.keep.clone(),
        }),
        exports: exports(args.metrics, &args.metrics_detail),
        keeps_privileges: args.rights.keep_privileges,
        ..Watch::new(&args.scope, &args.thresholds, &args.flight)
    };
    let mut output = Output::start(args.view.format, look, true)?;
    let ended = pump(&scope_options(&args.scope, &args.cost)?, watch, &mut output)?;
    output.end(&ended.report)?;
    record::tell(&ended);
    Ok(code(&args.scope, &ended.report))
}

/// Where metrics are to be served, if anywhere.
fn exports(at: Option<MetricsAt>, detail: &DetailArgs) -> Option<Exports> {
    let detail = Detail {
        pid: detail.metrics_pid,
        cmdline: detail.metrics_cmdline,
    };
    let at = at?.address()?;
    Some(Exports { at, detail })
}

/// The code that a watch ends with where all went well.
fn code(scope: &ScopeArgs, report: &Report) -> u8 {
    if scope.fail_on_verdict && !report.verdicts.is_empty() {
        exit::VERDICT
    } else {
        exit::CLEAN
    }
}

/// How to attach for what the user selected.
fn scope_options(scope: &ScopeArgs, cost: &CostArgs) -> Result<live::Options> {
    let mut selection = scope.selection();
    if scope.pod_uid.is_some() && scope.scope != Reach::Pod {
        anyhow::bail!("--pod-uid is of the pod that tracer watches alone: it takes --scope pod");
    }
    if scope.scope == Reach::Pod {
        let own = host::netns::of_own_pod();
        selection.netns = Some(own.map_err(|why| Obstacle(format!("--scope pod: {why}")))?);
    }
    Ok(live::Options {
        selection,
        fd_budget: cost.fd_budget,
        ring_bytes: cost.ring_size,
        stacks: cost.stacks,
        method: match scope.attach {
            AttachMode::Auto => Method::Auto,
            AttachMode::Fentry => Method::Fentry,
            AttachMode::Kprobe => Method::Kprobe,
        },
        map_entries: scope.map_entries,
        ..live_options()?
    })
}

fn list_time_wait(args: &TimewaitArgs, look: Look) -> Result<u8> {
    let options = live::Options {
        selection: args.selection(),
        ..live_options()?
    };
    let watch = Watch {
        thresholds: Thresholds::default(),
        duration: Some(args.watch_for),
        interval: Duration::from_secs(1),
        ready_file: args.ready_file.clone(),
        recording: None,
        flight: None,
        only_records: false,
        settings: None,
        exports: None,
        action: None,
        deliveries: None,
        keeps_privileges: false,
        pod_uid: None,
    };
    if !args.watch_for.is_zero() && args.format == Format::Table {
        let time = humantime::format_duration(args.watch_for);
        eprintln!("Watching connections for {time} to learn whose they are; Ctrl-C lists earlier.");
    }
    let report = pump(&options, watch, &mut Output::silent())?.report;
    let text = match args.format {
        Format::Table => timewait::render(look, &report),
        Format::Json => output::time_wait_lines(&report),
    };
    print(&text)?;
    Ok(exit::CLEAN)
}

fn examine(args: &DoctorArgs) -> Result<u8> {
    let checks = doctor::run();
    let obstacles = doctor::obstacles(&checks);
    match args.format {
        Format::Table => print(&doctor::render(&checks))?,
        Format::Json => {
            for check in &checks {
                print(&(serde_json::to_string(check)? + "\n"))?;
            }
        }
    }
    Ok(if obstacles.is_some() {
        exit::CANNOT_TRACE
    } else {
        exit::CLEAN
    })
}

fn complete(args: &CompletionsArgs) -> Result<u8> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&args.script())?;
    Ok(exit::CLEAN)
}

fn write_manual(args: &ManArgs) -> Result<u8> {
    args.write()
        .with_context(|| format!("cannot write to {}", args.folder.display()))?;
    Ok(exit::CLEAN)
}

/// Asks another tracer for a dump, and prints where it is.
fn dump(args: &DumpArgs) -> Result<u8> {
    let path = runtime()?.block_on(control::ask(&args.control))?;
    print(&(path + "\n"))?;
    Ok(exit::CLEAN)
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")
}

/// Attaches, then pumps until the watch ends; gives the last report.
fn pump(options: &live::Options, watch: Watch, output: &mut Output) -> Result<Ended> {
    let runtime = runtime()?;
    // A service that is stopped while it begins ends in order, too.
    let stop = watch.settings.is_some().then(|| {
        let _inside = runtime.enter();
        Stop::new()
    });
    let stop = stop.transpose()?;
    let confinement = Confinement::new(!watch.keeps_privileges);
    // From before the hooks are attached, so that whoever asks is told that they are not.
    let exporter = watch.exports.map(|exports| {
        let others = Others {
            commands: watch.action.as_ref().map(Action::counts),
            deliveries: watch.deliveries.as_ref().map(Deliveries::counts),
        };
        let first = confinement.of(Duty::Plain);
        Exporter::listen(exports, options.ring_bytes, others, first)
    });
    let exporter = exporter.transpose()?;
    let attached = attach(options, &confinement)?;
    let pump = Pump::start(options, watch, attached, exporter, &confinement, output)?;
    runtime.block_on(Box::pin(pump.run(stop, confinement)))
}

/// Options that stream connections alone, of everything: what `tracer timewait` needs but for the
/// user's selection.
fn live_options() -> Result<live::Options> {
    Ok(live::Options {
        selection: Selection::default(),
        fd_budget: 0,
        ring_bytes: TIMEWAIT_RING_BYTES,
        method: Method::Auto,
        map_entries: None,
        stacks: false,
        sock_secret: host::session::random().context("cannot get a random number")?,
        own_pid: host::session::own_pid(),
        has_hosts_pids: host::session::has_hosts_pids(),
    })
}

fn print(text: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
