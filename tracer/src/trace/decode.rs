//! Rows back to inputs; never trusts that a row has what its kind needs.

use std::{fmt, net::IpAddr};

use rustc_hash::FxHashMap;
use tracer_common::{EventKind, FdSource, ProcessCounters, Role};

use super::{
    columns::{Batch, Reading},
    listed::{Listed, Meanings},
    names::{COUNTERS, Items, LOSSES, RowKind, counters_from_array, losses_from_array},
};
use crate::model::{
    Ancestor, Comm, Cookie, DescriptorFact, Endpoint, Event, EventBody, FRAMES_MAX, FdAction,
    FdEvent, Frame, HostFact, Input, Nanos, Netns, Path, PathForm, Pid, PortRange, ProcessFact,
    ProcessSeen, SockId, SocketOwner, SocketRow, StackFact, StackId, TABLE_PATHS_MAX, TableFact,
    TcpAction, TcpEvent, TcpState, Tid, TimeWaitListing, UserStack,
};

/// Processes, and listed sockets, that a trace can make us remember: far beyond what a host has,
/// and small enough for ours.
const REMEMBERED_MAX: usize = 1 << 20;

/// The most that a counter can have come to: what a host that does a million things a second comes to
/// in nine years. Sums of counters below it do not overflow.
const COUNTED_MAX: u64 = 1 << 48;

/// Turns rows into inputs, and remembers what those that tell a whole table told last.
#[derive(Clone, Default)]
pub(super) struct Decoder {
    counters: FxHashMap<Pid, [u64; COUNTERS]>,
    losses: Option<Box<[u64; LOSSES]>>,
    listings: FxHashMap<Netns, TimeWaitListing>,
    listed: usize,
    /// `None` is no address.
    laddr: Meanings<Option<IpAddr>>,
    raddr: Meanings<Option<IpAddr>>,
    thread: Meanings<Comm>,
}

/// A row that makes no sense, which ends its trace.
#[derive(Debug)]
pub(super) struct BadRow {
    row: usize,
    why: &'static str,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, why } = self;
        write!(f, "row {row} of a batch makes no sense: {why}")
    }
}

impl std::error::Error for BadRow {}

impl Decoder {
    /// The input that begins at a row, which becomes that of the next one; `None` after the last. One
    /// at a time: a few bytes can stand for a whole table told again.
    pub(super) fn next(&mut self, batch: &Batch, row: &mut usize) -> Result<Option<Input>, BadRow> {
        while *row < batch.len() {
            let items = batch.items.get(*row).unwrap_or_default() as usize;
            let end = *row + 1 + items;
            let bad = |why| BadRow { row: *row, why };
            if end > batch.len() {
                return Err(bad("its items are not all there"));
            }
            let head = Row {
                batch,
                at: *row,
                end,
            };
            let input = self.input(head).map_err(bad)?;
            *row = end;
            if input.is_some() {
                return Ok(input);
            }
        }
        Ok(None)
    }

