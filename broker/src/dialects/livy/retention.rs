//! Which statements of a session its clients still see. Lineage keeps what a rebuild needs, whatever they see.

use super::request::slice;

/// The first statement that is shown of a session whose last one is `last`.
pub fn first_shown(last: u64, retained: u32) -> u64 {
    (last + 1).saturating_sub(u64::from(retained.max(1)))
}

/// The first statement with which an earlier one is shown no more.
pub fn evicted_by(number: u64, retained: u32) -> u64 {
    number.saturating_add(u64::from(retained.max(1)))
}

/// A part of the statements that the clients of a session see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// How many they see.
    pub retained: u32,
    /// The index of the first one; a negative one counts as 0.
    pub from: i64,
    /// The most that are on it; a negative size is none.
    pub size: i64,
    /// True when the newest comes first.
    pub is_descending: bool,
}

impl Page {
    /// How many statements there are to be seen, and those on the page. `all` are those of the session with their
    /// numbers, in order.
    pub fn of<T>(self, mut all: Vec<(u64, T)>) -> (usize, Vec<T>) {
        let last = all.last().map_or(0, |(last, _)| *last);
        let first = first_shown(last, self.retained);
        all.retain(|(number, _)| *number >= first);
        let total = all.len();
        if self.is_descending {
            all.reverse();
        }
        let page = slice(all, self.from, self.size).into_iter();
        (total, page.map(|(_, statement)| statement).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialects::livy::LivyConfig;

    /// livy#73
    #[test]
    fn a_page_is_a_part_of_what_is_retained() {
        let page = |from, size, is_descending| {
            let page = Page {
                retained: LivyConfig::default().retained_statements,
                from,
                size,
                is_descending,
            };
            page.of((0..101).map(|number| (number, number)).collect())
        };
        assert_eq!(page(0, i64::MAX, false), (100, (1..101).collect()));
        assert_eq!(page(0, 2, true), (100, vec![100, 99]));
        assert_eq!(page(98, 5, false), (100, vec![99, 100]));
        assert_eq!(
            (page(-1, 1, false), page(0, -1, false)),
            ((100, vec![1]), (100, vec![]))
        );
        assert_eq!(page(100, 1, false), (100, vec![]));
    }

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
