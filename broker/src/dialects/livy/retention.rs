//! Which statements of a session its clients still see. Lineage keeps what a rebuild needs, whatever they see.

/// The first statement that is shown of a session whose last one is `last`.
pub fn first_shown(last: u64, retained: u32) -> u64 {
    (last + 1).saturating_sub(u64::from(retained.max(1)))
}

/// The first statement with which an earlier one is shown no more.
pub fn evicted_by(number: u64, retained: u32) -> u64 {
    number.saturating_add(u64::from(retained.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// livy#73
    #[test]
    fn each_statement_is_evicted_by_one() {
        for (number, retained) in [(0, 100), (7, 1), (5, 0)] {
            let last = evicted_by(number, retained);
            assert!(first_shown(last, retained) > number, "{number} {retained}");
            assert!(first_shown(last - 1, retained) <= number, "{number} {retained}");
        }
    }

    /// livy#73
    #[test]
    fn the_latest_statements_are_shown() {
        let cases = [
            (0, 100, 0),
            (99, 100, 0),
            (100, 100, 1),
            (249, 100, 150),
            (5, 0, 5),
        ];
        for (last, retained, first) in cases {
            assert_eq!(first_shown(last, retained), first, "{last} {retained}");
        }
    }
}
