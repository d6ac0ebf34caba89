//! Ring buffer records for tests, as the kernel half lays them out; never decoded here.
//!
//! The fuzz target's seeds (`tests/fuzz`) are made of the same records.

use std::slice;

use tracer_common::{
    COMM_BYTES, EventHeader, EventKind, ExitEvent, FdEvent, FdKind, FdSource, HOSTNAME_BYTES,
    ProcessCounters, ProcessEvent, Role, TcpEvent,
    net::{AF_INET, state},
};

/// What a record may begin with.
///
/// # Safety
/// The type is `repr(C)` without hidden padding: every one of its bytes is initialised.
pub(super) unsafe trait Record: Copy {}

// SAFETY: integers and arrays of them, the padding spelled out; `tracer-common` asserts the sizes.
unsafe impl Record for EventHeader {}
// SAFETY: as above.
unsafe impl Record for TcpEvent {}
// SAFETY: as above.
unsafe impl Record for FdEvent {}
// SAFETY: as above.
unsafe impl Record for ProcessEvent {}
// SAFETY: as above.
unsafe impl Record for ExitEvent {}
const _: () = assert!(size_of::<ExitEvent>() == 40 + COMM_BYTES + size_of::<ProcessCounters>());

/// A record as it lies in the ring buffer, `tail` (a path, a command line) behind it.
pub(super) fn bytes(record: &impl Record, tail: &[u8]) -> Vec<u8> {
    // SAFETY: the reference is valid for reads of its type's size, and by the trait's promise every
    // byte is initialised.
    let head =
        unsafe { slice::from_raw_parts(std::ptr::from_ref(record).cast(), size_of_val(record)) };
    [head, tail].concat()
}

/// A name as the kernel keeps it.
pub(super) fn comm(name: &str) -> [u8; COMM_BYTES] {
    let mut comm = [0; COMM_BYTES];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    comm
}

/// A host name as the kernel keeps it.
pub(super) fn hostname(name: &str) -> [u8; HOSTNAME_BYTES] {
    let mut hostname = [0; HOSTNAME_BYTES];
    hostname[..name.len()].copy_from_slice(name.as_bytes());
    hostname
}

/// IPv4 in the first bytes, as the kernel half puts it.
pub(super) fn ipv4(address: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&address);
    bytes
}

/// 1.5 s after boot, by the thread 4713 of the process 4711.
pub(super) fn header(kind: EventKind) -> EventHeader {
    EventHeader {
        ts_ns: 1_500_000_000,
        pid: 4711,
        tid: 4713,
        kind: kind as u32,
        stack: 0,
        thread: comm("SendThread"),
    }
}

/// A client of 10.0.0.9:2181 that has sent 45 bytes and received 41, and now closes first.
pub(super) fn tcp(kind: EventKind) -> TcpEvent {
    TcpEvent {
        header: header(kind),
        sock: 0x0123_4567_89AB_CDEF,
        cookie: 8193,
        start_ns: 1_484_000_000,
        tx_bytes: 45,
        rx_bytes: 41,
        laddr: ipv4([10, 0, 0, 7]),
        raddr: ipv4([10, 0, 0, 9]),
        lport: 45_678,
        rport: 2181,
        netns: 4_026_531_840,
        family: AF_INET,
        old_state: state::ESTABLISHED,
        new_state: state::FIN_WAIT1,
        errno: 0,
        role: Role::Client as u32,
        padding: 0,
    }
}

/// The descriptor 57 of a file whose path is `path_bytes` long.
pub(super) fn fd(kind: EventKind, form: u8, path_bytes: usize) -> FdEvent {
    FdEvent {
        header: header(kind),
        opens: 228,
        fds_net: 193,
        files_net: -3,
        fd: 57,
        errno: 0,
        source: FdSource::Open as u8,
        fd_kind: FdKind::File as u8,
        path_form: form,
        padding: 0,
        path_bytes: u32::try_from(path_bytes).unwrap(),
    }
}

/// A java in a container, with a command line of this many bytes.
pub(super) fn process(args_bytes: usize) -> ProcessEvent {
    ProcessEvent {
        header: header(EventKind::Process),
        start_ns: 900_000_000,
        cgroup_id: 6021,
        ppid: 4700,
        uid: 104,
        ns_pid: 9,
        netns: 4_026_532_281,
        comm: comm("java"),
        parent_comm: comm("catalina.sh"),
        hostname: hostname("shop-7d4f9c-x2x8k"),
        is_exec: 1,
        args_cut: 0,
        padding: [0; 2],
        args_bytes: u32::try_from(args_bytes).unwrap(),
    }
}

/// The end of a process whose every counter is another number.
pub(super) fn exit() -> ExitEvent {
    ExitEvent {
        header: header(EventKind::Exit),
        comm: comm("java"),
        counters: counters(),
    }
}

/// Counters of which no two are the same.
pub(super) fn counters() -> ProcessCounters {
    ProcessCounters {
        start_ns: 900_000_000,
        fds_got: [100, 101, 102, 103, 104, 105, 106, 107, 108, 109],
        fds_got_of_kind: [200, 201, 202, 203, 204],
        fds_closed_of_kind: [300, 301, 302, 303, 304],
        fds_refused: [400, 401, 402, 403, 404, 405, 406, 407, 408, 409],
        opens_failed: 500,
        connects: 501,
        accepts: 502,
        not_streamed: 503,
        budget_window_ns: 504,
        budget_used: 505,
        announced: 1,
        pid_here: 0,
    }
}
