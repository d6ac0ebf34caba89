//! `void tcp_close(struct sock *sk, long timeout)`: the last descriptor of a socket is being closed,
//! in the context of the process that closes it. Unchanged since long before 5.10. Never tells when
//! the connection ended: that may be seconds earlier, and then the socket has forgotten its port.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_common::{
    EventKind, Role,
    net::state::{CLOSE, CLOSE_WAIT, ESTABLISHED, FIN_WAIT1, LAST_ACK, LISTEN},
};

use crate::{
    emit, filter,
    kernel::{KernelPtr, Typed},
    maps::SOCKS,
    process::Actor,
    sock::{self, Change, Sock, SockInfo},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::TcpClose;

#[fentry(function = "tcp_close")]
fn tcp_close(ctx: FEntryContext) -> i32 {
    // SAFETY: the program's own argument, a `struct sock`.
    closing(unsafe { Typed::new(ctx.arg(0)) });
    0
}

#[kprobe(function = "tcp_close")]
fn tcp_close_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<KernelPtr>(0) {
        closing(sk);
    }
    0
}

#[inline(always)]
fn closing(sk: impl sock::Structure) {
    let actor = Actor::current();
    let sock = Sock::new(sk);
    let state = sock.state();
    let key = sock.key();
    if !sock.is_of_other_ports(state)
        && let Some(info) = SOCKS.get_ptr_mut(key)
    {
        emit::see(KIND);
        // SAFETY: a map value that the verifier knows of. The socket is not locked yet, so an
        // interrupt may write the entry at the same time: each field is then one or the other's.
        let info = unsafe { &mut *info };
        info.descriptor_closed = 1;
        // What is told of an open connection could be a byte too much: the peer's FIN, where it comes at
        // this very moment.
        if state == ESTABLISHED || sock::is_settled(state) {
            (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, state, state);
        }
        let change = change(&sock, state);
        sock::stream(&sock, info, change, Some(actor));
        if state == CLOSE || (state == CLOSE_WAIT && change.new_state == LAST_ACK) {
            let _ = SOCKS.remove(key);
        }
        return;
    }
    // A listening socket, or one that never was connected, is no connection. One that was, and is not
    // followed, was accepted by a call that had been waiting since before watching began, or is
    // itself from before: who closes it is then the only sign of whose it is.
    if state == LISTEN || (state == CLOSE && sock.remote_port() == 0) {
        return;
    }
    if !sock.is_wanted() || !filter::wants_pid(actor.pid) {
        emit::see_filtered(KIND);
        return;
    }
    emit::see(KIND);
    let mut info = SockInfo::new(Role::Unknown, 0, sock.local_port());
    info.cookie = sock.existing_cookie();
    (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, state, state);
    sock::stream(&sock, &info, change(&sock, state), Some(actor));
    if state == ESTABLISHED {
        // The change of state that follows would note it as one whose descriptor is open: nobody would
        // ever take it out again. Without room it is not noted at all.
        info.descriptor_closed = 1;
        let _ = SOCKS.insert(key, &info, 0);
    }
}

/// What the close does to a socket in this state.
#[inline(always)]
fn change(sock: &Sock<impl sock::Structure>, state: u8) -> Change {
    let new_state = match state {
        // What follows within this call is no event of its own: see `inet_sock_set_state`.
        ESTABLISHED => FIN_WAIT1,
        // All that follows is the end of the handshake, which nobody needs to hear of.
        CLOSE_WAIT if sock.is_all_acked() => LAST_ACK,
        state => state,
    };
    Change {
        kind: KIND,
        old_state: state,
        new_state,
        errno: 0,
        stack: NOT_ASKED,
    }
}
