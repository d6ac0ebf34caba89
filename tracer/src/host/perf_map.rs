//! Finds the functions that a runtime compiled in the perf map that it wrote; never follows a link or
//! waits at a pipe that a process put in the map's place.
//!
//! Each line is `START SIZE NAME`, both numbers hexadecimal (`tools/perf/Documentation/jit-interface.txt`
//! in the kernel). A JVM writes `0x` before them, which blazesym 0.2.7 refuses, so this is done here.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
};

use rustix::fs::{Mode, OFlags, open};

use crate::model::Pid;

/// The most that is read of a perf map, in bytes. That of a big application server has some megabytes.
const BYTES_MAX: u64 = 64 << 20;

/// The name of the function at each address, as the process's perf map tells. `ns_pid` is the process's
/// number in its own pid namespace.
pub(super) fn names(pid: Pid, ns_pid: u32, addresses: &[u64]) -> Vec<Option<String>> {
    let mut names = vec![None; addresses.len()];
    let path = format!("/proc/{pid}/root/tmp/perf-{ns_pid}.map");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    if let Ok(file) = open(path, flags, Mode::empty()).map(File::from)
        && is_its_own(&file, pid)
    {
        find(BufReader::new(file.take(BYTES_MAX)), addresses, &mut names);
    }
    names
}

/// Whether it is a file of the process's own user, or of root.
fn is_its_own(file: &File, pid: Pid) -> bool {
    let (Ok(map), Ok(process)) = (file.metadata(), fs::metadata(format!("/proc/{pid}"))) else {
        return false;
    };
    map.is_file() && (map.uid() == 0 || map.uid() == process.uid())
}

fn find(map: impl BufRead, addresses: &[u64], names: &mut [Option<String>]) {
    for line in map.split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        let Some((start, size, name)) = parse(&line) else {
            continue;
        };
        for (address, found) in addresses.iter().zip(names.iter_mut()) {
            if address.checked_sub(start).is_some_and(|at| at < size) {
                // A later line is of newer code.
                *found = Some(name.to_owned());
            }
        }
    }
}

fn parse(line: &str) -> Option<(u64, u64, &str)> {
    let number = |text: &str| {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        u64::from_str_radix(digits, 16).ok()
    };
    let (start, rest) = line.split_once(' ')?;
    let (size, name) = rest.trim_start().split_once(' ')?;
    let name = name.trim();
    (!name.is_empty()).then_some((number(start)?, number(size)?, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_jvm_and_of_others_are_read() {
        let map = "\
            0x00007f4b9951f000 0x0000000000000100 void Reconnect.tryOnce(int)\n\
            7f4b99520000 40 LazyCompile:~retry app.js:7\n\
            no line at all\n\
            7f4b99520000 40 \n";
        let addresses = [0x7f4b_9951_f0ff, 0x7f4b_9951_f100, 0x7f4b_9952_0000];
        let mut names = vec![None; 3];
        find(map.as_bytes(), &addresses, &mut names);
        assert_eq!(
            names,
            [
                Some("void Reconnect.tryOnce(int)".to_owned()),
                None,
                Some("LazyCompile:~retry app.js:7".to_owned()),
            ]
        );
    }

    #[test]
    fn a_process_without_a_map_has_no_names() {
        assert_eq!(names(Pid(1 << 23), 1, &[7]), [None]);
    }
}
