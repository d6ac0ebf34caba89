//! Says what a report lacks and why, one sentence a cause; never passes over a loss, and never calls
//! a report complete that lacks something.

use tracer_common::{EventKind, EventStats};

use crate::{
    analysis::report::Report,
    model::{Nanos, Session},
};

use super::{
    escape::Escaped,
    units::{counted, span},
};

/// One of the kernel half's counters.
type Counter = fn(&EventStats) -> u64;

/// Whether nothing was lost, nothing forgotten, and every hook attached.
pub(super) fn is_complete(report: &Report) -> bool {
    !has_losses(report) && missing_hooks(&report.session) == 0
}

/// What makes the numbers less sure, in a few words; `None` where nothing does.
pub(super) fn in_short(report: &Report) -> Option<String> {
    if is_complete(report) {
        return None;
    }
    let causes: Vec<String> = [
        (report.losses.total(), "event", " lost"),
        (
            missing_hooks(&report.session) as u64,
            "hook",
            " not attached",
        ),
        (forgotten(report), "record", " forgotten"),
        (report.losses.lookups_dropped, "look-up", " given up"),
        (
            report.losses.hooks_off_ms.div_ceil(1_000),
            "second",
            " with hooks switched off",
        ),
    ]
    .into_iter()
    .filter(|(count, ..)| *count > 0)
    .map(|(count, noun, what)| counted(count, noun) + what)
    .collect();
    Some(causes.join(", "))
}

/// Hooks that are not attached.
pub(super) fn missing_hooks(session: &Session) -> usize {
    session
        .hooks
        .iter()
        .filter(|hook| hook.attached.is_none())
        .count()
}

/// Each hook that is not attached, why, and what reports lack without it.
pub(super) fn unwatched(session: &Session) -> impl Iterator<Item = String> {
    session
        .hooks
        .iter()
        .filter(|hook| hook.attached.is_none())
        .map(|hook| {
            let reason = match hook.reason.as_str() {
                "" => "for an unknown reason",
                reason => reason,
            };
            format!(
                "Not watched: {}. The hook {} is not attached: {}.",
                Escaped(&hook.provides),
                Escaped(&hook.hook),
                Escaped(reason.trim_end_matches('.'))
            )
        })
}

/// What was lost or forgotten, a sentence for each cause.
pub(super) fn losses(report: &Report) -> Vec<String> {
    let losses = &report.losses;
    let by_cause: [(Counter, &str); 3] = [
        (
            |stats| stats.ring_full,
            "lost: the ring buffer was full; a larger --ring-size helps",
        ),
        (
            |stats| stats.map_full,
            "lost: a table in the kernel was full",
        ),
        (
            |stats| stats.read_failed,
            "lost: a kernel structure could not be read",
        ),
    ];
    let in_kernel = by_cause.into_iter().filter_map(|(of, cause)| {
        let total = report.losses.over_kinds(of);
        (total > 0).then(|| {
            let kinds = by_kind(report, of);
            format!("{} {cause} ({kinds}).", counted(total, "event"))
        })
    });

    let evicted = report.evicted;
    let on_the_way = [
        (
            losses.undecodable,
            "record",
            "lost: of an unknown kind or size",
        ),
        (
            losses.kernel_skipped,
            "hook run",
            "skipped by the kernel: the hook was hit while it ran on the same CPU",
        ),
        (
            losses.lookups_dropped,
            "look-up",
            "of processes given up because too many waited: their user, executable or container \
             may be missing",
        ),
        (evicted.processes, "process record", FORGOTTEN),
        (evicted.connections, "connection", FORGOTTEN),
        (evicted.groups, "connection group", FORGOTTEN),
        (evicted.verdicts, "ended verdict", FORGOTTEN),
    ];
    let switched_off = (losses.hooks_off_ms > 0).then(|| {
        format!(
            "Hooks were switched off in the kernel for {} in all, by kernel.ftrace_enabled or debugfs \
             (kprobes/enabled): what happened then was not seen.",
            span(Nanos::from_millis(losses.hooks_off_ms))
        )
    });
    switched_off
        .into_iter()
        .chain(in_kernel)
        .chain(
            on_the_way
                .into_iter()
                .filter(|(count, ..)| *count > 0)
                .map(|(count, noun, cause)| format!("{} {cause}.", counted(count, noun))),
        )
        .collect()
}

/// What the engine's bounds cost.
const FORGOTTEN: &str = "forgotten to keep within the bounds of memory, the oldest first";

/// What was left out on purpose, a sentence for each reason: no loss, but not in the report either.
pub(super) fn left_out(report: &Report) -> Vec<String> {
    let counted_only = report.losses.over_kinds(|stats| stats.counted_only);
    let filtered = report.losses.over_kinds(|stats| stats.filtered);
    [
        (
            counted_only,
            "counted but not streamed (--fd-budget): the totals hold, their paths are not known",
        ),
        (filtered, "filtered in the kernel: not of what was selected"),
    ]
    .into_iter()
    .filter(|(count, _reason)| *count > 0)
    .map(|(count, reason)| format!("{} {reason}.", counted(count, "event")))
    .collect()
}

/// Records of any sort that the engine had to forget.
pub(super) fn forgotten(report: &Report) -> u64 {
    let evicted = report.evicted;
    evicted.processes + evicted.connections + evicted.groups + evicted.verdicts
}

/// Whether anything was lost or forgotten.
fn has_losses(report: &Report) -> bool {
    let losses = &report.losses;
    losses.total() > 0
        || losses.lookups_dropped > 0
        || losses.hooks_off_ms > 0
        || forgotten(report) > 0
}

/// One counter by kind, those kinds that have any.
fn by_kind(report: &Report, of: Counter) -> String {
    EventKind::ALL
        .into_iter()
        .map(|kind| (kind, of(report.losses.of(kind))))
        .filter(|(_kind, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {}", kind.name()))
        .collect::<Vec<_>>()
        .join(", ")
}
