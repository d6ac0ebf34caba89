//! Figures beside their targets, as a table and as JSON; it never measures.

use std::fmt::Write as _;

use serde_json::json;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// At least this.
    AtLeast(f64),
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
    /// What it should be.
    pub target: Target,
}

impl Figure {
    /// Whether it is as it should be.
    pub fn is_met(&self) -> bool {
        match self.target {
            Target::AtLeast(least) => self.value >= least,
            Target::Below(bound) => self.value < bound,
        }
    }
}

/// A line for each figure, its columns aligned.
pub fn table(figures: &[Figure]) -> String {
    let width = figures.iter().map(|figure| figure.name.len()).max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    for figure in figures {
        let target = match figure.target {
            Target::AtLeast(least) => format!("at least {least}"),
            Target::Below(bound) => format!("below {bound}"),
        };
        let verdict = if figure.is_met() { "ok" } else { "missed" };
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
        let (at_least, below) = match figure.target {
            Target::AtLeast(least) => (Some(least), None),
            Target::Below(bound) => (None, Some(bound)),
        };
        let line = json!({
            "name": figure.name,
            "value": figure.value,
            "unit": figure.unit,
            "at_least": at_least,
            "below": below,
            "ok": figure.is_met(),
        });
        format!("{text}{line}\n")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> [Figure; 2] {
        [
            Figure {
                name: "engine, burst".to_owned(),
                value: 4.5,
                unit: "M inputs/s",
                target: Target::AtLeast(3.0),
            },
            Figure {
                name: "engine".to_owned(),
                value: 200.0,
                unit: "MB",
                target: Target::Below(200.0),
            },
        ]
    }

    #[test]
    fn a_table_says_what_was_missed() {
        assert_eq!(
            table(&figures()),
            "engine, burst      4.50 M inputs/s        at least 3     ok\n\
             engine           200.00 MB                below 200      missed\n"
        );
    }

    #[test]
    fn json_lines_say_the_same() {
        let text = json_lines(&figures());
        assert_eq!(
            text.lines().last(),
            Some(
                r#"{"at_least":null,"below":200.0,"name":"engine","ok":false,"unit":"MB","value":200.0}"#
            )
        );
    }
}
