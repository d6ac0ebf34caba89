//! Reads who a process is and how full its descriptor table is from /proc; never fails because a
//! process has vanished, and never keeps anything about one.

use std::{
    collections::HashMap,
    ffi::{CStr, OsStr},
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, Mode, OFlags, PROC_SUPER_MAGIC, openat, readlinkat, statat, statfs},
    io::Errno,
};

use tracer_common::FdKind;

use super::cgroup;
use crate::model::{
    Ancestor, Comm, Nanos, Netns, PARENTS_MAX, Pid, ProcessFact, TABLE_PATHS_MAX, TableFact,
    is_same_start,
};

/// A command line longer than this many bytes is cut, and ends in `…` then. A JVM's class path alone
/// can be longer than a report is.
pub const CMDLINE_BYTES_MAX: usize = 4096;

/// The most that is read of any other file of a process; all of them are far shorter.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Descriptors of one process that are looked at at most: so many take a second or so.
const LINKS_MAX: usize = 262_144;

/// What the kernel appends to the path of a file that has been removed.
const DELETED: &[u8] = b" (deleted)";

/// How full a process's descriptor table is, and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorTable {
    /// When the process started, in clock ticks as [`Procfs::process_fact`] tells it.
    pub start: Option<Nanos>,
    /// Descriptors in use. Since Linux 6.2 those count too that a call in progress has reserved (a
    /// blocked accept holds one), as they do against the limit.
    pub open: u64,
    /// The soft limit; `None` is unlimited or not known.
    pub soft_limit: Option<u64>,
    /// The hard limit; `None` is unlimited or not known.
    pub hard_limit: Option<u64>,
}

/// A /proc, or a tree that stands for one, with the users' names that go with it.
#[derive(Debug)]
pub struct Procfs {
    root: PathBuf,
    users: HashMap<u32, Box<str>>,
    /// Whether the root is a real procfs, where a directory's size may be told by the kernel.
    is_real: bool,
    nanos_per_tick: u64,
}

impl Procfs {
    /// `/proc` and `/etc/passwd` of this host.
    #[must_use]
    pub fn of_this_host() -> Self {
        Self::new(PathBuf::from("/proc"), Path::new("/etc/passwd"))
    }

    /// The /proc mounted at `root`, and the users in the file `passwd`; without that file users are
    /// told by number.
    ///
    /// The file is read as it is, once. Asking the C library instead would load the name services'
    /// shared libraries, which a static binary cannot, and could wait for a directory server.
    #[must_use]
    pub fn new(root: PathBuf, passwd: &Path) -> Self {
        let users = fs::read(passwd).map_or_else(
            |error| {
                log::debug!("users are told by number: {}: {error}", passwd.display());
                HashMap::new()
            },
            |text| parse_passwd(&String::from_utf8_lossy(&text)),
        );
        let is_real = statfs(&root).is_ok_and(|filesystem| filesystem.f_type == PROC_SUPER_MAGIC);
        Self {
            root,
            users,
            is_real,
            nanos_per_tick: 1_000_000_000 / rustix::param::clock_ticks_per_second().max(1),
        }
    }

