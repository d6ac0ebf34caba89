//! Tracepoint `inet_sock_set_state(const struct sock *sk, const int oldstate, const int newstate)`,
//! since 4.16: every change of a socket's state. Runs in whatever context received a segment, so it
//! never asks who is running: the owner is the one who connected or accepted.

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use tracer_common::{
    EventKind, Role,
    net::state::{CLOSE, ESTABLISHED, FIN_WAIT1, LISTEN, SYN_RECV, SYN_SENT},
    stats::Outcome,
};

use crate::{
    config::config,
    emit,
    kernel::{KernelPtr, Typed, now_ns},
    maps::SOCKS,
    sock::{self, Change, Sock, SockInfo},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::TcpState;

#[btf_tracepoint(function = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the arguments of the tracepoint, the first of them a `struct sock`.
    let (sk, old, new) = unsafe { (Typed::new(ctx.arg(0)), ctx.arg(1), ctx.arg(2)) };
    changes(sk, old, new);
    0
}

#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn inet_sock_set_state_raw(ctx: RawTracePointContext) -> i32 {
    let sk: KernelPtr = ctx.arg(0);
    changes(sk, ctx.arg(1), ctx.arg(2));
    0
}

#[inline(always)]
fn changes(sk: impl sock::Structure, old: i32, new: i32) {
    let (old, new) = (old as u8, new as u8);
    if old == SYN_RECV && new == ESTABLISHED {
        handshake_done(&Sock::new(sk));
    } else if matters(old, new) {
        state_changed(&Sock::new(sk), old, new);
    }
}

/// Whether a change says something about a connection's life: that it was established, that it left
/// that state, or that it is over. What lies between only concerns the handshake of its end.
#[inline(always)]
fn matters(old: u8, new: u8) -> bool {
    old == ESTABLISHED
        || (old == SYN_SENT && new == ESTABLISHED)
        || (new == CLOSE && old != LISTEN && old != CLOSE && old != SYN_RECV)
}

/// Notes when a server's connection began: its process may accept it much later. Not an event: the
/// accept tells it.
#[inline(always)]
fn handshake_done(sock: &Sock<impl sock::Structure>) {
    if !sock.is_tcp() {
        return;
    }
    if sock.is_wanted() {
        let info = SockInfo::new(Role::Server, now_ns(), sock.local_port());
        // Without room the accept, which counts its own loss, tells the connection's begin.
        let _ = SOCKS.insert(sock.key(), &info, 0);
    } else {
        sock.forget();
    }
}

#[inline(always)]
fn state_changed(sock: &Sock<impl sock::Structure>, old: u8, new: u8) {
    let key = sock.key();
    if !sock.is_of_other_ports(old)
        && let Some(info) = SOCKS.get_ptr_mut(key)
    {
        // SAFETY: a map value that the verifier knows of. The kernel changes a socket's state under
        // the socket's lock, so nobody else writes this entry now.
        unsafe { followed_changed(sock, &mut *info, old, new) };
        return;
    }
    // Not followed: a connection from before watching began is met here for the first time, if it
    // is wanted. Who owns it cannot be told here, so a selection of processes cannot be answered.
    if old != ESTABLISHED || !sock.is_tcp() {
        return;
    }
    if config!(filter_pids) != 0 || !sock.is_wanted() {
        emit::see_filtered(KIND);
        return;
    }
    emit::see(KIND);
    let mut info = SockInfo::new(Role::Unknown, 0, sock.local_port());
    info.cookie = sock.existing_cookie();
    (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, old, new);
    if new != CLOSE && SOCKS.insert(key, &info, 0).is_err() {
        emit::conclude(KIND, Outcome::MapFull);
        return;
    }
    let errno = sock.pending_errno();
    sock::stream(
        sock,
        &info,
        Change {
            kind: KIND,
            old_state: old,
            new_state: new,
            errno,
            stack: NOT_ASKED,
        },
        None,
    );
}

#[inline(always)]
fn followed_changed(sock: &Sock<impl sock::Structure>, info: &mut SockInfo, old: u8, new: u8) {
    // The close of the descriptor has told that this follows within its call; anything else that comes in
    // between is told.
    if info.descriptor_closed != 0 && old == ESTABLISHED && new == FIN_WAIT1 {
        return;
    }
    // The entry into TIME_WAIT has already told that the connection is over.
    if info.time_wait == 0 {
        // A server's socket that nobody has accepted yet is wanted if its owner is, who is not
        // known; the accept tells its state.
        if info.role == Role::Server as u8 && info.pid == 0 && config!(filter_pids) != 0 {
            return;
        }
        emit::see(KIND);
        if info.cookie == 0 {
            info.cookie = sock.existing_cookie();
        }
        (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, old, new);
        let errno = if new == CLOSE {
            sock.pending_errno()
        } else {
            0
        };
        let change = Change {
            kind: KIND,
            old_state: old,
            new_state: new,
            errno,
            stack: NOT_ASKED,
        };
        sock::stream(sock, info, change, None);
    }
    let unaccepted = info.role == Role::Server as u8 && info.pid == 0;
    if new == CLOSE && (info.descriptor_closed != 0 || unaccepted) {
        let _ = SOCKS.remove(sock.key());
    }
}
