//! Ring buffer records to typed events; never trusts a byte and never panics.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tracer_common::{
    ARGS_BYTES_MAX, EventHeader, EventKind, ExitEvent, FdEvent as RawFd, FdKind, FdSource,
    PATH_BYTES_MAX, ProcessEvent, Role, TcpEvent as RawTcp,
    fd::path_form,
    net::{AF_INET, AF_INET6},
};
use zerocopy::FromBytes;

use super::{
    Comm, Cookie, Endpoint, Event, EventBody, FdAction, FdEvent, Nanos, Netns, Path, PathForm, Pid,
    ProcessSeen, SockId, StackId, TcpAction, TcpEvent, TcpState, Tid, UserStack,
};

/// What stands where a part of a text did not fit.
const ELLIPSIS: &str = "…";

/// Why a record is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Its kind has no name.
    UnknownKind(u32),
    /// It is shorter than its kind, or than the path that it announces.
    Short {
        /// Bytes that it needs.
        need: usize,
        /// Bytes that it has.
        have: usize,
    },
    /// A field holds a value that it cannot have.
    Field(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKind(kind) => write!(f, "a record of the unknown kind {kind}"),
            Self::Short { need, have } => {
                write!(f, "a record of {have} bytes where {need} are needed")
            }
            Self::Field(field) => write!(f, "a record whose field {field} makes no sense"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// The event in one ring buffer record. Bytes behind it are ignored: the kernel pads records.
pub fn decode(record: &[u8]) -> Result<Event, DecodeError> {
    // All of the header or nothing: a shorter record has no kind worth naming.
    let (header, _) = take::<EventHeader>(record)?;
    let number = header.kind;
    let kind = named(number, EventKind::from_number).ok_or(DecodeError::UnknownKind(number))?;
    Ok(Event {
        ts: Nanos(header.ts_ns),
        pid: Pid(header.pid),
        tid: Tid(header.tid),
        thread: Comm::from_kernel(header.thread),
        stack: user_stack(header.stack),
        body: match kind {
            EventKind::TcpConnect => tcp(TcpAction::Connect, record)?,
            EventKind::TcpConnectFailed => tcp(TcpAction::ConnectFailed, record)?,
            EventKind::TcpAccept => tcp(TcpAction::Accept, record)?,
            EventKind::TcpState => tcp(TcpAction::State, record)?,
            EventKind::TcpTimeWait => tcp(TcpAction::TimeWait, record)?,
            EventKind::TcpClose => tcp(TcpAction::Close, record)?,
            EventKind::FdInstall => fd(FdAction::Installed, record)?,
            EventKind::FdOpenFailed => fd(FdAction::OpenFailed, record)?,
            EventKind::FdExhausted => fd(FdAction::Exhausted, record)?,
            EventKind::FdClose => fd(FdAction::Closed, record)?,
            EventKind::Process => process(record)?,
            EventKind::Exit => exit(record)?,
        },
    })
}

/// What has this number, in an enumeration of fewer than 256.
fn named<T>(number: u32, from_number: impl FnOnce(u8) -> Option<T>) -> Option<T> {
    u8::try_from(number).ok().and_then(from_number)
}

/// The structure that a record begins with, and what lies behind it.
#[inline]
fn take<T: FromBytes>(record: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let short = DecodeError::Short {
        need: size_of::<T>(),
        have: record.len(),
    };
    T::read_from_prefix(record).map_err(|_| short)
}

/// So many bytes, which lie behind the `T` that a record begins with.
fn behind<T>(rest: &[u8], count: usize) -> Result<&[u8], DecodeError> {
    rest.get(..count).ok_or(DecodeError::Short {
        need: size_of::<T>() + count,
        have: size_of::<T>() + rest.len(),
    })
}

/// What the head of a record tells of the user stack.
fn user_stack(told: i32) -> Option<UserStack> {
    match u32::try_from(told) {
        Ok(0) => None,
        Ok(number) => Some(UserStack::Taken(StackId(number - 1))),
        Err(_) => Some(UserStack::Missing(told.saturating_neg())),
    }
}

#[inline]
fn tcp(action: TcpAction, record: &[u8]) -> Result<EventBody, DecodeError> {
    let (raw, _) = take::<RawTcp>(record)?;
    Ok(EventBody::Tcp(TcpEvent {
        action,
        sock: SockId(raw.sock),
        cookie: Cookie(raw.cookie),
        start: (raw.start_ns != 0).then_some(Nanos(raw.start_ns)),
        tx_bytes: raw.tx_bytes,
        rx_bytes: raw.rx_bytes,
        local: Endpoint {
            addr: address(raw.family, raw.laddr)?,
            port: raw.lport,
        },
        remote: Endpoint {
            addr: address(raw.family, raw.raddr)?,
            port: raw.rport,
        },
        netns: Netns(raw.netns),
        old_state: TcpState::from(raw.old_state),
        new_state: TcpState::from(raw.new_state),
        errno: raw.errno,
        role: named(raw.role, Role::from_number).ok_or(DecodeError::Field("role"))?,
    }))
}

/// An address in its plainest form: Java's servers speak IPv4 through IPv6 sockets.
fn address(family: u16, bytes: [u8; 16]) -> Result<IpAddr, DecodeError> {
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        AF_INET6 => Ok(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()),
        _ => Err(DecodeError::Field("family")),
    }
}

impl From<u8> for TcpState {
    fn from(number: u8) -> Self {
        use tracer_common::net::state;
        match number {
            state::ESTABLISHED => Self::Established,
            state::SYN_SENT => Self::SynSent,
            state::SYN_RECV => Self::SynRecv,
            state::FIN_WAIT1 => Self::FinWait1,
            state::FIN_WAIT2 => Self::FinWait2,
            state::TIME_WAIT => Self::TimeWait,
            state::CLOSE => Self::Close,
            state::CLOSE_WAIT => Self::CloseWait,
            state::LAST_ACK => Self::LastAck,
            state::LISTEN => Self::Listen,
            state::CLOSING => Self::Closing,
            other => Self::Unknown(other),
        }
    }
}

impl From<TcpState> for u8 {
    fn from(state: TcpState) -> Self {
        use tracer_common::net::state as number;
        match state {
            TcpState::Established => number::ESTABLISHED,
            TcpState::SynSent => number::SYN_SENT,
            TcpState::SynRecv => number::SYN_RECV,
            TcpState::FinWait1 => number::FIN_WAIT1,
            TcpState::FinWait2 => number::FIN_WAIT2,
            TcpState::TimeWait => number::TIME_WAIT,
            TcpState::Close => number::CLOSE,
            TcpState::CloseWait => number::CLOSE_WAIT,
            TcpState::LastAck => number::LAST_ACK,
            TcpState::Listen => number::LISTEN,
            TcpState::Closing => number::CLOSING,
            TcpState::Unknown(other) => other,
        }
    }
}

#[inline]
fn fd(action: FdAction, record: &[u8]) -> Result<EventBody, DecodeError> {
    let (raw, rest) = take::<RawFd>(record)?;
    let source = FdSource::from_number(raw.source).ok_or(DecodeError::Field("source"))?;
    let kind = FdKind::from_number(raw.fd_kind).ok_or(DecodeError::Field("fd_kind"))?;
    let path_bytes = raw.path_bytes as usize;
    // The kernel half may read one name beyond the limit before it stops.
    if path_bytes > PATH_BYTES_MAX + 256 {
        return Err(DecodeError::Field("path_bytes"));
    }
    let path = path(raw.path_form, behind::<RawFd>(rest, path_bytes)?)?;
    Ok(EventBody::Fd(FdEvent {
        action,
        fd: u32::try_from(raw.fd).ok(),
        source,
        kind,
        errno: raw.errno,
        opens: raw.opens,
        fds_net: raw.fds_net,
        files_net: raw.files_net,
        path,
    }))
}

fn path(form: u8, bytes: &[u8]) -> Result<Option<Path>, DecodeError> {
    let path = match form {
        path_form::NONE => return Ok(None),
        path_form::RESOLVED => Path {
            text: resolved(bytes),
            form: PathForm::Resolved,
        },
        path_form::RESOLVED_CUT => Path {
            text: format!("{ELLIPSIS}{}", resolved(bytes)),
            form: PathForm::Resolved,
        },
        path_form::AS_GIVEN => Path {
            text: text(bytes),
            form: PathForm::AsGiven,
        },
        path_form::AS_GIVEN_CUT => Path {
            text: text(bytes) + ELLIPSIS,
            form: PathForm::AsGiven,
        },
        _ => return Err(DecodeError::Field("path_form")),
    };
    Ok(Some(path))
}

/// Joins the names, which come from the file up to the root.
fn resolved(bytes: &[u8]) -> String {
    let mut joined = Vec::with_capacity(bytes.len() + 1);
    let names = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    for name in names.rsplit(|byte| *byte == 0) {
        joined.push(b'/');
        joined.extend_from_slice(name);
    }
    String::from_utf8(joined)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// A NUL-terminated text.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn process(record: &[u8]) -> Result<EventBody, DecodeError> {
    let (raw, rest) = take::<ProcessEvent>(record)?;
    let args_bytes = raw.args_bytes as usize;
    if args_bytes > ARGS_BYTES_MAX {
        return Err(DecodeError::Field("args_bytes"));
    }
    let mut cmdline = command_line(behind::<ProcessEvent>(rest, args_bytes)?);
    if raw.args_cut != 0 {
        cmdline.push_str(ELLIPSIS);
    }
    Ok(EventBody::Process(ProcessSeen {
        start: Nanos(raw.start_ns),
        cgroup_id: raw.cgroup_id,
        ppid: Pid(raw.ppid),
        parent_comm: Comm::from_kernel(raw.parent_comm),
        uid: raw.uid,
        ns_pid: raw.ns_pid,
        netns: Netns(raw.netns),
        hostname: text(&raw.hostname).into_boxed_str(),
        comm: Comm::from_kernel(raw.comm),
        is_exec: raw.is_exec != 0,
        cmdline,
    }))
}

/// Arguments that are each ended by NUL, joined by spaces.
fn command_line(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    String::from_utf8_lossy(&bytes[..end]).replace('\0', " ")
}

fn exit(record: &[u8]) -> Result<EventBody, DecodeError> {
    let (raw, _) = take::<ExitEvent>(record)?;
    Ok(EventBody::Exit {
        comm: Comm::from_kernel(raw.comm),
        counters: Box::new(raw.counters.told()),
    })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
