//! Lays a report out as one page to attach to an incident, which makes no request to anywhere; never
//! lets text of the traced world become markup or script.
//!
//! What must be readable without scripts (verdicts, order of events, what is missing) is plain HTML,
//! escaped by the template. Charts and long tables are drawn from data in a script element.

mod data;
mod story;

use askama::Template;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};

use crate::analysis::{
    Report, Series,
    report::{Finding, Verdict},
};

use super::{
    Provenance,
    clock::{date_and_time, time_of_day},
    completeness,
    escape::Escaped,
    sentence, stack, table,
    units::{counted, span},
};
use data::json;
use story::Moment;

const STYLE: &str = concat!(
    include_str!("html/vendor/uplot/uPlot.min.css"),
    include_str!("html/page.css"),
);

/// The library, then the page's own script, in a scope of its own.
const SCRIPT: &str = concat!(
    include_str!("html/vendor/uplot/uPlot.iife.min.js"),
    "\n(() => {\n\"use strict\";\n",
    include_str!("html/page.js"),
    include_str!("html/stack.js"),
    include_str!("html/charts.js"),
    include_str!("html/timeline.js"),
    include_str!("html/tables.js"),
    "})();\n",
);

/// Verdicts told in full; nobody reads more, and the table has all.
const CARDS: usize = 30;

/// The library's terms ask for their text wherever it goes.
const LICENSE: &str = include_str!("html/vendor/uplot/LICENSE");

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    policy: String,
    style: &'static str,
    script: &'static str,
    license: &'static str,
    data: String,
    host: String,
    kernel: String,
    version: String,
    from: String,
    to: String,
    span: String,
    watched: String,
    files: Vec<String>,
    notes: Vec<String>,
    /// What makes the numbers less sure, in a few words.
    caveat: Option<String>,
    verdicts: Vec<Card>,
    verdicts_left_out: usize,
    moments: Vec<Moment>,
    moments_left_out: usize,
    /// What is missing, a sentence each.
    missing: Vec<String>,
    /// What was left out on purpose, a sentence each.
    left_out: Vec<String>,
    /// What the charts sum up, a sentence each.
    summed_up: Vec<String>,
    processes: usize,
    time_wait: usize,
}

/// A verdict as it is shown.
struct Card {
    id: u64,
    name: &'static str,
    label: &'static str,
    who: String,
    says: String,
    container: Option<String>,
    state: &'static str,
    when: String,
    known: Vec<(&'static str, String)>,
    ongoing: bool,
}

/// The whole page, complete in itself.
#[must_use]
pub fn render(report: &Report, series: &Series, provenance: &Provenance) -> String {
    let session = &report.session;
    let story = story::of(report, series);
    let page = Page {
        policy: policy(),
        style: STYLE,
        script: SCRIPT,
        license: LICENSE,
        data: json(report, series),
        host: shown(&session.host),
        kernel: shown(&session.kernel),
        version: shown(&session.version),
        from: date_and_time(session, session.start),
        to: time_of_day(session, report.at, session.start),
        span: span(report.at.since(session.start)),
        watched: table::watched(session),
        files: provenance.files.iter().map(|name| shown(name)).collect(),
        notes: provenance.notes.iter().map(|note| shown(note)).collect(),
        caveat: completeness::in_short(report),
        verdicts: report
            .verdicts
            .iter()
            .take(CARDS)
            .map(|verdict| card(report, verdict))
            .collect(),
        verdicts_left_out: report.verdicts.len().saturating_sub(CARDS),
        moments: story.moments,
        moments_left_out: story.left_out,
        missing: completeness::unwatched(session)
            .chain(completeness::losses(report))
            .collect(),
        left_out: completeness::left_out(report),
        summed_up: summed_up(series),
        processes: report.processes.len(),
        time_wait: report.time_wait.len(),
    };
    // Writing to a string fails for no reason but a formatter's own, and those here have none.
    page.render().unwrap_or_default()
}

fn card(report: &Report, verdict: &Verdict) -> Card {
    let session = &report.session;
    let first = time_of_day(session, verdict.first_seen, session.start);
    let last = time_of_day(session, verdict.last_seen, session.start);
    let of_moment = matches!(verdict.finding, Finding::FdBurst(_)) || first == last;
    Card {
        id: verdict.id,
        name: verdict.finding.name(),
        label: sentence::label(&verdict.finding),
        who: sentence::who(&verdict.who),
        says: sentence::says(session, verdict),
        container: sentence::place(&verdict.who),
        state: if verdict.ongoing {
            "still going on"
        } else {
            "over"
        },
        when: if of_moment {
            format!("{first} UTC")
        } else {
            format!("{first} – {last} UTC")
        },
        known: table::known_of(session, &verdict.who)
            .chain(sentence::links(session, &report.verdicts, verdict))
            .chain(top_stack(verdict))
            .collect(),
        ongoing: verdict.ongoing,
    }
}

/// The most frequent stack on one line, each frame before the one that called it.
fn top_stack(verdict: &Verdict) -> Option<(&'static str, String)> {
    let lines = stack::lines(verdict);
    let (head, frames) = lines.split_first()?;
    let frames = frames.join(" ← ");
    Some(("stack", format!("{head}: {frames}")))
}

/// What the charts do not show one by one.
fn summed_up(series: &Series) -> Vec<String> {
    let mut said = vec![format!(
        "Charts are made of {} of {} each; a peak within one is kept.",
        counted(u64::from(series.buckets), "interval"),
        span(series.width)
    )];
    if series.others_count > 0 {
        said.push(format!(
            "Charts can show {} processes by themselves, those with verdicts and the busiest; what \
             the other {} did is one sum, without descriptors.",
            series.processes.len(),
            series.others_count,
        ));
    }
    said
}

/// Text of the traced world without what could mislead a reader; the template escapes markup.
fn shown(text: &str) -> String {
    Escaped(text).to_string()
}

/// What the page may do: run its own script, apply its own style, and nothing else. Strings cannot
/// become markup even by mistake (`require-trusted-types-for`).
fn policy() -> String {
    let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text.as_bytes()));
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; img-src data:; \
         base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; \
         trusted-types 'none'",
        hash(SCRIPT),
        hash(STYLE)
    )
}
