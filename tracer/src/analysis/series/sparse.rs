//! Numbers by bucket of time, of which only the buckets where something happened take room; never
//! knows how long a bucket is.

/// Something that happened so often within one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The bucket, from 0.
    pub bucket: u32,
    /// How often.
    pub count: u32,
}

/// How high something stood within one bucket; it stays at `last` until the next one is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gauge {
    /// The bucket, from 0.
    pub bucket: u32,
    /// The highest within the bucket, what it began with included.
    pub peak: i32,
    /// At the bucket's end.
    pub last: i32,
}

/// Counts in the order of their buckets.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    pub(super) points: Vec<Count>,
    pub(super) total: u64,
}

impl Counts {
    pub(super) fn add(&mut self, bucket: u32, count: u64) {
        if count == 0 {
            return;
        }
        self.total = self.total.saturating_add(count);
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        // Nearly always the last bucket or a new one: time runs forward but for records of
        // different CPUs.
        let later = self.points.iter().rev();
        let place = self.points.len() - later.take_while(|point| point.bucket > bucket).count();
        match place.checked_sub(1).and_then(|at| self.points.get_mut(at)) {
            Some(point) if point.bucket == bucket => {
                point.count = point.count.saturating_add(count);
            }
            _ => self.points.insert(place, Count { bucket, count }),
        }
    }

    /// Adds all of another's counts.
    pub(super) fn absorb(&mut self, other: &Self) {
        if self.points.is_empty() {
            self.points.clone_from(&other.points);
            self.total = other.total;
            return;
        }
        let mine = std::mem::take(&mut self.points);
        self.points.reserve(mine.len().max(other.points.len()));
        let (mut left, mut right) = (mine.iter().peekable(), other.points.iter().peekable());
        loop {
            let next = match (left.peek(), right.peek()) {
                (Some(a), Some(b)) if a.bucket <= b.bucket => left.next(),
                (Some(_), None) => left.next(),
                _ => right.next(),
            };
            let Some(next) = next else { break };
            push(&mut self.points, *next);
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// Makes each two buckets one.
    pub(super) fn halve(&mut self) {
        let points = std::mem::take(&mut self.points);
        for point in points {
            let bucket = point.bucket / 2;
            push(&mut self.points, Count { bucket, ..point });
        }
    }
}

/// Appends a count to those of the same bucket or earlier ones.
fn push(points: &mut Vec<Count>, next: Count) {
    match points.last_mut() {
        Some(last) if last.bucket == next.bucket => {
            last.count = last.count.saturating_add(next.count);
        }
        _ => points.push(next),
    }
}

/// A level over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Level {
    pub(super) points: Vec<Gauge>,
}

impl Level {
    /// The level is this from now on. What comes late only counts for the peak.
    pub(super) fn set(&mut self, bucket: u32, value: i64) {
        let value = i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX });
        match self.points.last_mut() {
            Some(last) if last.bucket == bucket => {
                last.peak = last.peak.max(value);
                last.last = value;
            }
            Some(last) if last.bucket > bucket => {
                let before = self.points.iter_mut().rev();
                if let Some(at) = before.into_iter().find(|point| point.bucket <= bucket) {
                    at.peak = at.peak.max(value);
                }
            }
            // Nothing new is told by the level that holds already.
            Some(last) if last.last == value => {}
            last => {
                let peak = last.map_or(value, |before| before.last.max(value));
                self.points.push(Gauge {
                    bucket,
                    peak,
                    last: value,
                });
            }
        }
    }

    /// Makes each two buckets one.
    pub(super) fn halve(&mut self) {
        let points = std::mem::take(&mut self.points);
        for point in points {
            let bucket = point.bucket / 2;
            match self.points.last_mut() {
                Some(last) if last.bucket == bucket => {
                    last.peak = last.peak.max(point.peak);
                    last.last = point.last;
                }
                _ => self.points.push(Gauge { bucket, ..point }),
            }
        }
    }

    /// Adds another's level to this one, each where it is known.
    pub(super) fn absorb(&mut self, other: &Self) {
        if self.points.is_empty() {
            self.points.clone_from(&other.points);
            return;
        }
        if other.points.is_empty() {
            return;
        }
        let mine = std::mem::take(&mut self.points);
        let mut buckets: Vec<u32> = mine.iter().chain(&other.points).map(|p| p.bucket).collect();
        buckets.sort_unstable();
        buckets.dedup();
        let (mut left, mut right) = (Walk::of(&mine), Walk::of(&other.points));
        self.points.extend(buckets.into_iter().map(|bucket| {
            let (a, b) = (left.at(bucket), right.at(bucket));
            Gauge {
                bucket,
                peak: a.0.saturating_add(b.0),
                last: a.1.saturating_add(b.1),
            }
        }));
    }
}

