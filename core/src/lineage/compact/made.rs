//! Which writes changed a temporary view that the rebuild of the session has made by then.

use std::collections::{BTreeMap, BTreeSet};

use super::mentions::Mentions;
use crate::lineage::views::Change;
use crate::lineage::{Class, LineageEntry, Outcome};

/// How surely a temporary view is there when an entry is replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::lineage) enum Made {
    /// An entry before it makes it.
    Surely,
    /// An entry before it, without a key, contains its name, or cannot be searched.
    Maybe,
}

/// The places of writes that changed a view which is there then: of a view that is not, there is nothing to change, and
/// what they changed was permanent. `gone` are the places of entries that are not replayed.
pub(super) fn made(
    entries: &[LineageEntry],
    gone: &BTreeSet<u64>,
    mentions: &Mentions,
) -> BTreeMap<u64, Made> {
    let mut made = BTreeMap::new();
    let mut there = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let change = Change::of(entry);
        let Some(view) = change.view().filter(|_| !gone.contains(&entry.seq)) else {
            continue;
        };
        // Spark Connect has the names of views as their clients wrote them.
        let name = view.replace('`', "");
        match (change, &entry.outcome) {
            (Change::Makes(_), Outcome::Succeeded { .. } | Outcome::Unknown) => _ = there.insert(name),
            (_, Outcome::Failed { .. } | Outcome::Unknown) => {}
            (_, Outcome::Succeeded { .. }) => {
                let is_there = there.contains(&name).then_some(Made::Surely);
                let how = is_there.or_else(|| mentions.may_be_made(at, view).then_some(Made::Maybe));
                made.extend(
                    how.filter(|_| entry.class == Class::Write)
                        .map(|how| (entry.seq, how)),
                );
                if matches!(change, Change::Drops(_) | Change::Renames(_)) {
                    there.remove(&name);
                }
            }
        }
    }
    made
}
