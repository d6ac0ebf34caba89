//! Paths to patterns of directory and extension, and many patterns to few; never opens a path.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::limits;

/// A pattern's number while something holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PatternId(u32);

/// A directory and an extension, with the one file's name while only one was met.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    /// The directory without a final slash; empty for the root, `.` for a bare name.
    dir: Box<str>,
    /// What the names have in common, as in `*.jar`; `*` where they have no extension.
    names: Box<str>,
    /// The only name met so far.
    sole_name: Option<Box<str>>,
}

/// What a path must know of its pattern.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: PatternId,
    /// Whether only one name was met, so that this path's has to be compared with it.
    is_sole: bool,
}

/// A table of fewer patterns is not looked through for those that nothing holds.
const KEPT_AT_LEAST: usize = 8_192;

/// All patterns in use, so that an open costs a number instead of a text.
#[derive(Debug)]
pub(super) struct Patterns {
    by_text: FxHashMap<Box<str>, Known>,
    rows: FxHashMap<PatternId, Pattern>,
    /// With so many, those that nothing holds must be dropped: a table twice as large as what is held, of
    /// a host whose programs open ever new files, stays as small as that.
    full: usize,
    next_id: u32,
    /// Where a path's pattern is spelt before it is looked up.
    spelling: String,
}

impl Default for Patterns {
    fn default() -> Self {
        Self {
            by_text: FxHashMap::default(),
            rows: FxHashMap::default(),
            full: KEPT_AT_LEAST,
            next_id: 0,
            spelling: String::new(),
        }
    }
}

impl Patterns {
    /// The pattern of a path; `None` where there is no room for one more before [`Self::keep_only`].
    pub(super) fn of(&mut self, path: &str) -> Option<PatternId> {
        let (dir, name) = split(path);
        let extension = extension(name);
        self.spelling.clear();
        self.spelling.push_str(dir);
        self.spelling.push('/');
        self.spelling.push('*');
        if let Some((extension, numbered)) = extension {
            self.spelling.push('.');
            self.spelling.push_str(extension);
            self.spelling.push_str(if numbered { ".*" } else { "" });
        }
        if let Some(known) = self.by_text.get_mut(self.spelling.as_str()) {
            if known.is_sole
                && let Some(pattern) = self.rows.get_mut(&known.id)
                && pattern.sole_name.as_deref() != Some(name)
            {
                pattern.sole_name = None;
                known.is_sole = false;
            }
            return Some(known.id);
        }
        if self.rows.len() >= self.full {
            return None;
        }
        let id = PatternId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let names = self.spelling.get(dir.len() + 1..).unwrap_or("*");
        let pattern = Pattern {
            dir: dir.into(),
            names: names.into(),
            sole_name: Some(name.into()),
        };
        let known = Known { id, is_sole: true };
        self.by_text.insert(self.spelling.as_str().into(), known);
        self.rows.insert(id, pattern);
        Some(id)
    }

    /// A pattern as people read it.
    pub(super) fn text(&self, id: PatternId) -> Option<String> {
        Some(Row::of(self.rows.get(&id)?).text())
    }

    /// Drops the patterns that nothing holds; `held` is sorted.
    pub(super) fn keep_only(&mut self, held: &[PatternId]) {
        self.rows.retain(|id, _| held.binary_search(id).is_ok());
        self.by_text
            .retain(|_, known| held.binary_search(&known.id).is_ok());
        self.full = (2 * self.rows.len()).clamp(KEPT_AT_LEAST, limits::PATTERNS);
    }

    /// At most [`limits::PATTERN_ROWS`] patterns that tell of all these opens, the most frequent
    /// first.
    pub(super) fn summary(&self, counts: &BTreeMap<PatternId, u64>) -> Vec<(String, u64)> {
        let rows = counts
            .iter()
            .filter_map(|(id, count)| Some((Row::of(self.rows.get(id)?), *count)));
        summarise(rows.collect())
    }
}

/// A row of the summary: the files of a directory, or everything below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    dir: Box<str>,
    /// A name, `*.extension`, `*`, or `**`.
    names: Box<str>,
}

impl Row {
    fn of(pattern: &Pattern) -> Self {
        Self {
            dir: pattern.dir.clone(),
            names: pattern
                .sole_name
                .clone()
                .unwrap_or_else(|| pattern.names.clone()),
        }
    }

    fn is_tree(&self) -> bool {
        &*self.names == "**"
    }

