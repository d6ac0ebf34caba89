//! The programs that kernel tests and the demo watch, all in one static binary: each misbehaves, or
//! behaves, an exact number of times on loopback; it never runs for longer than its time limit.
//!
//! Each tells on standard output what it does, one JSON object a line with its name in `at`:
//! `ready` once everything is prepared, `done` with what it really did, and what its description
//! names between them. With `--step` it waits for a line on standard input after each of these.

mod client;
mod crowd;
mod fds;
mod files;
mod handover;
mod leaks;
mod processes;
mod server;
mod spin;
mod stage;
mod surroundings;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use stage::{Stage, StageArgs};
use surroundings::Surroundings;

/// A program that misbehaves, or behaves, an exact number of times.
#[derive(Parser)]
#[command(name = "workload")]
struct Cli {
    #[command(flatten)]
    stage: StageArgs,
    #[command(flatten)]
    surroundings: Surroundings,
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Answer requests, until killed.
    Serve(server::Serve),
    /// Open connections and close them at once, again and again, from a named thread.
    Flap(client::Flap),
    /// Keep one connection, with a request now and then, until killed.
    Keep(client::Keep),
    /// Keep a pool of connections, then close all of them.
    Pool(client::Pool),
    /// Send requests: one to a connection (churn), or many (a pool, keep-alive).
    Requests(client::Requests),
    /// Connect once, send one request if asked for, and end.
    Connect(client::Connect),
    /// Connect to where nothing listens or nothing leads, again and again.
    Fail(client::Fail),
    /// Open many files at once and keep them for a while. Tells `opened`.
    Burst(files::Burst),
    /// Open until there are no descriptors left, then ask for more in several ways.
    Exhaust(files::Exhaust),
    /// Open until the host has no files left for it, then ask for more in several ways.
    ExhaustHost(files::ExhaustHost),
    /// Open and close one file as fast as possible.
    Storm(files::Storm),
    /// Get and close descriptors in one of the ways that there are.
    Fds(fds::Fds),
    /// Change the descriptor table in one of the ways that there are, and hold still.
    Table(table::Table),
    /// Open a file again and again, and close none.
    Leak(leaks::Leak),
    /// Never close the connections that the server has closed.
    HalfClosed(leaks::HalfClosed),
    /// Use up the ephemeral ports towards one server.
    UsePorts(leaks::UsePorts),
    /// Run many children that each connect once, under names of their own or one for all.
    Spawn(processes::Spawn),
    /// Run children that each open and close many files, as compilers do.
    Compile(processes::Compile),
    /// Have many children that each open files, all at once or each for a moment.
    Crowd(crowd::Crowd),
    /// Have both ends of many connections at once. Tells `held`.
    Pairs(crowd::Pairs),
    /// Keep a processor, as a real-time thread does. Tells `spinning`.
    Spin(spin::Spin),
    /// Accept connections and let another process close them. Tells who that is.
    HandOver(handover::HandOver),
    /// Close what is passed over standard input, for the part before.
    #[command(hide = true)]
    ClosePassed,
    /// Say whether the kernel has `io_uring`: exit code 0, or 1.
    HasIoUring,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("workload: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    cli.surroundings.enter()?;
    let stage = Stage::new(cli.stage);
    match cli.part {
        Part::Serve(serve) => serve.run(&stage)?,
        Part::Flap(flap) => flap.run(&stage)?,
        Part::Keep(keep) => keep.run(&stage)?,
        Part::Pool(pool) => pool.run(&stage)?,
        Part::Requests(requests) => requests.run(&stage)?,
        Part::Connect(connect) => connect.run()?,
        Part::Fail(fail) => fail.run(&stage)?,
        Part::Burst(burst) => burst.run(&stage)?,
        Part::Exhaust(exhaust) => exhaust.run(&stage)?,
        Part::ExhaustHost(_) => files::ExhaustHost::run(&stage)?,
        Part::Storm(storm) => storm.run(&stage)?,
        Part::Fds(fds) => fds.run(&stage)?,
        Part::Table(table) => table.run(&stage)?,
        Part::Leak(leak) => leak.run(&stage)?,
        Part::HalfClosed(half_closed) => half_closed.run(&stage)?,
        Part::UsePorts(use_ports) => use_ports.run(&stage)?,
        Part::Spawn(spawn) => spawn.run(&stage)?,
        Part::Compile(compile) => compile.run(&stage)?,
        Part::Crowd(crowd) => crowd.run(&stage)?,
        Part::Pairs(pairs) => pairs.run(&stage)?,
        Part::Spin(spin) => spin.run(&stage)?,
        Part::HandOver(hand_over) => hand_over.run(&stage)?,
        Part::ClosePassed => handover::close_passed()?,
        Part::HasIoUring => {
            let found = fds::has_io_uring();
            return Ok(if found {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}
