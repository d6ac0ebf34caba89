//! Socket listings as bytes from the kernel, whole and broken; only one test asks this kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};

use rustix::net::sockopt::socket_cookie;

use super::*;

/// One message as the kernel sends it: header, and `inet_diag_msg` where it has one.
fn message(message_type: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&length.to_ne_bytes());
    bytes.extend_from_slice(&message_type.to_ne_bytes());
    bytes.extend_from_slice(&flags.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// `struct inet_diag_msg` of a mapped connection from port 40000 to 2181 in `TIME_WAIT`.
fn mapped_time_wait() -> Vec<u8> {
    let mut bytes = vec![AF_INET6, 6, 3, 0];
    bytes.extend_from_slice(&40_000_u16.to_be_bytes());
    bytes.extend_from_slice(&2181_u16.to_be_bytes());
    let address = Ipv4Addr::new(10, 0, 0, 7).to_ipv6_mapped();
    bytes.extend_from_slice(&address.octets());
    bytes.extend_from_slice(&Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets());
    bytes.extend_from_slice(&0_u32.to_ne_bytes());
    bytes.extend_from_slice(&0x5566_7788_u32.to_ne_bytes());
    bytes.extend_from_slice(&0x1122_3344_u32.to_ne_bytes());
    for expires_queues_uid_inode in [59_000_u32, 0, 0, 0, 0] {
        bytes.extend_from_slice(&expires_queues_uid_inode.to_ne_bytes());
    }
    bytes
}

const MAPPED_TIME_WAIT: DiagSocket = DiagSocket {
    row: SocketRow {
        cookie: Cookie(0x1122_3344_5566_7788),
        local: Endpoint {
            addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)),
            port: 40_000,
        },
        remote: Endpoint {
            addr: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9)),
            port: 2181,
        },
        state: TcpState::TimeWait,
    },
    inode: 0,
    uid: 0,
};

#[test]
fn a_datagram_with_two_sockets_and_the_end() {
    // The second message carries an attribute (INET_DIAG_SHUTDOWN) whose length is no multiple of 4.
    let mut with_attribute = mapped_time_wait();
    with_attribute.extend_from_slice(&[5, 0, 8, 0, 3]);
    let mut bytes = message(SOCK_DIAG_BY_FAMILY, 2, 10, &mapped_time_wait());
    bytes.extend(message(SOCK_DIAG_BY_FAMILY, 2, 10, &with_attribute));
    bytes.extend([0, 0, 0]);
    bytes.extend(message(NLMSG_DONE, 2, 10, &[0; 4]));

    let mut sockets = Vec::new();
    let progress = read_datagram(&bytes, 10, &mut sockets).unwrap();
    assert_eq!(progress, Progress::Complete);
    assert_eq!(sockets, [MAPPED_TIME_WAIT, MAPPED_TIME_WAIT]);
}

#[test]
fn a_part_of_a_dump_and_answers_to_others() {
    let mut bytes = message(SOCK_DIAG_BY_FAMILY, 2, 10, &mapped_time_wait());
    bytes.extend(message(NLMSG_DONE, 2, 9, &[0; 4]));
    let mut sockets = Vec::new();
    let progress = read_datagram(&bytes, 10, &mut sockets).unwrap();
    assert_eq!(progress, Progress::More);
    assert_eq!(sockets, [MAPPED_TIME_WAIT]);
}

#[test]
fn a_dump_that_was_changed_meanwhile_is_made_again() {
    let bytes = message(
        SOCK_DIAG_BY_FAMILY,
        2 | NLM_F_DUMP_INTR,
        10,
        &mapped_time_wait(),
    );
    let failure = read_datagram(&bytes, 10, &mut Vec::new()).unwrap_err();
    assert!(matches!(failure, Failure::Again), "{failure:?}");
}

#[test]
fn a_kernel_without_tcp_diag() {
    // ENOENT is 2.
    let bytes = message(NLMSG_ERROR, 0, 2, &(-2_i32).to_ne_bytes().repeat(5));
    let failure = read_datagram(&bytes, 2, &mut Vec::new()).unwrap_err();
    let Failure::Final(error @ SockDiagError::Unsupported(_)) = failure else {
        panic!("{failure:?}");
    };
    assert_eq!(
        error.to_string(),
        "the kernel cannot list TCP sockets (No such file or directory (os error 2)): load the \
         modules inet_diag and tcp_diag"
    );
}

#[test]
fn broken_answers_are_errors() {
    let whole = message(SOCK_DIAG_BY_FAMILY, 2, 10, &mapped_time_wait());
    for length in 1..whole.len() {
        let failure = read_datagram(&whole[..length], 10, &mut Vec::new()).unwrap_err();
        assert!(
            matches!(failure, Failure::Final(SockDiagError::Malformed(_))),
            "{length}: {failure:?}"
        );
    }
    let short = message(SOCK_DIAG_BY_FAMILY, 2, 10, &[AF_INET, 1]);
    assert!(read_datagram(&short, 10, &mut Vec::new()).is_err());
    let unknown = message(99, 2, 10, &[]);
    assert!(read_datagram(&unknown, 10, &mut Vec::new()).is_err());
}

/// Whether this kernel lists sockets; says so where it does not.
fn can_list() -> bool {
    match probe() {
        Ok(()) => true,
        Err(SockDiagError::Unsupported(error)) => {
            eprintln!("skipped: this kernel cannot list sockets: {error}");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// A connection to a listener at `address`: client, server.
fn connection(address: IpAddr) -> Option<(TcpStream, TcpStream)> {
    // A machine may lack IPv6.
    let listener = TcpListener::bind((address, 0)).ok()?;
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    Some((client, server))
}

#[test]
fn real_connections_are_listed_with_their_cookies() {
    for address in [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ] {
        let Some((client, _server)) = connection(address).filter(|_| can_list()) else {
            continue;
        };
        let local = client.local_addr().unwrap();
        let sockets = list(&StateFlags::ESTABLISHED).unwrap();
        let listed = sockets
            .iter()
            .find(|socket| socket.row.local.port == local.port())
            .unwrap();
        assert_eq!(listed.row.cookie, Cookie(socket_cookie(&client).unwrap()));
        assert_eq!(listed.row.local.addr, address);
        assert_eq!(listed.row.remote.addr, address);
        assert_eq!(listed.row.state, TcpState::Established);
        assert_ne!(listed.inode, 0);
    }
}

#[test]
fn a_time_wait_socket_keeps_its_cookie_and_has_no_inode() {
    let Some((client, server)) = connection(IpAddr::V4(Ipv4Addr::LOCALHOST)).filter(|_| can_list())
    else {
        return;
    };
    let cookie = Cookie(socket_cookie(&client).unwrap());
    let port = client.local_addr().unwrap().port();
    // The client closes first; both ends have seen the other's FIN before anything is listed.
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(io::copy(&mut &server, &mut io::sink()).unwrap(), 0);
    drop(server);
    assert_eq!(io::copy(&mut &client, &mut io::sink()).unwrap(), 0);
    drop(client);

    let rows: Vec<_> = time_wait()
        .unwrap()
        .into_iter()
        .filter(|row| row.local.port == port)
        .map(|row| (row.cookie, row.state))
        .collect();
    assert_eq!(rows, [(cookie, TcpState::TimeWait)]);
}
