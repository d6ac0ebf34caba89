//! Totals as OpenMetrics text, for Prometheus and what reads its format; never a pid, a client's port or
//! a command line that was not asked for.

use std::{borrow::Cow, fmt};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelValue, LabelValueEncoder, MetricEncoder, text},
    metrics::{MetricType, exemplar::Exemplar},
    registry::{Registry, Unit},
};
use tracer_common::Role;

use super::{Escaped, errno};
use crate::{
    analysis::{
        series::LossCause,
        totals::{GroupLabel, GroupTotals, LIFETIME_BOUNDS, PeerLabel, PeerTotals, Totals},
    },
    model::HookState,
};

/// The kind of text that [`render`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What all that finds no place of its own is called.
const OTHER: &str = "other";

/// tracer itself.
#[derive(Clone, Debug, Default)]
pub struct Own {
    /// Its version.
    pub version: String,
    /// The kernel's release.
    pub kernel: String,
    /// Processor time since it began, in user space and in the kernel.
    pub cpu_seconds: f64,
    /// Memory that it holds.
    pub resident_bytes: u64,
    /// The size of the buffer between kernel and tracer.
    pub ring_bytes: u64,
    /// What became of the commands that verdicts asked for, by name.
    pub commands: Option<[(&'static str, u64); 5]>,
    /// What became of the records for a collector, by name.
    pub deliveries: Vec<(&'static str, &'static str, u64)>,
    /// Each hook and whether it is attached.
    pub hooks: Vec<HookState>,
}

/// The text.
pub fn render(totals: Totals, own: Own) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition { totals, own }));
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition {
    totals: Totals,
    own: Own,
}

type Labels = Vec<(&'static str, Text)>;

/// A label's value.
#[derive(Clone, Debug)]
struct Text(Cow<'static, str>);

impl EncodeLabelValue for Text {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        // What acts on a terminal is shown instead; the encoder takes care of its own format. With
        // backslashes told apart from those of escapes, two names never become one, which would be the
        // same series twice.
        let text = self.0.replace('\\', r"\\");
        fmt::Write::write_fmt(encoder, format_args!("{}", Escaped(&text)))
    }
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.peers(&mut encoder)?;
        self.groups(&mut encoder)?;
        self.verdicts(&mut encoder)?;
        self.gaps(&mut encoder)?;
        self.own(&mut encoder)
    }
}

