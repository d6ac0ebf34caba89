//! What tracer itself takes of this machine; never of any other process.

use std::fs;

use rustix::{
    param::page_size,
    time::{ClockId, clock_gettime},
};

/// Processor time since tracer began, in user space and in the kernel, in seconds.
#[must_use]
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Memory that tracer holds (its resident set); 0 where /proc does not tell.
#[must_use]
pub fn resident_bytes() -> u64 {
    // Sizes in pages: all of it, then what is resident (proc_pid_statm(5)).
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1);
    let pages: u64 = pages.and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages.saturating_mul(page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracer_takes_something() {
        assert!(cpu_seconds() > 0.0);
        assert!(resident_bytes() > 1 << 20);
    }
}
