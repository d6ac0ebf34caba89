//! Makes text of the traced world (names, paths, command lines) safe to print on a terminal; never
//! changes text that is safe already.

use std::fmt::{self, Write as _};

/// Text that any program may have chosen, shown with its dangerous characters as visible escapes
/// (`\n`, `\u{1b}`), so that it can neither move the cursor, nor colour, nor reorder what is read.
///
/// A backslash stays as it is: paths and regular expressions are easier to read, and nothing is
/// gained by telling a written `\n` from an escaped one.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut safe_from = 0;
        for (at, character) in self.0.char_indices() {
            if is_dangerous(character) {
                f.write_str(&self.0[safe_from..at])?;
                for escaped in character.escape_default() {
                    f.write_char(escaped)?;
                }
                safe_from = at + character.len_utf8();
            }
        }
        f.write_str(&self.0[safe_from..])
    }
}

/// Whether a character would act on the terminal or on the reader instead of being shown: controls
/// (C0, DEL, C1), and what Unicode calls format characters (general category Cf), line and
/// paragraph separators, and unassigned tags.
fn is_dangerous(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' // soft hyphen
            | '\u{600}'..='\u{605}' | '\u{61c}' // Arabic number signs, Arabic letter mark
            | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers: invisible letters
            | '\u{180e}' // Mongolian vowel separator
            | '\u{200b}'..='\u{200f}' // zero width characters, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}' // separators, embeddings and overrides of direction
            | '\u{2060}'..='\u{206f}' // invisible operators, isolates of direction
            | '\u{feff}' // byte order mark
            | '\u{fff9}'..='\u{fffb}' // annotations
            | '\u{e0000}'..='\u{e0fff}' // tags, which are never shown
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        Escaped(text).to_string()
    }

    #[test]
    fn plain_text_stays() {
        assert_eq!(escaped(""), "");
        assert_eq!(
            escaped("Thread-3-SendThread(zk:2181)"),
            "Thread-3-SendThread(zk:2181)"
        );
        assert_eq!(
            escaped("café 東京 C:\\temp \u{fffd}"),
            "café 東京 C:\\temp \u{fffd}"
        );
    }

    #[test]
    fn the_terminal_is_not_commanded() {
        assert_eq!(escaped("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(escaped("\x1b]0;title\x07"), "\\u{1b}]0;title\\u{7}");
        assert_eq!(escaped("c1\u{9b}31m"), "c1\\u{9b}31m");
        assert_eq!(
            escaped("line\nnext\r\ttab\x7f"),
            "line\\nnext\\r\\ttab\\u{7f}"
        );
    }

    #[test]
    fn the_reader_is_not_misled() {
        assert_eq!(escaped("evil\u{202e}gpj.exe"), "evil\\u{202e}gpj.exe");
        assert_eq!(escaped("\u{2066}a\u{2069}"), "\\u{2066}a\\u{2069}");
        assert_eq!(escaped("ja\u{200b}va"), "ja\\u{200b}va");
        assert_eq!(escaped("a\u{2028}b"), "a\\u{2028}b");
    }
}
