//! Containers, run by a real runtime from the image as it is handed out and from a root with the workload
//! alone; never what is in them.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::programs::{Log, Tracer, Workload, wait_for, workload};

/// Where the runtime, its libraries and the unpacked image are.
const FOLDER: &str = "containers";

/// Where programs that are not static look for their loader.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// All capabilities (capabilities(7)).
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Whether there is a runtime: it is brought along for one kernel only.
pub fn are_here() -> bool {
    folder().join("crun").is_file()
}

fn folder() -> PathBuf {
    // The runtime changes its working directory.
    env::current_dir().unwrap_or_default().join(FOLDER)
}

/// The runtime's command; the first call lays its loader where the kernel looks for it.
fn crun() -> Command {
    static PREPARED: OnceLock<()> = OnceLock::new();
    PREPARED.get_or_init(|| {
        let to = Path::new("/lib64").join(LOADER);
        if !to.exists() {
            // Without it the runtime does not start, and says so.
            let _ = fs::create_dir_all("/lib64");
            let _ = symlink(folder().join("lib").join(LOADER), to);
        }
    });
    let mut crun = Command::new(folder().join("crun"));
    crun.env("LD_LIBRARY_PATH", folder().join("lib"));
    crun.args(["--root", "/run/crun", "--cgroup-manager", "cgroupfs"]);
    crun
}

/// A container that is to be run.
pub struct Bundle {
    name: String,
    config: Value,
}

/// A namespace, and whose it is: a new one's, or that of the process with a pid.
pub type Namespace = (&'static str, Option<u32>);

impl Bundle {
    /// tracer, as its image says, with these words in the place of the image's own.
    pub fn of_image(name: &str, words: &str) -> Result<Self> {
        let image = folder().join("image");
        let text = fs::read_to_string(image.join("config.json"))?;
        let mut bundle = Self {
            name: name.to_owned(),
            config: serde_json::from_str(&text)?,
        };
        let program = bundle.config["process"]["args"][0].clone();
        let words = words.split_whitespace().map(Value::from);
        bundle.config["process"]["args"] = [program].into_iter().chain(words).collect();
        bundle.config["root"] = json!({"path": image.join("rootfs"), "readonly": true});
        bundle.mount("/var/lib/tracer", "tmpfs", &[]);
        bundle.mount("/tmp", "tmpfs", &[]);
        bundle.mount("/run", "tmpfs", &[]);
        Ok(bundle)
    }

    /// The workload with these words, in a root of its own.
    pub fn of_workload(name: &str, words: &str) -> Result<Self> {
        let mut bundle = Self::of_image(name, "")?;
        let root = PathBuf::from("/tmp/workload-root");
        if !root.exists() {
            for folder in ["dev", "proc", "sys", "tmp", "run", "var/lib/tracer"] {
                fs::create_dir_all(root.join(folder))?;
            }
            fs::copy(workload(), root.join("workload"))?;
        }
        let words = ["/workload"].into_iter().chain(words.split(' '));
        bundle.config["process"]["args"] = words.map(Value::from).collect();
        bundle.config["root"]["path"] = json!(root);
        Ok(bundle)
    }

    /// With these capabilities, by their names without `CAP_`, and no others.
    pub fn capabilities(mut self, names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| format!("CAP_{name}")).collect();
        self.config["process"]["capabilities"] =
            json!({"bounding": names, "effective": names, "permitted": names});
        self
    }

    /// With all capabilities, and nothing hidden or forbidden.
    pub fn privileged(mut self) -> Self {
        self = self.capabilities(&ALL);
        for hidden in ["maskedPaths", "readonlyPaths", "seccomp"] {
            self.config["linux"][hidden] = Value::Null;
        }
        self
    }

    /// As this user.
    pub fn user(mut self, uid: u32) -> Self {
        self.config["process"]["user"] = json!({"uid": uid, "gid": uid});
        self
    }

    /// In these namespaces, beside a new one of mounts; of all other kinds in the host's.
    pub fn namespaces(mut self, wanted: &[Namespace]) -> Self {
        let of = |(kind, of): &Namespace| match of {
            None => json!({"type": kind}),
            Some(pid) => {
                let file = if *kind == "network" { "net" } else { kind };
                json!({"type": kind, "path": format!("/proc/{pid}/ns/{file}")})
            }
        };
        let mounts = ("mount", None);
        self.config["linux"]["namespaces"] = [&mounts].into_iter().chain(wanted).map(of).collect();
        let has_hostname = wanted.contains(&("uts", None));
        self.config["hostname"] = if has_hostname {
            json!(self.name)
        } else {
            Value::Null
        };
        self
    }

    /// In this cgroup.
    pub fn cgroup(mut self, path: &str) -> Self {
        self.config["linux"]["cgroupsPath"] = json!(path);
        self
    }

    /// With another file system, in the place of what was mounted there.
    pub fn mount(&mut self, at: &str, kind: &str, options: &[&str]) {
        self.unmount(at);
        let source = if kind == "bind" { at } else { kind };
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.push(
                json!({"destination": at, "type": kind, "source": source, "options": options}),
            );
        }
    }

    /// Without what is mounted there.
    pub fn unmount(&mut self, at: &str) {
        if let Some(mounts) = self.config["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["destination"] != at);
        }
    }

    /// Runs the workload, and waits until it is ready.
    pub fn run_workload(self, log: &Log) -> Result<Contained<Workload>> {
        self.run(|command, name| Workload::of_command(log, command, name))
    }

    /// Runs tracer, and waits until it watches.
    pub fn run_tracer(self, log: &Log) -> Result<Contained<Tracer>> {
        self.run(|command, _| Tracer::until_it_watches(log, command))
    }

    /// Runs tracer to its end.
    pub fn run_to_end(self, log: &Log) -> Result<crate::run::Run> {
        let contained = self.run(|command, _| Tracer::of_command(log, command));
        contained?.end()
    }

    fn run<T>(mut self, start: impl FnOnce(Command, &str) -> Result<T>) -> Result<Contained<T>> {
        self.config["process"]["terminal"] = json!(false);
        let bundle = PathBuf::from("/tmp/bundles").join(&self.name);
        fs::create_dir_all(&bundle)?;
        fs::write(bundle.join("config.json"), self.config.to_string())?;
        let pid_file = bundle.join("pid");
        let mut command = crun();
        // The guest's root is a file system that none can be put in the place of.
        command.args(["run", "--no-pivot", "--pid-file"]);
        command.arg(&pid_file).arg("--bundle").arg(&bundle);
        command.arg(&self.name);
        let running = start(command, &self.name)?;
        let pid = wait_for("the container's pid", || {
            let text = fs::read_to_string(&pid_file).unwrap_or_default();
            Ok(text.trim().parse().ok())
        })?;
        Ok(Contained {
            name: self.name,
            running: Some(running),
            pid,
        })
    }
}

