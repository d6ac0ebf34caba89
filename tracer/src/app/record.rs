//! `tracer record`: a watch whose report is for later; never another way of watching.

use anyhow::Result;

use super::{
    code,
    output::Output,
    pump,
    pump::Watch,
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
        recording: Some(Recording {
            path: args.output.output.clone(),
            keep: args.keep.clone(),
        }),
        only_records: true,
        ..Watch::new(&args.scope, &args.thresholds)
    };
    let mut output = Output::progress();
    let ended = pump(&scope_options(&args.scope, &args.cost)?, watch, &mut output)?;
    output.end(&ended.report)?;
    let Some(summary) = &ended.recorded else {
        return Ok(exit::FAILURE);
    };
    tell(summary);
    eprintln!("{}", recording::found(&ended.report));
    Ok(match summary.stopped {
        Some(Stopped::Failed(_)) => exit::FAILURE,
        Some(Stopped::Full) | None => code(&args.scope, &ended.report),
    })
}

/// Says on standard error what was recorded.
pub(super) fn tell(summary: &Summary) {
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
