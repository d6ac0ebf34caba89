//! Runs all checks and tests, each step even if an earlier one failed, and counts how they ended;
//! it never holds a test itself.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::command::run_shown;
use crate::demo::{self, Scenario};
use crate::vm::Output;
use crate::{build, dist, fuzz, kernel_tests, setup, tidy, workspace};

/// One thing to check.
struct Step {
    name: &'static str,
    why: &'static str,
    run: fn() -> Result<()>,
}

/// What is checked on this machine, in order: the quickest first.
const STEPS: [Step; 7] = [
    Step {
        name: "format",
        why: "all sources look alike",
        run: format,
    },
    Step {
        name: "tidy",
        why: "what no compiler checks of the sources",
        run: tidy::check,
    },
    Step {
        name: "clippy",
        why: "no warning in the user half and the tools",
        run: clippy,
    },
    Step {
        name: "clippy-bpf",
        why: "no warning in the kernel half",
        run: clippy_bpf,
    },
    Step {
        name: "tests",
        why: "unit, golden, property, command-line and browser tests",
        run: tests,
    },
    Step {
        name: "fuzz",
        why: "no bytes break the way from records to reports",
        run: fuzz::run,
    },
    Step {
        name: "dist",
        why: "the static binary and what users get of it, the same each time",
        run: dist::test,
    },
];

/// The name of the step with real programs, which runs only where it is asked for: JVMs on emulated
/// processors miss their own deadlines on a busy machine. And the kernel for it: what differs
/// between kernels is what the kernel tests are for.
const PROGRAMS: &str = "programs";
const PROGRAMS_KERNEL: &str = "6.1";

/// How many steps ended well, and how many did not.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    fn count(&mut self, name: &str, result: Result<()>, began: Instant) {
        let seconds = began.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.passed += 1;
                eprintln!("       ok {name} ({seconds:.1} s)");
            }
            Err(error) => {
                self.failed += 1;
                eprintln!("   FAILED {name} ({seconds:.1} s): {error:#}");
            }
        }
    }
}

/// Runs the steps whose names begin with `only`, or all but [`PROGRAMS`], the kernel tests on `kernels`.
/// Prints the count as the last line and returns whether nothing failed. Fails when no step has
/// that name.
pub fn run(only: Option<&str>, kernels: &[String]) -> Result<bool> {
    let wanted = |name: &str| only.is_none_or(|only| name.starts_with(only));
    let mut tally = Tally::default();
    for step in STEPS.iter().filter(|step| wanted(step.name)) {
        eprintln!("     step {}: {}", step.name, step.why);
        let began = Instant::now();
        tally.count(step.name, (step.run)(), began);
    }
    if wanted(kernel_tests::STEP) {
        eprintln!(
            "     step {}: tracer on each kernel, in VMs",
            kernel_tests::STEP
        );
        let began = Instant::now();
        kernel_tests::run(kernels, |kernel, began, result| {
            tally.count(&format!("{} {kernel}", kernel_tests::STEP), result, began);
        })
        .unwrap_or_else(|error| tally.count(kernel_tests::STEP, Err(error), began));
    }
    if only.is_some() && wanted(PROGRAMS) {
        eprintln!("     step {PROGRAMS}: tracer beside real programs, in a VM");
        for scenario in [
            &demo::ZOOKEEPER,
            &demo::TOMCAT_JARS,
            &demo::STACKS,
            &demo::HEALTHY,
            &demo::PROMETHEUS,
            &demo::OPENTELEMETRY,
        ] {
            let began = Instant::now();
            let name = format!("{PROGRAMS} {}", scenario.name);
            tally.count(&name, beside_programs(scenario), began);
        }
    }
    if tally.passed + tally.failed == 0 {
        let names: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
        return Err(anyhow::anyhow!(
            "the steps are {}, {}, {PROGRAMS}",
            names.join(", "),
            kernel_tests::STEP
        ))
        .context(format!("no step is called {}", only.unwrap_or_default()));
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

fn beside_programs(scenario: &Scenario) -> Result<()> {
    let tracer = build::tracer()?;
    scenario.run(PROGRAMS_KERNEL, &tracer, "never", Output::Capture)?;
    Ok(())
}

fn format() -> Result<()> {
    run_shown(workspace::cargo("fmt").args(["--all", "--check"]))
}

/// The kernel half is left out: it compiles for its own target only.
fn clippy() -> Result<()> {
    setup::bpf_toolchain()?;
    let mut clippy = workspace::cargo("clippy");
    clippy.args([
        "--quiet",
        "--workspace",
        "--exclude",
        "tracer-ebpf",
        "--all-targets",
    ]);
    run_shown(clippy.args(["--", "--deny", "warnings"]))
}

fn clippy_bpf() -> Result<()> {
    let target = workspace::target().join("bpf");
    let mut clippy = setup::bpf_clippy()?.cargo("clippy", workspace::root(), &target);
    run_shown(clippy.args(["--quiet", "--", "--deny", "warnings"]))
}

fn tests() -> Result<()> {
    setup::bpf_toolchain()?;
    setup::browser()?;
    setup::systemd_analyze()?;
    let python = setup::python()?;
    let promtool = setup::prometheus()?.join("usr/bin/promtool");
    let mut test = workspace::cargo("test");
    test.env("TRACER_PYTHON", python);
    test.env("TRACER_PROMTOOL", promtool);
    run_shown(test.args(["--quiet", "--workspace", "--exclude", "tracer-ebpf"]))
}
