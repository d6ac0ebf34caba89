//! Inputs to rows; never to bytes.

use std::{collections::HashMap, fmt::Write as _, net::IpAddr};

use tracer_common::{FdKind, ProcessCounters, Role};

use super::{
    columns::{Building, Rows},
    listed::Listed,
    names::{COUNTERS, Items, LOSSES, RowKind, counters_to_array, losses_to_array},
};
use crate::model::{
    DescriptorFact, Endpoint, Event, EventBody, FdEvent, HostFact, Input, ListingChange, Losses,
    Nanos, Netns, Pid, PortRange, ProcessFact, ProcessSeen, SocketOwner, SocketRow, StackFact,
    TableFact, TcpEvent, TimeWaitListing, UserStack,
};

/// Processes whose last counters are remembered, so that only what changed is written. As many as
/// the kernel half counts for.
const PROCESSES_MAX: usize = 16_384;

/// Network namespaces whose last listing is remembered, as many as the engine remembers.
const LISTINGS_MAX: usize = 1_024;

/// Turns inputs into rows, and remembers what those that tell a whole table told last.
pub(super) struct Encoder {
    pub(super) rows: Rows,
    counters: HashMap<Pid, (u64, [u64; COUNTERS])>,
    losses: Option<[u64; LOSSES]>,
    listings: HashMap<Netns, TimeWaitListing>,
    laddr: AddressText,
    raddr: AddressText,
}

impl Encoder {
    pub(super) fn new() -> Self {
        Self {
            rows: Rows::new(),
            counters: HashMap::new(),
            losses: None,
            listings: HashMap::new(),
            laddr: AddressText::default(),
            raddr: AddressText::default(),
        }
    }

    /// Appends an input's rows. A [`crate::model::Session`] has none: the head tells it.
    pub(super) fn push(&mut self, input: &Input, latest: Nanos) {
        match input {
            Input::Session(_) => {}
            Input::Event(event) => self.event(event),
            Input::Tick(at) => {
                self.rows.begin(RowKind::Tick, at.0);
            }
            Input::Losses(losses) => self.losses(losses, latest),
            Input::Host(at, fact) => self.fact(at.0, fact),
        }
    }

    fn event(&mut self, event: &Event) {
        let kind = event.body.kind();
        let row = self.rows.begin(RowKind::Event(kind), event.ts.0);
        if event.pid.0 != 0 {
            self.rows.pid.set(row, event.pid.0);
        }
        if event.tid.0 != 0 {
            self.rows.tid.set(row, event.tid.0);
        }
        if !event.thread.is_empty() {
            self.rows.thread.set(row, event.thread.as_str());
        }
        let stack = event.stack.map(|stack| match stack {
            UserStack::Taken(number) => i64::from(number.0),
            UserStack::Missing(errno) => -i64::from(errno),
        });
        self.rows.stack.set_opt(row, stack);
        match &event.body {
            EventBody::Tcp(tcp) => self.tcp(row, tcp),
            EventBody::Fd(fd) => self.fd(row, fd),
            EventBody::Process(seen) => self.seen(row, seen),
            EventBody::Exit { comm, counters } => {
                self.rows.comm.set(row, comm.as_str());
                self.rows.start.set(row, counters.start_ns);
                let all = counters_to_array(counters);
                let told = &[0; COUNTERS];
                items(&mut self.rows, row, event.ts.0, 0, &all, told);
                self.counters.remove(&event.pid);
            }
        }
    }

    fn tcp(&mut self, row: usize, tcp: &TcpEvent) {
        let rows = &mut self.rows;
        rows.sock.set(row, tcp.sock.0);
        rows.cookie
            .set_opt(row, tcp.cookie.known().map(|cookie| cookie.0));
        rows.start.set_opt(row, tcp.start.map(|start| start.0));
        rows.tx_bytes.set(row, tcp.tx_bytes);
        rows.rx_bytes.set(row, tcp.rx_bytes);
        rows.netns.set(row, tcp.netns.0);
        rows.old_state.set(row, tcp.old_state);
        rows.new_state.set(row, tcp.new_state);
        if tcp.errno != 0 {
            rows.errno.set(row, tcp.errno);
        }
        if tcp.role != Role::Unknown {
            rows.role.set(row, tcp.role);
        }
        self.ends(row, tcp.local, tcp.remote);
    }

    fn ends(&mut self, row: usize, local: Endpoint, remote: Endpoint) {
        self.laddr.set(&mut self.rows.laddr, row, local.addr);
        self.rows.lport.set(row, local.port);
        self.raddr.set(&mut self.rows.raddr, row, remote.addr);
        self.rows.rport.set(row, remote.port);
    }

