//! What differs between two traces, for people and for machines; never a difference of its own, and
//! never text of the traced world unescaped.

mod json;
#[cfg(test)]
pub(super) mod tests;

use crate::{
    analysis::compare::{
        Change, Difference, NOTABLE, OpensChange, PeerChange, Program, Side, Span, VerdictChange,
    },
    model::Selection,
};

use super::{
    clock::{date_and_time, time_of_day},
    escape::Escaped,
    grid::{Column, grid, wrap},
    look::{ALARM, FAINT, Look, NAME, TITLE, WARNING},
    sentence,
    table::more,
    units::{counted, span},
};

pub use json::lines;

/// Rows of each part that are shown; JSON has all.
const ROWS_SHOWN: usize = 20;

/// What continued lines are set in by.
const INDENT: &str = "    ";

/// Where the rows are that are not shown.
const HINT: &str = "changed little or not at all; --format json has all";

/// The whole difference; `notes` say what each trace lacks.
#[must_use]
pub fn render(look: Look, difference: &Difference, notes: [&[String]; 2]) -> String {
    let mut text = String::new();
    for (name, side, notes) in [
        ("before", &difference.before, notes[0]),
        ("after", &difference.after, notes[1]),
    ] {
        text.push_str(&head(look, name, side));
        for note in caveats(side).iter().chain(notes) {
            let line = format!("{INDENT}{}", look.paint(WARNING, note));
            text.push_str(&wrap(look, &line, INDENT));
        }
    }
    let (before, after) = (&difference.before, &difference.after);
    if before.session.selection != after.session.selection {
        let line = "The two traces do not have the same selection: what one of them left out shows \
                    as a difference.";
        text.push_str(&wrap(look, &look.paint(WARNING, line), INDENT));
    }
    text.push_str(&verdicts(look, difference));
    text.push_str(&peers(look, &difference.peers));
    text.push_str(&opens(look, &difference.opens));
    text
}

fn head(look: Look, name: &str, side: &Span) -> String {
    let session = &side.session;
    let end = session.start + side.length;
    let line = format!(
        "{name:<6}  {} (Linux {}), {} to {} UTC ({}){}",
        Escaped(&session.host),
        Escaped(&session.kernel),
        date_and_time(session, session.start),
        time_of_day(session, end, session.start),
        span(side.length),
        selected(&session.selection),
    );
    wrap(look, &line, INDENT)
}

fn selected(selection: &Selection) -> String {
    let ports = selection.ports.iter().map(|port| format!(", port {port}"));
    let pids = selection.pids.iter().map(|pid| format!(", process {pid}"));
    let netns = selection
        .netns
        .map(|netns| format!(", network namespace {netns}"));
    ports.chain(pids).chain(netns).collect()
}

/// What makes a trace's numbers less sure.
fn caveats(side: &Span) -> Vec<String> {
    [
        (
            side.lost,
            "event",
            "lost while it was traced: its numbers are lower bounds",
        ),
        (
            side.forgotten,
            "record",
            "forgotten here for want of memory",
        ),
    ]
    .into_iter()
    .filter(|(count, _, _)| *count > 0)
    .map(|(count, noun, what)| format!("{} {what}", counted(count, noun)))
    .collect()
}

fn verdicts(look: Look, difference: &Difference) -> String {
    let mut text = title(look, "VERDICTS");
    if difference.verdicts.is_empty() {
        return text + "None in either trace.\n";
    }
    for change in &difference.verdicts {
        text.push_str(&verdict(look, difference, change));
    }
    text
}

fn verdict(look: Look, difference: &Difference, change: &VerdictChange) -> String {
    let label = sentence::label(&change.verdict.finding);
    let told = &change.verdict;
    let (word, style, session) = if change.is_gained() {
        ("GAINED", ALARM, &difference.after.session)
    } else if change.is_lost() {
        ("LOST", NAME, &difference.before.session)
    } else {
        ("SAME", FAINT, &difference.after.session)
    };
    let counts = match (change.before, change.after) {
        (0 | 1, 0 | 1) => String::new(),
        (before, after) => format!(" ({before} before, {after} after)"),
    };
    let line = format!(
        "{}  {label}{counts}  {} {}",
        look.paint(style, word),
        look.paint(NAME, &sentence::who(&told.who)),
        sentence::says(session, told),
    );
    wrap(look, &line, INDENT)
}

