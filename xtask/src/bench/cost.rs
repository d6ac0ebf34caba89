//! Measures what tracer adds to a connection and to an open and close, beside the floor and tracer's
//! peers, in one boot of a guest whose clock counts instructions; it never compares two boots.

use anyhow::{Context, Result};
use serde_json::Value;

use super::figure::{Figure, Target};
use super::guest::COUNTED;

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
    let told = COUNTED.measure_beside_peers("all")?;
    // What nobody adds is nothing.
    let added = told.iter().filter(|line| line["watcher"] != "nobody");
    let costs: Vec<_> = added.map(cost).collect::<Result<_>>()?;
    let figures = costs.iter().map(|cost| figures(cost, &costs));
    let figures: Vec<_> = figures.collect::<Result<_>>()?;
    Ok(figures.concat())
}

/// What a line tells.
fn cost(told: &Value) -> Result<Cost> {
    let text = |name: &str| told[name].as_str().map(str::to_owned);
    let added_ns = told["added_ns"].as_f64();
    let cost = text("watcher").zip(text("workload")).zip(added_ns);
    let ((watcher, workload), added_ns) = cost.with_context(|| format!("not a result: {told}"))?;
    Ok(Cost {
        watcher,
        workload,
        added_us: added_ns / 1e3,
    })
}

fn figures(cost: &Cost, all: &[Cost]) -> Result<Vec<Figure>> {
    let (watcher, workload) = (&cost.watcher, &cost.workload);
    let added = format!("added to each {workload}");
    let mut added = Figure::new(watcher, added, cost.added_us, "us");
    if watcher == "tracer, counted" {
        added = added.held_to(Target::AtMost(COUNTED_US));
    }
    let mut figures = vec![added];
    let is_bound = |bound: &&Bound| bound.watcher == watcher && bound.workload == workload;
    if let Some(bound) = BOUNDS.iter().find(is_bound) {
        let other = all
            .iter()
            .find(|other| other.watcher == bound.other && other.workload == *workload)
            .with_context(|| format!("{} was not measured", bound.other))?;
        figures.push(
            Figure::new(
                watcher.clone(),
                format!("each {workload}, against {}", bound.other),
                cost.added_us / other.added_us,
                "times",
            )
            .held_to(Target::AtMost(bound.times)),
        );
    }
    Ok(figures)
}
