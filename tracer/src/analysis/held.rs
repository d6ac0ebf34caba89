//! Which files a process most likely still holds, by the numbers of its descriptors; never certain of
//! one of them, as most closes are only counted.

use std::collections::BTreeMap;

use crate::model::Nanos;

use super::{limits, pattern::PatternId};

/// An opened file.
#[derive(Clone, Copy, Debug)]
struct Held {
    fd: u32,
    pattern: PatternId,
    at: Nanos,
    /// False once it is known or supposed to be closed.
    is_open: bool,
}

/// The files of one process whose opens were told, less those that must have been closed since: a
/// number that is given out again was free, and there cannot be more files than opens less closes.
/// What is too many are the newest, as what is opened for a moment only is mostly the newest.
#[derive(Debug, Default)]
pub(super) struct HeldFiles {
    /// In the order of their opening.
    files: Vec<Held>,
    /// One more than the place of a descriptor's latest file in `files`, by its number; 0 for none.
    places: Vec<u32>,
    open: usize,
    /// The least files, net, that there ever were: from then on files of before the first one were
    /// perhaps closed.
    least_net: i64,
}

impl HeldFiles {
    /// A file was opened; `net` files are held with it.
    pub(super) fn open(&mut self, fd: u32, pattern: PatternId, at: Nanos, net: i64) {
        let Ok(index) = usize::try_from(fd) else {
            return;
        };
        if index >= limits::HELD_FILES_PER_PROCESS {
            return;
        }
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        self.close(index);
        self.drop_beyond(net.saturating_sub(1));
        if self.files.len() >= 2 * self.open + 16 {
            self.compact();
        }
        self.files.push(Held {
            fd,
            pattern,
            at,
            is_open: true,
        });
        self.open += 1;
        if let Some(place) = self.places.get_mut(index) {
            *place = u32::try_from(self.files.len()).unwrap_or(0);
        }
    }

    /// So many files, net, are held now: what is beyond them was closed.
    pub(super) fn drop_beyond(&mut self, net: i64) {
        self.least_net = self.least_net.min(net);
        let room = usize::try_from(net.saturating_sub(self.least_net)).unwrap_or(0);
        while self.open > room {
            let Some(newest) = self.files.pop() else {
                return;
            };
            if newest.is_open {
                self.open -= 1;
                if let Some(place) = self.places.get_mut(newest.fd as usize) {
                    *place = 0;
                }
            }
        }
    }

    /// Forgets all: the program was replaced, or it is over.
    pub(super) fn clear(&mut self) {
        *self = Self {
            least_net: self.least_net,
            ..Self::default()
        };
    }

    /// The files that are held since `since` or later, by pattern.
    pub(super) fn counts(&self, since: Nanos) -> BTreeMap<PatternId, u64> {
        let mut counts = BTreeMap::new();
        let held = self.files.iter().filter(|file| file.is_open);
        for file in held.filter(|file| file.at >= since) {
            *counts.entry(file.pattern).or_default() += 1;
        }
        counts
    }

    /// Every pattern that is still needed.
    pub(super) fn patterns(&self) -> impl Iterator<Item = PatternId> {
        let held = self.files.iter().filter(|file| file.is_open);
        held.map(|file| file.pattern)
    }

    /// The latest file of this number is no longer there.
    fn close(&mut self, fd: usize) {
        let place = self.places.get_mut(fd).map_or(0, std::mem::take);
        let Some(index) = (place as usize).checked_sub(1) else {
            return;
        };
        if let Some(file) = self.files.get_mut(index)
            && std::mem::take(&mut file.is_open)
        {
            self.open -= 1;
        }
    }

    fn compact(&mut self) {
        self.files.retain(|file| file.is_open);
        for (index, file) in self.files.iter().enumerate() {
            if let Some(place) = self.places.get_mut(file.fd as usize) {
                *place = u32::try_from(index + 1).unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pattern::Patterns;
    use super::*;

    /// Opens of `(fd, path, net)` in order, and what is held after them by pattern.
    fn held(opens: &[(u32, &str, i64)], net: i64) -> Vec<(String, u64)> {
        let mut patterns = Patterns::default();
        let mut held = HeldFiles::default();
        for (fd, path, net) in opens {
            held.open(*fd, patterns.of(path).unwrap(), Nanos(1), *net);
        }
        held.drop_beyond(net);
        patterns.summary(&held.counts(Nanos(0)))
    }

    #[test]
    fn a_number_that_is_given_out_again_was_free() {
        let opens = [(3, "/a/1.jar", 1), (4, "/tmp/x", 2), (3, "/a/2.so", 2)];
        assert_eq!(
            held(&opens, 2),
            [("/a/2.so".to_owned(), 1), ("/tmp/x".to_owned(), 1)]
        );
    }

    #[test]
    fn sockets_that_took_the_numbers_of_closed_files_are_no_files() {
        // Each file is closed at once, and a socket takes its number.
        let mut opens = vec![(3, "/lib/a.jar", 1), (4, "/lib/b.jar", 2)];
        opens.extend((5..1_000).map(|fd| (fd, "/tmp/x", 3)));
        assert_eq!(
            held(&opens, 2),
            [("/lib/*.jar".to_owned(), 2)],
            "those that stay are told"
        );
    }

    #[test]
    fn files_of_before_may_be_closed() {
        let mut opens = vec![(9, "/etc/a.conf", -50)];
        opens.extend((10..20).map(|fd| (fd, "/lib/a.jar", i64::from(fd) - 59)));
        assert_eq!(
            held(&opens, -40),
            [("/lib/a.jar".to_owned(), 10), ("/etc/a.conf".to_owned(), 1)]
        );
    }

    #[test]
    fn memory_follows_what_is_open() {
        let mut patterns = Patterns::default();
        let pattern = patterns.of("/tmp/x").unwrap();
        let mut held = HeldFiles::default();
        for _ in 0..10_000 {
            held.open(3, pattern, Nanos(1), 1);
        }
        assert!(held.files.len() < 40, "{}", held.files.len());
        held.open(u32::MAX, pattern, Nanos(1), 2);
        assert_eq!(held.patterns().count(), 1);
    }
}
