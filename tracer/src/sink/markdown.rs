//! Writes a report as GitHub-flavoured Markdown, to be pasted into a ticket; never lets text of the
//! traced world become markup, a link or a mention.

use std::fmt::Write as _;

use crate::analysis::report::{ProcessRow, Report, Verdict};

use super::{
    Provenance,
    clock::{date_and_time, time_of_day},
    completeness,
    escape::Escaped,
    sentence, stack, table,
    units::span,
};

/// Rows of each table: as many as a ticket's reader looks through.
const ROWS: usize = 20;

/// What stands for what is not known.
const UNKNOWN: &str = "not known";

/// The whole report.
#[must_use]
pub fn render(report: &Report, provenance: &Provenance) -> String {
    let mut text = String::new();
    head(&mut text, report, provenance);
    verdicts(&mut text, report);
    processes(&mut text, report);
    time_wait(&mut text, report);
    missing(&mut text, report);
    text
}

fn head(text: &mut String, report: &Report, provenance: &Provenance) {
    let session = &report.session;
    let _ = writeln!(
        text,
        "## tracer report of {}\n\n{} to {} UTC ({}), Linux {}, {}, tracer {}.",
        code(&session.host),
        date_and_time(session, session.start),
        time_of_day(session, report.at, session.start),
        span(report.at.since(session.start)),
        code(&session.kernel),
        plain(&table::watched(session)),
        code(&session.version)
    );
    if !provenance.files.is_empty() {
        let files: Vec<String> = provenance.files.iter().map(|name| code(name)).collect();
        let _ = writeln!(text, "\nMade from {}.", files.join(", "));
    }
    for note in &provenance.notes {
        let _ = writeln!(text, "\n**Note:** {}", plain(note));
    }
    if let Some(causes) = completeness::in_short(report) {
        let _ = writeln!(
            text,
            "\n**Not complete:** {}; see what is missing below. Numbers are lower bounds.",
            plain(&causes)
        );
    }
}

fn verdicts(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\n### Verdicts ({})\n", report.verdicts.len());
    if report.verdicts.is_empty() {
        text.push_str("None: nothing that was watched passed a threshold.\n");
    }
    for verdict in &report.verdicts {
        one_verdict(text, report, verdict);
    }
}

fn one_verdict(text: &mut String, report: &Report, verdict: &Verdict) {
    let _ = writeln!(
        text,
        "- **{}** {} {}",
        sentence::label(&verdict.finding),
        code(&sentence::who(&verdict.who)),
        plain(&sentence::says(&report.session, verdict))
    );
    for (name, value) in table::known_of(&report.session, &verdict.who) {
        let _ = writeln!(text, "  - {name}: {}", code(&value));
    }
    let stack = stack::lines(verdict);
    if let Some((head, frames)) = stack.split_first() {
        let _ = writeln!(text, "  - stack: {}", plain(head));
        for frame in frames {
            let _ = writeln!(text, "    - {}", code(frame));
        }
    }
}

fn processes(text: &mut String, report: &Report) {
    let _ = writeln!(text, "\n### Processes ({})\n", report.processes.len());
    if report.processes.is_empty() {
        text.push_str("None was seen.\n");
        return;
    }
    let selection = &report.session.selection;
    let mut columns = vec![("Process", "---"), ("Container or unit", "---")];
    if selection.tcp {
        columns
            .extend(["Connects", "Failed", "Accepts", "Ended", "Live"].map(|name| (name, "--:")));
    }
    if selection.fds {
        columns.extend(["Opens", "EMFILE", "FDs", "Limit"].map(|name| (name, "--:")));
        columns.push(("Holds", "---"));
    }
    table_head(text, &columns);
    for row in report.processes.iter().take(ROWS) {
        table_row(text, &process_cells(row, selection.tcp, selection.fds));
    }
    more(text, report.processes.len());
}

fn process_cells(row: &ProcessRow, tcp: bool, fds: bool) -> Vec<String> {
    let name = sentence::process(&row.who.comm, row.who.pid);
    let ended = if row.who.ended { " (ended)" } else { "" };
    let place = sentence::place(&row.who);
    let mut cells = vec![
        code(&name) + ended,
        place.map_or_else(|| "not known, or none".to_owned(), |place| code(&place)),
    ];
    if tcp {
        let counts = [
            row.connects,
            row.connects_failed,
            row.accepts,
            row.connections_ended,
            row.connections_open,
        ];
        cells.extend(counts.map(|count| count.to_string()));
    }
    if fds {
        let known =
            |count: Option<u64>| count.map_or_else(|| UNKNOWN.to_owned(), |n| n.to_string());
        cells.extend([
            row.opens.to_string(),
            row.fds_refused.to_string(),
            known(row.fds_open),
            known(row.fd_limit),
            code(&sentence::holds(&row.content)),
        ]);
    }
    cells
}

