//! One hook a file, headed by what it hooks and since when it is so. Never more than reading the
//! hook's arguments, deciding, counting and emitting.
//!
//! A hook's programs end with 0: their result means nothing to the kernel.

mod alloc_file_pseudo;
mod do_dup2;
mod do_filp_open;
mod fd_install;
mod file_close_fd;
mod filp_close;
mod get_unused_fd_flags;
mod inet_csk_accept;
mod inet_sock_set_state;
mod sched_process_exec;
mod sched_process_exit;
mod tcp_close;
mod tcp_connect;
mod tcp_time_wait;
mod tcp_v4_connect;
mod tcp_v6_connect;

use tracer_common::EventKind;

use crate::{
    emit, filter,
    kernel::KernelPtr,
    process::Actor,
    sock::{self, Sock},
};

/// The greatest errno: kernel functions return pointers or, up to this, negated error numbers
/// (`MAX_ERRNO`, `include/linux/err.h`).
const ERRNO_MAX: i64 = 4095;

/// Sees a connection that the running process begins on this socket; whether it was selected. One that
/// was not is accounted for, and takes the place of what used the socket's memory before.
#[inline(always)]
fn wanted(kind: EventKind, sock: &Sock<impl sock::Structure>) -> bool {
    let wanted = sock.is_wanted() && filter::wants_pid(Actor::current().pid);
    if wanted {
        emit::see(kind);
    } else {
        sock.forget();
        emit::see_filtered(kind);
    }
    wanted
}

/// The error number in a returned pointer, positive; `None` for a real pointer.
#[inline(always)]
fn errno_of_pointer(returned: KernelPtr) -> Option<i32> {
    let value = returned as i64;
    (-ERRNO_MAX..0).contains(&value).then_some(-value as i32)
}
