//! Measures what tracer adds to a connection and to an open and close, beside the floor and tracer's
//! peers, in one boot of a guest whose clock counts instructions; it never compares two boots.

use std::fs;

use anyhow::{Context, Error, Result, ensure};
use serde_json::Value;

use super::figure::{Figure, Target};
use crate::bpf::FLOOR;
use crate::vm::{Output, Vm};
use crate::{build, setup, workspace};

/// The kernel that peers' figures are known of.
const KERNEL: &str = "6.1";

/// What a watcher may cost: a multiple of another's cost in the same boot.
struct Bound {
    watcher: &'static str,
    workload: &'static str,
    times: f64,
    other: &'static str,
}

/// How much more than the floor, which counts, follows and judges nothing, tracer may cost.
const BOUNDS: [Bound; 3] = [
    Bound {
        watcher: "tracer",
        workload: "connection",
        times: 2.0,
        other: "floor",
    },
    Bound {
        watcher: "tracer, another port",
        workload: "connection",
        times: 1.5,
        other: "floor, another port",
    },
    Bound {
        watcher: "tracer, selected",
        workload: "open and close",
        times: 2.0,
        other: "floor",
    },
];

/// What an open and close of a process that was not selected may cost, in microseconds of a guest
/// that executes an instruction a nanosecond.
const COUNTED_US: f64 = 1.0;

/// What a watcher added to a workload.
struct Cost {
    watcher: String,
    workload: String,
    added_us: f64,
}

/// Runs all watchers. Fails where one of tracer's own does.
pub fn measure() -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir()?;
    fs::copy(build::tracer()?, folder.path().join("tracer"))?;
    let floor = setup::bpf_toolchain()?
        .build(workspace::root(), &workspace::target().join("bpf"), FLOOR)
        .map_err(Error::msg)?;
    fs::copy(floor, folder.path().join("floor"))?;
    fs::copy(build::cost()?, folder.path().join("cost"))?;
    let mut vm = Vm::new(KERNEL);
    vm.folder = Some(folder.path().to_owned());
    vm.counted_clock = true;
    vm.cpus = 1;
    vm.output = Output::Capture;
    vm.timeout = std::time::Duration::from_mins(30);
    let command = ["./cost", "all", "--floor", "floor", "--tracer", "./tracer"];
    let finished = vm.run(&command.map(str::to_owned))?;
    ensure!(
        finished.code == 0,
        "the guest's part ended with exit code {}: {}",
        finished.code,
        String::from_utf8_lossy(&finished.stderr)
    );
    let told = String::from_utf8_lossy(&finished.stdout);
    let costs: Vec<_> = told
        .lines()
        .filter_map(|line| cost(line).transpose())
        .collect::<Result<_>>()?;
    costs
        .iter()
        .map(|cost| figures(cost, &costs))
        .collect::<Result<Vec<_>>>()
        .map(|all| all.concat())
}

/// What a line tells; `None` where a peer is not installed.
fn cost(line: &str) -> Result<Option<Cost>> {
    let told: Value =
        serde_json::from_str(line).with_context(|| format!("not a result: {line}"))?;
    if told["absent"] == true {
        return Ok(None);
    }
    let text = |name: &str| told[name].as_str().map(str::to_owned);
    let added_ns = told["added_ns"].as_f64();
    let cost = text("watcher").zip(text("workload")).zip(added_ns);
    let ((watcher, workload), added_ns) = cost.with_context(|| format!("not a result: {line}"))?;
    Ok(Some(Cost {
        watcher,
        workload,
        added_us: added_ns / 1e3,
    }))
}

fn figures(cost: &Cost, all: &[Cost]) -> Result<Vec<Figure>> {
    let (watcher, workload) = (&cost.watcher, &cost.workload);
    let is_counted = watcher == "tracer, counted";
    let mut figures = vec![Figure {
        name: format!("{watcher}: added to each {workload}"),
        value: cost.added_us,
        unit: "us",
        target: is_counted.then_some(Target::AtMost(COUNTED_US)),
    }];
    let is_bound = |bound: &&Bound| bound.watcher == watcher && bound.workload == workload;
    if let Some(bound) = BOUNDS.iter().find(is_bound) {
        let other = all
            .iter()
            .find(|other| other.watcher == bound.other && other.workload == *workload)
            .with_context(|| format!("{} was not measured", bound.other))?;
        figures.push(Figure {
            name: format!("{watcher}: a {workload}, against {}", bound.other),
            value: cost.added_us / other.added_us,
            unit: "times",
            target: Some(Target::AtMost(bound.times)),
        });
    }
    Ok(figures)
}
