//! `static int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)`: a process's
//! connect over IPv6. Unchanged since long before 5.10 (the address's type got another name in
//! 6.19). Never used for IPv4-mapped addresses: the kernel hands those to `tcp_v4_connect`.

use aya_ebpf::{macros::fexit, programs::FExitContext};
use tracer_common::net::AF_INET6;

use super::tcp_v4_connect::{Target, connect_failed};
use crate::kernel::{Typed, plain, read};

#[fexit(function = "tcp_v6_connect")]
fn tcp_v6_connect(ctx: FExitContext) -> i32 {
    /// Where `struct sockaddr_in6` keeps the address (`include/uapi/linux/in6.h`).
    const ADDRESS: usize = 8;
    /// `::ffff:0:0/96`: twelve bytes in front of an IPv4 address (RFC 4291, 2.5.5.2).
    const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
    let result: i32 = ctx.arg(3);
    if result >= 0 {
        return 0;
    }
    let address = plain(ctx.arg(1));
    if read::<[u8; 12]>(address, ADDRESS) != MAPPED {
        connect_failed(
            &ctx,
            // SAFETY: the program's own argument, a `struct sock`.
            unsafe { Typed::new(ctx.arg(0)) },
            -result,
            &Target {
                address,
                family: AF_INET6,
                at: ADDRESS,
                bytes: 16,
            },
        );
    }
    0
}
