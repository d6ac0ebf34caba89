//! Lays rows out in columns within the width of the terminal; never more than one line a row.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, presets};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::look::{FAINT, Look};

/// What stands for text that did not fit.
const CUT: &str = "…";

/// Columns of the terminal between two columns of the table.
const GAP: u16 = 1;

/// How a column is set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// A number: to the right, never cut.
    Number(&'static str),
    /// Text that is never cut.
    Whole(&'static str),
    /// Text that gives way where the line would be too long.
    Flexible(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Number(title) | Self::Whole(title) | Self::Flexible(title) => title,
        }
    }
}

/// The rows under the columns' titles, each line ended. The cells' text must be escaped already.
pub(super) fn grid(
    look: Look,
    columns: &[Column],
    rows: impl Iterator<Item = Vec<String>>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_truncation_indicator(CUT);
    if let Some(width) = look.width {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table.set_header(columns.iter().map(|column| column.title()));
    for cells in rows {
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
    let last = columns.len().saturating_sub(1);
    for (index, (column, kind)) in table.column_iter_mut().zip(columns).enumerate() {
        column.set_padding((0, if index == last { 0 } else { GAP }));
        if matches!(kind, Column::Number(_)) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if !matches!(kind, Column::Flexible(_)) {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    let mut text = String::new();
    for (index, line) in table.lines().enumerate() {
        let line = fit(line.trim_end(), look.width);
        if index == 0 {
            text.push_str(&look.paint(FAINT, &line));
        } else {
            text.push_str(&line);
        }
        text.push('\n');
    }
    text
}

/// Text without escape sequences, cut to the width of the terminal, with `…` where it was cut.
pub(super) fn fit(text: &str, width: Option<usize>) -> String {
    let Some(width) = width.filter(|width| text.width() > *width) else {
        return text.to_owned();
    };
    let mut left = width.saturating_sub(CUT.width());
    let kept: String = text
        .chars()
        .take_while(|character| {
            let needed = character.width().unwrap_or(0);
            let fits = needed <= left;
            left = left.saturating_sub(needed);
            fits
        })
        .collect();
    kept + CUT
}

/// Text of words, perhaps coloured, broken into lines within the width of the terminal; the lines
/// after the first are set in by `indent`. Ends its last line.
pub(super) fn wrap(look: Look, text: &str, indent: &str) -> String {
    let Some(width) = look.width else {
        return format!("{text}\n");
    };
    let options = textwrap::Options::new(width)
        .subsequent_indent(indent)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    textwrap::fill(text, options) + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrow(width: usize) -> Look {
        Look {
            color: false,
            width: Some(width),
        }
    }

    const COLUMNS: [Column; 3] = [
        Column::Number("PID"),
        Column::Flexible("NAME"),
        Column::Whole("STATE"),
    ];

    fn rows() -> std::vec::IntoIter<Vec<String>> {
        vec![
            vec!["7".into(), "a rather long name".into(), "open".into()],
            vec![
                "4711".into(),
                "東京東京東京東京東京".into(),
                "closed".into(),
            ],
        ]
        .into_iter()
    }

    #[test]
    fn a_pipe_gets_whole_rows() {
        assert_eq!(
            grid(Look::PLAIN, &COLUMNS, rows()),
            concat!(
                " PID NAME                 STATE\n",
                "   7 a rather long name   open\n",
                "4711 東京東京東京東京東京 closed\n",
            )
        );
    }

    #[test]
    fn a_terminal_gets_one_line_a_row() {
        assert_eq!(
            grid(narrow(26), &COLUMNS, rows()),
            concat!(
                " PID NAME           STATE\n",
                "   7 a rather long… open\n",
                "4711 東京東京東京…  closed\n",
            )
        );
    }

    #[test]
    fn text_is_cut_by_columns_of_the_terminal() {
        assert_eq!(fit("東京 tower", None), "東京 tower");
        assert_eq!(fit("東京 tower", Some(10)), "東京 tower");
        assert_eq!(fit("東京 tower", Some(9)), "東京 tow…");
        assert_eq!(fit("東京 tower", Some(4)), "東…");
        assert_eq!(fit("東京 tower", Some(0)), "…");
    }

    #[test]
    fn colours_take_no_room() {
        assert_eq!(
            wrap(narrow(12), "\u{1b}[1mFLAPPING\u{1b}[0m java opens", "  "),
            "\u{1b}[1mFLAPPING\u{1b}[0m\n  java opens\n"
        );
    }
}
