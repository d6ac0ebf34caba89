//! `struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)` up to 6.9, and
//! `struct sock *inet_csk_accept(struct sock *sk, struct proto_accept_arg *arg)` since 6.10: a
//! process takes a connection from a listening socket. Never sees connections that nobody accepts.
//!
//! An fexit program finds the returned value behind the arguments, so there is one for each
//! signature; the collector picks by the kernel's own description.

use aya_ebpf::{
    cty::c_void,
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};
use aya_log_ebpf::warn;
use tracer_common::{EventKind, Role, stats::Outcome};

use super::wanted;
use crate::{
    emit,
    kernel::{KernelPtr, add, now_ns, plain_result},
    maps::SOCKS,
    process::{self, Actor},
    sock::{self, Change, Sock, SockInfo},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::TcpAccept;

#[fexit(function = "inet_csk_accept")]
fn inet_csk_accept_4(ctx: FExitContext) -> i32 {
    fexit_with_result(&ctx, 4);
    0
}

#[fexit(function = "inet_csk_accept")]
fn inet_csk_accept_2(ctx: FExitContext) -> i32 {
    fexit_with_result(&ctx, 2);
    0
}

#[kretprobe(function = "inet_csk_accept")]
fn inet_csk_accept_kprobe(ctx: RetProbeContext) -> u32 {
    let sk: KernelPtr = ctx.ret();
    if !sk.is_null() {
        let sock = Sock::read(sk);
        if wanted(KIND, &sock) && accepted(&sock, sock.existing_cookie()) {
            warn!(
                &ctx,
                "the table of connections is full: some are not followed"
            );
        }
    }
    0
}

#[inline(always)]
fn fexit_with_result(ctx: &FExitContext, arguments: usize) {
    let typed: *mut c_void = ctx.arg(arguments);
    if typed.is_null() {
        return;
    }
    let sock = Sock::read(plain_result(ctx, arguments));
    if wanted(KIND, &sock) {
        // SAFETY: the program's own result value, not null.
        let cookie = unsafe { sock.make_cookie(typed) };
        if accepted(&sock, cookie) {
            warn!(
                ctx,
                "the table of connections is full: some are not followed"
            );
        }
    }
}

/// True where it is worth a warning.
#[inline(always)]
fn accepted(sock: &Sock, cookie: u64) -> bool {
    let actor = Actor::current();
    let Some(counters) = process::counters(actor) else {
        return process::table_full(KIND);
    };
    // SAFETY: a map value that the verifier knows of.
    add(unsafe { &raw mut (*counters).accepts }, 1);
    let start_ns = known_start(sock).unwrap_or(now_ns());
    let mut info = SockInfo::new(Role::Server, start_ns, sock.local_port()).owned_by(actor);
    info.cookie = cookie;
    let state = sock.state();
    if sock::is_settled(state) {
        (info.tx_bytes, info.rx_bytes) =
            sock::payload_bytes(sock.address(), info.role, state, state);
    }
    if SOCKS.insert(sock.key(), &info, 0).is_err() {
        return emit::conclude(KIND, Outcome::MapFull);
    }
    let change = Change {
        kind: KIND,
        old_state: state,
        new_state: state,
        errno: 0,
        stack: NOT_ASKED,
    };
    sock::stream(sock, &info, change, Some(actor));
    false
}

/// When the peer's handshake ended, where that was seen.
#[inline(always)]
fn known_start(sock: &Sock) -> Option<u64> {
    // SAFETY: an entry is only replaced as a whole.
    unsafe { SOCKS.get(sock.key()) }.map(|info| info.start_ns)
}
