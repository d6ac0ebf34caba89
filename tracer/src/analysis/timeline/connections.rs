//! What timelines tell of connections, from their begin to what is left of them; never checks anything
//! itself.

use tracer_common::Role;

use crate::model::{Cookie, Endpoint, EventBody, SockId, TcpAction, TcpEvent, TcpState};

use super::{NETNS, Sock, Timeline, Who, endpoint};

impl Timeline {
    fn tcp(
        &mut self,
        sock: u64,
        actor: Option<Who>,
        action: TcpAction,
        states: (TcpState, TcpState),
        errno: i32,
    ) -> &mut Self {
        let known = self.socks[&sock];
        let body = EventBody::Tcp(TcpEvent {
            action,
            sock: SockId(sock),
            cookie: Cookie(if self.has_cookies { known.cookie } else { 0 }),
            start: known.start,
            tx_bytes: known.tx,
            rx_bytes: known.rx,
            local: known.local,
            remote: known.remote,
            netns: NETNS,
            old_state: states.0,
            new_state: states.1,
            errno,
            role: known.role,
        });
        self.socks.get_mut(&sock).unwrap().state = states.1;
        self.event(actor.or(known.owner), actor.is_some(), body)
    }

    fn change(&mut self, sock: u64, new: TcpState, errno: i32) -> &mut Self {
        let old = self.socks[&sock].state;
        self.tcp(sock, None, TcpAction::State, (old, new), errno)
    }

    fn socket(&mut self, sock: u64, role: Role, owner: Option<Who>, to: &str) -> Sock {
        let (port, cookie) = (self.next_port, self.next_cookie);
        self.next_port = if port == 65_535 { 32_768 } else { port + 1 };
        self.next_cookie += 1;
        let remote = endpoint(to);
        let local = Endpoint { port, ..remote };
        let made = Sock {
            owner,
            cookie,
            local,
            remote,
            role,
            start: Some(self.now),
            tx: 0,
            rx: 0,
            state: TcpState::Close,
        };
        self.socks.insert(sock, made);
        made
    }

    /// `connect(2)`: the SYN leaves.
    pub(in crate::analysis) fn connect(&mut self, by: Who, sock: u64, to: &str) -> &mut Self {
        self.socket(sock, Role::Client, Some(by), to);
        let states = (TcpState::Close, TcpState::SynSent);
        self.tcp(sock, Some(by), TcpAction::Connect, states, 0)
    }

    /// The handshake is done.
    pub(in crate::analysis) fn established(&mut self, sock: u64) -> &mut Self {
        self.change(sock, TcpState::Established, 0)
    }

    /// The connect fails, now that the SYN is answered or given up.
    pub(in crate::analysis) fn fails(&mut self, sock: u64, errno: i32) -> &mut Self {
        self.change(sock, TcpState::Close, errno)
    }

    /// The connect fails before a SYN leaves.
    pub(in crate::analysis) fn connect_fails_at_once(
        &mut self,
        by: Who,
        sock: u64,
        to: &str,
        errno: i32,
    ) -> &mut Self {
        self.socket(sock, Role::Client, Some(by), to);
        let states = (TcpState::Close, TcpState::Close);
        self.tcp(sock, Some(by), TcpAction::ConnectFailed, states, errno)
    }

    /// The peer's handshake is done, and nobody has accepted yet.
    pub(in crate::analysis) fn handshake(&mut self, sock: u64, on: &str, from: &str) -> &mut Self {
        self.socket(sock, Role::Server, None, from);
        let known = self.socks.get_mut(&sock).unwrap();
        known.local = endpoint(on);
        known.state = TcpState::Established;
        self
    }

    /// `accept(2)` of a connection whose handshake is done, in whatever state it is by now.
    pub(in crate::analysis) fn accept(&mut self, by: Who, sock: u64) -> &mut Self {
        let known = self.socks.get_mut(&sock).unwrap();
        known.owner = Some(by);
        let state = known.state;
        self.tcp(sock, Some(by), TcpAction::Accept, (state, state), 0)
    }