    /// Where this /proc is mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Who `pid` is. What cannot be read is `None`, everything where the process is gone.
    ///
    /// All of it is read through one open directory, so it never mixes a process with another that
    /// got its pid meanwhile. `start` is told by the kernel in clock ticks, 10 ms each on common
    /// builds, cut: compare it with an event's start with that tolerance.
    #[must_use]
    pub fn process_fact(&self, pid: Pid) -> ProcessFact {
        let mut fact = ProcessFact {
            pid,
            ..ProcessFact::default()
        };
        let Ok(directory) = self.open_process(pid) else {
            return fact;
        };
        if let Some(stat) = read_text(&directory, c"stat")
            .as_deref()
            .and_then(parse_stat)
        {
            let start = self.since_boot(stat.start_ticks);
            fact.start = Some(start);
            fact.ppid = Some(Pid(stat.ppid));
            fact.comm = Some(stat.comm.to_owned());
            fact.parents = self.ancestors(Pid(stat.ppid), start);
        }
        if let Some(status) = read_text(&directory, c"status") {
            fact.user = status_values(&status, "Uid:")
                .and_then(|mut uids| uids.next()?.parse().ok())
                .map(|uid| self.user_name(uid));
            fact.ns_pid =
                status_values(&status, "NSpid:").and_then(|pids| pids.last()?.parse().ok());
        }
        fact.exe = readlinkat(&directory, c"exe", Vec::new())
            .ok()
            .map(|target| target.to_string_lossy().into_owned());
        fact.cmdline = read(&directory, c"cmdline", CMDLINE_BYTES_MAX as u64 + 1)
            .ok()
            .and_then(|raw| cmdline(&raw));
        if let Some(text) = read_text(&directory, c"cgroup") {
            let place = cgroup::place_of_process(&text);
            fact.container = place.container;
            fact.runtime = place.runtime.map(str::to_owned);
            fact.pod_uid = place.pod_uid;
            fact.unit = place.unit;
        }
        fact.netns = readlinkat(&directory, c"ns/net", Vec::new())
            .ok()
            .and_then(|link| netns_link(&link));
        fact
    }

    /// A parent, its parent and so on, at most [`PARENTS_MAX`]: of a process that started at
    /// `child_start`.
    /// A process that has a parent's pid and started after its child is not the parent, but another
    /// that got the pid; there the list ends, as at one that is gone.
    #[must_use]
    pub fn ancestors(&self, parent: Pid, mut child_start: Nanos) -> Vec<Ancestor> {
        let mut ancestors = Vec::new();
        let mut next = parent;
        while let Some(pid) = next.known().filter(|_| ancestors.len() < PARENTS_MAX) {
            let text = self
                .open_process(pid)
                .ok()
                .and_then(|directory| read_text(&directory, c"stat"));
            let Some(stat) = text.as_deref().and_then(parse_stat) else {
                break;
            };
            let begun = self.since_boot(stat.start_ticks);
            if begun > child_start && !is_same_start(begun, child_start) {
                break;
            }
            ancestors.push(Ancestor {
                pid,
                comm: Comm::from(stat.comm),
            });
            (next, child_start) = (Pid(stat.ppid), begun);
        }
        ancestors
    }

    /// How full the descriptor table of `pid` is; `None` where the process is gone or is not ours to
    /// look at.
    #[must_use]
    pub fn descriptor_table(&self, pid: Pid) -> Option<DescriptorTable> {
        let directory = self.open_process(pid).ok()?;
        let open = self.count_descriptors(&directory).ok()?;
        let stat = read_text(&directory, c"stat");
        let stat = stat.as_deref().and_then(parse_stat);
        let limits = read_text(&directory, c"limits");
        let (soft_limit, hard_limit) = limits
            .as_deref()
            .and_then(parse_open_files_limit)
            .unwrap_or_default();
        Some(DescriptorTable {
            start: stat.map(|stat| self.since_boot(stat.start_ticks)),
            open,
            soft_limit,
            hard_limit,
        })
    }

    /// What the descriptor table of `pid` holds; `None` where the process is gone or is not ours to look
    /// at. No file is touched: one may lie on a server that no longer answers.
    #[must_use]
    pub fn table_fact(&self, pid: Pid) -> Option<TableFact> {
        let directory = self.open_process(pid).ok()?;
        let stat = read_text(&directory, c"stat");
        let stat = stat.as_deref().and_then(parse_stat);
        let mut fact = TableFact {
            pid,
            start: stat.map(|stat| self.since_boot(stat.start_ticks)),
            ..TableFact::default()
        };
        let mut paths: HashMap<String, u64> = HashMap::new();
        each_link(&directory, LINKS_MAX, |link| {
            let kind = kind_of(link);
            fact.kinds[kind as usize] += 1;
            if kind == FdKind::File {
                let path = String::from_utf8_lossy(link.strip_suffix(DELETED).unwrap_or(link));
                if let Some(count) = paths.get_mut(&*path) {
                    *count += 1;
                } else if paths.len() < TABLE_PATHS_MAX {
                    paths.insert(path.into_owned(), 1);
                }
            }
        })
        .ok()?;
        fact.paths = paths.into_iter().collect();
        fact.paths
            .sort_unstable_by(|(one, more), (other, fewer)| (fewer, one).cmp(&(more, other)));
        Some(fact)
    }

