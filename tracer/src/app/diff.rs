//! Compares two traces; never holds either of them as a whole.

use anyhow::Result;

use super::{print, replay::recorded_thresholds, traces::Traces};
use crate::{
    analysis::compare::Comparison,
    cli::{DiffArgs, Format, exit},
    sink::{Look, diff},
};

/// Says what differs; gives the code to end with.
pub(super) fn diff(args: &DiffArgs, look: Look) -> Result<u8> {
    let mut before = Traces::open(&args.trace(&args.before))?;
    let mut after = Traces::open(&args.trace(&args.after))?;
    let mut comparison = Comparison::new(recorded_thresholds(&after));
    for input in before.by_ref() {
        comparison.apply_before(&input);
    }
    for input in after.by_ref() {
        comparison.apply_after(&input);
    }
    let difference = comparison.finish();
    let notes = [before.notes(), after.notes()];
    let told = [notes[0].as_slice(), notes[1].as_slice()];
    let text = match args.format {
        Format::Table => diff::render(look, &difference, told),
        Format::Json => diff::lines(&difference, told),
    };
    print(&text)?;
    // The notes have been told where they belong.
    let is_whole = notes.iter().all(Vec::is_empty);
    Ok(if args.strict && !is_whole {
        exit::INCOMPLETE
    } else {
        exit::CLEAN
    })
}