    fn fd(&mut self, row: usize, fd: &FdEvent) {
        let rows = &mut self.rows;
        rows.fd.set_opt(row, fd.fd);
        rows.source.set(row, fd.source);
        rows.fd_kind.set(row, fd.kind);
        if fd.errno != 0 {
            rows.errno.set(row, fd.errno);
        }
        rows.opens.set(row, fd.opens);
        rows.fds_net.set(row, fd.fds_net);
        rows.files_net.set(row, fd.files_net);
        if let Some(path) = &fd.path {
            rows.path.set(row, &path.text);
            rows.path_form.set(row, path.form);
        }
    }

    fn seen(&mut self, row: usize, seen: &ProcessSeen) {
        let rows = &mut self.rows;
        rows.start.set(row, seen.start.0);
        rows.cgroup_id.set(row, seen.cgroup_id);
        rows.ppid.set(row, seen.ppid.0);
        rows.parent_comm.set(row, seen.parent_comm.as_str());
        rows.uid.set(row, seen.uid);
        rows.ns_pid.set(row, seen.ns_pid);
        rows.netns.set(row, seen.netns.0);
        rows.comm.set(row, seen.comm.as_str());
        if !seen.hostname.is_empty() {
            rows.hostname.set(row, &seen.hostname);
        }
        rows.is_exec.set(row, seen.is_exec);
        rows.cmdline.set(row, &seen.cmdline);
    }

    fn losses(&mut self, losses: &Losses, latest: Nanos) {
        let now = losses_to_array(losses);
        let kind = match self.losses {
            None => RowKind::Losses,
            Some(_) => RowKind::LossesChanged,
        };
        let told = self.losses.replace(now).unwrap_or([0; LOSSES]);
        let row = self.rows.begin(kind, latest.0);
        items(&mut self.rows, row, latest.0, Items::LOSSES_AT, &now, &told);
    }

    fn fact(&mut self, at: u64, fact: &HostFact) {
        match fact {
            HostFact::Process(process) => self.process(at, process),
            HostFact::Descriptors(table) => self.descriptors(at, table),
            HostFact::Table(table) => self.table(at, table),
            HostFact::Counters { pid, counters } => self.counters(at, *pid, counters),
            HostFact::SocketBefore(socket) => self.socket_before(at, socket),
            HostFact::TimeWait(listing) => self.time_wait(at, listing),
            HostFact::EphemeralPorts { netns, range } => self.ephemeral_ports(at, *netns, *range),
            HostFact::Stack(stack) => self.stack(at, stack),
        }
    }

    fn process(&mut self, at: u64, process: &ProcessFact) {
        let rows = &mut self.rows;
        let row = rows.begin(RowKind::HostProcess, at);
        rows.pid.set(row, process.pid.0);
        rows.start.set_opt(row, process.start.map(|start| start.0));
        rows.comm.set_opt(row, process.comm.as_deref());
        rows.exe.set_opt(row, process.exe.as_deref());
        rows.cmdline.set_opt(row, process.cmdline.as_deref());
        rows.ppid.set_opt(row, process.ppid.map(|ppid| ppid.0));
        rows.user.set_opt(row, process.user.as_deref());
        rows.ns_pid.set_opt(row, process.ns_pid);
        rows.container.set_opt(row, process.container.as_deref());
        rows.runtime.set_opt(row, process.runtime.as_deref());
        rows.pod_uid.set_opt(row, process.pod_uid.as_deref());
        rows.unit.set_opt(row, process.unit.as_deref());
        rows.netns.set_opt(row, process.netns.map(|netns| netns.0));
        if process.parents.is_empty() {
            return;
        }
        for parent in &process.parents {
            let row = rows.begin(RowKind::Parent, at);
            rows.pid.set(row, parent.pid.0);
            rows.comm.set(row, parent.comm.as_str());
        }
        set_items(rows, row);
    }

    fn descriptors(&mut self, at: u64, table: &DescriptorFact) {
        let rows = &mut self.rows;
        let row = rows.begin(RowKind::HostDescriptors, at);
        rows.pid.set(row, table.pid.0);
        rows.start.set_opt(row, table.start.map(|start| start.0));
        rows.fds_open.set(row, table.open);
        rows.fds_net.set_opt(row, table.net);
        rows.fd_limit.set_opt(row, table.soft_limit);
        rows.fd_hard_limit.set_opt(row, table.hard_limit);
    }

    fn table(&mut self, at: u64, table: &TableFact) {
        let rows = &mut self.rows;
        let row = rows.begin(RowKind::HostTable, at);
        rows.pid.set(row, table.pid.0);
        rows.start.set_opt(row, table.start.map(|start| start.0));
        for (kind, count) in FdKind::ALL.into_iter().zip(table.kinds) {
            let net = table.nets.map(|nets| nets[kind as usize]);
            if count == 0 && net.is_none() {
                continue;
            }
            let row = rows.begin(RowKind::Held, at);
            rows.fd_kind.set(row, kind);
            rows.value.set(row, count);
            rows.fds_net.set_opt(row, net);
        }
        for (path, count) in &table.paths {
            let row = rows.begin(RowKind::Held, at);
            rows.path.set(row, path);
            rows.value.set(row, *count);
        }
        set_items(rows, row);
    }

