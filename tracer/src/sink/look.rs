//! How text is to look: colours or none, how wide; never what it says.

use std::io::IsTerminal as _;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal, unless the environment's `NO_COLOR` says no.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How text is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether text is coloured.
    pub color: bool,
    /// The columns that a line may have; `None` for any number, as in a pipe.
    pub width: Option<usize>,
}

/// What begins a finding that needs someone's attention.
pub(super) const ALARM: Style = AnsiColor::Red.on_default().bold();
/// What makes the numbers less sure.
pub(super) const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Who did it.
pub(super) const NAME: Style = Style::new().bold();
/// The title of a part.
pub(super) const TITLE: Style = Style::new().bold().underline();
/// What is there to be looked up, not to be read first.
pub(super) const FAINT: Style = Style::new().dimmed();

impl Look {
    /// Without colours, as wide as it takes: for files and pipes.
    pub const PLAIN: Self = Self {
        color: false,
        width: None,
    };

    /// The look that suits standard output.
    #[must_use]
    pub fn of_stdout(when: ColorWhen) -> Self {
        let stdout = std::io::stdout();
        let color = match when {
            ColorWhen::Auto => {
                anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never
            }
            ColorWhen::Always => true,
            ColorWhen::Never => false,
        };
        let width = stdout
            .is_terminal()
            .then(|| crossterm::terminal::size().ok())
            .flatten()
            .map(|(columns, _rows)| usize::from(columns));
        Self { color, width }
    }

    /// Text in a style, where colours are wanted.
    pub(super) fn paint(self, style: Style, text: &str) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_there_only_where_wanted() {
        assert_eq!(Look::PLAIN.paint(ALARM, "FLAPPING"), "FLAPPING");
        let coloured = Look {
            color: true,
            width: None,
        };
        assert_eq!(
            coloured.paint(ALARM, "FLAPPING"),
            "\u{1b}[1m\u{1b}[31mFLAPPING\u{1b}[0m"
        );
    }
}
