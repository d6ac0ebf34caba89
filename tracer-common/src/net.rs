//! The record of everything that happens to a TCP connection; never of listening sockets.

use crate::EventHeader;

/// `AF_INET`, from `include/linux/socket.h`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`, from `include/linux/socket.h`.
pub const AF_INET6: u16 = 10;

/// TCP states as the kernel numbers them (`include/net/tcp_states.h`).
pub mod state {
    /// Data flows.
    pub const ESTABLISHED: u8 = 1;
    /// Our SYN is on its way.
    pub const SYN_SENT: u8 = 2;
    /// The peer's SYN was answered.
    pub const SYN_RECV: u8 = 3;
    /// This side closed first; its FIN is not yet acknowledged.
    pub const FIN_WAIT1: u8 = 4;
    /// This side closed first; its FIN is acknowledged.
    pub const FIN_WAIT2: u8 = 5;
    /// Both sides are closed; late segments are waited for.
    pub const TIME_WAIT: u8 = 6;
    /// No connection.
    pub const CLOSE: u8 = 7;
    /// The peer closed first; this side has not yet.
    pub const CLOSE_WAIT: u8 = 8;
    /// The peer closed first; our FIN is not yet acknowledged.
    pub const LAST_ACK: u8 = 9;
    /// Waiting for connections.
    pub const LISTEN: u8 = 10;
    /// Both sides closed at once.
    pub const CLOSING: u8 = 11;
}

/// Which part the local process played when the connection was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// Not seen being made.
    Unknown = 0,
    /// It called connect.
    Client = 1,
    /// It called accept (or will: the kernel completes the handshake first).
    Server = 2,
}

impl Role {
    /// The role with this number, or `None` for a number that no role has.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Unknown),
            1 => Some(Self::Client),
            2 => Some(Self::Server),
            _ => None,
        }
    }
}

/// A connection's connect, accept, state change, entry into `TIME_WAIT`, or close.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "records", derive(zerocopy::FromBytes))]
#[repr(C)]
pub struct TcpEvent {
    /// When, who, what.
    pub header: EventHeader,
    /// The socket's identity while it lives: its kernel address mixed with a secret of this run, so
    /// that records of one socket can be joined and no kernel address is told. Used again after the
    /// socket is freed.
    pub sock: u64,
    /// The kernel's socket cookie (`SO_COOKIE`), the same that `sock_diag` lists, for a `TIME_WAIT`
    /// socket too; 0 where the kernel had not made one and has no helper for it (before 5.12).
    pub cookie: u64,
    /// When the connection began (connect, or the end of the peer's handshake), on the same clock
    /// as the header; 0 when that was not seen.
    pub start_ns: u64,
    /// Payload bytes that the peer has acknowledged.
    pub tx_bytes: u64,
    /// Payload bytes received in order.
    pub rx_bytes: u64,
    /// Local address: 16 bytes of IPv6, or IPv4 in the first four.
    pub laddr: [u8; 16],
    /// Remote address, in the same form.
    pub raddr: [u8; 16],
    /// Local port in host order; 0 once the socket has been unhashed.
    pub lport: u16,
    /// Remote port in host order.
    pub rport: u16,
    /// The socket's network namespace (inode number, as in `/proc/PID/ns/net`).
    pub netns: u32,
    /// The socket's address family.
    pub family: u16,
    /// State before, as in [`state`]; the same as `new_state` where nothing changed.
    pub old_state: u8,
    /// State from now on.
    pub new_state: u8,
    /// Why it failed or was cut off (a positive errno), 0 otherwise.
    pub errno: i32,
    /// A [`Role`] as its number.
    pub role: u32,
    /// Explicit padding, zero.
    pub padding: u32,
}

const _: () = assert!(size_of::<TcpEvent>() == 40 + 40 + 32 + 8 + 8 + 8);
// The kernel half writes addresses word by word.
const _: () = assert!(core::mem::offset_of!(TcpEvent, laddr).is_multiple_of(8));
const _: () = assert!(core::mem::offset_of!(TcpEvent, raddr).is_multiple_of(8));
