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
    /// What was measured, and of what load.
    pub name: String,
    /// How much of the unit.
    pub value: f64,
    /// The unit.
    pub unit: &'static str,
    /// What it should be; `None` where it only tells what another one comes from.
    pub target: Option<Target>,
}

impl Figure {
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
    let width = figures.iter().map(|figure| figure.name.len()).max();
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
        let (name, value, unit) = (&figure.name, figure.value, figure.unit);
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
            "name": figure.name,
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
            Figure {
                name: "engine, burst".to_owned(),
                value: 4.5,
                unit: "M inputs/s",
                target: Some(Target::AtLeast(3.0)),
            },
            Figure {
                name: "engine".to_owned(),
                value: 200.0,
                unit: "MB",
                target: Some(Target::Below(200.0)),
            },
            Figure {
                name: "flight".to_owned(),
                value: 4.0,
                unit: "MiB",
                target: Some(Target::AtMost(4.0)),
            },
            Figure {
                name: "decode".to_owned(),
                value: 9.0,
                unit: "M inputs/s",
                target: None,
            },
        ]
    }

    #[test]
    fn a_table_says_what_was_missed() {
        assert_eq!(
            table(&figures()),
            "engine, burst      4.50 M inputs/s        at least 3     ok\n\
             engine           200.00 MB                below 200      missed\n\
             flight             4.00 MiB               at most 4      ok\n\
             decode             9.00 M inputs/s        -              -\n"
        );
    }

    #[test]
    fn json_lines_say_the_same() {
        let text = json_lines(&figures());
        assert_eq!(
            text.lines().skip(1).collect::<Vec<_>>(),
            [
                r#"{"at_least":null,"at_most":null,"below":200.0,"name":"engine","ok":false,"unit":"MB","value":200.0}"#,
                r#"{"at_least":null,"at_most":4.0,"below":null,"name":"flight","ok":true,"unit":"MiB","value":4.0}"#,
                r#"{"at_least":null,"at_most":null,"below":null,"name":"decode","ok":null,"unit":"M inputs/s","value":9.0}"#,
            ]
        );
    }
}
