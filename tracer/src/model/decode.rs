//! Ring buffer records to typed events; never trusts a byte and never panics.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tracer_common::{
    ARGS_BYTES_MAX, COMM_BYTES, EventHeader, EventKind, ExitEvent, FdEvent as RawFd, FdKind,
    FdSource, HOSTNAME_BYTES, PATH_BYTES_MAX, ProcessCounters, ProcessEvent, Role,
    TcpEvent as RawTcp,
    fd::path_form,
    net::{AF_INET, AF_INET6},
};

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
    UnknownKind(u8),
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
    let mut fields = Fields::of(record);
    let header = Header::read(&mut fields)?;
    let body = match header.kind {
        EventKind::TcpConnect => tcp(TcpAction::Connect, &mut fields)?,
        EventKind::TcpConnectFailed => tcp(TcpAction::ConnectFailed, &mut fields)?,
        EventKind::TcpAccept => tcp(TcpAction::Accept, &mut fields)?,
        EventKind::TcpState => tcp(TcpAction::State, &mut fields)?,
        EventKind::TcpTimeWait => tcp(TcpAction::TimeWait, &mut fields)?,
        EventKind::TcpClose => tcp(TcpAction::Close, &mut fields)?,
        EventKind::FdInstall => fd(FdAction::Installed, &mut fields)?,
        EventKind::FdOpenFailed => fd(FdAction::OpenFailed, &mut fields)?,
        EventKind::FdExhausted => fd(FdAction::Exhausted, &mut fields)?,
        EventKind::FdClose => fd(FdAction::Closed, &mut fields)?,
        EventKind::Process => process(&mut fields)?,
        EventKind::Exit => exit(&mut fields)?,
    };
    Ok(Event {
        ts: header.ts,
        pid: header.pid,
        tid: header.tid,
        thread: header.thread,
        stack: header.stack,
        body,
    })
}

/// Takes a record apart field by field, in the order of the `repr(C)` structures of
/// `tracer-common`, which have no hidden padding. Every take checks what is left.
struct Fields<'a> {
    record: &'a [u8],
    at: usize,
}

macro_rules! take_number {
    ($($name:ident: $type:ty),+ $(,)?) => {
        $(
            fn $name(&mut self) -> Result<$type, DecodeError> {
                Ok(<$type>::from_ne_bytes(self.array()?))
            }
        )+
    };
}

