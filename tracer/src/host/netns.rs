//! Runs something inside the network namespace of another process; never moves the calling thread.

use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    panic,
    path::Path,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::procfs::Procfs;
use crate::model::{Netns, Pid};

/// The network namespace that `namespace`, an open `/proc/PID/ns/net`, stands for.
///
/// Fails where the file cannot be examined.
pub fn number(namespace: &File) -> io::Result<Netns> {
    let inode = namespace.metadata()?.ino();
    // Inode numbers of namespaces come from a 32-bit allocator (`proc_alloc_inum`).
    u32::try_from(inode).map(Netns).map_err(io::Error::other)
}

/// The network namespace of the pod that tracer is in: containers of a pod share one, which is not the
/// host's. Fails, with what to do, where tracer is in the host's.
pub fn of_own_pod() -> Result<Netns, String> {
    let namespace = File::open("/proc/self/ns/net").and_then(|file| number(&file));
    let own = namespace.map_err(|error| format!("/proc/self/ns/net: {error}"))?;
    if is_hosts(Path::new("/proc")) {
        return Err(
            "tracer is in the host's network, so its pod cannot be told from others: give the pod a \
             network of its own (no `hostNetwork`, no `--network host`), or watch with --scope host"
                .to_owned(),
        );
    }
    Ok(own)
}

/// Whether the calling thread is in the network namespace that the kernel booted with. Only there it
/// shows the settings of its network devices' queues, which all namespaces share
/// (`net_core_table` in `net/core/sysctl_net_core.c`).
fn is_hosts(procfs: &Path) -> bool {
    procfs.join("sys/net/core/netdev_budget").exists()
}

/// What `work` returns when it runs in the network namespace `netns`, entered by way of `pid`.
///
/// A thread of its own enters the namespace and ends with the work, so no other thread is ever in a
/// foreign one. Fails where `pid` has ended or lives in another namespace by now, and without
/// `CAP_SYS_ADMIN`.
pub fn in_netns<T: Send>(
    procfs: &Procfs,
    pid: Pid,
    netns: Netns,
    work: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    let namespace = procfs.open_net_namespace(pid)?;
    if number(&namespace)? != netns {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("process {pid} is in another network namespace than {netns}"),
        ));
    }
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("tracer-netns".to_owned())
            .spawn_scoped(scope, move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            })?;
        worker
            .join()
            .unwrap_or_else(|cause| panic::resume_unwind(cause))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> (Procfs, Pid, Netns) {
        let procfs = Procfs::of_this_host();
        let pid = Pid(std::process::id());
        let netns = procfs.netns_of(pid).unwrap();
        (procfs, pid, netns)
    }

    #[test]
    fn a_process_in_another_namespace_is_refused() {
        let (procfs, pid, Netns(number)) = own();
        let error = in_netns(&procfs, pid, Netns(number.wrapping_add(1)), || ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn the_work_runs_in_the_namespace_or_is_refused() {
        let (procfs, pid, netns) = own();
        match in_netns(&procfs, pid, netns, || procfs.netns_of_this_thread()) {
            Ok(inside) => assert_eq!(inside, Some(netns)),
            // Without CAP_SYS_ADMIN not even the own namespace may be entered.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
    }
}
