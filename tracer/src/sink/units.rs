//! Turns spans, sizes and shares into the short forms that people read; never the forms that
//! machines read.

use crate::model::Nanos;

/// Units of time with their length in nanoseconds, the longest first.
const TIME_UNITS: [(&str, f64); 7] = [
    ("d", 86_400e9),
    ("h", 3_600e9),
    ("min", 60e9),
    ("s", 1e9),
    ("ms", 1e6),
    ("µs", 1e3),
    ("ns", 1.0),
];

/// A unit of time is used once a span has so many of it: 90 s read better than 1.5 min, and
/// 120 s no better than 2 min.
const LONG_UNIT_FROM: f64 = 2.0;

/// Units of size (IEC), each 1024 times the one before.
const SIZE_UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// A span such as `16 ms`, `1.7 s` or `3.4 h`: two digits at least, one decimal at most.
pub(super) fn span(nanos: Nanos) -> String {
    let (unit, length_ns) = time_unit(nanos);
    format!("{} {unit}", short_number(nanos.0 as f64 / length_ns))
}

/// From the shorter span to the longer, such as `1.1–2.0 s` or `900 ms–2.0 s`.
pub(super) fn span_range(shortest: Nanos, longest: Nanos) -> String {
    let (unit, length_ns) = time_unit(longest);
    if time_unit(shortest).0 == unit {
        let from = short_number(shortest.0 as f64 / length_ns);
        format!("{from}–{}", span(longest))
    } else {
        format!("{}–{}", span(shortest), span(longest))
    }
}

/// A size such as `49 B` or `1.2 KiB`.
pub(super) fn size(bytes: f64) -> String {
    let mut value = bytes;
    let mut unit = SIZE_UNITS[0];
    for larger in &SIZE_UNITS[1..] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = larger;
    }
    if unit == SIZE_UNITS[0] {
        format!("{value:.0} {unit}")
    } else {
        format!("{} {unit}", short_number(value))
    }
}

/// A part of a whole, such as `95 %`; `None` where there is no whole. All is only said of all, and
/// nothing only of nothing.
pub(super) fn percent(part: u64, whole: u64) -> Option<String> {
    if whole == 0 {
        return None;
    }
    let exact = part as f64 * 100.0 / whole as f64;
    let shown = match part {
        0 => 0.0,
        all if all == whole => 100.0,
        _ => exact.round().clamp(1.0, 99.0),
    };
    Some(format!("{shown:.0} %"))
}

/// A rate such as `36/min`, or `0.5/min` where it is low.
pub(super) fn per_minute(rate: f64) -> String {
    format!("{}/min", short_number(rate))
}

/// A count with its noun, such as `1 socket` or `31 sockets`; the plural ends in `s`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// One decimal below 10, none from there on, and none for nothing at all.
fn short_number(value: f64) -> String {
    // From 9.95 on, one decimal would be rounded to "10.0".
    if value > 0.0 && value < 9.95 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// The unit that a span reads best in.
fn time_unit(nanos: Nanos) -> (&'static str, f64) {
    let value = nanos.0 as f64;
    TIME_UNITS
        .into_iter()
        .find(|(unit, length_ns)| {
            let least = match *unit {
                "d" | "h" | "min" => LONG_UNIT_FROM,
                _ => 1.0,
            };
            value >= least * length_ns
        })
        .unwrap_or(("ns", 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_in_their_own_unit() {
        let shown = |nanos| span(Nanos(nanos));
        assert_eq!(shown(0), "0 ns");
        assert_eq!(shown(850), "850 ns");
        assert_eq!(shown(12_400), "12 µs");
        assert_eq!(shown(1_250_000), "1.2 ms");
        assert_eq!(shown(16_000_000), "16 ms");
        assert_eq!(shown(999_000_000), "999 ms");
        assert_eq!(shown(1_700_000_000), "1.7 s");
        assert_eq!(shown(2_000_000_000), "2.0 s");
        assert_eq!(shown(9_960_000_000), "10 s");
        assert_eq!(shown(61_000_000_000), "61 s");
        assert_eq!(shown(150_000_000_000), "2.5 min");
        assert_eq!(shown(7_200_000_000_000), "2.0 h");
        assert_eq!(shown(u64::MAX), "213504 d");
    }

    #[test]
    fn a_range_names_a_common_unit_once() {
        let shown = |from, to| span_range(Nanos(from), Nanos(to));
        assert_eq!(shown(1_100_000_000, 2_000_000_000), "1.1–2.0 s");
        assert_eq!(shown(900_000_000, 2_000_000_000), "900 ms–2.0 s");
    }

    #[test]
    fn sizes_are_iec() {
        assert_eq!(size(0.0), "0 B");
        assert_eq!(size(49.4), "49 B");
        assert_eq!(size(1023.0), "1023 B");
        assert_eq!(size(1228.8), "1.2 KiB");
        assert_eq!(size(5.0 * 1024.0 * 1024.0), "5.0 MiB");
        assert_eq!(size(1e30), "888178419700125 PiB");
    }

    #[test]
    fn shares_round_but_never_to_all_or_nothing() {
        assert_eq!(percent(0, 0), None);
        assert_eq!(percent(35, 37).as_deref(), Some("95 %"));
        assert_eq!(percent(999, 1000).as_deref(), Some("99 %"));
        assert_eq!(percent(1, 1000).as_deref(), Some("1 %"));
        assert_eq!(percent(37, 37).as_deref(), Some("100 %"));
        assert_eq!(percent(0, 37).as_deref(), Some("0 %"));
    }

    #[test]
    fn rates_and_counts() {
        assert_eq!(per_minute(36.4), "36/min");
        assert_eq!(per_minute(0.5), "0.5/min");
        assert_eq!(per_minute(0.0), "0/min");
        assert_eq!(counted(1, "socket"), "1 socket");
        assert_eq!(counted(31, "socket"), "31 sockets");
    }
}
