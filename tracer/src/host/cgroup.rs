//! Finds the container, the pod and the systemd unit that a cgroup belongs to, by the names that
//! runtimes, the kubelet and systemd give their cgroups; never asks any of them.

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

/// A pod's uid is a UUID, as text.
const POD_UID_CHARS: usize = 36;

/// Of a pod that the kubelet reads from a file, it is an MD5 sum in hexadecimal.
const POD_HASH_CHARS: usize = 32;

/// The most cgroups that are remembered; a busy node of a cluster has some thousands.
const CGROUPS_MAX: usize = 65_536;

/// Walks over all cgroups that may follow each other at once. An id that is new shortly after a walk, such as
/// that of a container that ends within a second, would have no name otherwise.
const WALKS_AT_ONCE: u64 = 8;

/// After how long there may be one more, so that thousands of new ids cost little.
const WALK_INTERVAL: Nanos = Nanos::from_secs(1);

/// Where a process runs, as the names of its cgroups tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The container: the runtime's id, or the name that LXC or systemd-nspawn gave it.
    pub container: Option<String>,
    /// What runs the container.
    pub runtime: Option<&'static str>,
    /// The uid of the pod.
    pub pod_uid: Option<String>,
    /// The systemd unit, where it is not just the container's own.
    pub unit: Option<String>,
}

/// Where a process runs, from the text of its `/proc/PID/cgroup` (cgroup v1 and v2).
#[must_use]
pub fn place_of_process(text: &str) -> Place {
    let mut place = Place::default();
    let mut unit_elsewhere = None;
    for line in text.lines() {
        // hierarchy:controllers:path; the path may hold colons itself.
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        // What the kernel says of a process that outlives its cgroup.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let here = place_in_path(path);
        if place.container.is_none() {
            (place.container, place.runtime) = (here.container, here.runtime);
        }
        place.pod_uid = place.pod_uid.or(here.pod_uid);
        // The hierarchies of v1's controllers may be shallower than systemd's own.
        if matches!(controllers, "" | "name=systemd") {
            place.unit = place.unit.or(here.unit);
        } else {
            unit_elsewhere = unit_elsewhere.or(here.unit);
        }
    }
    place.unit = place.unit.or(unit_elsewhere);
    place
}

/// Where the processes of a cgroup run, from its path; the innermost of each where they are nested.
#[must_use]
pub fn place_in_path(path: &str) -> Place {
    let mut place = Place::default();
    let mut inner = path.rsplit('/').filter(|name| !name.is_empty()).peekable();
    while let Some(name) = inner.next() {
        let parent = inner.peek().copied().unwrap_or_default();
        if place.container.is_none()
            && let Some((container, runtime)) = container_in_name(name, parent)
        {
            place.container = Some(container);
            place.runtime = runtime;
        } else if place.unit.is_none() {
            place.unit = unit_in_name(name);
        }
        if place.pod_uid.is_none() {
            place.pod_uid = pod_uid_in_name(name);
        }
    }
    place
}

/// The container that one directory's name tells, and what runs it.
fn container_in_name(name: &str, parent: &str) -> Option<(String, Option<&'static str>)> {
    if let Some(machine) = name.strip_prefix("lxc.payload.") {
        return Some((machine.to_owned(), Some("lxc")));
    }
    if matches!(parent, "lxc" | "lxc.payload") {
        return Some((name.to_owned(), Some("lxc")));
    }
    if parent == "machine.slice"
        && let Some((machine, runtime)) = systemd_machine(name)
    {
        return Some((unescape(machine), Some(runtime)));
    }
    // "docker-ID.scope", "cri-containerd-ID.scope", "crio-ID", "libpod-ID.scope", "SLICE:RUNTIME:ID",
    // or the id alone.
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let (prefix, id) = name
        .rfind(['-', ':'])
        .map_or(("", name), |at| (&name[..at], &name[at + 1..]));
    // conmon is the process on the host that watches over the container.
    let is_id = id.len() == ID_CHARS
        && id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && !prefix.ends_with("conmon");
    is_id.then(|| (id.to_owned(), runtime(prefix, parent)))
}

/// What names its cgroups so; `None` where several do.
fn runtime(prefix: &str, parent: &str) -> Option<&'static str> {
    // Behind the slice, where runc was told to use systemd's names and does not.
    let prefix = prefix.rsplit(':').next().unwrap_or(prefix);
    match (prefix, parent) {
        ("docker", _) | ("", "docker") => Some("docker"),
        ("cri-containerd" | "nerdctl", _) => Some("containerd"),
        ("crio", _) => Some("cri-o"),
        ("libpod", _) | ("", "libpod_parent") => Some("podman"),
        _ => None,
    }
}

