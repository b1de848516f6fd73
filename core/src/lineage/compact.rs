//! Which entries of a lineage are not needed any more.
//!
//! A newer value of a conf replaces the older one, a view that is made again or dropped replaces the one before,
//! unless something that may still live was made in between and could be built on it. What is built on what is not
//! parsed: an entry in between whose request contains the name, or may contain it, counts.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Class, LineageEntry, Outcome, Payload};
use crate::record::UnixMillis;

/// For how long an entry answers a client that comes back: longer than clients try again (10 min).
const REMEMBERED_MILLIS: u64 = 15 * 60 * 1000;
/// What a zstd frame begins with: a plan that came compressed cannot be searched.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// The places of entries that neither a rebuild nor a client needs any more. `entries` are in order. The last one
/// always stays: places are counted on from it.
pub fn removable(entries: &[LineageEntry], now: UnixMillis) -> BTreeSet<u64> {
    let old: BTreeSet<u64> = entries
        .iter()
        .filter(|entry| now.saturating_sub(entry.at) >= REMEMBERED_MILLIS)
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

/// The places of entries whose replay would be undone by a later one.
pub fn superseded(entries: &[LineageEntry]) -> BTreeSet<u64> {
    let mut gone = BTreeSet::new();
    for (at, entry) in entries.iter().enumerate() {
        if entry.class != Class::State || entry.key.is_empty() || !has_succeeded(entry) {
            continue;
        }
        let later = &entries[at + 1..];
        let next = later
            .iter()
            .position(|next| next.key == entry.key && has_succeeded(next));
        let Some(next) = next else { continue };
        let between = &later[..next];
        if !may_be_built_on_itself(&later[next])
            && !between.iter().any(|between| may_depend(between, &entry.key))
        {
            gone.insert(entry.seq);
        }
    }
    gone
}

/// Neither replayed nor named to anybody.
fn is_spent(entry: &LineageEntry) -> bool {
    match (&entry.outcome, entry.class) {
        (Outcome::Unknown, _) => false,
        (Outcome::Failed { .. }, _) => true,
        (Outcome::Succeeded { .. }, Class::Write) => !entry.key.starts_with("view:"),
        (Outcome::Succeeded { .. }, Class::State | Class::Pinned | Class::Read) => false,
    }
}

/// Recorded `DROP VIEW` statements of views that nothing before them makes.
fn needless_drops(entries: &[LineageEntry], gone: &BTreeSet<u64>) -> BTreeSet<u64> {
    let drops = entries.iter().enumerate().filter(|(_, entry)| {
        entry.class == Class::Write && entry.key.starts_with("view:") && has_succeeded(entry)
    });
    let is_needless = |at: usize, drop: &LineageEntry| {
        let mut before = entries[..at].iter().filter(|entry| !gone.contains(&entry.seq));
        !before.any(|entry| entry.class == Class::State && (entry.key == drop.key || entry.key.is_empty()))
    };
    drops
        .filter(|(at, drop)| is_needless(*at, drop))
        .map(|(_, drop)| drop.seq)
        .collect()
}

fn has_succeeded(entry: &LineageEntry) -> bool {
    matches!(entry.outcome, Outcome::Succeeded { .. })
}

/// Whether replaying `between` may come out differently without the entry with this key.
fn may_depend(between: &LineageEntry, key: &str) -> bool {
    let replayed = between.class == Class::State && !matches!(between.outcome, Outcome::Failed { .. });
    let (kind, name) = key.split_once(':').unwrap_or(("", key));
    match kind {
        _ if !replayed => false,
        // Confs take effect on whatever is made under them, except on other confs that do not spell them out.
        "conf" => !between.key.starts_with("conf:") || mentions(&between.payload, "${") > 0,
        _ => mentions(&between.payload, name) > 0,
    }
}

/// `v = v.filter(..)`: the name is there once as the view's own, and once more as what it is built on.
fn may_be_built_on_itself(entry: &LineageEntry) -> bool {
    let (kind, name) = entry.key.split_once(':').unwrap_or(("", &entry.key));
    match (entry.class, kind) {
        (Class::State, "conf") => mentions(&entry.payload, "${") > 0,
        (Class::State, _) => mentions(&entry.payload, name) > 1,
        (Class::Write | Class::Read | Class::Pinned, _) => false,
    }
}

/// How often a request contains a name; as often as can be where that cannot be told.
fn mentions(payload: &Payload, name: &str) -> usize {
    let Payload::Inline(text) = payload else {
        return usize::MAX;
    };
    let Ok(bytes) = BASE64.decode(text) else {
        return usize::MAX;
    };
    let name = name.rsplit('.').next().unwrap_or(name).as_bytes();
    if name.is_empty() || bytes.windows(ZSTD.len()).any(|window| window == ZSTD) {
        return usize::MAX;
    }
    let found = bytes
        .windows(name.len())
        .filter(|window| window.eq_ignore_ascii_case(name));
    found.count()
}

#[cfg(test)]
mod tests;
