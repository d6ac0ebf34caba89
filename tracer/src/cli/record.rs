//! The words that say where a recording goes, how large it may get and when it is dumped; never how.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgGroup, Args};

use super::{positive_time, verdict_name};

/// How large a recording may get.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Recording")]
pub struct KeepArgs {
    /// Stop recording at this size, such as 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size, conflicts_with = "rotate")]
    pub max_size: Option<u64>,
    /// Begin a new file at this size or after this time, such as 100M, 1h, or 100M,1h for whichever
    /// comes first: FILE's name gets a number, and all together read as one
    #[arg(long, value_name = "SIZE|TIME", value_parser = rotation)]
    pub rotate: Option<Rotation>,
    /// Keep so many files, the newest; the older ones are removed
    #[arg(
        long, value_name = "COUNT", requires = "rotate",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub keep: Option<u64>,
}

/// When a new file begins: at whichever comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// At so many bytes.
    pub bytes: Option<u64>,
    /// After this time.
    pub time: Option<Duration>,
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

/// A size with a unit in capitals, or a time: `m` is a minute, `M` is a megabyte; or one of each.
fn rotation(text: &str) -> Result<Rotation, String> {
    let mut rotation = Rotation::default();
    for part in text.split(',') {
        let is_size = !part.ends_with(|c: char| c.is_ascii_lowercase()) || part.ends_with("iB");
        let is_new = if is_size {
            rotation.bytes.replace(size(part)?).is_none()
        } else {
            let time = positive_time(part);
            let time =
                time.map_err(|_| "expected a size such as 100M, or a time such as 1h".to_owned())?;
            rotation.time.replace(time).is_none()
        };
        if !is_new {
            return Err("expected one size and one time at most, such as 100M,1h".to_owned());
        }
    }
    Ok(rotation)
}

/// Where `tracer dump` finds a tracer with a flight recorder.
pub const CONTROL_PATH: &str = "/run/tracer.sock";

/// What the flight recorder keeps where only a folder for its dumps is given. A fault's causes seldom
/// lie further back, and a busy host fills the memory for it sooner.
const FLIGHT_TIME: Duration = Duration::from_mins(5);

/// The flight recorder: it runs where its time or its folder is given.
#[derive(Clone, Debug, Args)]
#[command(
    next_help_heading = "Flight recorder",
    group = ArgGroup::new("flies").args(["flight", "dump_dir"]).multiple(true)
)]
pub struct FlightArgs {
    /// Keep the last minutes in memory, such as 5m, and dump them when there is a verdict, at SIGUSR1,
    /// or when `tracer dump` asks [default: 5m with --dump-dir]
    #[arg(long, value_name = "TIME", value_parser = positive_time)]
    pub flight: Option<Duration>,
    /// Keep no more than this in memory, however short the time; what is known of processes and
    /// sockets comes on top
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = size, requires = "flies")]
    pub flight_size: u64,
    /// Write dumps to this folder [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub dump_dir: Option<PathBuf>,
    /// Keep as many dumps as this in that folder, the newest; the older ones are removed [default: all]
    #[arg(
        long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..),
        requires = "flies"
    )]
    pub dump_keep: Option<u64>,
    /// Keep the same minutes in files as well, below that folder: where tracer itself is killed, by the
    /// kernel for want of memory or with its host, its next start makes a dump of what they hold
    #[arg(long, requires = "flies")]
    pub spill: bool,
    /// Dump for these verdicts only, such as `flapping,fd_burst`
    #[arg(
        long, value_name = "NAME", value_delimiter = ',', value_parser = verdict_name,
        requires = "flies"
    )]
    pub on: Vec<String>,
    /// Go on with a dump for so long after the verdict
    #[arg(
        long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration,
        requires = "flies"
    )]
    pub dump_after: Duration,
    /// Dump for verdicts no more often than this; each one that makes no dump is counted
    #[arg(
        long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration,
        requires = "flies"
    )]
    pub dump_pause: Duration,
    /// Listen for `tracer dump` at this path
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH, requires = "flies")]
    pub control: PathBuf,
}

impl FlightArgs {
    /// How much is kept, where anything is.
    #[must_use]
    pub fn window(&self) -> Option<Duration> {
        let by_folder = self.dump_dir.is_some().then_some(FLIGHT_TIME);
        self.flight.or(by_folder)
    }

    /// The folder for dumps.
    #[must_use]
    pub fn dump_dir(&self) -> &Path {
        self.dump_dir.as_deref().unwrap_or(Path::new("."))
    }
}

/// What `tracer dump` is told.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Where the tracer with the flight recorder listens
    #[arg(long, value_name = "PATH", default_value = CONTROL_PATH)]
    pub control: PathBuf,
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
        let rotation = |text| rotation(text).map(|rotation| (rotation.bytes, rotation.time));
        assert_eq!(rotation("100M"), Ok((Some(100 << 20), None)));
        assert_eq!(rotation("100MiB"), Ok((Some(100 << 20), None)));
        let hour = Some(Duration::from_hours(1));
        assert_eq!(rotation("1h"), Ok((None, hour)));
        assert_eq!(rotation("60m"), Ok((None, hour)));
        assert_eq!(rotation("1h,1G"), Ok((Some(1 << 30), hour)));
        assert!(rotation("often").unwrap_err().contains("such as 100M"));
        for wrong in ["0s", "", "1h,", "1h,2h", "1M,2M"] {
            assert!(rotation(wrong).is_err(), "{wrong}");
        }
    }
}