    fn counters(&mut self, at: u64, pid: Pid, counters: &ProcessCounters) {
        let now = counters_to_array(counters);
        let start = counters.start_ns;
        if self.counters.len() >= PROCESSES_MAX && !self.counters.contains_key(&pid) {
            self.counters.clear();
        }
        let told = self
            .counters
            .insert(pid, (start, now))
            .filter(|(told_start, _)| *told_start == start);
        let kind = match told {
            None => RowKind::HostCounters,
            Some(_) => RowKind::HostCountersChanged,
        };
        let told = told.map_or([0; COUNTERS], |(_, told)| told);
        let row = self.rows.begin(kind, at);
        self.rows.pid.set(row, pid.0);
        self.rows.start.set(row, start);
        items(&mut self.rows, row, at, 0, &now, &told);
    }

    fn socket_before(&mut self, at: u64, socket: &SocketOwner) {
        let row = self.rows.begin(RowKind::HostSocketBefore, at);
        self.rows.pid.set(row, socket.pid.0);
        self.rows.netns.set(row, socket.netns.0);
        self.socket(row, &socket.row);
    }

    fn socket(&mut self, row: usize, socket: &SocketRow) {
        let cookie = socket.cookie.known().map(|cookie| cookie.0);
        self.rows.cookie.set_opt(row, cookie);
        self.rows.new_state.set(row, socket.state);
        self.ends(row, socket.local, socket.remote);
    }

    fn time_wait(&mut self, at: u64, listing: &TimeWaitListing) {
        if self.listings.len() >= LISTINGS_MAX && !self.listings.contains_key(&listing.netns) {
            self.listings.clear();
        }
        let told = self.listings.insert(listing.netns, listing.kept());
        let kind = match told {
            None => RowKind::HostTimeWait,
            Some(_) => RowKind::HostTimeWaitChanged,
        };
        let head = self.rows.begin(kind, at);
        self.rows.netns.set(head, listing.netns.0);
        listing.changes_since(told.as_ref(), |change| {
            let (kind, socket) = match change {
                ListingChange::Came(socket) => (RowKind::TimeWaitSocket, socket),
                ListingChange::Went(socket) => (RowKind::TimeWaitSocketGone, socket),
            };
            let row = self.rows.begin(kind, at);
            self.socket(row, &socket);
        });
        set_items(&mut self.rows, head);
    }

    fn stack(&mut self, at: u64, stack: &StackFact) {
        let rows = &mut self.rows;
        let head = rows.begin(RowKind::HostStack, at);
        rows.pid.set(head, stack.pid.0);
        rows.start.set_opt(head, stack.start.map(|start| start.0));
        rows.stack.set(head, stack.stack.0.into());
        for frame in &stack.frames {
            let kind = if frame.is_named {
                RowKind::Frame
            } else {
                RowKind::FrameUnnamed
            };
            let row = rows.begin(kind, at);
            rows.frame.set(row, &frame.text);
        }
        set_items(rows, head);
    }

    fn ephemeral_ports(&mut self, at: u64, netns: Netns, range: PortRange) {
        let head = self.rows.begin(RowKind::HostEphemeralPorts, at);
        self.rows.netns.set(head, netns.0);
        for (name, port) in [(Items::LOW, range.low), (Items::HIGH, range.high)] {
            let row = self.rows.begin(RowKind::Counter, at);
            self.rows.name.set(row, name);
            self.rows.value.set(row, port.into());
        }
        set_items(&mut self.rows, head);
    }
}

/// Appends an item for each number that differs from what was told of it.
fn items(rows: &mut Rows, head: usize, at: u64, first_name: u8, now: &[u64], told: &[u64]) {
    for (name, (now, told)) in (first_name..).zip(now.iter().zip(told)) {
        if now != told {
            let row = rows.begin(RowKind::Counter, at);
            rows.name.set(row, name);
            rows.value.set(row, *now);
        }
    }
    set_items(rows, head);
}

/// Tells the head how many rows came after it. No other row has told the column a number meanwhile.
fn set_items(rows: &mut Rows, head: usize) {
    let items = rows.len() - head - 1;
    rows.items
        .set(head, u32::try_from(items).unwrap_or(u32::MAX));
}

/// An address's text, kept because the next row mostly has the same.
#[derive(Default)]
struct AddressText {
    of: Option<IpAddr>,
    text: String,
}

impl AddressText {
    fn set(&mut self, column: &mut Building<Listed>, row: usize, address: IpAddr) {
        if self.of != Some(address) {
            self.of = Some(address);
            self.text.clear();
            // Writing to a string does not fail.
            let _ = write!(self.text, "{address}");
        }
        column.set(row, &self.text);
    }
}
