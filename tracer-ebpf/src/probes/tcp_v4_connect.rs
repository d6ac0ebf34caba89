//! `int tcp_v4_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)`: a process's connect
//! over IPv4. Unchanged since long before 5.10 (the address's type got another name in 6.19). Only
//! used for what fails before a SYN could leave: no route, no free port.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use tracer_common::{
    EventKind, Role, TcpEvent,
    net::{AF_INET, state::CLOSE},
};

use crate::{
    config::config,
    emit, filter,
    kernel::{KernelPtr, Typed, add, copy, now_ns, plain, read, zero},
    maps::SOCKS,
    process::{self, Actor},
    sock::Sock,
    stack,
};

const KIND: EventKind = EventKind::TcpConnectFailed;

#[fexit(function = "tcp_v4_connect")]
fn tcp_v4_connect(ctx: FExitContext) -> i32 {
    /// Where `struct sockaddr_in` keeps the address (`include/uapi/linux/in.h`).
    const ADDRESS: usize = 4;
    let result: i32 = ctx.arg(3);
    if result < 0 {
        let address = plain(ctx.arg(1));
        connect_failed(
            &ctx,
            // SAFETY: the program's own argument, a `struct sock`.
            unsafe { Typed::new(ctx.arg(0)) },
            -result,
            &Target {
                address,
                family: AF_INET,
                at: ADDRESS,
                bytes: 4,
            },
        );
    }
    0
}

/// The address that a process wanted to connect to, as the system call passed it.
pub(super) struct Target {
    /// The kernel's copy of the socket address.
    pub(super) address: KernelPtr,
    /// Its family.
    pub(super) family: u16,
    /// Where in it the address proper lies.
    pub(super) at: usize,
    /// How long that is.
    pub(super) bytes: u32,
}

/// Tells of a connect that failed at once, unless a SYN had left: then the state change tells it.
#[inline(always)]
pub(super) fn connect_failed(ctx: &FExitContext, sk: Typed, errno: i32, target: &Target) {
    /// Where every internet socket address keeps its port.
    const PORT: usize = 2;
    let sock = Sock::new(sk);
    // SAFETY: the value is not read.
    if unsafe { SOCKS.get(sock.key()) }.is_some() {
        return;
    }
    let actor = Actor::current();
    let rport = u16::from_be(read(target.address, PORT));
    if !filter::wants_ports(0, rport) || !filter::wants_task(actor.pid) {
        emit::see_filtered(KIND);
        return;
    }
    emit::see(KIND);
    let Some(counters) = process::counters(actor) else {
        process::table_full(KIND);
        return;
    };
    // It has not come to `tcp_connect`, where all others are counted.
    // SAFETY: a map value that the verifier knows of.
    add(unsafe { &raw mut (*counters).connects }, 1);
    let stack = stack::take(ctx);
    emit::stream::<TcpEvent>(
        KIND,
        #[inline(always)]
        |event| {
            // SAFETY: the record was reserved with this very type; at most 16 bytes of address.
            unsafe {
                emit::fill_header(&raw mut (*event).header, KIND, actor);
                (*event).header.stack = stack;
                (*event).sock = sock.key() ^ config!(sock_secret);
                (*event).cookie = sock.existing_cookie();
                (*event).start_ns = now_ns();
                (*event).tx_bytes = 0;
                (*event).rx_bytes = 0;
                zero(&raw mut (*event).laddr);
                zero(&raw mut (*event).raddr);
                let to = (&raw mut (*event).raddr).cast::<u8>();
                copy(to, target.bytes, target.address.wrapping_add(target.at));
                (*event).lport = 0;
                (*event).rport = rport;
                (*event).netns = sock.netns();
                (*event).family = target.family;
                (*event).old_state = CLOSE;
                (*event).new_state = CLOSE;
                (*event).errno = errno;
                (*event).role = Role::Client as u32;
                (*event).padding = 0;
            }
        },
    );
}
