//! The life of one connection as the kernel half tells it, event by event; never who makes it when.

use tracer::model::{
    Cookie, Endpoint, Nanos, SockId, TcpAction, TcpEvent,
    TcpState::{self, Close, CloseWait, Established, FinWait1, FinWait2, LastAck, SynSent},
};
use tracer_common::{FdKind, FdSource, Role};

use super::host::{Act, Host, NETNS, Thread};

/// How a process lets go of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It closes the descriptor, and with it the connection.
    Close,
    /// It shuts the connection down, and closes the descriptor so much later, as a JVM does.
    ShutDown { closed_after: Nanos },
    /// The peer closes first.
    Peer,
}

/// One connection.
pub struct Connection {
    pub thread: Thread,
    pub local: Endpoint,
    pub remote: Endpoint,
    /// From the end of the handshake to the end of the connection.
    pub lifetime: Nanos,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    pub ending: Ending,
}

/// How long a handshake takes, and each step of a connection's end.
const ROUND_TRIP: Nanos = Nanos(180_000);

impl Connection {
    /// This process connects.
    pub fn connect(&self, host: &mut Host, at: Nanos) {
        let told = Told::of(self, host, Role::Client, at);
        host.at(at, Act::Get(self.thread, FdSource::Socket, None));
        told.event(host, at, TcpAction::Connect, Close, SynSent);
        let established = at + ROUND_TRIP;
        told.event(host, established, TcpAction::State, SynSent, Established);
        self.end(host, &told, established + self.lifetime);
    }

    /// This process connects, and nobody listens there.
    pub fn connect_refused(&self, host: &mut Host, at: Nanos) {
        /// `ECONNREFUSED` (`include/uapi/asm-generic/errno.h`).
        const REFUSED: i32 = 111;
        let mut told = Told::of(self, host, Role::Client, at);
        host.at(at, Act::Get(self.thread, FdSource::Socket, None));
        told.event(host, at, TcpAction::Connect, Close, SynSent);
        told.errno = REFUSED;
        let answered = at + ROUND_TRIP;
        told.event(host, answered, TcpAction::State, SynSent, Close);
        told.errno = 0;
        told.event(host, answered + ROUND_TRIP, TcpAction::Close, Close, Close);
        host.at(
            answered + ROUND_TRIP,
            Act::Close(self.thread.pid, FdKind::Socket),
        );
    }

    /// This process accepts.
    pub fn accept(&self, host: &mut Host, at: Nanos) {
        let told = Told::of(self, host, Role::Server, at);
        let accepted = at + ROUND_TRIP;
        told.event(host, accepted, TcpAction::Accept, Established, Established);
        host.at(accepted, Act::Get(self.thread, FdSource::Accept, None));
        self.end(host, &told, at + self.lifetime.max(ROUND_TRIP + ROUND_TRIP));
    }

    fn end(&self, host: &mut Host, told: &Told<'_>, at: Nanos) {
        let told = &told.with_bytes(self.tx_bytes, self.rx_bytes);
        let closed = match self.ending {
            Ending::Close => {
                told.event(host, at, TcpAction::Close, Established, FinWait1);
                let done = at + ROUND_TRIP;
                told.event(
                    host,
                    done,
                    TcpAction::TimeWait,
                    FinWait2,
                    TcpState::TimeWait,
                );
                at
            }
            Ending::ShutDown { closed_after } => {
                told.event(host, at, TcpAction::State, Established, FinWait1);
                let done = at + ROUND_TRIP;
                told.event(
                    host,
                    done,
                    TcpAction::TimeWait,
                    FinWait2,
                    TcpState::TimeWait,
                );
                let closed = done + closed_after;
                told.event(host, closed, TcpAction::Close, Close, Close);
                closed
            }
            Ending::Peer => {
                told.event(host, at, TcpAction::State, Established, CloseWait);
                let closed = at + ROUND_TRIP;
                told.event(host, closed, TcpAction::Close, CloseWait, LastAck);
                closed
            }
        };
        host.at(closed, Act::Close(self.thread.pid, FdKind::Socket));
    }
}

/// What all events of a connection tell.
#[derive(Clone, Copy)]
struct Told<'a> {
    connection: &'a Connection,
    cookie: Cookie,
    sock: SockId,
    role: Role,
    start: Nanos,
    tx_bytes: u64,
    rx_bytes: u64,
    errno: i32,
}

impl<'a> Told<'a> {
    fn of(connection: &'a Connection, host: &mut Host, role: Role, start: Nanos) -> Self {
        let (cookie, sock) = host.new_socket();
        Self {
            connection,
            cookie,
            sock,
            role,
            start,
            tx_bytes: 0,
            rx_bytes: 0,
            errno: 0,
        }
    }

    fn with_bytes(self, tx_bytes: u64, rx_bytes: u64) -> Self {
        Self {
            tx_bytes,
            rx_bytes,
            ..self
        }
    }

    fn event(&self, host: &mut Host, ts: Nanos, action: TcpAction, old: TcpState, new: TcpState) {
        let tcp = TcpEvent {
            action,
            sock: self.sock,
            cookie: self.cookie,
            start: Some(self.start),
            tx_bytes: self.tx_bytes,
            rx_bytes: self.rx_bytes,
            local: self.connection.local,
            remote: self.connection.remote,
            netns: NETNS,
            old_state: old,
            new_state: new,
            errno: self.errno,
            role: self.role,
        };
        host.at(ts, Act::Tcp(self.connection.thread, tcp));
    }
}
