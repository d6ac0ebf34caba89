//! Draws a report in place on a terminal, as top does; never leaves the terminal in another state
//! than it was found in.

use std::{
    io::{self, Write as _},
    panic,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
};

use crossterm::{
    Command,
    cursor::{Hide, MoveTo, Show},
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, size,
    },
};

/// The size of a terminal that does not tell it: that of a VT100.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// Whether the terminal shows the alternate screen: also asked when a panic is reported.
static ON_ALTERNATE_SCREEN: AtomicBool = AtomicBool::new(false);

/// The terminal's alternate screen, from its creation until it is dropped. The last report is to be
/// printed afterwards, so that it stays in the scrollback.
#[derive(Debug)]
pub struct Screen(());

impl Screen {
    /// Takes the terminal over; fails where standard output cannot be written to.
    pub fn enter() -> io::Result<Self> {
        restore_on_panic();
        ON_ALTERNATE_SCREEN.store(true, Ordering::SeqCst);
        let screen = Self(());
        let mut commands = String::new();
        push(&mut commands, EnterAlternateScreen);
        push(&mut commands, Hide);
        // A line that is too wide for a terminal that has just become narrower is cut, not wrapped.
        push(&mut commands, DisableLineWrap);
        write_at_once(&commands)?;
        Ok(screen)
    }

    /// Shows a report in place of the one before, as much of it as there is room for.
    pub fn draw(&mut self, report: &str) -> io::Result<()> {
        let (_columns, rows) = size().unwrap_or(DEFAULT_SIZE);
        write_at_once(&frame(report, usize::from(rows)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Gives the terminal back, once. A terminal that is gone needs nothing any more, so errors pass.
fn restore() {
    if ON_ALTERNATE_SCREEN.swap(false, Ordering::SeqCst) {
        let mut commands = String::new();
        push(&mut commands, EnableLineWrap);
        push(&mut commands, Show);
        push(&mut commands, LeaveAlternateScreen);
        let _ = write_at_once(&commands);
    }
}

/// Has a panic give the terminal back before it is reported: a report on the alternate screen would
/// vanish with it, and where a panic aborts nothing is dropped.
fn restore_on_panic() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            restore();
            report(panic);
        }));
    });
}

/// The bytes that show a report on a screen with so many rows. Each line erases what was left of
/// the one before only after its own text, so nothing flickers.
fn frame(report: &str, rows: usize) -> String {
    let lines = report.trim_end_matches('\n').split('\n');
    let total = lines.clone().count();
    let shown = if total <= rows {
        total
    } else {
        rows.saturating_sub(1)
    };

    let mut bytes = String::with_capacity(report.len() + 16 * shown);
    push(&mut bytes, BeginSynchronizedUpdate);
    push(&mut bytes, MoveTo(0, 0));
    for (index, line) in lines.take(shown).enumerate() {
        if index > 0 {
            bytes.push_str("\r\n");
        }
        bytes.push_str(line);
        push(&mut bytes, Clear(ClearType::UntilNewLine));
    }
    if shown < total {
        if shown > 0 {
            bytes.push_str("\r\n");
        }
        bytes.push_str(&hidden_lines(total - shown));
        push(&mut bytes, Clear(ClearType::UntilNewLine));
    }
    push(&mut bytes, Clear(ClearType::FromCursorDown));
    push(&mut bytes, EndSynchronizedUpdate);
    bytes
}

/// What stands in the last row where the report is longer than the screen.
fn hidden_lines(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("… {count} more line{plural} (make the window taller, or use --format json)")
}

/// Appends a command's escape sequence.
fn push(bytes: &mut String, command: impl Command) {
    // Writing to a string does not fail.
    let _ = command.write_ansi(bytes);
}

/// Writes in one go, so that the terminal never shows half of it.
fn write_at_once(bytes: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_report_is_shown_whole() {
        assert_eq!(
            frame("one\ntwo\n", 2),
            "\u{1b}[?2026h\u{1b}[1;1Hone\u{1b}[K\r\ntwo\u{1b}[K\u{1b}[J\u{1b}[?2026l"
        );
    }

    #[test]
    fn a_long_report_says_how_much_is_hidden() {
        assert_eq!(
            frame("one\ntwo\nthree\nfour\n", 3),
            "\u{1b}[?2026h\u{1b}[1;1Hone\u{1b}[K\r\ntwo\u{1b}[K\r\n\
             … 2 more lines (make the window taller, or use --format json)\u{1b}[K\
             \u{1b}[J\u{1b}[?2026l"
        );
    }

    #[test]
    fn a_screen_of_one_row_says_so_too() {
        assert_eq!(
            frame("one\ntwo\n", 1),
            "\u{1b}[?2026h\u{1b}[1;1H… 2 more lines (make the window taller, or use --format json)\
             \u{1b}[K\u{1b}[J\u{1b}[?2026l"
        );
        assert_eq!(
            frame("", 0),
            "\u{1b}[?2026h\u{1b}[1;1H… 1 more line (make the window taller, or use --format json)\
             \u{1b}[K\u{1b}[J\u{1b}[?2026l"
        );
    }
}