    /// `None` is of a kind that a newer version may have added.
    fn input(&mut self, row: Row<'_>) -> Result<Option<Input>, &'static str> {
        let Some(kind) = row.batch.kind.get(row.at) else {
            return Ok(None);
        };
        let at = Nanos(row.batch.ts.get(row.at).ok_or("it has no time")?);
        let fact = match kind {
            RowKind::Event(kind) => return self.event(row, at, kind).map(Some),
            RowKind::Tick => return Ok(Some(Input::Tick(at))),
            RowKind::Losses => return self.losses(row, [0; LOSSES]).map(Some),
            RowKind::LossesChanged => {
                let told = self.losses.as_deref().copied();
                return self
                    .losses(row, told.ok_or("what has not changed is not there")?)
                    .map(Some);
            }
            RowKind::HostProcess => HostFact::Process(Box::new(process(row)?)),
            RowKind::HostDescriptors => HostFact::Descriptors(descriptors(row)?),
            RowKind::HostTable => HostFact::Table(Box::new(table(row)?)),
            RowKind::HostCounters => self.counters(row, [0; COUNTERS])?,
            RowKind::HostCountersChanged => {
                let told = self.counters.get(&Pid(pid(row)?)).copied();
                self.counters(row, told.ok_or("what has not changed is not there")?)?
            }
            RowKind::HostSocketBefore => HostFact::SocketBefore(SocketOwner {
                row: self.socket(row)?,
                netns: netns(row)?,
                pid: Pid(pid(row)?),
            }),
            RowKind::HostTimeWait => self.time_wait(row, false)?,
            RowKind::HostTimeWaitChanged => self.time_wait(row, true)?,
            RowKind::HostEphemeralPorts => HostFact::EphemeralPorts {
                // Traces of before it was told for each namespace have none.
                netns: netns(row).unwrap_or_default(),
                range: ephemeral_ports(row)?,
            },
            RowKind::HostStack => HostFact::Stack(Box::new(stack(row)?)),
            RowKind::Counter
            | RowKind::Parent
            | RowKind::Frame
            | RowKind::FrameUnnamed
            | RowKind::Held
            | RowKind::TimeWaitSocket
            | RowKind::TimeWaitSocketGone => {
                return Err("it is an item of nothing");
            }
        };
        Ok(Some(Input::Host(at, fact)))
    }

    fn event(&mut self, row: Row<'_>, ts: Nanos, kind: EventKind) -> Result<Input, &'static str> {
        let Row { batch, at: r, .. } = row;
        let actor = Actor {
            ts,
            pid: Pid(batch.pid.get(r).unwrap_or_default()),
            tid: Tid(batch.tid.get(r).unwrap_or_default()),
            thread: self
                .thread
                .get(&batch.thread, r, |name| Comm::from(name))
                .unwrap_or_default(),
            stack: batch.stack.get(r).map(user_stack).transpose()?,
        };
        match kind {
            EventKind::TcpConnect => self.tcp(row, actor, TcpAction::Connect),
            EventKind::TcpConnectFailed => self.tcp(row, actor, TcpAction::ConnectFailed),
            EventKind::TcpAccept => self.tcp(row, actor, TcpAction::Accept),
            EventKind::TcpState => self.tcp(row, actor, TcpAction::State),
            EventKind::TcpTimeWait => self.tcp(row, actor, TcpAction::TimeWait),
            EventKind::TcpClose => self.tcp(row, actor, TcpAction::Close),
            EventKind::FdInstall => fd(row, actor, FdAction::Installed),
            EventKind::FdOpenFailed => fd(row, actor, FdAction::OpenFailed),
            EventKind::FdExhausted => fd(row, actor, FdAction::Exhausted),
            EventKind::FdClose => fd(row, actor, FdAction::Closed),
            EventKind::Process => Ok(actor.did(seen(row)?)),
            EventKind::Exit => {
                let start_ns = batch.start.get(r).unwrap_or_default();
                let mut counters = [0; COUNTERS];
                numbers(row, 0, &mut counters)?;
                self.counters.remove(&actor.pid);
                Ok(actor.did(EventBody::Exit {
                    comm: comm(&batch.comm, r),
                    counters: Box::new(counters_from_array(start_ns, &counters)),
                }))
            }
        }
    }

    fn tcp(
        &mut self,
        row: Row<'_>,
        actor: Actor,
        action: TcpAction,
    ) -> Result<Input, &'static str> {
        let Row { batch, at: r, .. } = row;
        let (local, remote) = self.ends(row)?;
        Ok(actor.did(EventBody::Tcp(TcpEvent {
            action,
            sock: SockId(batch.sock.get(r).ok_or("it has no socket")?),
            cookie: Cookie(batch.cookie.get(r).unwrap_or_default()),
            start: batch.start.get(r).map(Nanos),
            tx_bytes: batch.tx_bytes.get(r).unwrap_or_default(),
            rx_bytes: batch.rx_bytes.get(r).unwrap_or_default(),
            local,
            remote,
            netns: netns(row)?,
            old_state: state(batch.old_state.get(r))?,
            new_state: state(batch.new_state.get(r))?,
            errno: batch.errno.get(r).unwrap_or_default(),
            role: batch.role.get(r).unwrap_or(Role::Unknown),
        })))
    }

    fn ends(&mut self, row: Row<'_>) -> Result<(Endpoint, Endpoint), &'static str> {
        let Row { batch, at: r, .. } = row;
        let laddr = self.laddr.get(&batch.laddr, r, |text| text.parse().ok());
        let raddr = self.raddr.get(&batch.raddr, r, |text| text.parse().ok());
        let (Some(Some(laddr)), Some(Some(raddr))) = (laddr, raddr) else {
            return Err("it has no address");
        };
        let local = Endpoint {
            addr: laddr,
            port: batch.lport.get(r).unwrap_or_default(),
        };
        let remote = Endpoint {
            addr: raddr,
            port: batch.rport.get(r).unwrap_or_default(),
        };
        Ok((local, remote))
    }

    fn losses(&mut self, row: Row<'_>, mut all: [u64; LOSSES]) -> Result<Input, &'static str> {
        numbers(row, Items::LOSSES_AT, &mut all)?;
        self.losses = Some(Box::new(all));
        Ok(Input::Losses(Box::new(losses_from_array(&all))))
    }

    fn counters(
        &mut self,
        row: Row<'_>,
        mut all: [u64; COUNTERS],
    ) -> Result<HostFact, &'static str> {
        let pid = Pid(pid(row)?);
        let start_ns = row.batch.start.get(row.at).unwrap_or_default();
        numbers(row, 0, &mut all)?;
        self.counters.insert(pid, all);
        if self.counters.len() > REMEMBERED_MAX {
            return Err("no host has so many processes");
        }
        let counters: Box<ProcessCounters> = Box::new(counters_from_array(start_ns, &all));
        Ok(HostFact::Counters { pid, counters })
    }

    fn socket(&mut self, row: Row<'_>) -> Result<SocketRow, &'static str> {
        let (local, remote) = self.ends(row)?;
        Ok(SocketRow {
            cookie: Cookie(row.batch.cookie.get(row.at).unwrap_or_default()),
            local,
            remote,
            state: state(row.batch.new_state.get(row.at))?,
        })
    }

    fn time_wait(&mut self, row: Row<'_>, is_change: bool) -> Result<HostFact, &'static str> {
        let netns = netns(row)?;
        let mut gone = Vec::new();
        let mut come = Vec::new();
        for item in row.items() {
            let socket = self.socket(item)?;
            match item.batch.kind.get(item.at) {
                Some(RowKind::TimeWaitSocket) => come.push(socket),
                Some(RowKind::TimeWaitSocketGone) => gone.push(socket),
                _ => return Err("an item is no socket"),
            }
        }
        let told = self.listings.remove(&netns);
        self.listed -= told.as_ref().map_or(0, |told| told.rows().len());
        let listing = match (told, is_change) {
            (Some(told), true) => told.changed(gone, come),
            (None, true) => return Err("what has not changed is not there"),
            (_, false) => TimeWaitListing::new(netns, come),
        };
        self.listed += listing.rows().len();
        if self.listed > REMEMBERED_MAX || self.listings.len() > REMEMBERED_MAX {
            return Err("no host has so many sockets");
        }
        self.listings.insert(netns, listing.kept());
        Ok(HostFact::TimeWait(listing))
    }
}

/// When something happened, and who did it.
struct Actor {
    ts: Nanos,
    pid: Pid,
    tid: Tid,
    thread: Comm,
    stack: Option<UserStack>,
}

impl Actor {
    /// The event that this did so much.
    fn did(self, body: EventBody) -> Input {
        let Self {
            ts,
            pid,
            tid,
            thread,
            stack,
        } = self;
        Input::Event(Event {
            ts,
            pid,
            tid,
            thread,
            stack,
            body,
        })
    }
}

/// A row, and where its items end.
#[derive(Clone, Copy)]
struct Row<'a> {
    batch: &'a Batch,
    at: usize,
    end: usize,
}

impl<'a> Row<'a> {
    fn items(self) -> impl Iterator<Item = Row<'a>> {
        (self.at + 1..self.end).map(move |at| Row {
            batch: self.batch,
            at,
            end: at + 1,
        })
    }
}

/// Replaces the numbers that items tell.
fn numbers(row: Row<'_>, first_name: u8, all: &mut [u64]) -> Result<(), &'static str> {
    for item in row.items() {
        let name = item.batch.name.get(item.at);
        // A counter that a newer version has added is of no use here.
        let Some(place) = name.and_then(|name| name.checked_sub(first_name)) else {
            continue;
        };
        if let Some(slot) = all.get_mut(usize::from(place)) {
            *slot = number(item)?;
        }
    }
    Ok(())
}

/// The number that an item tells.
fn number(item: Row<'_>) -> Result<u64, &'static str> {
    let value = item.batch.value.get(item.at);
    let value = value.ok_or("an item has no value")?;
    if value > COUNTED_MAX {
        return Err("no counter comes so far");
    }
    Ok(value)
}

fn pid(row: Row<'_>) -> Result<u32, &'static str> {
    row.batch.pid.get(row.at).ok_or("it has no process")
}

fn netns(row: Row<'_>) -> Result<Netns, &'static str> {
    let netns = row.batch.netns.get(row.at);
    netns.map(Netns).ok_or("it has no network namespace")
}

fn state(state: Option<TcpState>) -> Result<TcpState, &'static str> {
    state.ok_or("it has no TCP state")
}

fn comm(column: &Reading<Listed>, row: usize) -> Comm {
    column.get(row).map(Comm::from).unwrap_or_default()
}

fn fd(row: Row<'_>, actor: Actor, action: FdAction) -> Result<Input, &'static str> {
    let Row { batch, at: r, .. } = row;
    Ok(actor.did(EventBody::Fd(FdEvent {
        action,
        fd: batch.fd.get(r),
        source: batch.source.get(r).unwrap_or(FdSource::Other),
        kind: batch.fd_kind.get(r).ok_or("it has no kind of descriptor")?,
        errno: batch.errno.get(r).unwrap_or_default(),
        opens: batch.opens.get(r).unwrap_or_default(),
        fds_net: batch.fds_net.get(r).unwrap_or_default(),
        files_net: batch.files_net.get(r).unwrap_or_default(),
        path: batch.path.get(r).map(|text| Path {
            text: text.to_owned(),
            form: batch.path_form.get(r).unwrap_or(PathForm::Resolved),
        }),
    })))
}

fn seen(row: Row<'_>) -> Result<EventBody, &'static str> {
    let Row { batch, at: r, .. } = row;
    Ok(EventBody::Process(ProcessSeen {
        start: Nanos(batch.start.get(r).unwrap_or_default()),
        cgroup_id: batch.cgroup_id.get(r).unwrap_or_default(),
        ppid: Pid(batch.ppid.get(r).unwrap_or_default()),
        parent_comm: comm(&batch.parent_comm, r),
        uid: batch.uid.get(r).ok_or("it has no user")?,
        ns_pid: batch.ns_pid.get(r).unwrap_or_default(),
        netns: netns(row)?,
        hostname: batch.hostname.get(r).unwrap_or_default().into(),
        comm: comm(&batch.comm, r),
        is_exec: batch.is_exec.get(r).unwrap_or_default(),
        cmdline: batch.cmdline.get(r).unwrap_or_default().to_owned(),
    }))
}

fn process(row: Row<'_>) -> Result<ProcessFact, &'static str> {
    let Row { batch, at: r, .. } = row;
    let text = |column: &Reading<Listed>| column.get(r).map(str::to_owned);
    Ok(ProcessFact {
        pid: Pid(pid(row)?),
        start: batch.start.get(r).map(Nanos),
        comm: text(&batch.comm),
        exe: text(&batch.exe),
        cmdline: batch.cmdline.get(r).map(str::to_owned),
        ppid: batch.ppid.get(r).map(Pid),
        user: text(&batch.user),
        ns_pid: batch.ns_pid.get(r),
        container: text(&batch.container),
        runtime: text(&batch.runtime),
        pod_uid: text(&batch.pod_uid),
        unit: text(&batch.unit),
        netns: batch.netns.get(r).map(Netns),
        parents: row.items().filter_map(parent).collect::<Result<_, _>>()?,
    })
}

/// `None` is an item that a newer version may have added.
fn parent(item: Row<'_>) -> Option<Result<Ancestor, &'static str>> {
    (item.batch.kind.get(item.at)? == RowKind::Parent).then(|| {
        Ok(Ancestor {
            pid: Pid(pid(item)?),
            comm: comm(&item.batch.comm, item.at),
        })
    })
}

fn descriptors(row: Row<'_>) -> Result<DescriptorFact, &'static str> {
    let Row { batch, at: r, .. } = row;
    Ok(DescriptorFact {
        pid: Pid(pid(row)?),
        start: batch.start.get(r).map(Nanos),
        open: batch.fds_open.get(r).ok_or("it has no descriptors")?,
        net: batch.fds_net.get(r),
        soft_limit: batch.fd_limit.get(r),
        hard_limit: batch.fd_hard_limit.get(r),
    })
}

fn table(row: Row<'_>) -> Result<TableFact, &'static str> {
    let mut table = TableFact {
        pid: Pid(pid(row)?),
        start: row.batch.start.get(row.at).map(Nanos),
        ..TableFact::default()
    };
    for item in row.items() {
        // What a newer version may have added is of no use here.
        if item.batch.kind.get(item.at) != Some(RowKind::Held) {
            continue;
        }
        let count = number(item)?;
        if let Some(kind) = item.batch.fd_kind.get(item.at) {
            table.kinds[kind as usize] = count;
            if let Some(net) = item.batch.fds_net.get(item.at) {
                table.nets.get_or_insert_default()[kind as usize] = net;
            }
        } else if let Some(path) = item.batch.path.get(item.at)
            && table.paths.len() < TABLE_PATHS_MAX
        {
            table.paths.push((path.to_owned(), count));
        }
    }
    Ok(table)
}

/// What a row tells of the stack that its thread acted with.
fn user_stack(told: i64) -> Result<UserStack, &'static str> {
    const NONE: &str = "its stack is none";
    match u32::try_from(told) {
        Ok(number) => Ok(UserStack::Taken(StackId(number))),
        Err(_) => match told.checked_neg().map(i32::try_from) {
            Some(Ok(errno)) if errno > 0 => Ok(UserStack::Missing(errno)),
            _ => Err(NONE),
        },
    }
}

fn stack(row: Row<'_>) -> Result<StackFact, &'static str> {
    let told = row.batch.stack.get(row.at).ok_or("it has no stack")?;
    let UserStack::Taken(number) = user_stack(told)? else {
        return Err("its stack has no number");
    };
    Ok(StackFact {
        pid: Pid(pid(row)?),
        start: row.batch.start.get(row.at).map(Nanos),
        stack: number,
        frames: row.items().take(FRAMES_MAX).filter_map(frame).collect(),
    })
}

/// `None` is an item that a newer version may have added.
fn frame(item: Row<'_>) -> Option<Frame> {
    let is_named = match item.batch.kind.get(item.at)? {
        RowKind::Frame => true,
        RowKind::FrameUnnamed => false,
        _ => return None,
    };
    let text = item.batch.frame.get(item.at)?.to_owned();
    Some(Frame { text, is_named })
}

fn ephemeral_ports(row: Row<'_>) -> Result<PortRange, &'static str> {
    let mut ends = [0; 2];
    numbers(row, Items::LOW, &mut ends)?;
    let [low, high] = ends.map(|port| u16::try_from(port).map_err(|_| "it is no port"));
    Ok(PortRange {
        low: low?,
        high: high?,
    })
}
