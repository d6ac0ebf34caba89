//! `struct sock *inet_csk_accept(struct sock *sk, int flags, int *err, bool kern)` up to 6.9, and
//! `struct sock *inet_csk_accept(struct sock *sk, struct proto_accept_arg *arg)` since 6.10: a
//! process takes a connection from a listening socket. Never sees connections that nobody accepts.
//!
//! An fexit program finds the returned value behind the arguments, so there is one for each
//! signature; the collector picks by the kernel's own description.

use aya_ebpf::{
    EbpfContext,
    macros::{fexit, kretprobe},
    programs::{FExitContext, RetProbeContext},
};
use aya_log_ebpf::warn;
use tracer_common::{EventKind, Role, stats::Outcome};

use super::wanted;
use crate::{
    emit,
    kernel::{KernelPtr, Typed, add, now_ns},
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
        taken(sk, &ctx);
    }
    0
}

#[inline(always)]
fn fexit_with_result(ctx: &FExitContext, arguments: usize) {
    let sk: KernelPtr = ctx.arg(arguments);
    if !sk.is_null() {
        // SAFETY: the program's own result, a `struct sock`.
        taken(unsafe { Typed::new(sk) }, ctx);
    }
}

#[inline(always)]
fn taken(sk: impl sock::Structure, ctx: &impl EbpfContext) {
    let sock = Sock::new(sk);
    if wanted(KIND, &sock) && accepted(&sock) {
        warn!(
            ctx,
            "the table of connections is full: some are not followed"
        );
    }
}

/// True where it is worth a warning.
#[inline(always)]
fn accepted(sock: &Sock<impl sock::Structure>) -> bool {
    let actor = Actor::current();
    let Some(counters) = process::counters(actor) else {
        return process::table_full(KIND);
    };
    // SAFETY: a map value that the verifier knows of.
    add(unsafe { &raw mut (*counters).accepts }, 1);
    let state = sock.state();
    let change = Change {
        kind: KIND,
        old_state: state,
        new_state: state,
        errno: 0,
        stack: NOT_ASKED,
    };
    let Some(info) = noted(sock) else {
        return emit::conclude(KIND, Outcome::MapFull);
    };
    // SAFETY: a map value that the verifier knows of. An interrupt may write the other fields at the
    // same time, as the socket is not locked.
    let info = unsafe { &mut *info };
    info.pid = actor.pid;
    info.tid = actor.tid;
    info.cookie = sock.make_cookie();
    if sock::is_settled(state) {
        (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, state, state);
    }
    sock::stream(sock, info, change, Some(actor));
    false
}

/// What the end of the handshake noted of the connection, noted now where that was not seen; `None` where
/// there is no room. What was noted is nobody's yet: any other entry is of a connection whose end was not
/// seen, and gives way.
#[inline(always)]
fn noted(sock: &Sock<impl sock::Structure>) -> Option<*mut SockInfo> {
    let key = sock.key();
    if let Some(info) = SOCKS.get_ptr_mut(key).filter(|info| is_unowned(*info)) {
        return Some(info);
    }
    let info = SockInfo::new(Role::Server, now_ns(), sock.local_port());
    SOCKS.insert(key, &info, 0).ok()?;
    SOCKS.get_ptr_mut(key)
}

#[inline(always)]
fn is_unowned(info: *const SockInfo) -> bool {
    // SAFETY: a map value that the verifier knows of.
    unsafe { (*info).role == Role::Server as u8 && (*info).pid == 0 }
}