fn peers(look: Look, rows: &[PeerChange]) -> String {
    let columns = [
        Column::Flexible("PROGRAM"),
        Column::Whole("PEER"),
        Column::Number("BEFORE"),
        Column::Number("AFTER"),
        Column::Number("FAILED BEFORE"),
        Column::Number("AFTER"),
    ];
    let shown = notable(rows, |row| row.connections.score.max(row.failures.score));
    let cells = rows.iter().take(shown).map(|row| {
        vec![
            program(&row.program),
            peer(row),
            rate(row.connections.before_per_min),
            rate(row.connections.after_per_min),
            rate(row.failures.before_per_min),
            rate(row.failures.after_per_min),
        ]
    });
    part(
        look,
        "CONNECTIONS A MINUTE",
        &columns,
        cells,
        (rows.len(), shown),
    )
}

fn opens(look: Look, rows: &[OpensChange]) -> String {
    let columns = [
        Column::Flexible("PROGRAM"),
        Column::Number("BEFORE"),
        Column::Number("AFTER"),
        Column::Flexible("FILES"),
    ];
    let shown = notable(rows, |row| row.opens.score);
    let cells = rows.iter().take(shown).map(|row| {
        let Change {
            before_per_min,
            after_per_min,
            ..
        } = row.opens;
        vec![
            program(&row.program),
            rate(before_per_min),
            rate(after_per_min),
            match &row.pattern {
                Some(pattern) => Escaped(pattern).to_string(),
                None => "(paths not known)".to_owned(),
            },
        ]
    });
    part(
        look,
        "FILES OPENED A MINUTE",
        &columns,
        cells,
        (rows.len(), shown),
    )
}

fn part(
    look: Look,
    name: &str,
    columns: &[Column],
    cells: impl Iterator<Item = Vec<String>>,
    (rows, shown): (usize, usize),
) -> String {
    let mut text = title(look, name);
    if shown == 0 {
        text.push_str("Nothing changed by more than chance.\n");
    } else {
        text.push_str(&grid(look, columns, cells));
    }
    text.push_str(&more(rows, shown, HINT));
    text
}

/// How many rows are worth being shown; the rows are in the order of their scores.
fn notable<T>(rows: &[T], score: impl Fn(&T) -> f64) -> usize {
    rows.iter()
        .take(ROWS_SHOWN)
        .take_while(|row| score(row) >= NOTABLE)
        .count()
}

fn program(program: &Program) -> String {
    let name = match program.comm.as_str() {
        "" => "an unknown program".to_owned(),
        comm => Escaped(comm).to_string(),
    };
    // An executable whose name is that of its processes is not worth the room.
    let exe = program
        .exe
        .as_deref()
        .filter(|exe| exe.rsplit('/').next() != Some(program.comm.as_str()))
        .map(|exe| format!(" ({})", Escaped(exe)))
        .unwrap_or_default();
    let contained = if program.contained {
        " in a container"
    } else {
        ""
    };
    format!("{name}{exe}{contained}")
}

fn peer(row: &PeerChange) -> String {
    let direction = match row.peer.role {
        Side::Client => "to",
        Side::Server => "at",
    };
    format!("{direction} {}", sentence::endpoint(row.peer.server))
}

/// A rate a minute: one decimal below 10, `0` only for nothing at all.
fn rate(per_min: f64) -> String {
    if per_min > 0.0 && per_min < 0.05 {
        "<0.1".to_owned()
    } else if per_min > 0.0 && per_min < 9.95 {
        format!("{per_min:.1}")
    } else {
        format!("{per_min:.0}")
    }
}

fn title(look: Look, name: &str) -> String {
    format!("\n{}\n", look.paint(TITLE, name))
}
