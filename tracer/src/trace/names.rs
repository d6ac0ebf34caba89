//! The names that a trace uses instead of numbers, each with the value that it stands for; never
//! another spelling than reports have.

use std::sync::LazyLock;

use tracer_common::{EventKind, EventStats, FdKind, FdSource, ProcessCounters, Role};

use crate::model::{PathForm, TcpState};

/// A fixed list of names. A row holds a name's number in it, and the file the list itself, so that
/// numbers may change between versions and names may not.
pub(super) trait Names {
    /// What the names stand for.
    type Value: Copy;

    /// All names, in the order of their numbers; at most 256.
    fn all() -> &'static [String];

    /// The number of a value's name.
    fn number(value: Self::Value) -> u8;

    /// The value of the name with this number.
    fn value(number: u8) -> Option<Self::Value>;
}

fn owned<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

/// What a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind {
    /// An event, or the head of one.
    Event(EventKind),
    /// A tick.
    Tick,
    /// The head of the loss counters; what no item tells is zero.
    Losses,
    /// As [`Self::Losses`], but what no item tells is as it was.
    LossesChanged,
    /// A fact from /proc about a process.
    HostProcess,
    /// A fact about a process's descriptor table.
    HostDescriptors,
    /// The head of a process's counters; what no item tells is zero.
    HostCounters,
    /// As [`Self::HostCounters`], but what no item tells is as it was.
    HostCountersChanged,
    /// A connection from before the start, with its owner.
    HostSocketBefore,
    /// The head of a listing of `TIME_WAIT` sockets.
    HostTimeWait,
    /// As [`Self::HostTimeWait`], but what no item tells is as it was.
    HostTimeWaitChanged,
    /// The head of the range of ephemeral ports.
    HostEphemeralPorts,
    /// What a user stack looks like.
    HostStack,
    /// An item: a number with a name.
    Counter,
    /// An item: a process's parent, or that one's, and so on.
    Parent,
    /// An item: a socket that is listed.
    TimeWaitSocket,
    /// An item: a socket that is no longer listed.
    TimeWaitSocketGone,
    /// An item: a frame of a stack, the innermost first.
    Frame,
    /// As [`Self::Frame`], where the function is not known.
    FrameUnnamed,
    /// [`crate::model::HostFact::Table`], what it holds as items.
    HostTable,
    /// An item: so many descriptors of a kind, or of one file.
    Held,
}

impl RowKind {
    const OTHERS: [Self; 20] = [
        Self::Tick,
        Self::Losses,
        Self::LossesChanged,
        Self::HostProcess,
        Self::HostDescriptors,
        Self::HostCounters,
        Self::HostCountersChanged,
        Self::HostSocketBefore,
        Self::HostTimeWait,
        Self::HostTimeWaitChanged,
        Self::HostEphemeralPorts,
        Self::Counter,
        Self::TimeWaitSocket,
        Self::TimeWaitSocketGone,
        Self::Parent,
        Self::HostStack,
        Self::Frame,
        Self::FrameUnnamed,
        Self::HostTable,
        Self::Held,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Event(kind) => kind.name(),
            Self::Tick => "tick",
            Self::Losses => "losses",
            Self::LossesChanged => "losses_changed",
            Self::HostProcess => "host_process",
            Self::HostDescriptors => "host_descriptors",
            Self::HostCounters => "host_counters",
            Self::HostCountersChanged => "host_counters_changed",
            Self::HostSocketBefore => "host_socket_before",
            Self::HostTimeWait => "host_time_wait",
            Self::HostTimeWaitChanged => "host_time_wait_changed",
            Self::HostEphemeralPorts => "host_ephemeral_ports",
            Self::HostStack => "host_stack",
            Self::Frame => "frame",
            Self::FrameUnnamed => "frame_unnamed",
            Self::HostTable => "host_table",
            Self::Held => "held",
            Self::Counter => "counter",
            Self::Parent => "parent",
            Self::TimeWaitSocket => "time_wait_socket",
            Self::TimeWaitSocketGone => "time_wait_socket_gone",
        }
    }
}

/// How many of the names are those of events.
const EVENTS: u8 = number(EventKind::COUNT);

/// A count as a name's number, which is one byte.
const fn number(count: usize) -> u8 {
    assert!(count <= 255, "a name's number is one byte");
    #[expect(clippy::cast_possible_truncation, reason = "just checked")]
    {
        count as u8
    }
}

/// The names of [`RowKind`].
pub(super) struct RowKinds;

