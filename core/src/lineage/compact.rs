//! Which entries of a lineage are not needed any more.
//!
//! A newer value of a conf replaces the older one, a view that is made again or dropped replaces the one before,
//! unless something that may still live was made in between and could be built on it. What is built on what is not
//! parsed: an entry in between whose request contains the name, or may contain it, counts.

mod mentions;

use std::collections::{BTreeMap, BTreeSet};

use super::{Class, LineageEntry, Outcome};
use crate::record::UnixMillis;
use mentions::Mentions;

/// For how long an entry answers a client that comes back: longer than clients try again (10 min).
const REMEMBERED_MILLIS: u64 = 15 * 60 * 1000;
/// The same for a state change of a session that is short of room. If its client never heard of it and comes back
/// later than this, it runs a second time, after what had replaced it: better than to refuse every change until then.
const REMEMBERED_WHEN_SHORT_MILLIS: u64 = 60 * 1000;

/// How much room is left in a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Enough.
    Enough,
    /// None: what is removed now makes place for the next entry.
    Short,
}

/// The places of entries that neither a rebuild nor a client needs any more. `entries` are in order. The last one
/// always stays: places are counted on from it.
pub fn removable(entries: &[LineageEntry], now: UnixMillis, room: Room) -> BTreeSet<u64> {
    let old: BTreeSet<u64> = entries
        .iter()
        .filter(|entry| now.saturating_sub(entry.at) >= remembered_millis(entry, room))
        .map(|entry| entry.seq)
        .collect();
    let spent = entries
        .iter()
        .filter(|entry| is_spent(entry))
        .map(|entry| entry.seq);
    let mut gone: BTreeSet<u64> = spent.collect();
    gone.extend(superseded(entries));
    gone.extend(needless_drops(entries, &gone));
    let last = entries.last().map(|entry| entry.seq);
    gone.intersection(&old)
        .copied()
        .filter(|seq| Some(*seq) != last)
        .collect()
}

fn remembered_millis(entry: &LineageEntry, room: Room) -> u64 {
    match (entry.call.as_str(), entry.class, room) {
        // Clients have no id by which they could ask for it.
        ("config", _, _) => 0,
        (_, Class::State, Room::Short) => REMEMBERED_WHEN_SHORT_MILLIS,
        _ => REMEMBERED_MILLIS,
    }
}

/// The places of entries whose replay would be undone by a later one.
pub fn superseded(entries: &[LineageEntry]) -> BTreeSet<u64> {
    let mentions = Mentions::of(entries);
    let mut gone = BTreeSet::new();
    // By key: the place of the next entry that succeeded.
    let mut following = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate().rev() {
        if entry.key.is_empty() || !has_succeeded(entry) {
            continue;
        }
        let Some(next) = following.insert(entry.key.as_str(), at) else {
            continue;
        };
        let is_needed = mentions.is_built_on_itself(next) || mentions.any_depends(at + 1..next, &entry.key);
        if entry.class == Class::State && !is_needed {
            gone.insert(entry.seq);
        }
    }
    gone
}

/// The call of entries that a session of code has, such as its statements.
const CODE: &str = "code";

/// Neither replayed nor named to anybody.
fn is_spent(entry: &LineageEntry) -> bool {
    // Statements are read, and run again, for as long as their session lives.
    if entry.call == CODE {
        return false;
    }
    match (&entry.outcome, entry.class) {
        (Outcome::Unknown, _) => false,
        (Outcome::Failed { .. }, _) => true,
        (Outcome::Succeeded { .. }, Class::Write) => !entry.key.starts_with("view:"),
        (Outcome::Succeeded { .. }, Class::State | Class::Pinned | Class::Read) => false,
    }
}

/// Recorded `DROP VIEW` statements of views that nothing before them makes.
fn needless_drops(entries: &[LineageEntry], gone: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut needless = BTreeSet::new();
    let mut made = BTreeSet::new();
    for entry in entries {
        let is_drop = entry.class == Class::Write && entry.key.starts_with("view:") && has_succeeded(entry);
        // What has no key may make anything.
        if is_drop && !made.contains("") && !made.contains(entry.key.as_str()) {
            needless.insert(entry.seq);
        }
        if entry.class == Class::State && !gone.contains(&entry.seq) {
            made.insert(entry.key.as_str());
        }
    }
    needless
}

fn has_succeeded(entry: &LineageEntry) -> bool {
    matches!(entry.outcome, Outcome::Succeeded { .. })
}

#[cfg(test)]
mod tests;
