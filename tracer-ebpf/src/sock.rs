//! What the kernel keeps in a TCP socket, and what is remembered of a connection between its events.
//! Never decides whether an event is wanted.

use aya_ebpf::helpers::generated;
use tracer_common::{
    EventKind, Role, TcpEvent,
    net::{AF_INET, AF_INET6, state},
    stats::Outcome,
};

use crate::{
    config::{config, offset},
    emit, filter,
    kernel::{self, KernelPtr, Structure as _, Typed, read, zero},
    maps::SOCKS,
    process::Actor,
};

/// `IPPROTO_TCP` (`include/uapi/linux/in.h`).
const IPPROTO_TCP: u16 = 6;

/// What is remembered of a connection that is being followed.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct SockInfo {
    /// When it began; 0 where that was before watching began.
    pub start_ns: u64,
    /// Its cookie as last seen.
    pub cookie: u64,
    /// Payload bytes acknowledged, as last seen while the socket could tell.
    pub tx_bytes: u64,
    /// Payload bytes received, likewise.
    pub rx_bytes: u64,
    /// Who connected or accepted it; 0 where nobody has yet, or before watching began.
    pub pid: u32,
    /// The thread that did.
    pub tid: u32,
    /// Its local port, which the socket itself forgets before its descriptor is closed.
    pub lport: u16,
    /// A [`Role`] as its number.
    pub role: u8,
    /// 1 once the descriptor is closed.
    pub descriptor_closed: u8,
    /// 1 once its socket was replaced by a `TIME_WAIT` one; so wide that nothing is left over.
    pub time_wait: u32,
}

impl SockInfo {
    /// A connection of which nothing but this is known.
    #[inline(always)]
    pub fn new(role: Role, start_ns: u64, lport: u16) -> Self {
        Self {
            start_ns,
            cookie: 0,
            tx_bytes: 0,
            rx_bytes: 0,
            pid: 0,
            tid: 0,
            lport,
            role: role as u8,
            descriptor_closed: 0,
            time_wait: 0,
        }
    }

    /// The same, owned by the task that is running.
    #[inline(always)]
    pub fn owned_by(mut self, actor: Actor) -> Self {
        self.pid = actor.pid;
        self.tid = actor.tid;
        self
    }
}

/// A `struct sock`, as it can be read best.
pub trait Structure: kernel::Structure {
    /// The same as a `struct tcp_sock`, which it begins; `None` where it speaks another protocol, as
    /// some of the kernel's functions are shared.
    fn as_tcp(self) -> Option<Self>;

    /// Its cookie, made now if need be where the kernel has the helper: it must be asked for while the
    /// socket is whole, so that its `TIME_WAIT` successor inherits it. Only for a socket that is itself an
    /// argument or the result of the hooked function.
    fn make_cookie(self) -> u64;
}

impl Structure for Typed {
    #[inline(always)]
    fn as_tcp(self) -> Option<Self> {
        // SAFETY: the verifier knows the type, and the one of what is returned.
        unsafe {
            let tcp = generated::bpf_skc_to_tcp_sock(self.pointer().cast_mut().cast());
            (!tcp.is_null()).then(|| Self::new(tcp.cast_const().cast()))
        }
    }

    #[inline(always)]
    fn make_cookie(self) -> u64 {
        if config!(has_socket_cookie) != 0 {
            // SAFETY: checked by the verifier.
            unsafe { generated::bpf_get_socket_cookie(self.pointer().cast_mut().cast()) }
        } else {
            self.read(offset!(sock_cookie))
        }
    }
}

impl Structure for KernelPtr {
    #[inline(always)]
    fn as_tcp(self) -> Option<Self> {
        let protocol: u16 = read(self, offset!(sock_protocol));
        (protocol == IPPROTO_TCP).then_some(self)
    }

    #[inline(always)]
    fn make_cookie(self) -> u64 {
        read(self, offset!(sock_cookie))
    }
}

/// A socket.
#[derive(Clone, Copy)]
pub struct Sock<S> {
    structure: S,
    address: KernelPtr,
}

impl<S: Structure> Sock<S> {
    /// The socket that this is.
    #[inline(always)]
    pub fn new(structure: S) -> Self {
        Self {
            structure,
            address: structure.address(),
        }
    }

