//! Narrows a trace to ports and processes after the fact, as the kernel half would have done live;
//! never decides anything by a port that a closed socket has forgotten.

use rustc_hash::FxHashMap;

use crate::model::{
    Cookie, Event, EventBody, HostFact, Input, Pid, Selection, Session, SockId, TcpAction,
    TcpEvent, TcpState,
};

/// Connections followed at once in each of two generations, so that at most twice as many are: as
/// many as the engine follows.
const GENERATION: usize = 32_768;

/// Keeps what a narrower selection would have let through.
///
/// What the kernel half counted before it was narrowed cannot be told apart any more: the loss
/// counters stay as they were.
#[derive(Debug)]
pub struct Narrow {
    /// Sorted; empty for all.
    ports: Vec<u16>,
    /// Sorted; empty for all.
    pids: Vec<Pid>,
    followed: Followed,
}

impl Narrow {
    /// Narrows to connections with one of these ports on either side, and to these processes; an
    /// empty list is all.
    #[must_use]
    pub fn new(mut ports: Vec<u16>, mut pids: Vec<Pid>) -> Self {
        ports.sort_unstable();
        ports.dedup();
        pids.sort_unstable();
        pids.dedup();
        Self {
            ports,
            pids,
            followed: Followed::default(),
        }
    }

    /// The input, changed where it tells of what is left out; `None` where nothing of it is left.
    pub fn keep(&mut self, input: Input) -> Option<Input> {
        if self.ports.is_empty() && self.pids.is_empty() {
            return Some(input);
        }
        match input {
            Input::Session(session) => Some(self.session(session)),
            Input::Event(event) => self.event(event),
            Input::Host(at, fact) => Some(Input::Host(at, self.fact(fact)?)),
            input @ (Input::Tick(_) | Input::Losses(_)) => Some(input),
        }
    }

    /// A report says what it shows.
    fn session(&self, mut session: Box<Session>) -> Input {
        let Selection { ports, pids, .. } = &mut session.selection;
        narrow_list(ports, &self.ports);
        narrow_list(pids, &self.pids);
        Input::Session(session)
    }

    fn event(&mut self, mut event: Event) -> Option<Input> {
        let wanted = match &mut event.body {
            EventBody::Tcp(tcp) => {
                let pid = event.pid;
                self.connection(pid, tcp)
            }
            EventBody::Fd(_) | EventBody::Process(_) => self.wants_pid(event.pid),
            EventBody::Exit { counters, .. } => {
                self.forget_connections(&mut counters.connects, &mut counters.accepts);
                self.wants_pid(event.pid)
            }
        };
        wanted.then_some(Input::Event(event))
    }

    /// Whether a connection's event is wanted: decided at its begin, and the same until its end.
    fn connection(&mut self, pid: Pid, tcp: &TcpEvent) -> bool {
        let is_begin = match tcp.action {
            TcpAction::Connect | TcpAction::Accept | TcpAction::ConnectFailed => true,
            TcpAction::State | TcpAction::TimeWait | TcpAction::Close => false,
        };
        let known = self.followed.get(tcp.sock, tcp.cookie);
        let wanted = match known {
            Some(_) if !is_begin => true,
            _ => self.wants_ports(tcp.local.port, tcp.remote.port) && self.wants_pid(pid),
        };
        if !wanted {
            self.followed.remove(tcp.sock);
            return false;
        }
        let mut now = known.filter(|_| !is_begin).unwrap_or_default();
        now.cookie = tcp.cookie.known().unwrap_or(now.cookie);
        now.descriptor_closed |= tcp.action == TcpAction::Close;
        now.time_wait |= tcp.action == TcpAction::TimeWait;
        let is_over = tcp.action == TcpAction::ConnectFailed
            || (now.descriptor_closed && (now.time_wait || tcp.new_state == TcpState::Close));
        if is_over {
            self.followed.remove(tcp.sock);
        } else {
            self.followed.insert(tcp.sock, now);
        }
        true
    }

    fn fact(&self, mut fact: HostFact) -> Option<HostFact> {
        let wanted = match &mut fact {
            HostFact::Process(process) => self.wants_pid(process.pid),
            HostFact::Descriptors(table) => self.wants_pid(table.pid),
            HostFact::Table(table) => self.wants_pid(table.pid),
            HostFact::Stack(stack) => self.wants_pid(stack.pid),
            HostFact::Counters { pid, counters } => {
                self.forget_connections(&mut counters.connects, &mut counters.accepts);
                self.wants_pid(*pid)
            }
            HostFact::SocketBefore(socket) => {
                self.wants_ports(socket.row.local.port, socket.row.remote.port)
                    && self.wants_pid(socket.pid)
            }
            // The engine shows of them what the session selects.
            HostFact::TimeWait(_) | HostFact::EphemeralPorts { .. } => true,
        };
        wanted.then_some(fact)
    }

    /// The kernel counts a process's connections after it has selected them by port. How many of
    /// these would have been selected, the connections' own events tell.
    fn forget_connections(&self, connects: &mut u64, accepts: &mut u64) {
        if !self.ports.is_empty() {
            (*connects, *accepts) = (0, 0);
        }
    }

    fn wants_ports(&self, local: u16, remote: u16) -> bool {
        let has = |port| self.ports.binary_search(&port).is_ok();
        self.ports.is_empty() || has(local) || has(remote)
    }

    fn wants_pid(&self, pid: Pid) -> bool {
        self.pids.is_empty() || self.pids.binary_search(&pid).is_ok()
    }
}

/// What both the trace and the narrowing select. Where that is nothing, the narrowing's own list: an
/// empty one would claim to be all.
fn narrow_list<T: Ord + Copy>(selected: &mut Vec<T>, narrowed: &[T]) {
    if narrowed.is_empty() {
        return;
    }
    selected.retain(|item| narrowed.binary_search(item).is_ok());
    if selected.is_empty() {
        selected.extend_from_slice(narrowed);
    }
}

/// How far a wanted connection has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    cookie: Cookie,
    descriptor_closed: bool,
    time_wait: bool,
}

/// The wanted connections by socket. What no event has named for a whole generation is forgotten:
/// its end was lost.
#[derive(Debug, Default)]
struct Followed {
    young: FxHashMap<SockId, Progress>,
    old: FxHashMap<SockId, Progress>,
}

impl Followed {
    /// The connection of this socket, unless its address is another's by now.
    fn get(&self, sock: SockId, cookie: Cookie) -> Option<Progress> {
        let known = self.young.get(&sock).or_else(|| self.old.get(&sock))?;
        let is_other =
            known.cookie.known().is_some() && cookie.known().is_some() && known.cookie != cookie;
        (!is_other).then_some(*known)
    }

    fn insert(&mut self, sock: SockId, progress: Progress) {
        self.old.remove(&sock);
        self.young.insert(sock, progress);
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
    }

    fn remove(&mut self, sock: SockId) {
        self.young.remove(&sock);
        self.old.remove(&sock);
    }
}

#[cfg(test)]
#[path = "narrow_tests.rs"]
mod tests;