    /// Every process that there is, in the order of the directory (ascending).
    pub fn pids(&self) -> io::Result<impl Iterator<Item = Pid> + use<>> {
        Ok(fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Pid)))
    }

    /// Calls `found` with the inode number of each socket that `pid` holds a descriptor of.
    ///
    /// Fails where the process is gone or is not ours to look at.
    pub fn socket_inodes(&self, pid: Pid, mut found: impl FnMut(u32)) -> io::Result<()> {
        let process = self.open_process(pid)?;
        each_link(&process, usize::MAX, |link| {
            if let Some(inode) = socket_inode(link) {
                found(inode);
            }
        })
    }

    /// The network namespace of `pid`; `None` where the process is gone or is not ours to look at.
    #[must_use]
    pub fn netns_of(&self, pid: Pid) -> Option<Netns> {
        let directory = self.open_process(pid).ok()?;
        netns_link(&readlinkat(&directory, c"ns/net", Vec::new()).ok()?)
    }

    /// The network namespace of the calling thread.
    #[must_use]
    pub fn netns_of_this_thread(&self) -> Option<Netns> {
        let link = self.root.join("thread-self/ns/net");
        netns_link(&readlinkat(CWD, link, Vec::new()).ok()?)
    }

    /// The network namespace of `pid` as a file that it can be entered by.
    ///
    /// Fails where the process is gone or is not ours to look at.
    pub fn open_net_namespace(&self, pid: Pid) -> io::Result<File> {
        File::open(self.root.join(pid.to_string()).join("ns/net"))
    }

    /// Clock ticks since boot as a time.
    const fn since_boot(&self, ticks: u64) -> Nanos {
        Nanos(ticks.saturating_mul(self.nanos_per_tick))
    }

    /// The user's name, or the number where there is none.
    #[must_use]
    pub fn user_name(&self, uid: u32) -> String {
        self.users
            .get(&uid)
            .map_or_else(|| uid.to_string(), ToString::to_string)
    }

    /// The directory of `pid`: it stays that process's, even once the pid is used again.
    fn open_process(&self, pid: Pid) -> rustix::io::Result<OwnedFd> {
        openat(
            CWD,
            self.root.join(pid.to_string()),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    /// Descriptors in use, never looking at one of them.
    fn count_descriptors(&self, process: &OwnedFd) -> rustix::io::Result<u64> {
        if self.is_real {
            // Since Linux 6.2 the directory's size is the number of descriptors; before, it is 0.
            let size = statat(process, c"fd", AtFlags::empty())?.st_size;
            if let Some(open) = u64::try_from(size).ok().filter(|open| *open > 0) {
                return Ok(open);
            }
        }
        let mut open = 0;
        for entry in Dir::read_from(open_directory(process, c"fd")?)? {
            let entry = entry?;
            open += u64::from(!matches!(entry.file_name().to_bytes(), b"." | b".."));
        }
        Ok(open)
    }
}

/// Opens a directory of a process to list it.
fn open_directory(process: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    openat(
        process,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// Calls `found` with what each descriptor of a process refers to, at most so many of them.
fn each_link(process: &OwnedFd, most: usize, mut found: impl FnMut(&[u8])) -> io::Result<()> {
    let descriptors = open_directory(process, c"fd")?;
    let mut target = Vec::new();
    for entry in Dir::read_from(&descriptors)?.take(most) {
        // A descriptor may be closed between being listed and being looked at.
        if let Ok(link) = readlinkat(&descriptors, entry?.file_name(), target) {
            found(link.as_bytes());
            target = link.into_bytes();
        } else {
            target = Vec::new();
        }
    }
    Ok(())
}

/// The kind of what a descriptor's link names (`proc_pid_fd(5)`). Devices are known by where they lie, and
/// a pipe that has a name is taken for a file.
fn kind_of(link: &[u8]) -> FdKind {
    const MEMORY: &[u8] = b"/dev/shm/";
    const DEVICES: &[u8] = b"/dev/";
    if link.starts_with(b"socket:[") {
        FdKind::Socket
    } else if link.starts_with(b"pipe:[") {
        FdKind::Pipe
    } else if !link.starts_with(b"/") {
        FdKind::Anonymous
    } else if link.starts_with(DEVICES) && !link.starts_with(MEMORY) {
        FdKind::Device
    } else {
        FdKind::File
    }
}

/// The first `bytes_max` bytes of a process's file.
fn read(process: &OwnedFd, name: &CStr, bytes_max: u64) -> io::Result<Vec<u8>> {
    let file = openat(
        process,
        name,
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut bytes = Vec::with_capacity(1024);
    match File::from(file).take(bytes_max).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        // What the kernel answers once the process is gone.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => {
            Err(io::ErrorKind::NotFound.into())
        }
        Err(error) => Err(error),
    }
}

/// A process's file as text; what is not UTF-8 (a program may choose its name freely) is replaced.
fn read_text(process: &OwnedFd, name: &CStr) -> Option<String> {
    let bytes = read(process, name, FILE_BYTES_MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// What `/proc/PID/stat` says, as far as it is used.
#[derive(Debug, PartialEq, Eq)]
struct Stat<'a> {
    comm: &'a str,
    ppid: u32,
    start_ticks: u64,
}

/// The name stands in parentheses and may itself hold any of them, so it ends at the last one.
fn parse_stat(text: &str) -> Option<Stat<'_>> {
    let (head, tail) = text.rsplit_once(')')?;
    let (_pid, comm) = head.split_once('(')?;
    // proc_pid_stat(5) numbers the fields from 1: after the name come state (3), ppid (4), …,
    // starttime (22).
    let mut fields = tail.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    let start_ticks = fields.nth(22 - 4 - 1)?.parse().ok()?;
    Some(Stat {
        comm,
        ppid,
        start_ticks,
    })
}

/// The values of one line of `/proc/PID/status`.
fn status_values<'a>(status: &'a str, name: &str) -> Option<std::str::SplitAsciiWhitespace<'a>> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::split_ascii_whitespace)
}