impl Names for RowKinds {
    type Value = RowKind;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
            let events = EventKind::ALL.into_iter().map(RowKind::Event);
            let kinds = events.chain(RowKind::OTHERS);
            kinds.map(|kind| kind.name().to_owned()).collect()
        });
        &ALL
    }

    fn number(value: RowKind) -> u8 {
        if let RowKind::Event(kind) = value {
            return kind as u8;
        }
        let mut others = (EVENTS..).zip(RowKind::OTHERS);
        let found = others.find_map(|(number, kind)| (kind == value).then_some(number));
        found.unwrap_or_default()
    }

    fn value(number: u8) -> Option<RowKind> {
        match EventKind::from_number(number) {
            Some(kind) => Some(RowKind::Event(kind)),
            None => usize::from(number)
                .checked_sub(usize::from(EVENTS))
                .and_then(|place| RowKind::OTHERS.get(place).copied()),
        }
    }
}

/// The names of TCP states; their numbers are the kernel's.
pub(super) struct TcpStates;

impl Names for TcpStates {
    type Value = TcpState;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
            let states = (0..=u8::MAX).map(TcpState::from);
            states.map(|state| state.to_string()).collect()
        });
        &ALL
    }

    fn number(value: TcpState) -> u8 {
        u8::from(value)
    }

    fn value(number: u8) -> Option<TcpState> {
        Some(TcpState::from(number))
    }
}

/// The names of [`Role`], where it is known.
pub(super) struct Roles;

impl Names for Roles {
    type Value = Role;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> = LazyLock::new(|| owned(["client", "server"]));
        &ALL
    }

    fn number(value: Role) -> u8 {
        u8::from(value == Role::Server)
    }

    fn value(number: u8) -> Option<Role> {
        [Role::Client, Role::Server]
            .get(usize::from(number))
            .copied()
    }
}

/// The names of [`FdSource`].
pub(super) struct Sources;

impl Names for Sources {
    type Value = FdSource;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> =
            LazyLock::new(|| owned(FdSource::ALL.map(FdSource::name)));
        &ALL
    }

    fn number(value: FdSource) -> u8 {
        value as u8
    }

    fn value(number: u8) -> Option<FdSource> {
        FdSource::from_number(number)
    }
}

/// The names of [`FdKind`].
pub(super) struct FdKinds;

impl Names for FdKinds {
    type Value = FdKind;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> = LazyLock::new(|| owned(FdKind::ALL.map(FdKind::name)));
        &ALL
    }

    fn number(value: FdKind) -> u8 {
        value as u8
    }

    fn value(number: u8) -> Option<FdKind> {
        FdKind::from_number(number)
    }
}

/// The names of [`PathForm`].
pub(super) struct PathForms;

impl Names for PathForms {
    type Value = PathForm;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> = LazyLock::new(|| owned(["resolved", "as_given"]));
        &ALL
    }

    fn number(value: PathForm) -> u8 {
        u8::from(value == PathForm::AsGiven)
    }

    fn value(number: u8) -> Option<PathForm> {
        [PathForm::Resolved, PathForm::AsGiven]
            .get(usize::from(number))
            .copied()
    }
}

/// How many numbers a process's counters are.
pub(super) const COUNTERS: usize = 2 * FdSource::COUNT + 2 * FdKind::COUNT + 4;

/// The names of a process's counters, in the order of [`counters_to_array`].
pub(super) fn counter_names() -> Vec<String> {
    let by_source = |what: &'static str| {
        FdSource::ALL
            .into_iter()
            .map(move |source| format!("{what}.{}", source.name()))
    };
    let by_kind = |what: &'static str| {
        FdKind::ALL
            .into_iter()
            .map(move |kind| format!("{what}.{}", kind.name()))
    };
    by_source("fds_got")
        .chain(by_kind("fds_got_of_kind"))
        .chain(by_kind("fds_closed_of_kind"))
        .chain(by_source("fds_refused"))
        .chain(["opens_failed", "connects", "accepts", "not_streamed"].map(str::to_owned))
        .collect()
}

/// A process's counters in one order.
pub(super) fn counters_to_array(counters: &ProcessCounters) -> [u64; COUNTERS] {
    let mut array = [0; COUNTERS];
    let all = counters
        .fds_got
        .iter()
        .chain(&counters.fds_got_of_kind)
        .chain(&counters.fds_closed_of_kind)
        .chain(&counters.fds_refused)
        .chain([
            &counters.opens_failed,
            &counters.connects,
            &counters.accepts,
            &counters.not_streamed,
        ]);
    for (slot, counter) in array.iter_mut().zip(all) {
        *slot = *counter;
    }
    array
}

/// The reverse of [`counters_to_array`].
pub(super) fn counters_from_array(start_ns: u64, array: &[u64; COUNTERS]) -> ProcessCounters {
    let mut counters = ProcessCounters {
        start_ns,
        ..ProcessCounters::ZERO
    };
    let all = counters
        .fds_got
        .iter_mut()
        .chain(&mut counters.fds_got_of_kind)
        .chain(&mut counters.fds_closed_of_kind)
        .chain(&mut counters.fds_refused)
        .chain([
            &mut counters.opens_failed,
            &mut counters.connects,
            &mut counters.accepts,
            &mut counters.not_streamed,
        ]);
    for (counter, value) in all.zip(array) {
        *counter = *value;
    }
    counters
}

