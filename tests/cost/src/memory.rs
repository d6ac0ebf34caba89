//! Reads how much memory a process has; never judges it.

use std::fs;

use anyhow::{Context as _, Result};

/// A field of `/proc/PID/status` that counts memory, such as `VmRSS`, in KiB.
pub fn kib(pid: u32, field: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let told = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = told.and_then(|told| told.split_whitespace().next());
    let number = number.with_context(|| format!("no {field}"))?;
    Ok(number.parse()?)
}
