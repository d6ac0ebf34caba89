//! What a workload runs in: a time limit, a descriptor limit, namespaces, a cgroup; outside its own
//! process it never changes anything but that it makes that cgroup.

use std::{
    env,
    fs::{self, File},
    io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context as _, Result};
use clap::Args;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    system::sethostname,
    thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe},
};

/// What the workload runs in.
#[derive(Args)]
pub struct Surroundings {
    /// End by SIGALRM after so long, whatever happens
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 300)]
    time_limit: u32,
    /// The soft limit of descriptors
    #[arg(long, global = true, value_name = "COUNT")]
    fd_limit: Option<u64>,
    /// In a new network namespace, with loopback up
    #[arg(long, global = true)]
    new_netns: bool,
    /// In a new network namespace where everything is down, so that no address can be reached
    #[arg(long, global = true, conflicts_with = "new_netns")]
    no_network: bool,
    /// Bring loopback up in the network namespace that it is in
    #[arg(long, global = true)]
    loopback: bool,
    /// In the network namespace of this process
    #[arg(long, global = true, value_name = "PID")]
    netns_of: Option<u32>,
    /// In a UTS namespace of its own, by this host name
    #[arg(long, global = true, value_name = "NAME")]
    hostname: Option<String>,
    /// In this cgroup, a path below the mount of cgroup v2, which is made if need be
    #[arg(long, global = true, value_name = "PATH")]
    cgroup: Option<PathBuf>,
}

impl Surroundings {
    /// Brings this process into them. Must be called before the first thread is started.
    pub fn enter(&self) -> Result<()> {
        // SAFETY: alarm has no precondition; without a handler the signal ends the process.
        unsafe { libc::alarm(self.time_limit) };
        if let Some(limit) = self.fd_limit {
            let maximum = getrlimit(Resource::Nofile).maximum;
            setrlimit(
                Resource::Nofile,
                Rlimit {
                    current: Some(limit),
                    maximum,
                },
            )
            .context("cannot set the limit of descriptors")?;
        }
        if let Some(path) = &self.cgroup {
            let folder = Path::new("/sys/fs/cgroup").join(path);
            fs::create_dir_all(&folder)
                .and_then(|()| fs::write(folder.join("cgroup.procs"), process::id().to_string()))
                .with_context(|| format!("cannot enter {}", folder.display()))?;
        }
        if let Some(name) = &self.hostname {
            // SAFETY: unsharing the host name invalidates no memory and no descriptor.
            unsafe { unshare_unsafe(UnshareFlags::NEWUTS) }
                .and_then(|()| sethostname(name.as_bytes()))
                .context("cannot have a host name of its own")?;
        }
        if self.cgroup.is_some() || self.hostname.is_some() {
            return run_anew();
        }
        if self.new_netns || self.no_network {
            // SAFETY: unsharing the network invalidates no memory and no descriptor.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
                .context("cannot make a network namespace")?;
        }
        if self.new_netns || self.loopback {
            bring_loopback_up().context("cannot bring loopback up")?;
        }
        if let Some(pid) = self.netns_of {
            let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
            let link = File::open(&path).with_context(|| path.display().to_string())?;
            move_into_link_name_space(
                std::os::fd::AsFd::as_fd(&link),
                Some(LinkNameSpaceType::Network),
            )
            .context("cannot enter the network namespace")?;
        }
        Ok(())
    }
}

/// Runs this program anew in the cgroup and with the host name that this process has by now, as container
/// runtimes and systemd do: a process that is watched is there from its program's begin. Returns only
/// where that fails.
fn run_anew() -> Result<()> {
    let mut words = env::args_os();
    let name = words.next().unwrap_or_default();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--cgroup" || word == "--hostname" {
            words.next();
        } else {
            kept.push(word);
        }
    }
    let mut command = process::Command::new(env::current_exe()?);
    Err(command.arg0(name).args(kept).exec()).context("cannot run this program anew")
}

/// Sets `IFF_UP` on `lo`, as `ip link set lo up` does (netdevice(7)).
fn bring_loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags =
        i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).map_err(io::Error::other)?;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, and this is one.
    let result = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