/// What becomes of one kind's events, in the order of [`stats_to_array`].
const OUTCOMES: [&str; 7] = [
    "seen",
    "streamed",
    "counted_only",
    "filtered",
    "ring_full",
    "map_full",
    "read_failed",
];

/// What is lost of no kind, in the order of [`losses_to_array`].
const OTHER_LOSSES: [&str; 4] = [
    "undecodable",
    "kernel_skipped",
    "lookups_dropped",
    "hooks_off_ms",
];

/// How many numbers the losses are.
pub(super) const LOSSES: usize = EventKind::COUNT * OUTCOMES.len() + OTHER_LOSSES.len();

/// The names of the loss counters, in the order of [`losses_to_array`].
pub(super) fn loss_names() -> Vec<String> {
    EventKind::ALL
        .into_iter()
        .flat_map(|kind| OUTCOMES.map(|outcome| format!("{}.{outcome}", kind.name())))
        .chain(OTHER_LOSSES.map(str::to_owned))
        .collect()
}

fn stats_to_array(stats: &EventStats) -> [u64; OUTCOMES.len()] {
    [
        stats.seen,
        stats.streamed,
        stats.counted_only,
        stats.filtered,
        stats.ring_full,
        stats.map_full,
        stats.read_failed,
    ]
}

/// The loss counters in one order.
pub(super) fn losses_to_array(losses: &crate::model::Losses) -> [u64; LOSSES] {
    let mut array = [0; LOSSES];
    let all = losses.by_kind.iter().flat_map(stats_to_array).chain([
        losses.undecodable,
        losses.kernel_skipped,
        losses.lookups_dropped,
        losses.hooks_off_ms,
    ]);
    for (slot, counter) in array.iter_mut().zip(all) {
        *slot = counter;
    }
    array
}

/// The reverse of [`losses_to_array`].
pub(super) fn losses_from_array(array: &[u64; LOSSES]) -> crate::model::Losses {
    let mut losses = crate::model::Losses::default();
    let mut rest = array.iter().copied();
    let mut next = || rest.next().unwrap_or_default();
    for stats in &mut losses.by_kind {
        *stats = EventStats {
            seen: next(),
            streamed: next(),
            counted_only: next(),
            filtered: next(),
            ring_full: next(),
            map_full: next(),
            read_failed: next(),
        };
    }
    losses.undecodable = next();
    losses.kernel_skipped = next();
    losses.lookups_dropped = next();
    losses.hooks_off_ms = next();
    losses
}

/// Names of items: a process's counters, the loss counters, and the ends of a range.
pub(super) struct Items;

impl Items {
    /// Where the loss counters begin.
    pub(super) const LOSSES_AT: u8 = number(COUNTERS);
    /// The lowest port of a range.
    pub(super) const LOW: u8 = number(COUNTERS + LOSSES);
    /// The highest port of a range.
    pub(super) const HIGH: u8 = Self::LOW + 1;
}

impl Names for Items {
    type Value = u8;

    fn all() -> &'static [String] {
        static ALL: LazyLock<Vec<String>> = LazyLock::new(|| {
            let mut names = counter_names();
            names.extend(loss_names());
            names.extend(owned(["low", "high"]));
            names
        });
        &ALL
    }

    fn number(value: u8) -> u8 {
        value
    }

    fn value(number: u8) -> Option<u8> {
        (number <= Self::HIGH).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_sound<N: Names>()
    where
        N::Value: PartialEq + std::fmt::Debug,
    {
        let names = N::all();
        assert!(names.len() <= 256);
        for (number, name) in (0..=u8::MAX).zip(names) {
            let value = N::value(number).unwrap_or_else(|| panic!("{name} has no value"));
            assert_eq!(N::number(value), number, "{name}");
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1);
        }
    }

    #[test]
    fn each_name_has_one_number_and_one_value() {
        are_sound::<RowKinds>();
        are_sound::<TcpStates>();
        are_sound::<Roles>();
        are_sound::<Sources>();
        are_sound::<FdKinds>();
        are_sound::<PathForms>();
        are_sound::<Items>();
    }

    #[test]
    fn counters_and_losses_come_back_from_their_arrays() {
        let numbers: Vec<u64> = (1..).take(LOSSES).collect();
        let counters: [u64; COUNTERS] = numbers[..COUNTERS].try_into().unwrap();
        assert_eq!(
            counters_to_array(&counters_from_array(7, &counters)),
            counters
        );
        assert_eq!(counters_from_array(7, &counters).start_ns, 7);
        let losses: [u64; LOSSES] = numbers.try_into().unwrap();
        assert_eq!(losses_to_array(&losses_from_array(&losses)), losses);
        assert_eq!(counter_names().len(), COUNTERS);
        assert_eq!(loss_names().len(), LOSSES);
    }
}
