//! The detector of flapping: connections opened and closed again and again without a useful
//! exchange; never speaks of connections that lasted or served.

use super::{
    ended::EndedConnection,
    exchange::{is_short, is_useful},
    thresholds::Thresholds,
};

/// Whether a connection was as those of a flapping are.
pub(super) fn matches(row: &EndedConnection, thresholds: &Thresholds) -> bool {
    is_short(row, thresholds) && !is_useful(row, thresholds)
}

/// Where flapping begins among the connections of one window, given whether each matches: at the
/// first that does, if enough follow and most of those match.
pub(super) fn begins_at(matching: &[bool], thresholds: &Thresholds) -> Option<usize> {
    let begin = matching.iter().position(|matches| *matches)?;
    let candidates = matching.get(begin..)?;
    let count = candidates.len() as u64;
    let matches = candidates.iter().filter(|matches| **matches).count() as u64;
    let is_most =
        matches.saturating_mul(100) >= count.saturating_mul(thresholds.flapping_share_percent);
    (count >= thresholds.flapping_count && is_most).then_some(begin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_must_match_from_the_first_that_does() {
        let begins = |matching: &str| {
            let matching: Vec<_> = matching.chars().map(|c| c == 'x').collect();
            begins_at(&matching, &Thresholds::default())
        };
        assert_eq!(begins("xxxx"), None, "one too few");
        assert_eq!(begins("xxxxx"), Some(0));
        assert_eq!(
            begins("-xxxx"),
            None,
            "one that lasted does not make up for it"
        );
        assert_eq!(begins("--xxxxx"), Some(2));
        assert_eq!(begins("xxxx-"), Some(0), "80 %");
        assert_eq!(begins("xxx-x-"), None, "67 %");
        assert_eq!(begins(""), None);
    }
}
