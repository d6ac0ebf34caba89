//! Finds the processes that hold the sockets of this moment, over all network namespaces; never
//! those of sockets that no process holds any more.

use std::{
    collections::{BTreeMap, HashMap},
    io,
};

use super::{
    netns::in_netns,
    procfs::Procfs,
    sock_diag::{self, DiagSocket, SockDiagError},
};
use crate::model::{Netns, Pid, SocketOwner};

/// Who holds sockets, from one pass over /proc.
#[derive(Debug, Default)]
struct Holders {
    /// By the socket's inode number. Where several processes share a socket (a fork), the one with
    /// the lowest pid stands for all, most likely the parent.
    by_inode: HashMap<u32, Pid>,
    /// Some process of each network namespace, to enter it by.
    by_netns: BTreeMap<Netns, Pid>,
}

/// The TCP connections that processes hold now, each with its process: of the processes in `pids`,
/// or of all where `pids` is empty.
///
/// Fails as [`sock_diag::list`] does. Another network namespace that cannot be entered is left out.
pub fn sockets_before(procfs: &Procfs, pids: &[Pid]) -> Result<Vec<SocketOwner>, SockDiagError> {
    let holders = holders(procfs, pids).map_err(|error| SockDiagError::System {
        action: "read /proc",
        error,
    })?;
    let own = procfs.netns_of_this_thread();
    let mut owners = Vec::new();
    for (netns, pid) in &holders.by_netns {
        let list = || sock_diag::list(&sock_diag::held_states());
        let sockets = if own == Some(*netns) {
            list()?
        } else {
            match in_netns(procfs, *pid, *netns, list) {
                Ok(sockets) => sockets?,
                Err(error) => {
                    log::debug!("sockets of network namespace {netns} are not known: {error}");
                    continue;
                }
            }
        };
        owners.extend(join(&sockets, *netns, &holders.by_inode));
    }
    Ok(owners)
}

/// Walks over the processes and their descriptors.
fn holders(procfs: &Procfs, pids: &[Pid]) -> io::Result<Holders> {
    let mut holders = Holders::default();
    let mut look_at = |pid| {
        // Processes come and go meanwhile.
        let Some(netns) = procfs.netns_of(pid) else {
            return;
        };
        holders.by_netns.entry(netns).or_insert(pid);
        let result = procfs.socket_inodes(pid, |inode| {
            holders.by_inode.entry(inode).or_insert(pid);
        });
        if let Err(error) = result {
            log::debug!("sockets of process {pid} are not known: {error}");
        }
    };
    if pids.is_empty() {
        procfs.pids()?.for_each(look_at);
    } else {
        pids.iter().copied().for_each(&mut look_at);
    }
    Ok(holders)
}

/// The sockets of one namespace that a process holds.
fn join<'a>(
    sockets: &'a [DiagSocket],
    netns: Netns,
    by_inode: &'a HashMap<u32, Pid>,
) -> impl Iterator<Item = SocketOwner> + 'a {
    sockets.iter().filter_map(move |socket| {
        Some(SocketOwner {
            row: socket.row,
            netns,
            pid: *by_inode.get(&socket.inode)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

    use super::*;
    use crate::model::{Cookie, Endpoint, SocketRow, TcpState};

    fn socket(cookie: u64, inode: u32) -> DiagSocket {
        let endpoint = Endpoint {
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 2181,
        };
        DiagSocket {
            row: SocketRow {
                cookie: Cookie(cookie),
                local: endpoint,
                remote: endpoint,
                state: TcpState::Established,
            },
            inode,
            uid: 0,
        }
    }

    #[test]
    fn only_held_sockets_have_an_owner() {
        let sockets = [socket(1, 10), socket(2, 0), socket(3, 30)];
        let by_inode = HashMap::from([(10, Pid(7)), (30, Pid(8)), (40, Pid(9))]);
        let owners: Vec<_> = join(&sockets, Netns(5), &by_inode)
            .map(|owner| (owner.row.cookie, owner.netns, owner.pid))
            .collect();
        assert_eq!(
            owners,
            [(Cookie(1), Netns(5), Pid(7)), (Cookie(3), Netns(5), Pid(8))]
        );
    }

    #[test]
    fn both_ends_of_a_connection_of_this_process_are_its_own() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_server, _) = listener.accept().unwrap();
        let own = Pid(std::process::id());

        let owners = match sockets_before(&Procfs::of_this_host(), &[own]) {
            Ok(owners) => owners,
            Err(SockDiagError::Unsupported(error)) => {
                eprintln!("skipped: this kernel cannot list sockets: {error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };

        let port = client.local_addr().unwrap().port();
        let ends: Vec<_> = owners
            .iter()
            .filter(|owner| owner.row.local.port == port || owner.row.remote.port == port)
            .map(|owner| (owner.pid, owner.row.state))
            .collect();
        assert_eq!(
            ends,
            [(own, TcpState::Established), (own, TcpState::Established)]
        );
    }
}
