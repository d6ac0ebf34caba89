//! The fullest descriptor tables, with how fast they change and what they hold; never those that are
//! unknown.

use std::cmp::Reverse;

use crate::analysis::{
    Report,
    report::{FdRates, ProcessRow},
};

use super::super::{
    escape::Escaped,
    grid::{Column, grid},
    look::Look,
    sentence,
};
use super::{more, title, unknown_or};

/// Tables shown: those that are in danger, and some to hold them against; JSON has all.
const TABLES_SHOWN: usize = 5;

/// What the fullest tables hold; nothing where descriptors are not watched or none was looked at.
pub(super) fn render(look: Look, report: &Report) -> String {
    let mut rows: Vec<_> = report
        .processes
        .iter()
        .filter(|row| is_known(row))
        .collect();
    if rows.is_empty() || !report.session.selection.fds {
        return String::new();
    }
    // By parts of a million, as shares have no order.
    let share = |row: &ProcessRow| {
        let limit = row.fd_limit.unwrap_or(u64::MAX).max(1);
        u128::from(row.fds_open.unwrap_or(0)) * 1_000_000 / u128::from(limit)
    };
    rows.sort_by_key(|row| (Reverse(share(row)), Reverse(row.fds_open), row.who.pid));
    let columns = [
        Column::Number("PID"),
        Column::Flexible("NAME"),
        Column::Number("FDS"),
        Column::Number("PEAK"),
        Column::Number("ROOM"),
        Column::Number("GOT/S"),
        Column::Number("CLOSED/S"),
        Column::Flexible("HOLDS"),
    ];
    let cells = rows.iter().take(TABLES_SHOWN).map(|row| cells(row));
    let mut text = title(look, &format!("DESCRIPTOR TABLES ({})", rows.len()));
    text.push_str(&grid(look, &columns, cells));
    text.push_str(&more(rows.len(), TABLES_SHOWN, "--format json has all"));
    text
}

fn is_known(row: &ProcessRow) -> bool {
    !row.who.ended && row.fds_open.is_some()
}

fn cells(row: &ProcessRow) -> Vec<String> {
    let rate = |of: fn(FdRates) -> f64| {
        let rate = row.fd_rates.map(|rates| format!("{:.1}", of(rates)));
        rate.unwrap_or_default()
    };
    vec![
        unknown_or(row.who.pid),
        Escaped(&row.who.comm).to_string(),
        unknown_or(row.fds_open),
        unknown_or(row.fds_peak),
        unknown_or(row.fd_room()),
        rate(|rates| rates.got),
        rate(|rates| rates.closed),
        sentence::holds(&row.content),
    ]
}
