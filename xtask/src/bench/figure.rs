//! Figures beside their targets, as a table and as JSON; it never measures.

use std::fmt::Write as _;

use serde_json::json;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// Not more than this.
    AtMost(f64),
    /// Less than this.
    Below(f64),
}

/// Something measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Whose figure it is: figures of several of the same thing are compared.
    pub of: String,
    /// What was measured.
    pub what: String,
    /// How much was done a second meanwhile, where it was measured at several rates.
    pub per_s: Option<f64>,
    /// How much of the unit.
    pub value: f64,
    /// The unit.
    pub unit: &'static str,
    /// What it should be; `None` where it only tells what another one comes from.
    pub target: Option<Target>,
}

impl Figure {
    /// One that need not be anything.
    pub fn new(
        of: impl Into<String>,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Self {
        Self {
            of: of.into(),
            what: what.into(),
            per_s: None,
            value,
            unit,
            target: None,
        }
    }

    /// The same, measured while so much was done a second.
    pub fn at(mut self, per_s: f64) -> Self {
        self.per_s = Some(per_s);
        self
    }

    /// The same, which should be this.
    pub fn held_to(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Its line's first column.
    fn name(&self) -> String {
        let (of, what) = (&self.of, &self.what);
        match self.per_s {
            Some(per_s) => format!("{of}: {what} at {per_s:.0}/s"),
            None => format!("{of}: {what}"),
        }
    }

    /// Whether it is as it should be, as far as it should be anything.
    pub fn is_met(&self) -> bool {
        self.target.is_none_or(|target| match target {
            Target::AtLeast(least) => self.value >= least,
            Target::AtMost(most) => self.value <= most,
            Target::Below(bound) => self.value < bound,
        })
    }
}

/// A line for each figure, its columns aligned.
pub fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.name().len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for figure in figures {
        let target = match figure.target {
            Some(Target::AtLeast(least)) => format!("at least {least}"),
            Some(Target::AtMost(most)) => format!("at most {most}"),
            Some(Target::Below(bound)) => format!("below {bound}"),
            None => "-".to_owned(),
        };
        let verdict = match (figure.target, figure.is_met()) {
            (None, _) => "-",
            (Some(_), true) => "ok",
            (Some(_), false) => "missed",
        };
        let (name, value, unit) = (figure.name(), figure.value, figure.unit);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{name:width$}  {value:>8.2} {unit:<16}  {target:<13}  {verdict}"
        );
    }
    text
}

/// An object a line for each figure.
pub fn json_lines(figures: &[Figure]) -> String {
    figures.iter().fold(String::new(), |text, figure| {
        let (at_least, at_most, below) = match figure.target {
            Some(Target::AtLeast(least)) => (Some(least), None, None),
            Some(Target::AtMost(most)) => (None, Some(most), None),
            Some(Target::Below(bound)) => (None, None, Some(bound)),
            None => (None, None, None),
        };
        let line = json!({
            "of": figure.of,
            "what": figure.what,
            "per_s": figure.per_s,
            "value": figure.value,
            "unit": figure.unit,
            "at_least": at_least,
            "at_most": at_most,
            "below": below,
            "ok": figure.target.map(|_| figure.is_met()),
        });
        format!("{text}{line}\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> [Figure; 4] {
        [
            Figure::new("engine, burst", "speed", 4.5, "M inputs/s").held_to(Target::AtLeast(3.0)),
            Figure::new("engine", "memory", 200.0, "MB").held_to(Target::Below(200.0)),
            Figure::new("flight", "memory", 4.0, "MiB").held_to(Target::AtMost(4.0)),
            Figure::new("peer", "missed", 9.0, "%").at(1234.5),
        ]
    }

    #[test]
    fn a_table_says_what_was_missed() {
        assert_eq!(
            table(&figures()),
            "engine, burst: speed        4.50 M inputs/s        at least 3     ok\n\
             engine: memory            200.00 MB                below 200      missed\n\
             flight: memory              4.00 MiB               at most 4      ok\n\
             peer: missed at 1234/s      9.00 %                 -              -\n"
        );
    }

    #[test]
    fn json_lines_say_the_same() {
        let text = json_lines(&figures());
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            [
                r#"{"at_least":null,"at_most":null,"below":200.0,"of":"engine","ok":false,"per_s":null,"unit":"MB","value":200.0,"what":"memory"}"#,
                r#"{"at_least":null,"at_most":4.0,"below":null,"of":"flight","ok":true,"per_s":null,"unit":"MiB","value":4.0,"what":"memory"}"#,
                r#"{"at_least":null,"at_most":null,"below":null,"of":"peer","ok":null,"per_s":1234.5,"unit":"%","value":9.0,"what":"missed"}"#,
            ]
        );
    }
}