    /// Its key in [`crate::maps::SOCKS`].
    #[inline(always)]
    pub fn key(&self) -> u64 {
        self.address as u64
    }

    /// Whether it speaks TCP: other protocols share some of the kernel's functions.
    #[inline(always)]
    pub fn is_tcp(&self) -> bool {
        self.structure.as_tcp().is_some()
    }

    /// Its TCP state.
    #[inline(always)]
    pub fn state(&self) -> u8 {
        self.structure.read(offset!(sock_state))
    }

    /// The local port in host order. Once the connection is over the kernel gives the port back and
    /// zeroes `skc_num`, but leaves the copy that went into packets.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        match self.structure.read(offset!(sock_num)) {
            0 => self
                .structure
                .as_tcp()
                .map_or(0, |tcp| u16::from_be(tcp.read(offset!(inet_sport)))),
            port => port,
        }
    }

    /// The remote port in host order.
    #[inline(always)]
    pub fn remote_port(&self) -> u16 {
        u16::from_be(self.structure.read(offset!(sock_dport)))
    }

    /// Whether a connection of the selected ports and network is or was on it.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        let of_ports = filter::is_any_port_wanted()
            || filter::wants_ports(self.local_port(), self.remote_port());
        of_ports && filter::wants_netns(|| self.netns())
    }

    /// Whether its ports alone tell that nobody follows its connection, which costs less than to look it up.
    /// One that is closed may have forgotten them.
    #[inline(always)]
    pub fn is_of_other_ports(&self, state: u8) -> bool {
        !filter::is_any_port_wanted()
            && state != state::CLOSE
            && !filter::wants_ports(self.local_port(), self.remote_port())
    }

    /// The cookie that it has by now; 0 where nobody has asked for one yet.
    #[inline(always)]
    pub fn existing_cookie(&self) -> u64 {
        self.structure.read(offset!(sock_cookie))
    }

    /// As [`Structure::make_cookie`].
    #[inline(always)]
    pub fn make_cookie(&self) -> u64 {
        self.structure.make_cookie()
    }

    /// Its network namespace.
    #[inline(always)]
    pub fn netns(&self) -> u32 {
        self.structure
            .follow(offset!(sock_net))
            .read(offset!(net_inum))
    }

    /// The error that it holds for its process, as a positive errno.
    #[inline(always)]
    pub fn pending_errno(&self) -> i32 {
        self.structure.read(offset!(sock_err))
    }

    /// Payload bytes that the peer has acknowledged, and that were received, when the socket goes from
    /// one state to another (or stays in it).
    ///
    /// The kernel's counters also count the SYN and FIN flags, each of which takes one sequence number:
    /// the SYN for a client's own counter, our FIN once it is acknowledged, the peer's once it came.
    #[inline(always)]
    pub fn payload_bytes(&self, role: u8, old_state: u8, new_state: u8) -> (u64, u64) {
        let Some(tcp) = self.structure.as_tcp() else {
            return (0, 0);
        };
        let acked: u64 = tcp.read(offset!(tcp_bytes_acked));
        let received: u64 = tcp.read(offset!(tcp_bytes_received));
        let syn_acked = u64::from(role == Role::Client as u8);
        // The last acknowledgement takes a socket from LAST_ACK to CLOSE; so does a reset, with an error.
        let fin_acked = u64::from(match (old_state, new_state) {
            (state::LAST_ACK, state::CLOSE) => self.pending_errno() == 0,
            _ => matches!(new_state, state::FIN_WAIT2 | state::TIME_WAIT),
        });
        let last_state = if new_state == state::CLOSE {
            old_state
        } else {
            new_state
        };
        let fin_received = u64::from(matches!(
            last_state,
            state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING | state::TIME_WAIT
        ));
        (
            acked.saturating_sub(syn_acked + fin_acked),
            received.saturating_sub(fin_received),
        )
    }

    /// Whether the peer has acknowledged all that was written.
    #[inline(always)]
    pub fn is_all_acked(&self) -> bool {
        self.structure.as_tcp().is_some_and(|tcp| {
            let acked: u32 = tcp.read(offset!(tcp_snd_una));
            acked == tcp.read(offset!(tcp_write_seq))
        })
    }

    /// Stops following whatever connection used this socket's memory before: its end was not seen (a run
    /// that the kernel skipped), and a new connection must not be taken for it.
    #[inline(always)]
    pub fn forget(&self) {
        let key = self.key();
        // A look-up takes no lock, and hardly ever finds anything.
        // SAFETY: the value is not read.
        if unsafe { SOCKS.get(key) }.is_some() {
            let _ = SOCKS.remove(key);
        }
    }
}