/// Reads a level bucket by bucket.
struct Walk<'a> {
    points: std::iter::Peekable<std::slice::Iter<'a, Gauge>>,
    last: i32,
}

impl<'a> Walk<'a> {
    fn of(points: &'a [Gauge]) -> Self {
        Self {
            points: points.iter().peekable(),
            last: 0,
        }
    }

    /// The peak and the last level within a bucket; each call asks for a later one.
    fn at(&mut self, bucket: u32) -> (i32, i32) {
        match self.points.next_if(|point| point.bucket == bucket) {
            Some(point) => {
                self.last = point.last;
                (point.peak, point.last)
            }
            None => (self.last, self.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(points: &[(u32, u64)]) -> Counts {
        let mut counts = Counts::default();
        for (bucket, count) in points {
            counts.add(*bucket, *count);
        }
        counts
    }

    fn pairs(counts: &Counts) -> Vec<(u32, u32)> {
        counts.points.iter().map(|p| (p.bucket, p.count)).collect()
    }

    fn triples(level: &Level) -> Vec<(u32, i32, i32)> {
        let points = level.points.iter();
        points.map(|p| (p.bucket, p.peak, p.last)).collect()
    }

    #[test]
    fn counts_find_their_bucket_whatever_their_order() {
        let counts = counts(&[(3, 1), (7, 2), (5, 4), (3, 1), (7, 0), (5, 1)]);
        assert_eq!(pairs(&counts), [(3, 2), (5, 5), (7, 2)]);
        assert_eq!(counts.total, 9);
    }

    #[test]
    fn two_buckets_become_one() {
        let mut counts = counts(&[(2, 1), (3, 2), (4, 4)]);
        counts.halve();
        assert_eq!(pairs(&counts), [(1, 3), (2, 4)]);
        assert_eq!(counts.total, 7);
    }

    #[test]
    fn counts_are_added_bucket_by_bucket() {
        let mut sum = counts(&[(1, 1), (4, 4)]);
        sum.absorb(&counts(&[(0, 7), (4, 1), (9, 2)]));
        assert_eq!(pairs(&sum), [(0, 7), (1, 1), (4, 5), (9, 2)]);
        assert_eq!(sum.total, 15);
    }

    #[test]
    fn a_level_keeps_the_peak_between_two_looks() {
        let mut level = Level::default();
        level.set(1, 10);
        level.set(1, 238);
        level.set(1, 12);
        level.set(2, 12);
        level.set(5, 9);
        level.set(4, 40);
        // At the begin of bucket 5 it was still 12.
        assert_eq!(triples(&level), [(1, 238, 12), (5, 12, 9)]);
        level.set(6, i64::MAX);
        assert_eq!(level.points[2].peak, i32::MAX);
    }

    #[test]
    fn levels_are_halved_and_added() {
        let mut level = Level::default();
        level.set(2, 5);
        level.set(3, 9);
        level.set(3, 1);
        level.halve();
        assert_eq!(triples(&level), [(1, 9, 1)]);
        let mut other = Level::default();
        other.set(0, 100);
        other.set(4, 50);
        level.absorb(&other);
        assert_eq!(
            triples(&level),
            [(0, 100, 100), (1, 109, 101), (4, 101, 51)]
        );
    }
}
