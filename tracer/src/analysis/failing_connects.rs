//! The detector of failing connects: tries to one port that fail in a row; never speaks where a
//! success lies between them.

use crate::model::Nanos;

use super::thresholds::Thresholds;

/// Whether the failures of a row, by the time of each, are enough within the window before the
/// last, and which of them is then the first.
pub(super) fn begins_at(failures: &[Nanos], thresholds: &Thresholds) -> Option<usize> {
    let last = *failures.last()?;
    let begin = failures
        .iter()
        .position(|at| last.since(*at) <= thresholds.failing_window)?;
    let count = (failures.len() - begin) as u64;
    (count >= thresholds.failing_count).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_within_half_a_minute() {
        let begins = |seconds: &[u64]| {
            let failures: Vec<_> = seconds.iter().map(|s| Nanos::from_secs(*s)).collect();
            begins_at(&failures, &Thresholds::default())
        };
        assert_eq!(begins(&[]), None);
        assert_eq!(begins(&[0, 1, 2, 3]), None);
        assert_eq!(begins(&[0, 1, 2, 3, 30]), Some(0));
        assert_eq!(begins(&[0, 1, 2, 3, 31]), None);
        assert_eq!(begins(&[0, 10, 11, 12, 13, 40]), Some(1));
    }
}
