//! Turns the trace's clock into wall clock time (UTC); never reads a clock itself, so a replay
//! shows the same times.

use jiff::{Timestamp, fmt::temporal::DateTimePrinter, tz::TimeZone};

use crate::model::{Nanos, Session};

/// RFC 3339 with all nine digits of the nanoseconds, so that texts sort as the times do.
const RFC3339: DateTimePrinter = DateTimePrinter::new().precision(Some(9));

/// A moment as RFC 3339 in UTC with nanoseconds, for machines.
pub(super) fn rfc3339(session: &Session, at: Nanos) -> String {
    RFC3339.timestamp_to_string(&wall(session, at))
}

/// A moment as `14:03:07`, or as `2026-11-21 14:03:07` where its day is not the day of `reference`;
/// UTC, for people.
pub(super) fn time_of_day(session: &Session, at: Nanos, reference: Nanos) -> String {
    let at = wall(session, at).to_zoned(TimeZone::UTC);
    let reference = wall(session, reference).to_zoned(TimeZone::UTC);
    let format = if at.date() == reference.date() {
        "%H:%M:%S"
    } else {
        "%Y-%m-%d %H:%M:%S"
    };
    at.strftime(format).to_string()
}

/// A moment as `2026-11-21 14:03:07`; UTC, for people.
pub(super) fn date_and_time(session: &Session, at: Nanos) -> String {
    wall(session, at).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A moment as `20261121T140307.123Z`, for names of files.
pub(super) fn compact(session: &Session, at: Nanos) -> String {
    wall(session, at).strftime("%Y%m%dT%H%M%S%.3fZ").to_string()
}

/// A moment in nanoseconds since 1970; 0 where that is before.
#[cfg(feature = "live")]
pub(super) fn unix_nanos(session: &Session, at: Nanos) -> u64 {
    u64::try_from(wall(session, at).as_nanosecond()).unwrap_or(0)
}

/// A moment in milliseconds since 1970, for scripts that draw it.
pub(super) fn unix_millis(session: &Session, at: Nanos) -> f64 {
    wall(session, at).as_nanosecond() as f64 / 1e6
}

/// A moment's time of day as `14:03:07.120`; UTC, for people who compare events.
pub(super) fn time_of_day_ms(session: &Session, at: Nanos) -> String {
    wall(session, at).strftime("%H:%M:%S%.3f").to_string()
}

/// A moment's day as `2026-11-21`; UTC.
pub(super) fn date(session: &Session, at: Nanos) -> String {
    wall(session, at).strftime("%Y-%m-%d").to_string()
}

/// The wall clock's reading at a moment of the trace; its first or last year where that is beyond
/// what a calendar holds.
fn wall(session: &Session, at: Nanos) -> Timestamp {
    let since_1970_ns = i128::from(at.0) + i128::from(session.wall_offset_ns);
    Timestamp::from_nanosecond(since_1970_ns).unwrap_or(if since_1970_ns < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-21T14:03:00Z.
    const WALL_OFFSET_NS: i64 = 1_795_269_780_000_000_000;

    fn session() -> Session {
        Session {
            wall_offset_ns: WALL_OFFSET_NS,
            ..Session::default()
        }
    }

    #[test]
    fn machines_read_all_nanoseconds() {
        assert_eq!(
            rfc3339(&session(), Nanos(7_000_000_120)),
            "2026-11-21T14:03:07.000000120Z"
        );
        assert_eq!(
            rfc3339(&session(), Nanos(0)),
            "2026-11-21T14:03:00.000000000Z"
        );
    }

    #[test]
    fn people_read_the_day_only_where_it_differs() {
        let at = Nanos::from_secs(7);
        assert_eq!(
            time_of_day(&session(), at, Nanos::from_secs(90)),
            "14:03:07"
        );
        assert_eq!(
            time_of_day(&session(), at, Nanos::from_secs(86_400)),
            "2026-11-21 14:03:07"
        );
        assert_eq!(date_and_time(&session(), at), "2026-11-21 14:03:07");
    }

    #[test]
    fn no_number_is_too_large_to_show() {
        let broken = Session {
            wall_offset_ns: i64::MAX,
            ..Session::default()
        };
        assert_eq!(
            rfc3339(&broken, Nanos(u64::MAX)),
            "2846-10-30T23:21:50.564327422Z"
        );
    }
}
