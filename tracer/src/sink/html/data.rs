//! The data that the page's charts and tables are drawn from, as JSON that can stand within a script
//! element; never more of it than is drawn.

use std::collections::HashMap;

use serde::Serialize;

use crate::{
    analysis::{
        Report, Series,
        report::{ProcessRow, TimeWaitRow},
        series::{Count, Gauge, ProcessSeries},
    },
    model::Session,
};

use super::super::{clock::unix_millis, errno, sentence, table};
use super::{shown, story::loss_name};

/// Counts as bucket, count, bucket, count, …
type FlatCounts = Vec<u32>;
/// Levels as bucket, peak, last, bucket, …
type FlatGauges = Vec<i64>;

#[derive(Serialize)]
struct Data {
    start_ms: f64,
    width_ms: f64,
    buckets: u32,
    tcp: bool,
    fds: bool,
    time_wait_listed: bool,
    processes: Vec<Process>,
    /// How many processes `others` sums up.
    others_count: u64,
    others: Process,
    time_wait_unowned: FlatGauges,
    lost: Vec<Labelled>,
    verdicts: Vec<VerdictRow>,
    process_rows: Vec<ProcessCells>,
    owners: Vec<Owner>,
    owner_rows: Vec<OwnerCells>,
    time_wait_rows: Vec<SocketCells>,
}

#[derive(Serialize)]
struct Labelled {
    label: String,
    points: FlatCounts,
}

#[derive(Serialize)]
struct Process {
    name: String,
    container: Option<String>,
    verdicts: Vec<u64>,
    limit: Option<u64>,
    ended: Option<u32>,
    fds: FlatGauges,
    opens: Vec<Labelled>,
    elsewhere: FlatCounts,
    unknown: FlatCounts,
    refused: FlatCounts,
    opened: FlatCounts,
    closed: FlatCounts,
    failed: Vec<Labelled>,
    time_wait: FlatGauges,
}

#[derive(Serialize)]
struct VerdictRow {
    id: u64,
    name: &'static str,
    label: &'static str,
    who: String,
    container: Option<String>,
    from_ms: f64,
    to_ms: f64,
    ongoing: bool,
    says: String,
}

/// A process's totals; `null` is not known.
#[derive(Serialize)]
struct ProcessCells {
    pid: Option<u32>,
    name: String,
    ended: bool,
    verdicts: usize,
    container: Option<String>,
    user: Option<String>,
    connects: u64,
    failed: u64,
    accepts: u64,
    closed: u64,
    open: u64,
    opens: u64,
    refused: u64,
    fds: Option<u64>,
    limit: Option<u64>,
    holds: Option<String>,
    cmdline: Option<String>,
}

/// Whose a socket was; many sockets share one.
#[derive(Serialize, PartialEq, Eq, Hash, Clone)]
struct Owner {
    name: Option<String>,
    thread: Option<String>,
    container: Option<String>,
    found_by: &'static str,
}

/// Sockets of one owner to one end: how many, owner, thread, local, remote, found by.
#[derive(Serialize)]
struct OwnerCells(u64, String, String, String, String, &'static str);

/// One socket: the owner's index, local, remote, network namespace.
#[derive(Serialize)]
struct SocketCells(usize, String, String, u32);

/// The data as JSON, with each character escaped that could end a script element.
pub(super) fn json(report: &Report, series: &Series) -> String {
    let session = &report.session;
    let (owners, time_wait_rows) = sockets(&report.time_wait);
    let data = Data {
        start_ms: unix_millis(session, series.start),
        width_ms: series.width.as_millis_f64(),
        buckets: series.buckets,
        tcp: session.selection.tcp,
        fds: session.selection.fds,
        time_wait_listed: series.time_wait_listed,
        processes: series.processes.iter().map(process).collect(),
        others_count: series.others_count,
        others: process(&series.others),
        time_wait_unowned: gauges(&series.time_wait_unowned),
        lost: series
            .lost
            .iter()
            .map(|(cause, points)| Labelled {
                label: loss_name(*cause).to_owned(),
                points: counts(points),
            })
            .collect(),
        verdicts: verdicts(session, report),
        process_rows: process_rows(report),
        owners,
        owner_rows: table::time_wait_owners(report)
            .into_iter()
            .map(|(key, sockets)| {
                OwnerCells(
                    sockets,
                    key.owner,
                    shown(key.thread),
                    sentence::endpoint(key.local),
                    sentence::endpoint(key.remote),
                    key.found_by,
                )
            })
            .collect(),
        time_wait_rows,
    };
    // Values of these types always have a form in JSON.
    let text = serde_json::to_string(&data).unwrap_or_default();
    within_script(&text)
}

/// JSON whose text cannot end the element that it stands in, nor begin a comment or another element
/// there. Outside of strings JSON has none of these characters.
fn within_script(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => safe.push_str("\\u003c"),
            '>' => safe.push_str("\\u003e"),
            '&' => safe.push_str("\\u0026"),
            '\u{2028}' => safe.push_str("\\u2028"),
            '\u{2029}' => safe.push_str("\\u2029"),
            other => safe.push(other),
        }
    }
    safe
}

