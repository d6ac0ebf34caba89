//! Measures what tracer costs, and holds each figure against its target; it never compares figures
//! of two runs: machines differ.

mod cost;
mod engine;
mod figure;
mod flight;
mod guest;
mod idle;
mod load;
mod plot;
mod rates;
mod replay;
mod soak;
mod trace_size;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use figure::Figure;

/// What to measure, and how much.
#[derive(Args)]
pub struct Arguments {
    /// Measure only this; repeat it for several.
    #[arg(long, value_enum, value_name = "NAME")]
    only: Vec<Part>,
    /// How many inputs each load has; the flight recorder's lasts ten of its windows instead.
    #[arg(long, value_name = "N", default_value = "10M", value_parser = inputs)]
    inputs: u64,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Leave the figures in this folder as well: performance.jsonl, an object a line, and performance.svg, a
    /// plot of those that can be compared.
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people.
    #[default]
    Table,
    /// An object a line.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What watching adds to connections and opens in a guest, beside the floor and peers.
    Cost,
    /// What watching misses of ever more connections and opens in a guest, beside peers.
    Rates,
    /// The engine's speed and memory, without a trace.
    Engine,
    /// Bytes of a trace for each event.
    TraceSize,
    /// The speed and memory of `tracer replay`.
    Replay,
    /// The memory of the flight recorder.
    Flight,
    /// What a watch takes in a guest to begin, and while nothing happens.
    Idle,
    /// What the service's memory grows to in a guest where processes come and go.
    Soak,
}

impl Part {
    fn measure(self, inputs: u64) -> Result<Vec<Figure>> {
        match self {
            Self::Cost => cost::measure(),
            Self::Rates => rates::measure(),
            Self::Engine => engine::measure(inputs),
            Self::TraceSize => trace_size::measure(inputs),
            Self::Replay => replay::measure(inputs),
            Self::Flight => flight::measure(),
            Self::Idle => idle::measure(),
            Self::Soak => soak::measure(),
        }
    }
}

/// Measures what was asked for and prints it. The exit code is a failure's where a target was missed or
/// something could not be measured.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let parts = match &arguments.only[..] {
        [] => Part::value_variants(),
        only => only,
    };
    let mut figures = Vec::new();
    let mut all_measured = true;
    for part in parts {
        match part.measure(arguments.inputs) {
            Ok(measured) => figures.extend(measured),
            // What the others took long to measure must not be lost.
            Err(error) => {
                eprintln!("    error {part:?} was not measured: {error:#}");
                all_measured = false;
            }
        }
    }
    let text = match arguments.format {
        Format::Table => figure::table(&figures),
        Format::Json => figure::json_lines(&figures),
    };
    print!("{text}");
    if let Some(folder) = &arguments.output {
        write(&figures, folder)?;
    }
    Ok(if all_measured && figures.iter().all(Figure::is_met) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(figures: &[Figure], folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)
        .and_then(|()| {
            fs::write(
                folder.join("performance.jsonl"),
                figure::json_lines(figures),
            )
        })
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    plot::write(figures, &folder.join("performance.svg"))
}

/// A number that may end in `k` or `M`.
fn inputs(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.as_bytes() {
        [digits @ .., b'k'] => (digits.len(), 1_000),
        [digits @ .., b'M'] => (digits.len(), 1_000_000),
        digits => (digits.len(), 1),
    };
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_| "not a number, as in 300k or 10M".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|inputs| *inputs > 0)
        .ok_or_else(|| "not a possible number of inputs".to_owned())
}

#[cfg(test)]
mod tests {
    use super::inputs;

    #[test]
    fn numbers_may_have_a_unit() {
        assert_eq!(inputs("17"), Ok(17));
        assert_eq!(inputs("300k"), Ok(300_000));
        assert_eq!(inputs("100M"), Ok(100_000_000));
        assert!(inputs("M").is_err());
        assert!(inputs("0").is_err());
        assert!(inputs("ten").is_err());
    }
}
