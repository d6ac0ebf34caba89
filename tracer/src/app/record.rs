//! `tracer record`: a watch whose report is for later; never another way of watching.

use anyhow::Result;

use super::{
    code,
    output::Output,
    pump,
    pump::{Ended, Watch},
    recorder::{Recording, Stopped, Summary},
    scope_options,
};
use crate::{
    cli::{RecordArgs, exit},
    sink::recording,
};

/// Records until the watch ends; gives the code to end with.
pub(super) fn record(args: &RecordArgs) -> Result<u8> {
    let watch = Watch {
        recording: args.output.clone().map(|path| Recording {
            path,
            keep: args.keep.clone(),
        }),
        only_records: true,
        keeps_privileges: args.rights.keep_privileges,
        ..Watch::new(&args.scope, &args.thresholds, &args.flight)
    };
    let mut output = Output::progress();
    let ended = pump(&scope_options(&args.scope, &args.cost)?, watch, &mut output)?;
    output.end(&ended.report)?;
    tell(&ended);
    eprintln!("{}", recording::found(&ended.report));
    let stopped = ended
        .recorded
        .as_ref()
        .and_then(|summary| summary.stopped.as_ref());
    Ok(match stopped {
        Some(Stopped::Failed(_)) => exit::FAILURE,
        Some(Stopped::Full) | None => code(&args.scope, &ended.report),
    })
}

/// Says on standard error what was recorded and dumped.
pub(super) fn tell(ended: &Ended) {
    if let Some(summary) = &ended.recorded {
        tell_recorded(summary);
    }
    if let Some(tally) = &ended.dumped {
        let failed = tally.failed.len() as u64;
        let dumps = recording::dumps(&tally.written, tally.joined, tally.held_back, failed);
        eprintln!("{dumps}");
    }
}

fn tell_recorded(summary: &Summary) {
    let Summary {
        files,
        removed,
        inputs,
        bytes,
        ..
    } = summary;
    eprintln!("{}", recording::recorded(files, *removed, *inputs, *bytes));
    match &summary.stopped {
        None => {}
        Some(Stopped::Full) => eprintln!("Recording stopped at its largest size."),
        Some(Stopped::Failed(error)) => eprintln!("warning: recording stopped early: {error}"),
    }
}
