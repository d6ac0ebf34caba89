//! The project's own tool: sets up what a build needs, builds, tests, and runs commands under other
//! kernels; it never holds anything of tracer itself.

mod bench;
mod bpf;
mod build;
mod command;
mod demo;
mod dist;
mod elf;
mod fuzz;
mod kernel_tests;
mod progress;
mod setup;
mod test;
mod tidy;
mod vm;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use vm::{Output, Pace, Root, Vm};

/// What `vm` exits with when the guest panics, hangs or cannot start: no command's own code.
const VM_FAILED: u8 = 125;

/// Sets up, builds, tests and tries tracer.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Find or install all that building and testing tracer takes.
    Setup,
    /// Build the kernel half alone, and print where its object is.
    Bpf,
    /// Build the static binary that users get, with the kernel half inside.
    Build,
    /// Make what users get of that binary: an image for containers, a tarball, a package for Debian.
    Dist,
    /// Run all checks and tests, the kernel tests in virtual machines.
    Test(TestArguments),
    /// Check layers, opening sentences, unsafe blocks and addresses in the sources.
    Tidy,
    /// Run a command as root under another kernel.
    Vm(VmArguments),
    /// Measure what tracer costs, each figure beside its target.
    Bench(bench::Arguments),
    /// Show tracer at work, on this machine or in a virtual one; sets up and builds all that takes.
    Demo(demo::Arguments),
}

#[derive(Args)]
struct TestArguments {
    /// Run only the steps whose names begin so: format, tidy, clippy, tests, fuzz, dist, kernel,
    /// programs.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Run the kernel tests on this kernel instead of the whole matrix; may be given again.
    #[arg(long = "kernel", value_name = "VERSION")]
    kernels: Vec<String>,
}

#[derive(Args)]
struct VmArguments {
    /// The kernel, by the first numbers of its version: 5.10, 6.1, 6.12, or 7 for the newest.
    #[arg(long, value_name = "VERSION", default_value = "6.1")]
    kernel: String,
    /// Give the guest a copy of this folder as its working directory.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Put what the command leaves in /out (its $OUT) here.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The guest's memory.
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// The guest's processors.
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// How they run.
    #[arg(long, value_enum, default_value_t)]
    run: Pace,
    /// More words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "")]
    append: String,
    /// Give up after this long.
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// What the guest sees as its root file system.
    #[arg(long, value_enum, default_value_t)]
    root: Root,
    /// Mount tracefs and debugfs, which a container lacks.
    #[arg(long)]
    tracefs: bool,
    /// Boot so that the guest can be suspended to memory and woken by its clock, once.
    #[arg(long, conflicts_with = "root")]
    can_suspend: bool,
    /// The command: one word is a line for the shell, several are a program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let (result, failed) = match Cli::parse().command {
        Subcommands::Setup => (setup::all().map(|()| ExitCode::SUCCESS), 1),
        Subcommands::Bpf => (build::bpf().map(|()| ExitCode::SUCCESS), 1),
        Subcommands::Build => (build::tracer().map(|_| ExitCode::SUCCESS), 1),
        Subcommands::Dist => (dist::run().map(|()| ExitCode::SUCCESS), 1),
        Subcommands::Test(arguments) => (run_tests(&arguments), 1),
        Subcommands::Tidy => (tidy::check().map(|()| ExitCode::SUCCESS), 1),
        Subcommands::Vm(arguments) => (run_vm(arguments), VM_FAILED),
        Subcommands::Bench(arguments) => (bench::run(&arguments), 1),
        Subcommands::Demo(arguments) => (demo::run(&arguments), 1),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(failed)
    })
}

fn run_tests(arguments: &TestArguments) -> Result<ExitCode> {
    let passed = test::run(arguments.only.as_deref(), &arguments.kernels)?;
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn run_vm(arguments: VmArguments) -> Result<ExitCode> {
    let vm = Vm {
        kernel: arguments.kernel,
        folder: arguments.dir,
        out: arguments.out,
        memory_mib: arguments.memory,
        cpus: arguments.cpus,
        pace: arguments.run,
        append: arguments.append,
        timeout: Duration::from_secs(arguments.timeout),
        root: arguments.root,
        tracefs: arguments.tracefs,
        can_suspend: arguments.can_suspend,
        output: Output::Stream,
    };
    let finished = vm.run(&arguments.command)?;
    Ok(ExitCode::from(
        u8::try_from(finished.code).unwrap_or(u8::MAX),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documents tell people to type, `cargo xtask` included, up to where the line, the
    /// quotation or the command ends.
    fn commands(text: &'static str) -> impl Iterator<Item = &'static str> {
        text.match_indices("cargo xtask").map(|(at, _)| {
            let end = |letter| matches!(letter, '`' | '#' | '|' | '\\' | '\n');
            text[at..].split(end).next().unwrap_or_default()
        })
    }

    #[test]
    fn the_documents_name_commands_that_there_are() {
        let documents = [
            include_str!("../../README.md"),
            include_str!("../../ARCHITECTURE.md"),
            include_str!("../../CONTRIBUTING.md"),
            include_str!("../../tests/fuzz/README.md"),
        ];
        let mut seen = 0;
        for command in documents.into_iter().flat_map(commands) {
            // Said of all of them together.
            if command == "cargo xtask" {
                continue;
            }
            let mut words: Vec<_> = command.split_whitespace().skip(1).collect();
            // A command for the guest that goes on in the next line.
            if words.contains(&"--") {
                words.push("true");
            }
            if let Err(error) = Cli::try_parse_from(words) {
                panic!("{command}: {error}");
            }
            seen += 1;
        }
        assert!(seen > 10, "only {seen} commands were found");
    }
}
