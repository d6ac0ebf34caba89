//! What differs between two traces as JSON lines; never a key that `docs/fields.md` does not explain.

use std::net::IpAddr;

use serde::Serialize;

use crate::analysis::compare::{Change, Difference, Program, Span, VerdictChange};

use super::super::{
    clock::rfc3339,
    json::{line, lines::known, port, role},
    sentence,
};

/// All lines: the two traces, then what changed, most first; `notes` say what each trace lacks.
#[must_use]
pub fn lines(difference: &Difference, notes: [&[String]; 2]) -> String {
    let mut text = line(&DiffLine {
        kind: "diff",
        before: side(&difference.before, notes[0]),
        after: side(&difference.after, notes[1]),
    });
    for change in &difference.verdicts {
        text.push_str(&verdict(difference, change));
    }
    for row in &difference.peers {
        text.push_str(&line(&ConnectionsLine {
            kind: "diff_connections",
            program: ProgramFields::from(&row.program),
            role: role(row.peer.role.into()),
            addr: row.peer.server.addr,
            port: port(row.peer.server.port),
            connections: ChangeObject::from(row.connections),
            failures: ChangeObject::from(row.failures),
        }));
    }
    for row in &difference.opens {
        text.push_str(&line(&OpensLine {
            kind: "diff_opens",
            program: ProgramFields::from(&row.program),
            pattern: row.pattern.as_deref(),
            opened: ChangeObject::from(row.opens),
        }));
    }
    text
}

fn verdict(difference: &Difference, change: &VerdictChange) -> String {
    let (word, session) = if change.is_gained() {
        ("gained", &difference.after.session)
    } else if change.is_lost() {
        ("lost", &difference.before.session)
    } else {
        ("same", &difference.after.session)
    };
    let told = &change.verdict;
    line(&VerdictLine {
        kind: "diff_verdict",
        change: word,
        verdict: told.finding.name(),
        program: ProgramFields::from(&change.program),
        verdicts_before: change.before,
        verdicts_after: change.after,
        text: format!(
            "{} {}",
            sentence::who(&told.who),
            sentence::says(session, told)
        ),
    })
}

fn side<'a>(side: &'a Span, notes: &'a [String]) -> SideObject<'a> {
    let session = &side.session;
    SideObject {
        host: &session.host,
        kernel: &session.kernel,
        begin: rfc3339(session, session.start),
        end: rfc3339(session, session.start + side.length),
        duration_ms: side.length.as_millis_f64(),
        lost: side.lost,
        forgotten: side.forgotten,
        notes,
    }
}

#[derive(Serialize)]
struct DiffLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    before: SideObject<'a>,
    after: SideObject<'a>,
}

#[derive(Serialize)]
struct SideObject<'a> {
    host: &'a str,
    kernel: &'a str,
    begin: String,
    end: String,
    duration_ms: f64,
    lost: u64,
    forgotten: u64,
    notes: &'a [String],
}

#[derive(Serialize)]
struct ProgramFields<'a> {
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    contained: bool,
}

impl<'a> From<&'a Program> for ProgramFields<'a> {
    fn from(program: &'a Program) -> Self {
        Self {
            comm: known(&program.comm),
            exe: program.exe.as_deref(),
            contained: program.contained,
        }
    }
}

#[derive(Serialize)]
struct VerdictLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    change: &'static str,
    verdict: &'static str,
    #[serde(flatten)]
    program: ProgramFields<'a>,
    verdicts_before: u64,
    verdicts_after: u64,
    text: String,
}

#[derive(Serialize)]
struct ConnectionsLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    program: ProgramFields<'a>,
    role: Option<&'static str>,
    addr: IpAddr,
    port: Option<u16>,
    connections: ChangeObject,
    failures: ChangeObject,
}

#[derive(Serialize)]
struct OpensLine<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    program: ProgramFields<'a>,
    pattern: Option<&'a str>,
    opened: ChangeObject,
}

#[derive(Serialize)]
struct ChangeObject {
    before: u64,
    after: u64,
    before_per_min: f64,
    after_per_min: f64,
    score: f64,
}

impl From<Change> for ChangeObject {
    fn from(change: Change) -> Self {
        let rounded = |number: f64| (number * 1e3).round() / 1e3;
        Self {
            before: change.before,
            after: change.after,
            before_per_min: rounded(change.before_per_min),
            after_per_min: rounded(change.after_per_min),
            score: rounded(change.score),
        }
    }
}
