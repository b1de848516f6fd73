//! Which brokers the leader has seen lately.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::ids::BrokerId;
use tokio::time::Instant;

/// When each broker was last seen to hold its lease.
#[derive(Debug, Default)]
pub(super) struct Sightings {
    /// The first and the last look of a row without a gap.
    looks: Option<(Instant, Instant)>,
    seen: BTreeMap<BrokerId, Instant>,
}

impl Sightings {
    /// Takes in a look, and tells which brokers were seen within `window`; `None` if nobody has looked for so long.
    ///
    /// While nobody looked, brokers may have come and gone. After such a gap, of half a window, it begins anew.
    pub(super) fn look(
        &mut self,
        brokers: &BTreeSet<BrokerId>,
        window: Duration,
        now: Instant,
    ) -> Option<BTreeSet<BrokerId>> {
        let row = self.looks.filter(|(_, last)| now - *last < window / 2);
        let first = row.map_or(now, |(first, _)| first);
        self.looks = Some((first, now));
        self.seen.retain(|_, at| now - *at < window);
        self.seen
            .extend(brokers.iter().map(|broker| (broker.clone(), now)));
        (now - first >= window).then(|| self.seen.keys().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(30);

    fn set(names: &[&str]) -> BTreeSet<BrokerId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_broker_is_gone_when_it_was_not_seen_for_a_while() {
        let start = Instant::now();
        let mut sightings = Sightings::default();
        let mut look =
            |second, names: &[&str]| sightings.look(&set(names), WINDOW, start + Duration::from_secs(second));
        assert_eq!(look(0, &["a", "b"]), None);
        assert_eq!(look(10, &["b"]), None);
        assert_eq!(look(20, &["b"]), None);
        assert_eq!(look(29, &["b"]), None);
        assert_eq!(look(30, &["b"]), Some(set(&["b"])));
        // One that loses its lease for a moment is not gone.
        assert_eq!(look(40, &["c"]), Some(set(&["b", "c"])));
        assert_eq!(look(50, &["c", "b"]), Some(set(&["b", "c"])));
    }

    #[test]
    fn after_a_time_without_a_look_nobody_is_taken_for_gone() {
        let start = Instant::now();
        let mut sightings = Sightings::default();
        for second in [0, 10, 20, 30] {
            sightings.look(&set(&["a"]), WINDOW, start + Duration::from_secs(second));
        }
        let mut look = |second| sightings.look(&set(&[]), WINDOW, start + Duration::from_secs(second));
        assert_eq!(look(45), None);
        assert_eq!(look(59), None);
        assert_eq!(look(75), None, "the last look is too long ago");
    }
}