/// A container that runs; it is removed when dropped.
pub struct Contained<T> {
    name: String,
    running: Option<T>,
    /// The pid of its first process, on the host.
    pub pid: u32,
}

impl<T> Contained<T> {
    /// Its program.
    pub fn program(&mut self) -> Result<&mut T> {
        self.running.as_mut().context("it has ended")
    }

    /// The number of its first process in that process's own pid namespace.
    pub fn ns_pid(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let last = line.and_then(|pids| pids.split_whitespace().last());
        last.and_then(|pid| pid.parse().ok()).context("no NSpid")
    }

    /// The number of the network namespace that it is in.
    pub fn netns(&self) -> Result<u64> {
        Ok(fs::metadata(format!("/proc/{}/ns/net", self.pid))?.ino())
    }
}

impl Contained<Tracer> {
    /// Ends tracer as a container runtime does, and gives all that it printed.
    pub fn stop(self) -> Result<crate::run::Run> {
        let pid = Pid::from_raw(self.pid.cast_signed()).context("no pid")?;
        kill_process(pid, Signal::TERM)?;
        self.end()
    }

    fn end(mut self) -> Result<crate::run::Run> {
        self.running.take().context("it has ended")?.end()
    }
}

impl<T> Drop for Contained<T> {
    fn drop(&mut self) {
        // It may be gone already; what is left would only be in the way of later tests.
        let _ = crun().args(["delete", "--force", &self.name]).output();
    }
}

/// The capabilities that a manifest adds.
pub fn added_in(manifest: &str) -> Result<Vec<&str>> {
    let list = manifest.lines().find_map(|line| {
        let line = line.trim();
        line.strip_prefix("add: [")?.strip_suffix(']')
    });
    let names: Vec<_> = list.context("no `add:`")?.split(", ").collect();
    ensure!(names.contains(&"BPF"), "not tracer's: {names:?}");
    Ok(names)
}
