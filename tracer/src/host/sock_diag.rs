//! Lists TCP sockets of the calling thread's network namespace through `NETLINK_SOCK_DIAG`; never
//! says which process holds them (see [`super::owners`]).

use std::{fmt, io};

use netlink_packet_core::{
    DecodeError, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader,
    NetlinkMessage, Parseable,
};
use netlink_packet_sock_diag::{
    SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::{
    io::Errno,
    net::sockopt::{Timeout, set_socket_timeout},
};

use crate::model::{Cookie, Endpoint, SocketRow, TcpState};

/// `NLMSG_NOOP`, `NLMSG_ERROR` and `NLMSG_DONE` of `include/uapi/linux/netlink.h`.
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

/// The kernel puts at most 32 KiB into one datagram of a dump (`netlink_recvmsg` in
/// `net/netlink/af_netlink.c`).
const DATAGRAM_BYTES_MAX: usize = 32 * 1024;

/// How often a listing is begun again that overflowed or changed while it was made.
const ATTEMPTS: u32 = 5;

/// A dump is made by the calls that ask for it and read it, so the kernel never lets one wait; this
/// only keeps a lost last message from stopping the caller for good.
const ANSWER_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// A socket as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DiagSocket {
    /// Cookie, both sides, state.
    pub row: SocketRow,
    /// The inode number that `/proc/PID/fd` shows for its descriptors (unique over all network
    /// namespaces); 0 where no process holds one.
    pub inode: u32,
    /// The user who made it. For `TIME_WAIT` the kernel always says 0.
    pub uid: u32,
}

/// Why sockets could not be listed.
#[derive(Debug)]
pub enum SockDiagError {
    /// The kernel has neither built in nor as a loadable module what lists TCP sockets.
    Unsupported(io::Error),
    /// Every try overflowed or was changed while it was made.
    Interrupted,
    /// The kernel's answer could not be read.
    Malformed(String),
    /// The network namespace could not be entered.
    Namespace(io::Error),
    /// Another call failed.
    System {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        error: io::Error,
    },
}

impl fmt::Display for SockDiagError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported(error) => write!(
                f,
                "the kernel cannot list TCP sockets ({error}): load the modules inet_diag and \
                 tcp_diag"
            ),
            Self::Interrupted => write!(
                f,
                "the sockets changed faster than the kernel could list them, {ATTEMPTS} times: \
                 list again later"
            ),
            Self::Malformed(what) => {
                write!(
                    f,
                    "the kernel's list of TCP sockets could not be read: {what}"
                )
            }
            Self::Namespace(error) => write!(
                f,
                "another network namespace could not be entered ({error}): this needs \
                 CAP_SYS_ADMIN, and a process that still lives there"
            ),
            Self::System { action, error } => {
                write!(f, "cannot {action} to list TCP sockets: {error}")
            }
        }
    }
}

impl std::error::Error for SockDiagError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unsupported(error) | Self::Namespace(error) | Self::System { error, .. } => {
                Some(error)
            }
            Self::Interrupted | Self::Malformed(_) => None,
        }
    }
}

/// The states of connections that belong to no process any more. `FIN_WAIT2` is among them because
/// the kernel keeps a socket whose owner is gone, and whose peer has not closed, in the same form.
#[must_use]
pub fn ownerless_states() -> StateFlags {
    StateFlags::TIME_WAIT | StateFlags::FIN_WAIT2
}

/// The states of connections that a process may hold a descriptor of.
#[must_use]
pub fn held_states() -> StateFlags {
    StateFlags::ESTABLISHED
        | StateFlags::SYN_SENT
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::LAST_ACK
        | StateFlags::CLOSING
}

/// Whether sockets can be listed at all, found out by listing those in a state that is rare.
///
/// Fails as [`list`] does.
pub fn probe() -> Result<(), SockDiagError> {
    list(&StateFlags::CLOSING).map(drop)
}

/// `TIME_WAIT` sockets, and those that wait for the peer's FIN without an owner, sorted, each once.
///
/// Fails as [`list`] does.
pub fn time_wait() -> Result<Vec<SocketRow>, SockDiagError> {
    let sockets = list(&ownerless_states())?;
    Ok(sockets
        .into_iter()
        .filter(|socket| socket.inode == 0)
        .map(|socket| socket.row)
        .collect())
}

/// The TCP sockets, IPv4 and IPv6, that are in one of these states now, sorted, each once.
///
/// The kernel walks its table in steps, and sockets come and go meanwhile: each socket that was
/// there all the time is listed, one that came or went may be.
///
/// Fails where the kernel lacks the ability ([`SockDiagError::Unsupported`]), and where several
/// tries in a row came to nothing.
pub fn list(states: &StateFlags) -> Result<Vec<DiagSocket>, SockDiagError> {
    for _ in 0..ATTEMPTS {
        let mut sockets = Vec::new();
        // A new socket for each try: what is left of a failed dump must not reach the next.
        let result = open().and_then(|socket| {
            dump(&socket, AF_INET, states, &mut sockets)?;
            match dump(&socket, AF_INET6, states, &mut sockets) {
                // IPv4 was listed, so it is IPv6 that this kernel lacks: it has no such sockets.
                Err(Failure::Final(SockDiagError::Unsupported(_))) => Ok(()),
                other => other,
            }
        });
        match result {
            Ok(()) => {
                sockets.sort_unstable();
                sockets.dedup();
                return Ok(sockets);
            }
            Err(Failure::Again) => {}
            Err(Failure::Final(error)) => return Err(error),
        }
    }
    Err(SockDiagError::Interrupted)
}

