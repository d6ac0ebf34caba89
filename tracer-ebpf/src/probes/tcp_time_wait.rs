//! `void tcp_time_wait(struct sock *sk, int state, int timeo)`: the socket is about to be replaced by
//! a small one that waits for late segments. Unchanged since long before 5.10. The whole socket is
//! still there, so it is the last moment that tells all; never who runs: that is chance.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use tracer_common::{EventKind, Role};

use crate::{
    config::config,
    emit,
    kernel::{KernelPtr, Typed},
    maps::SOCKS,
    sock::{self, Change, Sock, SockInfo},
    stack::NOT_ASKED,
};

const KIND: EventKind = EventKind::TcpTimeWait;

#[fentry(function = "tcp_time_wait")]
fn tcp_time_wait(ctx: FEntryContext) -> i32 {
    let state: i32 = ctx.arg(1);
    // SAFETY: the program's own argument, a `struct sock`.
    entering(unsafe { Typed::new(ctx.arg(0)) }, state as u8);
    0
}

#[kprobe(function = "tcp_time_wait")]
fn tcp_time_wait_kprobe(ctx: ProbeContext) -> u32 {
    if let (Some(sk), Some(state)) = (ctx.arg::<KernelPtr>(0), ctx.arg::<i32>(1)) {
        entering(sk, state as u8);
    }
    0
}

#[inline(always)]
fn entering(sk: impl sock::Structure, state: u8) {
    let sock = Sock::new(sk);
    let old_state = sock.state();
    let change = Change {
        kind: KIND,
        old_state,
        new_state: state,
        errno: 0,
        stack: NOT_ASKED,
    };
    if !sock.is_of_other_ports(old_state)
        && let Some(info) = SOCKS.get_ptr_mut(sock.key())
    {
        emit::see(KIND);
        // SAFETY: a map value that the verifier knows of; the socket is locked.
        let info = unsafe { &mut *info };
        info.time_wait = 1;
        if info.cookie == 0 {
            info.cookie = sock.existing_cookie();
        }
        (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, old_state, state);
        sock::stream(&sock, info, change, None);
        return;
    }
    if config!(filter_pids) != 0 || !sock.is_wanted() {
        emit::see_filtered(KIND);
        return;
    }
    emit::see(KIND);
    let mut info = SockInfo::new(Role::Unknown, 0, sock.local_port());
    info.cookie = sock.existing_cookie();
    (info.tx_bytes, info.rx_bytes) = sock.payload_bytes(info.role, old_state, state);
    sock::stream(&sock, &info, change, None);
}