/// Soft and hard limit of open files from `/proc/PID/limits`.
fn parse_open_files_limit(limits: &str) -> Option<(Option<u64>, Option<u64>)> {
    let mut values = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_ascii_whitespace()
        .map(|value| value.parse().ok());
    Some((values.next()?, values.next()?))
}

/// Arguments joined by spaces, cut where they are too long; `None` for kernel threads and zombies,
/// which have none.
fn cmdline(raw: &[u8]) -> Option<String> {
    let kept = &raw[..raw.len().min(CMDLINE_BYTES_MAX)];
    let cut = kept.len() < raw.len();
    let last = kept.iter().rposition(|byte| *byte != 0)?;
    let mut text = String::from_utf8_lossy(&kept[..=last]).replace('\0', " ");
    if cut {
        // A character that the cut went through has become a replacement character.
        text.truncate(text.trim_end_matches(char::REPLACEMENT_CHARACTER).len());
        text.push('…');
    }
    Some(text)
}

/// User names by number from the text of `/etc/passwd` (passwd(5)).
fn parse_passwd(text: &str) -> HashMap<u32, Box<str>> {
    let mut users = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(_password), Some(uid)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if let Ok(uid) = uid.parse() {
            // The first name of a number is the one that the C library finds, too.
            users.entry(uid).or_insert_with(|| name.into());
        }
    }
    users
}

/// The inode number in `socket:[…]`.
fn socket_inode(link: &[u8]) -> Option<u32> {
    bracketed(link, b"socket:[")
}

/// The number in `net:[…]`.
fn netns_link(link: &CStr) -> Option<Netns> {
    bracketed(link.to_bytes(), b"net:[").map(Netns)
}

/// The number between `prefix` and `]`.
fn bracketed(link: &[u8], prefix: &[u8]) -> Option<u32> {
    let number = link.strip_prefix(prefix)?.strip_suffix(b"]")?;
    OsStr::from_bytes(number).to_str()?.parse().ok()
}

#[cfg(test)]
#[path = "procfs_tests.rs"]
mod tests;
