//! Lists `TIME_WAIT` sockets as netstat does, with the column filled in that netstat leaves empty;
//! never guesses an owner.

use crate::{
    analysis::report::{Attribution, Report, TimeWaitRow},
    model::Endpoint,
};

use super::{
    escape::Escaped,
    grid::{Column, grid, wrap},
    look::Look,
    sentence, table,
    units::counted,
};

/// Every socket, then how many have an owner, then what was lost.
#[must_use]
pub fn render(look: Look, report: &Report) -> String {
    let mut text = table::caveat(look, report);
    if !report.time_wait.is_empty() {
        text.push_str(&sockets(look, &report.time_wait));
    }
    text.push_str(&wrap(look, &summary(&report.time_wait), ""));
    text.push_str(&table::losses(look, report));
    text
}

fn sockets(look: Look, rows: &[TimeWaitRow]) -> String {
    let several_namespaces = rows
        .first()
        .is_some_and(|first| rows.iter().any(|row| row.netns != first.netns));
    let mut columns = vec![
        Column::Whole("Proto"),
        Column::Number("Recv-Q"),
        Column::Number("Send-Q"),
        Column::Whole("Local Address"),
        Column::Whole("Foreign Address"),
        Column::Whole("State"),
        Column::Flexible("PID/Program name"),
        Column::Flexible("TID/Thread name"),
        Column::Whole("Found by"),
    ];
    if several_namespaces {
        columns.push(Column::Number("Netns"));
    }
    let rows = rows.iter().map(|row| {
        let mut cells = vec![
            protocol(row.local).to_owned(),
            // A TIME_WAIT socket has no queues left; netstat prints zeros too.
            "0".to_owned(),
            "0".to_owned(),
            sentence::endpoint(row.local),
            sentence::endpoint(row.remote),
            "TIME_WAIT".to_owned(),
            numbered(row.who.pid, &row.who.comm),
            numbered(row.who.tid, row.who.thread.as_deref().unwrap_or_default()),
            table::found_by(row).to_owned(),
        ];
        if several_namespaces {
            cells.push(row.netns.to_string());
        }
        cells
    });
    grid(look, &columns, rows)
}

/// netstat's name of the protocol; an IPv4-mapped address is IPv4.
fn protocol(local: Endpoint) -> &'static str {
    if local.addr.is_ipv4() { "tcp" } else { "tcp6" }
}

/// A number and a name as netstat joins them, such as `4711/java`, or its sign for none.
fn numbered(number: Option<impl ToString>, name: &str) -> String {
    number.map_or_else(
        || "-".to_owned(),
        |number| format!("{}/{}", number.to_string(), Escaped(name)),
    )
}

fn summary(rows: &[TimeWaitRow]) -> String {
    let of = |attribution: Attribution| {
        rows.iter()
            .filter(|row| row.attribution == attribution)
            .count() as u64
    };
    let mut text = counted(rows.len() as u64, "TIME_WAIT socket");
    if rows.is_empty() {
        return text + ".";
    }
    let parts: Vec<String> = [
        (
            of(Attribution::Cookie),
            "with its owner by the socket's cookie",
        ),
        (
            of(Attribution::Tuple),
            "with its owner by namespace, addresses and time",
        ),
        (
            of(Attribution::BeforeStart),
            "born before the start and so without an owner (each lasts 60 s: a longer --for names \
             more)",
        ),
    ]
    .into_iter()
    .filter(|(count, _how)| *count > 0)
    .map(|(count, how)| format!("{count} {how}"))
    .collect();
    text.push_str(": ");
    text.push_str(&parts.join(", "));
    text.push('.');
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use crate::{analysis::report::Report, model::Netns};

    #[test]
    fn the_missing_column_is_filled_in() {
        let report = Report {
            time_wait: vec![
                testing::time_wait_row(43_210, Attribution::Cookie),
                testing::time_wait_row(43_212, Attribution::Tuple),
                testing::time_wait_row(43_100, Attribution::BeforeStart),
            ],
            ..testing::quiet()
        };
        testing::assert_snapshot("timewait.txt", &render(Look::PLAIN, &report));
    }

    #[test]
    fn namespaces_are_told_apart_and_ipv6_has_its_name() {
        let mut other = testing::time_wait_row(43_212, Attribution::Cookie);
        other.local = testing::endpoint("::1", 43_212);
        other.remote = testing::endpoint("::1", 2181);
        other.netns = Netns(4_026_532_500);
        let report = Report {
            time_wait: vec![testing::time_wait_row(43_210, Attribution::Cookie), other],
            ..testing::quiet()
        };
        testing::assert_snapshot("timewait_namespaces.txt", &render(Look::PLAIN, &report));
    }

    #[test]
    fn no_sockets() {
        assert_eq!(
            render(Look::PLAIN, &testing::quiet()),
            "0 TIME_WAIT sockets.\n\nLOSSES\nNothing was lost.\n"
        );
    }
}