impl Exposition {
    fn peers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = || {
            self.totals.groups.iter().flat_map(|(label, group)| {
                let peers = group.peers.iter();
                peers
                    .map(move |(peer, totals)| (peer_labels(label.as_ref(), peer.as_ref()), totals))
            })
        };
        counters(
            encoder,
            "tracer_connections_opened",
            "Connections established or accepted",
            all().map(|(labels, peer)| (labels, peer.opened)),
        )?;
        counters(
            encoder,
            "tracer_connections_closed",
            "Connections that ended, by the side that closed first",
            all().flat_map(|(labels, peer)| {
                let by = |side: &'static str| with(&labels, "closed_by", side.into());
                [
                    (by("local"), peer.closed_by_local),
                    (by("remote"), peer.closed_by_remote),
                ]
            }),
        )?;
        counters(
            encoder,
            "tracer_connects_failed",
            "Connects that failed, by error; given_up is a connect that the program itself ended before an answer came",
            all().flat_map(|(labels, peer)| failures(&labels, peer)),
        )?;
        let mut metric = encoder.encode_descriptor(
            "tracer_connection_lifetime",
            "How long connections lived that ended",
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?;
        for (labels, peer) in all() {
            let lifetimes = &peer.lifetimes;
            let bounds = LIFETIME_BOUNDS.iter().map(|bound| bound.as_secs_f64());
            let bounds = bounds.chain([f64::INFINITY]);
            let buckets: Vec<_> = bounds.zip(lifetimes.counts).collect();
            metric.encode_family(&labels)?.encode_histogram::<Labels>(
                lifetimes.sum.as_secs_f64(),
                lifetimes.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }

    fn groups(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        type Number = fn(&GroupTotals) -> Option<u64>;
        let numbers: [(&str, &str, Number); 6] = [
            (
                "tracer_processes",
                "Processes that are alive and were seen to do something",
                |group| Some(group.now.processes),
            ),
            (
                "tracer_connections_open",
                "Open connections of those that were seen to begin",
                |group| Some(group.now.connections_open),
            ),
            (
                "tracer_time_wait_sockets",
                "TIME_WAIT sockets by the processes whose connections they were",
                |group| Some(group.now.time_wait),
            ),
            (
                "tracer_fds_open",
                "Open descriptors of all processes of the group",
                |group| group.now.fds_open,
            ),
            (
                "tracer_fd_limit",
                "The lowest soft limit of descriptors of a process of the group",
                |group| group.now.fd_limit,
            ),
            (
                "tracer_fd_room",
                "The fewest further descriptors that a process of the group can get",
                |group| group.now.fd_room,
            ),
        ];
        for (name, help, number) in numbers {
            let rows =
                self.totals.groups.iter().filter_map(|(label, group)| {
                    Some((group_labels(label.as_ref()), number(group)?))
                });
            gauges(encoder, name, help, rows)?;
        }
        gauges(
            encoder,
            "tracer_time_wait_sockets_unowned",
            "TIME_WAIT sockets whose owner nobody knows",
            [(Labels::new(), self.totals.time_wait_unowned)],
        )?;
        let refused = self
            .totals
            .groups
            .iter()
            .map(|(label, group)| (group_labels(label.as_ref()), group.fds_refused));
        counters(
            encoder,
            "tracer_fds_refused",
            "Calls that got no descriptor (EMFILE, ENFILE)",
            refused,
        )
    }

    fn verdicts(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let of_name = |label: &Option<GroupLabel>, name: &'static str| {
            let mut labels = vec![("verdict", Text(name.into()))];
            labels.extend(group_labels(label.as_ref()));
            labels
        };
        let groups = || self.totals.groups.iter();
        let made = groups().flat_map(|(label, group)| {
            let verdicts = group.verdicts.iter();
            verdicts.map(move |(name, count)| (of_name(label, name), *count))
        });
        counters(encoder, "tracer_verdicts", "Verdicts made", made)?;
        // One that is over stays as 0, so that an alert on it ends.
        let ongoing = groups().flat_map(|(label, group)| {
            let names = group.verdicts.keys().chain(group.verdicts_ongoing.keys());
            let names: std::collections::BTreeSet<_> = names.collect();
            names.into_iter().map(move |name| {
                let count = group.verdicts_ongoing.get(name).copied();
                (of_name(label, name), count.unwrap_or(0))
            })
        });
        gauges(
            encoder,
            "tracer_verdicts_ongoing",
            "Verdicts that go on",
            ongoing,
        )
    }

    fn gaps(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let losses = &self.totals.losses;
        let lost = LossCause::ALL.map(|cause| {
            let labels = vec![("cause", Text(cause.name().into()))];
            (labels, cause.of(losses))
        });
        counters(
            encoder,
            "tracer_lost",
            "Events, and look-ups of processes, that were wanted and not got",
            lost,
        )?;
        seconds(
            encoder,
            "tracer_hooks_off",
            "How long hooks that are attached were found switched off in the kernel",
            losses.hooks_off_ms as f64 / 1e3,
        )?;
        let outcomes: [(&'static str, u64); 4] = [
            ("seen", losses.over_kinds(|stats| stats.seen)),
            ("streamed", losses.over_kinds(|stats| stats.streamed)),
            (
                "counted_only",
                losses.over_kinds(|stats| stats.counted_only),
            ),
            ("filtered", losses.over_kinds(|stats| stats.filtered)),
        ];
        counters(
            encoder,
            "tracer_events",
            "Events by what became of them in the kernel",
            outcomes.map(|(name, count)| (vec![("outcome", Text(name.into()))], count)),
        )?;
        let evicted = &self.totals.evicted;
        let tables = [
            ("processes", evicted.processes),
            ("connections", evicted.connections),
            ("groups", evicted.groups),
            ("verdicts", evicted.verdicts),
        ];
        counters(
            encoder,
            "tracer_evicted",
            "What tracer had to forget to keep its memory bounded",
            tables.map(|(name, count)| (vec![("table", Text(name.into()))], count)),
        )
    }

    fn own(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let own = &self.own;
        let hooks = own.hooks.iter().map(|hook| {
            let labels = vec![("hook", Text(hook.hook.clone().into()))];
            (labels, u64::from(hook.attached.is_some()))
        });
        gauges(
            encoder,
            "tracer_hook_attached",
            "Whether a hook is attached",
            hooks,
        )?;
        let commands = own.commands.into_iter().flatten();
        counters(
            encoder,
            "tracer_verdict_commands",
            "Verdicts by what became of the command for them",
            commands.map(|(name, count)| (vec![("outcome", Text(name.into()))], count)),
        )?;
        counters(
            encoder,
            "tracer_otlp_records",
            "Verdicts and events by what became of the record for the collector",
            own.deliveries.iter().map(|&(record, outcome, count)| {
                let labels = [("record", record), ("outcome", outcome)];
                (
                    labels
                        .map(|(name, value)| (name, Text(value.into())))
                        .into(),
                    count,
                )
            }),
        )?;
        gauges(
            encoder,
            "tracer_ring_bytes",
            "The size of the buffer between kernel and tracer",
            [(Labels::new(), own.ring_bytes)],
        )?;
        seconds(
            encoder,
            "process_cpu",
            "Processor time that tracer took",
            own.cpu_seconds,
        )?;
        gauges(
            encoder,
            "process_resident_memory_bytes",
            "Memory that tracer holds",
            [(Labels::new(), own.resident_bytes)],
        )?;
        let labels: Labels = vec![
            ("version", Text(own.version.clone().into())),
            ("kernel", Text(own.kernel.clone().into())),
        ];
        encoder
            .encode_descriptor(
                "tracer_build",
                "tracer's version, and the kernel that it runs on",
                None,
                MetricType::Info,
            )?
            .encode_info(&labels)
    }
}

fn group_labels(label: Option<&GroupLabel>) -> Labels {
    let Some(label) = label else {
        // All four: a program may well be called so.
        return ["comm", "container", "pod", "unit"]
            .map(|name| (name, Text(OTHER.into())))
            .to_vec();
    };
    let text = |text: &std::sync::Arc<str>| Text(text.to_string().into());
    let places = [
        ("container", label.container.as_ref().map(text)),
        ("pod", label.pod.as_ref().map(text)),
        ("unit", label.unit.as_ref().map(text)),
        ("pid", label.pid.map(|pid| Text(pid.to_string().into()))),
        (
            "cmdline",
            label.cmdline.clone().map(|text| Text(text.into())),
        ),
    ];
    let places = places.into_iter();
    let known = places.filter_map(|(name, text)| Some((name, text?)));
    std::iter::once(("comm", Text(label.comm.clone().into())))
        .chain(known)
        .collect()
}

fn peer_labels(group: Option<&GroupLabel>, peer: Option<&PeerLabel>) -> Labels {
    let mut labels = group_labels(group);
    let Some(peer) = peer else {
        labels.push(("role", Text(OTHER.into())));
        labels.push(("server", Text(OTHER.into())));
        return labels;
    };
    let role = match peer.role {
        Role::Client => "client",
        Role::Server => "server",
        Role::Unknown => "unknown",
    };
    labels.push(("role", Text(role.into())));
    let server = peer.server.map(|server| {
        std::net::SocketAddr::new(server.addr, server.port)
            .to_string()
            .into()
    });
    labels.push(("server", Text(server.unwrap_or(Cow::Borrowed("unknown")))));
    labels
}

fn failures(labels: &Labels, peer: &PeerTotals) -> Vec<(Labels, u64)> {
    let known = peer.failed.iter().map(|(number, count)| {
        let name = errno::name(*number).into_owned();
        (with(labels, "errno", name.into()), *count)
    });
    let others = Some(peer.failed_otherwise)
        .filter(|count| *count > 0)
        .map(|count| (with(labels, "errno", OTHER.into()), count));
    known.chain(others).collect()
}

fn with(labels: &Labels, name: &'static str, value: Cow<'static, str>) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, Text(value)));
    labels
}

fn no_exemplar() -> Option<&'static Exemplar<Labels, f64>> {
    None
}

fn counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    each(metric, rows, |mut row, value| {
        row.encode_counter(&value, no_exemplar())
    })
}

/// One counter of time.
fn seconds(encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: f64) -> fmt::Result {
    encoder
        .encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Counter)?
        .encode_counter(&value, no_exemplar())
}

fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (Labels, u64)>,
) -> fmt::Result {
    let metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    each(metric, rows, |mut row, value| row.encode_gauge(&value))
}

fn each(
    mut metric: MetricEncoder<'_>,
    rows: impl IntoIterator<Item = (Labels, u64)>,
    encode: impl Fn(MetricEncoder<'_>, u64) -> fmt::Result,
) -> fmt::Result {
    for (labels, value) in rows {
        if labels.is_empty() {
            return encode(metric, value);
        }
        encode(metric.encode_family(&labels)?, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
