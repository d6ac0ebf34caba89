//! The host's clocks and names; never how long something took.

use std::{fs, io, os::unix::fs::MetadataExt as _};

use rustix::{
    rand::GetRandomFlags,
    time::{ClockId, Timespec, clock_gettime},
};

use crate::model::{Nanos, Pid};

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

/// A random number that nobody can guess.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; size_of::<u64>()];
    rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// tracer's own pid in its own pid namespace.
#[must_use]
pub fn own_pid() -> Pid {
    Pid(std::process::id())
}

/// Whether tracer is in the host's pid namespace, so that pids as the kernel half tells them are those
/// of /proc here.
#[must_use]
pub fn has_hosts_pids() -> bool {
    /// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`): the host's pid namespace.
    const HOST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
    fs::metadata("/proc/self/ns/pid").is_ok_and(|namespace| namespace.ino() == HOST_PID_NAMESPACE)
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

/// The random id of this boot; empty where /proc does not tell.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim_end().to_owned())
        .unwrap_or_default()
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
