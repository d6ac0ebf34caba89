//! A bounded list of what happened lately, each row under a number that stays; never sorts.

use std::collections::VecDeque;

/// A row's number: the first row ever is 0.
pub(super) type Seq = u64;

/// Rows in the order in which they were learned; the oldest give way.
#[derive(Debug)]
pub(super) struct History<T> {
    rows: VecDeque<T>,
    /// The number of the first row that is still here.
    first: Seq,
    capacity: usize,
}

impl<T> History<T> {
    /// An empty list of at most `capacity` rows.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            rows: VecDeque::new(),
            first: 0,
            capacity,
        }
    }

    /// Adds a row; gives its number, and the row that had to give way for it.
    pub(super) fn push(&mut self, row: T) -> (Seq, Option<(Seq, T)>) {
        let evicted = if self.rows.len() >= self.capacity {
            self.pop_oldest()
        } else {
            None
        };
        let seq = self.next();
        self.rows.push_back(row);
        (seq, evicted)
    }

    /// The number that the next row will have.
    pub(super) fn next(&self) -> Seq {
        self.first + self.rows.len() as Seq
    }

    /// Removes the oldest row.
    pub(super) fn pop_oldest(&mut self) -> Option<(Seq, T)> {
        let row = self.rows.pop_front()?;
        let seq = self.first;
        self.first += 1;
        Some((seq, row))
    }

    /// The oldest row.
    pub(super) fn oldest(&self) -> Option<&T> {
        self.rows.front()
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.checked_sub(self.first)?).ok()
    }

    /// The row with this number, unless it has given way.
    pub(super) fn get(&self, seq: Seq) -> Option<&T> {
        self.rows.get(self.index(seq)?)
    }

    /// The row with this number, unless it has given way.
    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut T> {
        let index = self.index(seq)?;
        self.rows.get_mut(index)
    }

    /// How many rows there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_when_the_oldest_gives_way() {
        let mut history = History::new(2);
        assert_eq!(history.push('a'), (0, None));
        assert_eq!(history.push('b'), (1, None));
        assert_eq!(history.push('c'), (2, Some((0, 'a'))));
        assert_eq!(history.get(0), None);
        assert_eq!(history.get(1), Some(&'b'));
        assert_eq!(history.get(2), Some(&'c'));
        assert_eq!(history.get(3), None);
        assert_eq!(history.len(), 2);
    }
}