impl<'a> Fields<'a> {
    const fn of(record: &'a [u8]) -> Self {
        Self { record, at: 0 }
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let need = self.at.saturating_add(count);
        let taken = self.record.get(self.at..need).ok_or(DecodeError::Short {
            need,
            have: self.record.len(),
        })?;
        self.at = need;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    take_number!(u8: u8, u16: u16, u32: u32, u64: u64, i32: i32, i64: i64);

    fn comm(&mut self) -> Result<Comm, DecodeError> {
        self.array::<COMM_BYTES>().map(Comm::from_kernel)
    }

    fn u64s<const N: usize>(&mut self) -> Result<[u64; N], DecodeError> {
        let mut array = [0; N];
        for slot in &mut array {
            *slot = self.u64()?;
        }
        Ok(array)
    }
}

struct Header {
    ts: Nanos,
    pid: Pid,
    tid: Tid,
    kind: EventKind,
    thread: Comm,
    stack: Option<UserStack>,
}

impl Header {
    fn read(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        // All of it or nothing: a shorter record has no kind worth naming.
        let (need, have) = (size_of::<EventHeader>(), fields.record.len());
        if have < need {
            return Err(DecodeError::Short { need, have });
        }
        let ts = Nanos(fields.u64()?);
        let pid = Pid(fields.u32()?);
        let tid = Tid(fields.u32()?);
        let number = fields.u8()?;
        let kind = EventKind::from_number(number).ok_or(DecodeError::UnknownKind(number))?;
        fields.bytes(3)?;
        let stack = user_stack(fields.i32()?);
        let thread = fields.comm()?;
        Ok(Self {
            ts,
            pid,
            tid,
            kind,
            thread,
            stack,
        })
    }
}

/// What the head of a record tells of the user stack.
fn user_stack(told: i32) -> Option<UserStack> {
    match u32::try_from(told) {
        Ok(0) => None,
        Ok(number) => Some(UserStack::Taken(StackId(number - 1))),
        Err(_) => Some(UserStack::Missing(told.saturating_neg())),
    }
}

fn tcp(action: TcpAction, fields: &mut Fields<'_>) -> Result<EventBody, DecodeError> {
    let sock = SockId(fields.u64()?);
    let cookie = Cookie(fields.u64()?);
    let start_ns = fields.u64()?;
    let tx_bytes = fields.u64()?;
    let rx_bytes = fields.u64()?;
    let laddr = fields.array()?;
    let raddr = fields.array()?;
    let lport = fields.u16()?;
    let rport = fields.u16()?;
    let netns = Netns(fields.u32()?);
    let family = fields.u16()?;
    let old_state = TcpState::from(fields.u8()?);
    let new_state = TcpState::from(fields.u8()?);
    let errno = fields.i32()?;
    let role = Role::from_number(fields.u8()?).ok_or(DecodeError::Field("role"))?;
    fields.bytes(7)?;
    debug_assert_eq!(fields.at, size_of::<RawTcp>());
    Ok(EventBody::Tcp(TcpEvent {
        action,
        sock,
        cookie,
        start: (start_ns != 0).then_some(Nanos(start_ns)),
        tx_bytes,
        rx_bytes,
        local: Endpoint {
            addr: address(family, laddr)?,
            port: lport,
        },
        remote: Endpoint {
            addr: address(family, raddr)?,
            port: rport,
        },
        netns,
        old_state,
        new_state,
        errno,
        role,
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

fn fd(action: FdAction, fields: &mut Fields<'_>) -> Result<EventBody, DecodeError> {
    let opens = fields.u64()?;
    let fds_net = fields.i64()?;
    let files_net = fields.i64()?;
    let fd = u32::try_from(fields.i32()?).ok();
    let errno = fields.i32()?;
    let source = FdSource::from_number(fields.u8()?).ok_or(DecodeError::Field("source"))?;
    let kind = FdKind::from_number(fields.u8()?).ok_or(DecodeError::Field("fd_kind"))?;
    let form = fields.u8()?;
    fields.bytes(1)?;
    let path_bytes = fields.u32()? as usize;
    debug_assert_eq!(fields.at, size_of::<RawFd>());
    // The kernel half may read one name beyond the limit before it stops.
    if path_bytes > PATH_BYTES_MAX + 256 {
        return Err(DecodeError::Field("path_bytes"));
    }
    let path = path(form, fields.bytes(path_bytes)?)?;
    Ok(EventBody::Fd(FdEvent {
        action,
        fd,
        source,
        kind,
        errno,
        opens,
        fds_net,
        files_net,
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

fn process(fields: &mut Fields<'_>) -> Result<EventBody, DecodeError> {
    let start = Nanos(fields.u64()?);
    let cgroup_id = fields.u64()?;
    let ppid = Pid(fields.u32()?);
    let uid = fields.u32()?;
    let ns_pid = fields.u32()?;
    let netns = Netns(fields.u32()?);
    let comm = fields.comm()?;
    let parent_comm = fields.comm()?;
    let hostname = text(fields.bytes(HOSTNAME_BYTES)?).into_boxed_str();
    let is_exec = fields.u8()? != 0;
    let args_cut = fields.u8()? != 0;
    fields.bytes(2)?;
    let args_bytes = fields.u32()? as usize;
    debug_assert_eq!(fields.at, size_of::<ProcessEvent>());
    if args_bytes > ARGS_BYTES_MAX {
        return Err(DecodeError::Field("args_bytes"));
    }
    let mut cmdline = command_line(fields.bytes(args_bytes)?);
    if args_cut {
        cmdline.push_str(ELLIPSIS);
    }
    Ok(EventBody::Process(ProcessSeen {
        start,
        cgroup_id,
        ppid,
        parent_comm,
        uid,
        ns_pid,
        netns,
        hostname,
        comm,
        is_exec,
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

fn exit(fields: &mut Fields<'_>) -> Result<EventBody, DecodeError> {
    let comm = fields.comm()?;
    let counters = ProcessCounters {
        start_ns: fields.u64()?,
        fds_got: fields.u64s()?,
        fds_got_of_kind: fields.u64s()?,
        fds_closed_of_kind: fields.u64s()?,
        fds_refused: fields.u64s()?,
        opens_failed: fields.u64()?,
        connects: fields.u64()?,
        accepts: fields.u64()?,
        not_streamed: fields.u64()?,
        budget_window_ns: fields.u64()?,
        budget_used: fields.u64()?,
        announced: fields.u32()?,
        pid_here: fields.u32()?,
    };
    debug_assert_eq!(fields.at, size_of::<ExitEvent>());
    Ok(EventBody::Exit {
        comm,
        counters: Box::new(counters.told()),
    })
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
