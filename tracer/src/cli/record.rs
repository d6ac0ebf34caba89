//! The words that say where a recording goes, how large it may get and when it is dumped; never how.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::positive_time;

/// How large a recording may get.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Recording")]
pub struct KeepArgs {
    /// Stop recording at this size, such as 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "rotate")]
    pub max_size: Option<u64>,
    /// Begin a new file at this size or after this time, such as 100M or 1h: FILE's name gets a
    /// number, and all together read as one
    #[arg(long, value_name = "SIZE|TIME", value_parser = rotation)]
    pub rotate: Option<Rotation>,
    /// Keep so many files, the newest; the older ones are removed
    #[arg(
        long, value_name = "COUNT", requires = "rotate",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub keep: Option<u64>,
}

/// When a new file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// At so many bytes.
    Bytes(u64),
    /// After this time.
    Time(Duration),
}

/// Bytes, or a number with K, M, G or T (of 1024).
fn size(text: &str) -> Result<u64, String> {
    let unit = text.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let digits = &text[..text.len() - unit.len()];
    let shift = match unit
        .to_ascii_uppercase()
        .trim_end_matches("IB")
        .trim_end_matches('B')
    {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return Err("expected a size such as 500M or 2G".to_owned()),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(1 << shift))
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size such as 500M or 2G".to_owned())
}

/// A size with a unit in capitals, else a time: `m` is a minute, `M` is a megabyte.
fn rotation(text: &str) -> Result<Rotation, String> {
    if !text.ends_with(|letter: char| letter.is_ascii_lowercase()) || text.ends_with("iB") {
        return size(text).map(Rotation::Bytes);
    }
    positive_time(text)
        .map(Rotation::Time)
        .map_err(|_| "expected a size such as 100M, or a time such as 1h".to_owned())
}

/// What `tracer record` is told beside what it shares with `tracer watch`.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Write the trace to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_of_1024() {
        assert_eq!(size("17"), Ok(17));
        assert_eq!(size("4K"), Ok(4096));
        assert_eq!(size("4kB"), Ok(4096));
        assert_eq!(size("500M"), Ok(500 << 20));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        for wrong in ["", "M", "0", "-1M", "1.5G", "4X", "99999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_new_file_begins_at_a_size_or_after_a_time() {
        assert_eq!(rotation("100M"), Ok(Rotation::Bytes(100 << 20)));
        assert_eq!(rotation("100MiB"), Ok(Rotation::Bytes(100 << 20)));
        let hour = Duration::from_hours(1);
        assert_eq!(rotation("1h"), Ok(Rotation::Time(hour)));
        assert_eq!(rotation("60m"), Ok(Rotation::Time(hour)));
        assert!(rotation("often").unwrap_err().contains("such as 100M"));
        assert!(rotation("0s").is_err());
    }
}
