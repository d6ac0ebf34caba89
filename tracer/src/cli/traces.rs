//! The words that say which trace is read, and what of it; never what is done with it.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use jiff::Timestamp;

use crate::model::{Nanos, Session};

use super::nanos;

/// Which trace, and what of it.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The trace; of a rotated one the files, in any order
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only connections with this port on either side; repeat it or separate by commas
    #[arg(
        long = "port", value_name = "PORT", value_delimiter = ',',
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub ports: Vec<u16>,
    /// Only this process, in the host's numbering; repeat it or separate by commas
    #[arg(
        long = "pid", value_name = "PID", value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub pids: Vec<u32>,
    /// Leave out what happened before: a time such as 2026-11-22T04:10:00Z, or one after the begin
    /// such as 90s
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Moment>,
    /// Stop there: a time such as 2026-11-22T04:10:00Z, or one after the begin such as 90s
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub to: Option<Moment>,
    /// End with exit code 4 if the trace is cut or damaged, instead of with a warning only
    #[arg(long)]
    pub strict: bool,
}

/// A moment of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// On the wall clock.
    At(Timestamp),
    /// So long after the begin.
    After(Nanos),
}

impl Moment {
    /// The moment on the clock of a trace's events.
    #[must_use]
    pub fn on_clock_of(self, session: &Session) -> Nanos {
        match self {
            Self::At(time) => {
                let boottime = time.as_nanosecond() - i128::from(session.wall_offset_ns);
                Nanos(u64::try_from(boottime.max(0)).unwrap_or(u64::MAX))
            }
            Self::After(span) => session.start + span,
        }
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(Moment::After(nanos(span)));
    }
    text.parse().map(Moment::At).map_err(|_| {
        "expected a time such as 2026-11-22T04:10:00Z, or one after the begin such as 90s"
            .to_owned()
    })
}

/// How fast a trace is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it happened.
    Times(f64),
    /// As fast as it goes.
    Max,
}

impl Speed {
    /// How long a span of the trace takes; `None` is no time at all.
    #[must_use]
    pub fn time_for(self, span: Nanos) -> Option<Duration> {
        match self {
            Self::Times(times) => Some(Duration::from_nanos(span.0).div_f64(times)),
            Self::Max => None,
        }
    }
}

/// Reads `max`, or a number and `x`.
pub(super) fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text.strip_suffix('x').unwrap_or(text).parse();
    // Between a frame a day and what no clock resolves.
    match times {
        Ok(times) if (1e-3..=1e6).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("expected max, or how many times as fast, such as 1x or 10x".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_spans() {
        let session = Session {
            start: Nanos::from_secs(100),
            wall_offset_ns: 1_000_000_000_000,
            ..Session::default()
        };
        let on_clock = |text: &str| moment(text).map(|moment| moment.on_clock_of(&session));
        assert_eq!(on_clock("90s"), Ok(Nanos::from_secs(190)));
        assert_eq!(on_clock("1m 30s"), Ok(Nanos::from_secs(190)));
        // 1,130 s after 1970 is 130 s after the boot.
        assert_eq!(on_clock("1970-01-01T00:18:50Z"), Ok(Nanos::from_secs(130)));
        assert_eq!(on_clock("1970-01-01T00:00:00Z"), Ok(Nanos(0)));
        assert!(on_clock("yesterday").unwrap_err().contains("such as 90s"));
    }

    #[test]
    fn speeds_are_times_or_max() {
        assert_eq!(speed("max"), Ok(Speed::Max));
        assert_eq!(speed("10x"), Ok(Speed::Times(10.0)));
        assert_eq!(speed("0.5"), Ok(Speed::Times(0.5)));
        for wrong in ["0x", "-1x", "NaNx", "fast", ""] {
            assert!(speed(wrong).unwrap_err().contains("such as 1x"), "{wrong}");
        }
        let span = Nanos::from_secs(10);
        let tenth = Some(Duration::from_secs(1));
        assert_eq!(Speed::Times(10.0).time_for(span), tenth);
        assert_eq!(Speed::Max.time_for(span), None);
    }
}