    /// How much it tells: deeper directories more, and single kinds of files more than all.
    fn precision(&self) -> usize {
        let depth = self.dir.matches('/').count();
        match &*self.names {
            "**" => 3 * depth,
            "*" => 3 * depth + 1,
            _ => 3 * depth + 2,
        }
    }

    /// The next less precise row that tells of the same files.
    fn widened(&self) -> Self {
        if &*self.names != "*" && !self.is_tree() {
            return Self {
                dir: self.dir.clone(),
                names: "*".into(),
            };
        }
        // Above the first directory of a relative path is the one that it was relative to.
        let dir = match self.dir.rsplit_once('/') {
            Some((parent, _)) => parent,
            None if self.dir.is_empty() || &*self.dir == "." => "",
            None => ".",
        };
        Self {
            dir: dir.into(),
            names: "**".into(),
        }
    }

    /// Whether this row's files are all among those of `wider`.
    fn lies_within(&self, wider: &Self) -> bool {
        if !wider.is_tree() {
            return self.dir == wider.dir;
        }
        self.dir == wider.dir
            || self
                .dir
                .strip_prefix(&*wider.dir)
                .is_some_and(|below| below.starts_with('/') || wider.dir.is_empty())
    }

    fn text(&self) -> String {
        format!("{}/{}", self.dir, self.names)
    }
}

/// Widens the least telling rows until few are left. A row that makes up a quarter of all is what
/// the reader looks for, so it stays as precise as it is.
fn summarise(rows: Vec<(Row, u64)>) -> Vec<(String, u64)> {
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let mut counts: BTreeMap<Row, u64> = BTreeMap::new();
    for (row, count) in rows {
        *counts.entry(row).or_default() += count;
    }
    while counts.len() > limits::PATTERN_ROWS {
        let widest = counts
            .iter()
            .filter(|(row, count)| **count * 4 < total && !(row.is_tree() && row.dir.is_empty()))
            .max_by_key(|(row, count)| (row.precision(), std::cmp::Reverse(**count), *row))
            .map(|(row, _)| row.widened());
        let Some(wider) = widest else {
            break;
        };
        let mut gathered = 0;
        counts.retain(|row, count| {
            let joins = *row == wider || (*count * 4 < total && row.lies_within(&wider));
            if joins {
                gathered += *count;
            }
            !joins
        });
        counts.insert(wider, gathered);
    }
    let mut rows: Vec<_> = counts
        .into_iter()
        .map(|(row, count)| (row.text(), count))
        .collect();
    rows.sort_by(|(text, count), (other_text, other_count)| {
        other_count.cmp(count).then_with(|| text.cmp(other_text))
    });
    rows
}

/// A path's directory and name. What has no directory lies in `.`.
fn split(path: &str) -> (&str, &str) {
    let mut trimmed = path;
    while let Some(shorter) = trimmed.strip_suffix('/') {
        trimmed = shorter;
    }
    match rsplit_once(trimmed, b'/') {
        Some(parts) => parts,
        None if trimmed.is_empty() && !path.is_empty() => ("", ""),
        None => (".", trimmed),
    }
}

/// As [`str::rsplit_once`] at an ASCII character: texts are short, and are searched byte by byte sooner.
fn rsplit_once(text: &str, at: u8) -> Option<(&str, &str)> {
    let place = text.bytes().rposition(|byte| byte == at)?;
    Some((text.get(..place)?, text.get(place + 1..)?))
}