/// The systemd unit that one directory is named after, as `systemctl status` takes it. Slices only
/// hold others.
fn unit_in_name(name: &str) -> Option<String> {
    // A name that the kernel has for itself gets an underscore (systemd's cg_escape).
    let name = name.strip_prefix('_').unwrap_or(name);
    let (stem, kind) = name.rsplit_once('.')?;
    let is_unit =
        !stem.is_empty() && matches!(kind, "service" | "scope" | "socket" | "mount" | "swap");
    is_unit.then(|| name.to_owned())
}

/// The pod that one directory of the kubelet's is named after: "kubepods-burstable-podUID.slice" with
/// underscores, or "podUID" with hyphens. A static pod's uid is a hash, without either.
fn pod_uid_in_name(name: &str) -> Option<String> {
    let slice = name.split_once(".slice").map_or(name, |(slice, _)| slice);
    let uid = match slice.rsplit_once("-pod") {
        Some((before, uid)) if before.contains("kubepods") => uid,
        _ => slice.strip_prefix("pod")?,
    };
    let is_uid = matches!(uid.len(), POD_HASH_CHARS | POD_UID_CHARS)
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'-' | b'_'));
    is_uid.then(|| uid.replace('_', "-"))
}

/// The machine's name in the unit that systemd-machined or `systemd-nspawn@.service` makes for it, and
/// what runs it.
fn systemd_machine(unit: &str) -> Option<(&str, &'static str)> {
    if let Some(machine) = unit
        .strip_prefix("systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(".service"))
    {
        return Some((machine, "systemd-nspawn"));
    }
    // systemd-nspawn by hand, a virtual machine of libvirt, or another that asked for it.
    let machine = unit.strip_prefix("machine-")?.strip_suffix(".scope")?;
    Some((machine, "systemd-machined"))
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

/// Which cgroup has which id, so that it can be told where a process ran after it has ended.
///
/// An id is the inode number of the cgroup's directory in the cgroup v2 hierarchy. Cgroups that are
/// removed are still remembered.
#[derive(Debug)]
pub struct Cgroups {
    root: Option<PathBuf>,
    places: HashMap<u64, Option<Box<Place>>>,
    /// Walks that may be made now, as of this moment.
    walks_left: (u64, Nanos),
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
            places: HashMap::new(),
            walks_left: (WALKS_AT_ONCE, Nanos(0)),
        }
    }

    /// Where the processes of the cgroup with this id run; `None` also where its names tell nothing.
    /// An id that is not known makes all cgroups be walked, once; `now` limits how often that is done.
    pub fn place(&mut self, id: u64, now: Nanos) -> Option<&Place> {
        // Without a tree nothing is remembered either: only a walk keeps what is within bounds.
        if self.root.is_some() && !self.places.contains_key(&id) && self.may_walk(now) {
            self.walk();
            // No id is given twice, so what is not there now never comes.
            self.places.entry(id).or_default();
        }
        self.places.get(&id)?.as_deref()
    }

    /// Takes a walk from those that are left, if there is one.
    fn may_walk(&mut self, now: Nanos) -> bool {
        let (left, since) = self.walks_left;
        let more = now.since(since).0 / WALK_INTERVAL.0;
        let left = left.saturating_add(more).min(WALKS_AT_ONCE);
        let since = since + Nanos(more.saturating_mul(WALK_INTERVAL.0));
        self.walks_left = (left.saturating_sub(1), since);
        left > 0
    }

    /// Learns every cgroup that there is.
    fn walk(&mut self) {
        let Some(root) = &self.root else { return };
        // What is forgotten here are removed cgroups; those that exist are found again below.
        if self.places.len() >= CGROUPS_MAX {
            self.places.clear();
        }
        if let Ok(metadata) = fs::metadata(root) {
            self.places.insert(metadata.ino(), None);
        }
        let mut pending = vec![root.clone()];
        while let Some(directory) = pending.pop() {
            // A cgroup may be removed at any time.
            let Ok(entries) = fs::read_dir(&directory) else {
                continue;
            };
            for entry in entries.filter_map(Result::ok) {
                if self.places.len() >= CGROUPS_MAX {
                    log::debug!("more than {CGROUPS_MAX} cgroups: not all are known");
                    return;
                }
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                let below = path.strip_prefix(root).unwrap_or(&path);
                let place = place_in_path(&below.to_string_lossy());
                let place = (place != Place::default()).then(|| Box::new(place));
                self.places.insert(entry.ino(), place);
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
