//! Finds the container that a cgroup belongs to, by the names that container runtimes give their
//! cgroups; never asks a runtime.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FsWord, statfs};

use crate::model::Nanos;

/// `CGROUP2_SUPER_MAGIC`, from `include/uapi/linux/magic.h`.
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// Runtimes name containers by 256 random bits in hexadecimal.
const ID_CHARS: usize = 64;

/// The most cgroups that are remembered; a busy node of a cluster has some thousands.
const CGROUPS_MAX: usize = 65_536;

/// The time between two walks over all cgroups, so that ids that nobody can resolve cost little.
const WALK_INTERVAL: Nanos = Nanos::from_secs(1);

/// The container of a process, from the text of its `/proc/PID/cgroup` (cgroup v1 and v2).
#[must_use]
pub fn container_of_process(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        // hierarchy:controllers:path; the path may hold colons itself.
        let path = line.splitn(3, ':').nth(2)?;
        container_in_path(path)
    })
}

/// The container that a cgroup's path names, the innermost one where they are nested: the runtime's
/// id, or the name that LXC or systemd-nspawn gave it.
#[must_use]
pub fn container_in_path(path: &str) -> Option<String> {
    let mut inner = path.rsplit('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = inner.next() {
        let parent = inner.peek().copied().unwrap_or_default();
        if let Some(container) = container_in_name(name, parent) {
            return Some(container);
        }
    }
    None
}

/// The container that one directory's name tells.
fn container_in_name(name: &str, parent: &str) -> Option<String> {
    if let Some(machine) = name.strip_prefix("lxc.payload.") {
        return Some(machine.to_owned());
    }
    if matches!(parent, "lxc" | "lxc.payload") {
        return Some(name.to_owned());
    }
    if parent == "machine.slice"
        && let Some(machine) = systemd_machine(name)
    {
        return Some(unescape(machine));
    }
    // "docker-ID.scope", "cri-containerd-ID.scope", "crio-ID", "libpod-ID.scope", "SLICE:RUNTIME:ID",
    // or the id alone.
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (runtime, id) = name
        .rfind(['-', ':'])
        .map_or(("", name), |at| (&name[..at], &name[at + 1..]));
    // conmon is the process on the host that watches over the container.
    let is_id = id.len() == ID_CHARS
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !runtime.ends_with("conmon");
    is_id.then(|| id.to_owned())
}

/// The machine's name in the unit that systemd-machined or `systemd-nspawn@.service` makes for it.
fn systemd_machine(unit: &str) -> Option<&str> {
    let scope = || unit.strip_prefix("machine-")?.strip_suffix(".scope");
    let service = || {
        unit.strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")
    };
    scope().or_else(service)
}

/// Undoes systemd's escapes in unit names: `\x2d` is `-` (systemd.unit(5)).
fn unescape(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after
            .strip_prefix(b"x")
            .filter(|_| *first == b'\\')
            .and_then(|digits| digits.split_at_checked(2))
            .and_then(|(digits, after)| {
                let digits = str::from_utf8(digits).ok()?;
                Some((u8::from_str_radix(digits, 16).ok()?, after))
            });
        let (byte, after) = escaped.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Which cgroup has which id, so that a process's container can be told after the process has ended.
///
/// An id is the inode number of the cgroup's directory in the cgroup v2 hierarchy. Cgroups that are
/// removed are still remembered.
#[derive(Debug)]
pub struct Cgroups {
    root: Option<PathBuf>,
    containers: HashMap<u64, Option<Box<str>>>,
    walked: Option<Nanos>,
}

impl Cgroups {
    /// Those of this host: cgroup v2 at `/sys/fs/cgroup`, or at its `unified` where v1 is in use
    /// beside it. Without cgroup v2 none is ever found.
    #[must_use]
    pub fn of_this_host() -> Self {
        Self::new(v2_mount())
    }

    /// Those below `root`, the mount point of cgroup v2 (or a tree that stands for it).
    #[must_use]
    pub fn new(root: Option<PathBuf>) -> Self {
        Self {
            root,
            containers: HashMap::new(),
            walked: None,
        }
    }

    /// The container that the cgroup with this id belongs to. `now` limits how often an id that is
    /// not known makes all cgroups be walked.
    pub fn container(&mut self, id: u64, now: Nanos) -> Option<&str> {
        let walk_is_due = self
            .walked
            .is_none_or(|walked| now.since(walked) >= WALK_INTERVAL);
        if walk_is_due && !self.containers.contains_key(&id) {
            self.walked = Some(now);
            self.walk();
        }
        self.containers.get(&id)?.as_deref()
    }

    /// Learns every cgroup that there is.
    fn walk(&mut self) {
        let Some(root) = &self.root else { return };
        // What is forgotten here are removed cgroups; those that exist are found again below.
        if self.containers.len() >= CGROUPS_MAX {
            self.containers.clear();
        }
        if let Ok(metadata) = fs::metadata(root) {
            self.containers.insert(metadata.ino(), None);
        }
        let mut pending = vec![root.clone()];
        while let Some(directory) = pending.pop() {
            // A cgroup may be removed at any time.
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                if self.containers.len() >= CGROUPS_MAX {
                    log::debug!("more than {CGROUPS_MAX} cgroups: not all are known");
                    return;
                }
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                let below = path.strip_prefix(root).unwrap_or(&path);
                let container = container_in_path(&below.to_string_lossy());
                self.containers
                    .insert(entry.ino(), container.map(String::into_boxed_str));
                pending.push(path);
            }
        }
    }
}

/// Where cgroup v2 is mounted on this host, at one of the two places that are in use.
#[must_use]
pub fn v2_mount() -> Option<PathBuf> {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
        .into_iter()
        .find(|path| is_v2(Path::new(path)).unwrap_or(false))
        .map(PathBuf::from)
}

/// Whether cgroup v2 is mounted here.
fn is_v2(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.f_type == CGROUP2_SUPER_MAGIC)
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