    /// A connection that was there before the trace.
    pub(in crate::analysis) fn older_connection(&mut self, sock: u64, to: &str) -> &mut Self {
        self.socket(sock, Role::Unknown, None, to);
        let known = self.socks.get_mut(&sock).unwrap();
        known.start = None;
        known.state = TcpState::Established;
        self
    }

    /// From now on the socket's events tell so many bytes.
    pub(in crate::analysis) fn bytes(&mut self, sock: u64, tx: u64, rx: u64) -> &mut Self {
        let known = self.socks.get_mut(&sock).unwrap();
        (known.tx, known.rx) = (tx, rx);
        self
    }

    /// This side closes first: its FIN leaves.
    pub(in crate::analysis) fn fin_sent(&mut self, sock: u64) -> &mut Self {
        self.change(sock, TcpState::FinWait1, 0)
    }

    /// The peer closes first: its FIN arrives.
    pub(in crate::analysis) fn fin_received(&mut self, sock: u64) -> &mut Self {
        self.change(sock, TcpState::CloseWait, 0)
    }

    /// The connection is no more: reset, or the end of its closing handshake.
    pub(in crate::analysis) fn gone(&mut self, sock: u64, errno: i32) -> &mut Self {
        self.change(sock, TcpState::Close, errno)
    }

    /// The socket is replaced by a `TIME_WAIT` one.
    pub(in crate::analysis) fn time_wait(&mut self, sock: u64) -> &mut Self {
        let states = (self.socks[&sock].state, TcpState::TimeWait);
        self.tcp(sock, None, TcpAction::TimeWait, states, 0);
        self.socks.get_mut(&sock).unwrap().state = TcpState::Close;
        self
    }

    /// The states that the close of its last descriptor takes a socket from and to.
    fn closing(&self, sock: u64) -> (TcpState, TcpState) {
        let old = self.socks[&sock].state;
        let is_open = old == TcpState::Established;
        (old, if is_open { TcpState::FinWait1 } else { old })
    }

    /// `close(2)` of the last descriptor, after the peer's and when it has all data: nothing more is told.
    pub(in crate::analysis) fn close_last(&mut self, sock: u64) -> &mut Self {
        let owner = self.socks[&sock].owner;
        let states = (TcpState::CloseWait, TcpState::LastAck);
        self.tcp(sock, owner, TcpAction::Close, states, 0)
    }

    /// `close(2)` of the last descriptor as older traces tell it: what follows at once is told apart.
    pub(in crate::analysis) fn close_told_apart(&mut self, sock: u64) -> &mut Self {
        let Sock { state, owner, .. } = self.socks[&sock];
        self.tcp(sock, owner, TcpAction::Close, (state, state), 0)
    }

    /// `close(2)` of the last descriptor. A socket that is closed by now has forgotten its port.
    pub(in crate::analysis) fn close(&mut self, sock: u64) -> &mut Self {
        let known = self.socks.get_mut(&sock).unwrap();
        let (state, owner) = (known.state, known.owner);
        if state == TcpState::Close {
            known.local.port = 0;
        }
        self.tcp(sock, owner, TcpAction::Close, self.closing(sock), 0)
    }

    /// `close(2)` by a process that nobody saw accepting.
    pub(in crate::analysis) fn close_by(&mut self, by: Who, sock: u64) -> &mut Self {
        let known = self.socks.get_mut(&sock).unwrap();
        known.owner = Some(by);
        self.tcp(sock, Some(by), TcpAction::Close, self.closing(sock), 0)
    }

    /// `close(2)` of the last descriptor by another thread or process than its owner.
    pub(in crate::analysis) fn closed_by_other(&mut self, by: Who, sock: u64) -> &mut Self {
        self.tcp(sock, Some(by), TcpAction::Close, self.closing(sock), 0)
    }

    /// A whole connection of a client that closes first, `lifetime_ms` long.
    pub(in crate::analysis) fn short_connection(
        &mut self,
        by: Who,
        sock: u64,
        to: &str,
        lifetime_ms: f64,
        (tx, rx): (u64, u64),
    ) -> &mut Self {
        self.connect(by, sock, to)
            .established(sock)
            .after_ms(lifetime_ms)
            .bytes(sock, tx, rx)
            .close(sock)
            .time_wait(sock)
    }
}