/// Why one try came to nothing.
#[derive(Debug)]
enum Failure {
    /// It may succeed when tried again.
    Again,
    /// It will not.
    Final(SockDiagError),
}

impl Failure {
    fn of_call(action: &'static str, error: io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => Self::Again,
            Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::NOENT) => {
                Self::Final(SockDiagError::Unsupported(error))
            }
            _ => Self::Final(SockDiagError::System { action, error }),
        }
    }

    fn malformed(error: &DecodeError) -> Self {
        Self::Final(SockDiagError::Malformed(error.to_string()))
    }
}

/// A netlink socket in the calling thread's network namespace, connected to the kernel.
fn open() -> Result<Socket, Failure> {
    let socket = Socket::new(NETLINK_SOCK_DIAG)
        .map_err(|error| Failure::of_call("open a netlink socket", error))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(ANSWER_TIMEOUT))
        .map_err(|error| Failure::of_call("limit the wait", error.into()))?;
    socket
        .connect(&SocketAddr::new(0, 0))
        .map_err(|error| Failure::of_call("reach the kernel", error))?;
    Ok(socket)
}

/// Asks for one family's sockets and reads all parts of the answer.
fn dump(
    socket: &Socket,
    family: u8,
    states: &StateFlags,
    sockets: &mut Vec<DiagSocket>,
) -> Result<(), Failure> {
    // The answer to each request is told apart by its number.
    let sequence = u32::from(family);
    let request = request(family, states, sequence);
    socket
        .send(&request, 0)
        .map_err(|error| Failure::of_call("ask the kernel", error))?;
    let mut datagram = Vec::with_capacity(DATAGRAM_BYTES_MAX);
    loop {
        datagram.clear();
        socket
            .recv(&mut datagram, 0)
            .map_err(|error| Failure::of_call("read the kernel's answer", error))?;
        if read_datagram(&datagram, sequence, sockets)? == Progress::Complete {
            return Ok(());
        }
    }
}

/// The request as bytes.
fn request(family: u8, states: &StateFlags, sequence: u32) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let socket_id = if family == AF_INET6 {
        SocketId::new_v6()
    } else {
        SocketId::new_v4()
    };
    let mut message = NetlinkMessage::new(
        header,
        SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: states.clone(),
            socket_id,
        })
        .into(),
    );
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// How far the answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// More datagrams follow.
    More,
    /// That was all.
    Complete,
}

/// Takes the sockets out of one datagram, which holds any number of messages. Only each socket's
/// fixed part is decoded: the attributes after it cost an allocation each and are not used.
fn read_datagram(
    mut bytes: &[u8],
    sequence: u32,
    sockets: &mut Vec<DiagSocket>,
) -> Result<Progress, Failure> {
    while !bytes.is_empty() {
        let message = NetlinkBuffer::new_checked(bytes).map_err(|e| Failure::malformed(&e))?;
        if message.sequence_number() == sequence {
            if message.flags() & NLM_F_DUMP_INTR != 0 {
                return Err(Failure::Again);
            }
            match message.message_type() {
                NLMSG_DONE => {
                    return match error_number(message.payload()) {
                        0 => Ok(Progress::Complete),
                        number => Err(refusal(number)),
                    };
                }
                NLMSG_ERROR => return Err(refusal(error_number(message.payload()))),
                SOCK_DIAG_BY_FAMILY => {
                    let header = InetResponseHeader::parse(message.payload())
                        .map_err(|e| Failure::malformed(&e))?;
                    sockets.push(diag_socket(&header));
                }
                NLMSG_NOOP => {}
                other => {
                    return Err(Failure::Final(SockDiagError::Malformed(format!(
                        "it holds a message of type {other}"
                    ))));
                }
            }
        }
        // Messages begin at multiples of four (`NLMSG_ALIGN`); the last one may end before it.
        let aligned = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(aligned..).unwrap_or_default();
    }
    Ok(Progress::More)
}

/// The negated errno that the last message, or an error message, begins with; 0 where it is empty.
fn error_number(payload: &[u8]) -> i32 {
    payload
        .first_chunk()
        .map_or(0, |bytes| i32::from_ne_bytes(*bytes))
}

/// What the kernel's refusal means.
fn refusal(negated_errno: i32) -> Failure {
    Failure::of_call(
        "have the kernel answer",
        io::Error::from_raw_os_error(negated_errno.saturating_neg()),
    )
}

/// The fixed part of a message as ours.
fn diag_socket(header: &InetResponseHeader) -> DiagSocket {
    let id = &header.socket_id;
    // Two halves, each in the machine's order, the low one first (`sock_diag_save_cookie`).
    let half = |bytes: &[u8]| {
        bytes
            .first_chunk()
            .map_or(0, |half| u32::from_ne_bytes(*half))
    };
    let (low, high) = id.cookie.split_at(size_of::<u32>());
    let cookie = u64::from(half(low)) | u64::from(half(high)) << 32;
    DiagSocket {
        row: SocketRow {
            cookie: Cookie(cookie),
            local: Endpoint {
                addr: id.source_address.to_canonical(),
                port: id.source_port,
            },
            remote: Endpoint {
                addr: id.destination_address.to_canonical(),
                port: id.destination_port,
            },
            state: TcpState::from(header.state),
        },
        inode: header.inode,
        uid: header.uid,
    }
}

#[cfg(test)]
#[path = "sock_diag_tests.rs"]
mod tests;