fn process(series: &ProcessSeries) -> Process {
    let errors = series.failed.iter().map(|(error, points)| Labelled {
        label: errno::name(*error).into_owned(),
        points: counts(points),
    });
    let otherwise = (!series.failed_otherwise.is_empty()).then(|| Labelled {
        label: "other errors".to_owned(),
        points: counts(&series.failed_otherwise),
    });
    Process {
        name: sentence::process(&series.who.comm, series.who.pid),
        container: sentence::place(&series.who),
        verdicts: series.verdicts.clone(),
        limit: series.fd_limit,
        ended: series.ended,
        fds: gauges(&series.fds),
        opens: series
            .opens
            .iter()
            .map(|(pattern, points)| Labelled {
                label: shown(pattern),
                points: counts(points),
            })
            .collect(),
        elsewhere: counts(&series.opens_elsewhere),
        unknown: counts(&series.opens_unknown),
        refused: counts(&series.refused),
        opened: counts(&series.opened),
        closed: counts(&series.closed),
        failed: errors.chain(otherwise).collect(),
        time_wait: gauges(&series.time_wait),
    }
}

fn counts(points: &[Count]) -> FlatCounts {
    points
        .iter()
        .flat_map(|point| [point.bucket, point.count])
        .collect()
}

fn gauges(points: &[Gauge]) -> FlatGauges {
    points
        .iter()
        .flat_map(|point| {
            [
                i64::from(point.bucket),
                point.peak.into(),
                point.last.into(),
            ]
        })
        .collect()
}

fn verdicts(session: &Session, report: &Report) -> Vec<VerdictRow> {
    report
        .verdicts
        .iter()
        .map(|verdict| VerdictRow {
            id: verdict.id,
            name: verdict.finding.name(),
            label: sentence::label(&verdict.finding),
            who: sentence::who(&verdict.who),
            container: sentence::place(&verdict.who),
            from_ms: unix_millis(session, verdict.first_seen),
            to_ms: unix_millis(session, verdict.last_seen),
            ongoing: verdict.ongoing,
            says: sentence::says(session, verdict),
        })
        .collect()
}

fn process_rows(report: &Report) -> Vec<ProcessCells> {
    let mut verdicts: HashMap<_, usize> = HashMap::new();
    for verdict in &report.verdicts {
        *verdicts
            .entry((verdict.who.pid, verdict.who.start))
            .or_default() += 1;
    }
    let cells = |row: &ProcessRow| ProcessCells {
        pid: row.who.pid.map(|pid| pid.0),
        name: shown(&row.who.comm),
        ended: row.who.ended,
        verdicts: verdicts
            .get(&(row.who.pid, row.who.start))
            .copied()
            .unwrap_or(0),
        container: sentence::place(&row.who),
        user: row.who.user.as_deref().map(shown),
        connects: row.connects,
        failed: row.connects_failed,
        accepts: row.accepts,
        closed: row.connections_ended,
        open: row.connections_open,
        opens: row.opens,
        refused: row.fds_refused,
        fds: row.fds_open,
        limit: row.fd_limit,
        holds: Some(sentence::holds(&row.content)).filter(|text| !text.is_empty()),
        cmdline: row.who.cmdline.as_deref().map(shown),
    };
    report.processes.iter().map(cells).collect()
}

/// Each owner once, and the sockets by their owner's index.
fn sockets(rows: &[TimeWaitRow]) -> (Vec<Owner>, Vec<SocketCells>) {
    let mut owners = Vec::new();
    let mut indices: HashMap<Owner, usize> = HashMap::new();
    let cells = rows.iter().map(|row| {
        let owner = Owner {
            name: row.who.pid.map(|_| table::owner(row)),
            thread: row.who.thread.as_deref().map(shown),
            container: sentence::place(&row.who),
            found_by: table::found_by(row),
        };
        let index = *indices.entry(owner).or_insert_with_key(|owner| {
            owners.push(owner.clone());
            owners.len() - 1
        });
        SocketCells(
            index,
            sentence::endpoint(row.local),
            sentence::endpoint(row.remote),
            row.netns.0,
        )
    });
    let cells = cells.collect();
    (owners, cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_end_its_element() {
        let hostile = "</script><!--&\u{2028}\u{2029}";
        let json = within_script(&serde_json::to_string(hostile).unwrap());
        assert_eq!(json, r#""\u003c/script\u003e\u003c!--\u0026\u2028\u2029""#);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), hostile);
    }
}