/// A name's extension without the dot, and whether numbers follow it (`so` in `libc.so.6`).
fn extension(name: &str) -> Option<(&str, bool)> {
    /// Longer endings are parts of names, not kinds of files.
    const EXTENSION_BYTES_MAX: usize = 10;
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mut rest = name;
    let mut numbered = false;
    loop {
        let (stem, extension) = rsplit_once(rest, b'.')?;
        if stem.is_empty() || extension.is_empty() || extension.len() > EXTENSION_BYTES_MAX {
            return None;
        }
        if !is_number(extension) {
            return Some((extension, numbered));
        }
        rest = stem;
        numbered = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(opens: &[(&str, u64)]) -> Vec<(String, u64)> {
        let mut patterns = Patterns::default();
        let mut counts = BTreeMap::new();
        for (path, count) in opens {
            *counts.entry(patterns.of(path).unwrap()).or_default() += count;
        }
        patterns.summary(&counts)
    }

    fn rows(rows: &[(&str, u64)]) -> Vec<(String, u64)> {
        rows.iter()
            .map(|(text, count)| ((*text).to_owned(), *count))
            .collect()
    }

    /// So many patterns that were not met before; how many of them found room.
    fn meet(patterns: &mut Patterns, folder: &str, count: usize) -> Vec<PatternId> {
        let paths = (0..count).map(|number| format!("/{folder}/{number}/data"));
        paths.filter_map(|path| patterns.of(&path)).collect()
    }

    #[test]
    fn what_nothing_holds_is_dropped_before_the_table_grows() {
        let mut patterns = Patterns::default();
        let held = meet(&mut patterns, "held", KEPT_AT_LEAST + 1);
        assert_eq!(held.len(), KEPT_AT_LEAST);
        patterns.keep_only(&held);
        let others = meet(&mut patterns, "others", 2 * KEPT_AT_LEAST);
        assert_eq!(others.len(), KEPT_AT_LEAST);
        patterns.keep_only(&held);
        assert_eq!(patterns.rows.len(), KEPT_AT_LEAST);
        assert_eq!(meet(&mut patterns, "held", KEPT_AT_LEAST), held);
        patterns.keep_only(&[]);
        let few = meet(&mut patterns, "few", 2 * KEPT_AT_LEAST);
        assert_eq!(few.len(), KEPT_AT_LEAST);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut patterns = Patterns::default();
        let mut held = Vec::new();
        for round in 0..6 {
            held.extend(meet(&mut patterns, &round.to_string(), limits::PATTERNS));
            patterns.keep_only(&held);
        }
        assert_eq!(held.len(), limits::PATTERNS);
    }

    #[test]
    fn extensions() {
        assert_eq!(extension("a.jar"), Some(("jar", false)));
        assert_eq!(extension("libc.so.6"), Some(("so", true)));
        assert_eq!(extension("access.log.1"), Some(("log", true)));
        assert_eq!(extension("Makefile"), None);
        assert_eq!(extension(".profile"), None);
        assert_eq!(extension("1.2"), None);
        assert_eq!(extension("name."), None);
        assert_eq!(extension("com.example.SomeLongClassName"), None);
    }

    #[test]
    fn files_of_one_kind_in_one_directory_are_one_pattern() {
        let lib = "/srv/app/WEB-INF/lib";
        let jars = [format!("{lib}/a.jar"), format!("{lib}/b.jar")];
        assert_eq!(
            summary(&[(&jars[0], 200), (&jars[1], 28), ("/etc/passwd", 1)]),
            rows(&[("/srv/app/WEB-INF/lib/*.jar", 228), ("/etc/passwd", 1)])
        );
    }

    #[test]
    fn a_file_opened_again_and_again_keeps_its_name() {
        assert_eq!(
            summary(&[("/var/log/app/out.log", 300)]),
            rows(&[("/var/log/app/out.log", 300)])
        );
    }

    #[test]
    fn bare_names_and_the_root() {
        assert_eq!(
            summary(&[("out.log", 1), ("/vmlinuz", 2), ("", 3)]),
            rows(&[("./", 3), ("/vmlinuz", 2), ("./out.log", 1)])
        );
        assert_eq!(
            summary(&[("/vmlinuz", 2), ("/", 4), ("lib/a.jar", 1)]),
            rows(&[("/*", 6), ("lib/a.jar", 1)])
        );
    }

    #[test]
    fn many_directories_collapse_into_their_parent() {
        let opens: Vec<_> = (0..300)
            .map(|n| format!("/usr/lib/python3/package{n}/module.py"))
            .collect();
        let opens: Vec<_> = opens.iter().map(|path| (path.as_str(), 1)).collect();
        assert_eq!(summary(&opens), rows(&[("/usr/lib/python3/**", 300)]));
    }

    #[test]
    fn what_makes_up_most_stays_precise_among_the_rest() {
        let others: Vec<_> = (0..40).map(|n| format!("/opt/d{n}/e/f{n}.txt")).collect();
        let mut opens: Vec<_> = others.iter().map(|path| (path.as_str(), 1)).collect();
        opens.push(("/srv/app/WEB-INF/lib/a.jar", 114));
        opens.push(("/srv/app/WEB-INF/lib/b.jar", 114));
        assert_eq!(
            summary(&opens),
            rows(&[("/srv/app/WEB-INF/lib/*.jar", 228), ("/opt/**", 40)])
        );
    }

    #[test]
    fn unused_patterns_are_dropped() {
        let mut patterns = Patterns::default();
        let kept = patterns.of("/a/b.c").unwrap();
        let dropped = patterns.of("/d/e.f").unwrap();
        patterns.keep_only(&[kept]);
        assert_eq!(patterns.of("/a/x.c"), Some(kept));
        assert_ne!(patterns.of("/d/e.f"), Some(dropped));
    }
}