/// Whether [`Sock::payload_bytes`] can be told of a socket that nobody has locked: the peer's FIN has come.
/// Before, it may come on another CPU meanwhile, and would be counted as payload; the change of state
/// that follows tells the bytes then.
#[inline(always)]
pub fn is_settled(state: u8) -> bool {
    matches!(
        state,
        state::CLOSE_WAIT | state::LAST_ACK | state::CLOSING | state::TIME_WAIT
    )
}

/// What one event says besides what the socket and the memory of it say.
#[derive(Clone, Copy)]
pub struct Change {
    /// What happened.
    pub kind: EventKind,
    /// State before.
    pub old_state: u8,
    /// State from now on.
    pub new_state: u8,
    /// Why it failed (a positive errno), 0 otherwise.
    pub errno: i32,
    /// The acting thread's user stack, as an event's header tells it.
    pub stack: i32,
}

/// Streams an event of this connection. The actor is the running task where it acts itself, `None`
/// where the event was made by an interrupt: then the owner is told.
#[inline(always)]
pub fn stream(sock: &Sock<impl Structure>, info: &SockInfo, change: Change, actor: Option<Actor>) {
    let family: u16 = sock.structure.read(offset!(sock_family));
    if family != AF_INET && family != AF_INET6 {
        // No socket that was read whole has another: these hooks are TCP's own.
        emit::conclude(change.kind, Outcome::ReadFailed);
        return;
    }
    emit::stream::<TcpEvent>(
        change.kind,
        #[inline(always)]
        |event| {
            // SAFETY: the record was reserved with this very type.
            unsafe {
                let header = &raw mut (*event).header;
                match actor {
                    Some(actor) => emit::fill_header(header, change.kind, actor),
                    None => emit::fill_header_of_owner(header, change.kind, info.pid, info.tid),
                }
                (*header).stack = change.stack;
                (*event).sock = sock.key() ^ config!(sock_secret);
                (*event).cookie = info.cookie;
                (*event).start_ns = info.start_ns;
                (*event).tx_bytes = info.tx_bytes;
                (*event).rx_bytes = info.rx_bytes;
                (*event).lport = info.lport;
                (*event).rport = sock.remote_port();
                (*event).netns = sock.netns();
                (*event).family = family;
                (*event).old_state = change.old_state;
                (*event).new_state = change.new_state;
                (*event).errno = change.errno;
                (*event).role = u32::from(info.role);
                (*event).padding = 0;
                fill_addresses(event, sock);
            }
        },
    );
}

#[inline(always)]
#[expect(
    clippy::cast_ptr_alignment,
    reason = "the ring buffer aligns records to eight bytes, and both addresses lie at such within them"
)]
unsafe fn fill_addresses(event: *mut TcpEvent, sock: &Sock<impl Structure>) {
    let from = sock.structure;
    // SAFETY: the caller passes a whole event; each store stays within its 16 bytes.
    unsafe {
        let (local, remote) = ((&raw mut (*event).laddr), (&raw mut (*event).raddr));
        if (*event).family == AF_INET6 {
            for word in 0..2 {
                let at = word * size_of::<u64>();
                let halves = (
                    local.cast::<u64>().add(word),
                    remote.cast::<u64>().add(word),
                );
                (halves.0).write(from.read(offset!(sock_v6_rcv_saddr) + at));
                (halves.1).write(from.read(offset!(sock_v6_daddr) + at));
            }
        } else {
            zero(local);
            zero(remote);
            local
                .cast::<u32>()
                .write(from.read(offset!(sock_rcv_saddr)));
            remote.cast::<u32>().write(from.read(offset!(sock_daddr)));
        }
    }
}
