//! `int tcp_connect(struct sock *sk)`: builds and sends the first SYN, in the context of the process
//! that connects. Unchanged since long before 5.10. Never runs for a connect that failed earlier.

use aya_ebpf::{
    EbpfContext,
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use aya_log_ebpf::warn;
use tracer_common::{
    EventKind, Role,
    net::state::{CLOSE, SYN_SENT},
    stats::Outcome,
};

use super::wanted;
use crate::{
    emit,
    kernel::{KernelPtr, Typed, add, now_ns},
    maps::SOCKS,
    process::{self, Actor},
    sock::{self, Change, Sock, SockInfo},
    stack,
};

const KIND: EventKind = EventKind::TcpConnect;

#[fentry(function = "tcp_connect")]
fn tcp_connect(ctx: FEntryContext) -> i32 {
    // SAFETY: the program's own argument, a `struct sock`.
    let sock = Sock::new(unsafe { Typed::new(ctx.arg(0)) });
    if wanted(KIND, &sock) && connecting(&sock, &ctx) {
        warn!(
            &ctx,
            "the table of connections is full: some are not followed"
        );
    }
    0
}

#[kprobe(function = "tcp_connect")]
fn tcp_connect_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(sock) = ctx.arg::<KernelPtr>(0).map(Sock::new)
        && wanted(KIND, &sock)
        && connecting(&sock, &ctx)
    {
        warn!(
            &ctx,
            "the table of connections is full: some are not followed"
        );
    }
    0
}

/// True where it is worth a warning.
#[inline(always)]
fn connecting(sock: &Sock<impl sock::Structure>, ctx: &impl EbpfContext) -> bool {
    let actor = Actor::current();
    let Some(counters) = process::counters(actor) else {
        return process::table_full(KIND);
    };
    // SAFETY: a map value that the verifier knows of.
    add(unsafe { &raw mut (*counters).connects }, 1);
    let mut info = SockInfo::new(Role::Client, now_ns(), sock.local_port()).owned_by(actor);
    info.cookie = sock.make_cookie();
    if SOCKS.insert(sock.key(), &info, 0).is_err() {
        return emit::conclude(KIND, Outcome::MapFull);
    }
    let change = Change {
        kind: KIND,
        old_state: CLOSE,
        new_state: SYN_SENT,
        errno: 0,
        stack: stack::take(ctx),
    };
    sock::stream(sock, &info, change, Some(actor));
    false
}
