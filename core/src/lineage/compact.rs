//! Which entries of a lineage are not needed any more.
//!
//! A newer value of a conf replaces the older one, a view that is made again or dropped replaces the one before,
//! unless something that may still live was made in between and could be built on it. What is built on what is not
//! parsed: an entry in between whose request contains the name, or may contain it, counts.

mod made;
mod mentions;

use std::collections::{BTreeMap, BTreeSet};

use super::views::Change;
use super::{Class, LineageEntry, Outcome};
use crate::record::UnixMillis;
pub(super) use made::Made;
use mentions::Mentions;

/// For how long an entry answers a client that comes back: longer than clients try again (10 min).
const REMEMBERED_MILLIS: u64 = 15 * 60 * 1000;
/// The same for a state change of a session that is short of room. If its client never heard of it and comes back
/// later than this, it runs a second time, after what had replaced it: better than to refuse every change until then.
const REMEMBERED_WHEN_SHORT_MILLIS: u64 = 60 * 1000;
/// The call of entries that a session of code has, such as its statements.
const CODE: &str = "code";
/// Writes that are kept for what nobody can tell of them: as many names of lost things as a session's history has
/// room for.
const MAX_UNTOLD: usize = 20;

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
    let needs = Needs::of(entries);
    let spent = entries.iter().filter(|entry| needs.is_spent(entry));
    let mut gone: BTreeSet<u64> = spent.map(|entry| entry.seq).collect();
    gone.extend(&needs.superseded);
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

/// What a rebuild needs of a lineage, and why.
#[derive(Debug)]
pub(super) struct Needs {
    /// The places of entries whose replay would be undone by a later one.
    superseded: BTreeSet<u64>,
    /// The places of writes that changed a temporary view, with how surely it is there when they are replayed.
    made: BTreeMap<u64, Made>,
    /// The places of writes of which nobody knows what they changed.
    untold: BTreeSet<u64>,
}

impl Needs {
    /// Reads all requests once.
    pub(super) fn of(entries: &[LineageEntry]) -> Self {
        let mentions = Mentions::of(entries);
        let superseded = superseded(entries, &mentions);
        let made = made::made(entries, &superseded, &mentions);
        let untold = untold(entries);
        Self {
            superseded,
            made,
            untold,
        }
    }

    /// Whether a later entry undoes what its replay would do.
    pub(super) fn is_superseded(&self, entry: &LineageEntry) -> bool {
        self.superseded.contains(&entry.seq)
    }

    /// How surely the view that a write changed is there when it is replayed; `None` if it is not.
    pub(super) fn made(&self, entry: &LineageEntry) -> Option<Made> {
        self.made.get(&entry.seq).copied()
    }

    /// Whether it is one of the latest of which nobody knows what they changed.
    pub(super) fn is_untold(&self, entry: &LineageEntry) -> bool {
        self.untold.contains(&entry.seq)
    }

    /// Neither replayed nor named to anybody.
    fn is_spent(&self, entry: &LineageEntry) -> bool {
        // Statements are read, and run again, for as long as their session lives.
        if entry.call == CODE {
            return false;
        }
        match (&entry.outcome, entry.class) {
            (Outcome::Unknown, _) => false,
            (Outcome::Failed { .. }, _) => true,
            (Outcome::Succeeded { .. }, Class::Write) => self.made(entry).is_none() && !self.is_untold(entry),
            (Outcome::Succeeded { .. }, Class::State | Class::Pinned | Class::Read) => false,
        }
    }
}

fn superseded(entries: &[LineageEntry], mentions: &Mentions) -> BTreeSet<u64> {
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
        let is_replaced = match (Change::of(entry), Change::of(&entries[next])) {
            // What makes the view after it may not do so over one that is kept.
            (Change::Alters(_), _) | (Change::Drops(_), Change::Drops(_)) => true,
            _ => entry.class == Class::State,
        };
        if is_replaced && !is_needed {
            gone.insert(entry.seq);
        }
    }
    gone
}

/// The latest of each kind: a session that does the same over and over is told of it once.
fn untold(entries: &[LineageEntry]) -> BTreeSet<u64> {
    let mut kinds = BTreeSet::new();
    let untold = entries.iter().rev().filter(|entry| {
        let is_untold = has_succeeded(entry) && Change::of(entry) == Change::Untold;
        is_untold && kinds.insert(entry.key.as_str())
    });
    untold.take(MAX_UNTOLD).map(|entry| entry.seq).collect()
}

fn has_succeeded(entry: &LineageEntry) -> bool {
    matches!(entry.outcome, Outcome::Succeeded { .. })
}

#[cfg(test)]
mod tests;
