//! The host's clocks and names; never how long something took.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::model::Nanos;

/// How often the two clocks are read to find their distance: the reading that was interrupted least
/// counts.
const CLOCK_READINGS: u32 = 8;

/// `CLOCK_BOOTTIME`, the clock of every event.
#[must_use]
pub fn now() -> Nanos {
    Nanos(u64::try_from(nanoseconds(clock_gettime(ClockId::Boottime))).unwrap_or(0))
}

/// Nanoseconds to add to [`now`] to get the wall clock (UTC, since 1970).
#[must_use]
pub fn wall_offset_ns() -> i64 {
    (0..CLOCK_READINGS)
        .map(|_| {
            let before = nanoseconds(clock_gettime(ClockId::Boottime));
            let wall = nanoseconds(clock_gettime(ClockId::Realtime));
            let after = nanoseconds(clock_gettime(ClockId::Boottime));
            (after - before, wall - before.midpoint(after))
        })
        .min()
        .map_or(0, |(_uncertainty, offset)| offset)
}

/// The host's name.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The running kernel's release, as `uname -r` prints it.
#[must_use]
pub fn kernel_release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// A clock's reading as one number, enough until the year 2262.
fn nanoseconds(reading: Timespec) -> i64 {
    reading
        .tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(reading.tv_nsec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_whole_nanoseconds() {
        let reading = Timespec {
            tv_sec: 3,
            tv_nsec: 7,
        };
        assert_eq!(nanoseconds(reading), 3_000_000_007);
    }

    #[test]
    fn the_offset_leads_to_the_wall_clock() {
        let now_ns = i64::try_from(now().0).unwrap();
        let wall_ns = nanoseconds(clock_gettime(ClockId::Realtime));
        let told_ns = now_ns + wall_offset_ns();
        assert!(wall_ns.abs_diff(told_ns) < 1_000_000_000);
    }

    #[test]
    fn the_host_has_a_kernel_release() {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(kernel_release(), release.trim_end());
    }
}
