//! What tracer must find on a real kernel, each expectation a test by its own name; it never runs on
//! a machine that is not a test's own: it wants to be root in a virtual machine.
//!
//! `cargo xtask test --only kernel` runs it there, with the programs `tracer` and `workload` beside
//! it (other places: `TRACER`, `WORKLOAD`). A start of tracer takes seconds under emulation, so
//! several tests look at one run: it is made when the first of them asks for it.

mod bpf;
mod commands;
mod connections;
mod container;
mod containers;
mod everything;
mod exhaustion;
mod fallback;
mod foreign;
mod full;
mod identity;
mod innocents;
mod journal;
mod list;
mod out_of_memory;
mod overflow;
mod pressure;
mod programs;
mod recordings;
mod resets;
mod rights;
mod run;
mod serve;
mod socket_table;
mod stacks;
mod survival;
mod switches;
mod takeover;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let tests = [
        commands::tests(),
        connections::tests(),
        containers::tests(),
        everything::tests(),
        exhaustion::tests(),
        foreign::tests(),
        full::tests(),
        identity::tests(),
        innocents::tests(),
        journal::tests(),
        out_of_memory::tests(),
        overflow::tests(),
        pressure::tests(),
        recordings::tests(),
        rights::tests(),
        serve::tests(),
        takeover::tests(),
        fallback::tests(),
        stacks::tests(),
        survival::tests(),
        switches::tests(),
    ];
    let can_run = programs::are_here();
    let trials = tests
        .into_iter()
        .flatten()
        .map(|test| {
            let ignored = !can_run || test.needs.is_some_and(|is_there| !is_there());
            Trial::test(test.name, move || list::try_again(test.check)).with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
