//! Finds out whether hooks that are attached have been switched off behind tracer's back; never switches
//! anything itself.
//!
//! An administrator, or another tool, can have the kernel call no hook of a kind and leave all of them
//! attached. Nothing of tracer fails by that: what happens is merely no longer seen.

use std::{fs::File, os::unix::fs::FileExt as _};

use super::hooks::Attachment;
use crate::model::{HookState, Nanos};

/// `kernel.ftrace_enabled`: at 0 no traced function calls anything. Kernels refuse that while fentry or
/// fexit programs are attached, but not all: 6.1 and 6.12 do it.
pub const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";

/// At 0 no breakpoint is hit. There only where debugfs is mounted; elsewhere nobody can write it either.
const KPROBES: &str = "/sys/kernel/debug/kprobes/enabled";

/// The switches that the attached hooks hang on.
pub(super) struct Switches {
    /// Open since before tracer gave up its rights.
    files: Vec<File>,
    /// When they were last looked at.
    looked: Option<Nanos>,
    are_off: bool,
    off_ns: u64,
}

impl Switches {
    /// Those of these hooks.
    pub(super) fn of(hooks: &[HookState]) -> Self {
        let breakpoints = [Attachment::Kprobe, Attachment::Kretprobe].map(Attachment::name);
        let has_breakpoints = hooks
            .iter()
            .filter_map(|hook| hook.attached.as_deref())
            .any(|attached| breakpoints.contains(&attached));
        // A function is hooked wherever anything is, as tracepoints alone are no watch; a breakpoint at its
        // start is ftrace's as well.
        let paths = [Some(FTRACE), has_breakpoints.then_some(KPROBES)];
        Self {
            files: paths
                .into_iter()
                .flatten()
                .filter_map(|path| File::open(path).ok())
                .collect(),
            looked: None,
            are_off: false,
            off_ns: 0,
        }
    }

    /// Looks at them. A stretch between two looks counts as a whole where a switch is off at its end.
    pub(super) fn look(&mut self, now: Nanos) {
        let before = self.looked.replace(now).unwrap_or(now);
        let are_off = self.files.iter().any(is_off);
        if are_off {
            self.off_ns = self.off_ns.saturating_add(now.0.saturating_sub(before.0));
        }
        let were_off = std::mem::replace(&mut self.are_off, are_off);
        if are_off && !were_off {
            log::warn!(
                "tracer's hooks have been switched off in the kernel, by kernel.ftrace_enabled or debugfs \
                 (kprobes/enabled): nothing is seen until they are switched on again"
            );
        } else if were_off && !are_off {
            log::warn!("tracer's hooks have been switched on again");
        }
    }

    /// How long they were off so far, in milliseconds.
    pub(super) fn off_ms(&self) -> u64 {
        self.off_ns / 1_000_000
    }
}

fn is_off(file: &File) -> bool {
    let mut text = [0; 1];
    matches!(file.read_at(&mut text, 0), Ok(1)) && text == *b"0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_counts_that_ends_switched_off() {
        let file = tempfile::tempfile().unwrap();
        let mut switches = Switches {
            files: vec![file.try_clone().unwrap()],
            looked: None,
            are_off: false,
            off_ns: 0,
        };
        let mut off_ms = |text: &str, at_ms| {
            file.write_all_at(text.as_bytes(), 0).unwrap();
            switches.look(Nanos::from_millis(at_ms));
            switches.off_ms()
        };
        assert_eq!(off_ms("1\n", 1_000), 0);
        assert_eq!(off_ms("0\n", 1_500), 500);
        assert_eq!(off_ms("0\n", 2_100), 1_100);
        assert_eq!(off_ms("1\n", 2_600), 1_100);
        assert_eq!(off_ms("0\n", 2_601), 1_101);
    }
}
