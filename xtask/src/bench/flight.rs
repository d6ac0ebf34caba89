//! Measures the memory of the flight recorder under a load that lasts much longer than what it keeps;
//! it never dumps.

use anyhow::Result;

use super::figure::{Figure, Target};
use super::load::Load;

/// The load that is recorded.
const MIX: &str = "all";

/// What is kept, and how many times as long the load lasts.
const WINDOW_SECS: u64 = 60;
const WINDOWS: u64 = 10;

/// What the segments may take: less than the window has.
const BOUND_MIB: u32 = 4;

const MIB: f64 = 1024.0 * 1024.0;

/// Records ten windows of the load.
pub fn measure() -> Result<Vec<Figure>> {
    let load = Load::build()?;
    let [window, windows] = [WINDOW_SECS, WINDOWS].map(|number| number.to_string());
    let bound = (BOUND_MIB << 20).to_string();
    let told = load.run([
        "flight",
        "--mix",
        MIX,
        "--window-secs",
        &window,
        "--windows",
        &windows,
        "--bound-bytes",
        &bound,
    ])?;
    Ok(vec![
        Figure::new(
            format!("flight, {MIX}"),
            format!("segments at most, in {WINDOWS} windows"),
            told.number("peak_bytes")? / MIB,
            "MiB",
        )
        .held_to(Target::AtMost(f64::from(BOUND_MIB))),
        Figure::new(
            format!("flight, {MIX}"),
            "memory, the load's included",
            told.memory()?,
            "MB",
        ),
    ])
}