fn time_wait(text: &mut String, report: &Report) {
    let _ = writeln!(
        text,
        "\n### TIME_WAIT sockets ({})\n",
        report.time_wait.len()
    );
    if report.time_wait.is_empty() {
        text.push_str("None was listed.\n");
        return;
    }
    table_head(
        text,
        &[
            ("Sockets", "--:"),
            ("Owner", "---"),
            ("Thread", "---"),
            ("Local", "---"),
            ("Remote", "---"),
            ("Found by", "---"),
        ],
    );
    let owners = table::time_wait_owners(report);
    for (key, sockets) in owners.iter().take(ROWS) {
        let owner = match key.owner.as_str() {
            "-" => UNKNOWN.to_owned(),
            owner => code(owner),
        };
        table_row(
            text,
            &[
                sockets.to_string(),
                owner,
                code(key.thread),
                code(&sentence::endpoint(key.local)),
                code(&sentence::endpoint(key.remote)),
                key.found_by.to_owned(),
            ],
        );
    }
    more(text, owners.len());
}

fn missing(text: &mut String, report: &Report) {
    text.push_str("\n### What is missing\n\n");
    let missing: Vec<String> = completeness::unwatched(&report.session)
        .chain(completeness::losses(report))
        .collect();
    if missing.is_empty() {
        text.push_str("- Nothing was lost.\n");
    }
    for sentence in missing.iter().chain(&completeness::left_out(report)) {
        let _ = writeln!(text, "- {}", plain(sentence));
    }
}

fn table_head(text: &mut String, columns: &[(&str, &str)]) {
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let rules: Vec<&str> = columns.iter().map(|(_, rule)| *rule).collect();
    let _ = writeln!(text, "| {} |\n| {} |", names.join(" | "), rules.join(" | "));
}

fn table_row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

fn more(text: &mut String, rows: usize) {
    if let Some(hidden) = rows.checked_sub(ROWS).filter(|hidden| *hidden > 0) {
        let _ = writeln!(text, "\n… {hidden} more (`--format html` has all).");
    }
}

/// A name, path or command line as code: there GitHub looks for neither markup nor mentions. Where
/// the text would end the code or the table's cell, its characters are written as numbers.
fn code(text: &str) -> String {
    let text = Escaped(text).to_string();
    let text = text.trim();
    if text.is_empty() {
        return UNKNOWN.to_owned();
    }
    if !text.contains(['`', '|']) {
        return format!("`{text}`");
    }
    let mut safe = String::from("<code>");
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            let _ = write!(safe, "&#{};", u32::from(character));
        } else {
            safe.push(character);
        }
    }
    safe.push_str("</code>");
    safe
}

/// A sentence that may hold names: each character that means something to Markdown is escaped, and
/// an empty comment parts what GitHub would make a mention, a reference or a link of.
fn plain(text: &str) -> String {
    const PART: &str = "<!-- -->";
    let mut safe = String::with_capacity(text.len());
    let text = Escaped(text).to_string();
    let mut rest = text.as_str();
    while let Some(character) = rest.chars().next() {
        let length = character.len_utf8();
        match character {
            '@' => {
                safe.push('@');
                safe.push_str(PART);
            }
            '#' => {
                safe.push_str("\\#");
                safe.push_str(PART);
            }
            ':' if rest.starts_with("://") => {
                safe.push(':');
                safe.push_str(PART);
            }
            '.' if ends_with_www(&safe) => {
                safe.push_str(PART);
                safe.push('.');
            }
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '!'
            | '$' => {
                safe.push('\\');
                safe.push(character);
            }
            other => safe.push(other),
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    safe
}

fn ends_with_www(text: &str) -> bool {
    let end = text.len().saturating_sub(3);
    text.as_bytes()
        .get(end..)
        .is_some_and(|end| end.eq_ignore_ascii_case(b"www"))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn both_incidents() {
        let provenance = Provenance {
            files: vec!["shop.trace".into()],
            notes: Vec::new(),
        };
        testing::assert_snapshot("incidents.md", &render(&testing::incidents(), &provenance));
    }

    #[test]
    fn losses_are_told_at_the_head() {
        let provenance = Provenance {
            files: vec!["a.trace".into(), "b|c.trace".into()],
            notes: vec!["b|c.trace is cut: it ends at 14:03:30 UTC.".into()],
        };
        testing::assert_snapshot("lossy.md", &render(&testing::lossy(), &provenance));
    }

    #[test]
    fn nothing_to_say() {
        let text = render(&testing::quiet(), &Provenance::default());
        testing::assert_snapshot("quiet.md", &text);
    }

    #[test]
    fn names_end_neither_code_nor_cell() {
        assert_eq!(code("java[4711]"), "`java[4711]`");
        assert_eq!(code("a`b"), "<code>a&#96;b</code>");
        assert_eq!(code("a|@b"), "<code>a&#124;&#64;b</code>");
        assert_eq!(code("a\nb\u{202e}"), "`a\\nb\\u{202e}`");
        assert_eq!(code(" "), "not known");
    }

    #[test]
    fn sentences_have_no_markup_link_or_mention() {
        assert_eq!(
            plain("/lib/*.jar [x](y) <b> a_b \\|"),
            "/lib/\\*.jar \\[x\\](y) \\<b\\> a\\_b \\\\\\|"
        );
        assert_eq!(
            plain("@team #12 https://x WWW.x"),
            "@<!-- -->team \\#<!-- -->12 https:<!-- -->//x WWW<!-- -->.x"
        );
    }
}
