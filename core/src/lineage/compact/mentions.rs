//! Which entries of a lineage may come out differently without an earlier one: one pass over all requests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::lineage::views::{Change, changed};
use crate::lineage::{Class, LineageEntry, Outcome, Payload};

/// What a zstd frame begins with: a plan that came compressed cannot be searched.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Begins a reference to a conf.
const REFERENCE: &str = "${";

/// Words by which SQL refers to what it does not spell: `IDENTIFIER('v' || n)`, `EXECUTE IMMEDIATE`.
const INDIRECT: [&str; 2] = ["identifier", "immediate"];
/// The call of entries that can make a view without a key that says so: `CACHE TABLE v AS SELECT ..`.
const EXECUTE: &str = "execute";

/// What the requests of a lineage contain. Places count from 0.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    /// By name, in lower case: the replayed entries that contain it, in order.
    named: BTreeMap<String, Vec<usize>>,
    /// Replayed entries that cannot be searched, in order.
    opaque: Vec<usize>,
    /// Replayed entries on which confs take effect, in order.
    under_confs: Vec<usize>,
    /// Entries that replace the one with the same key and may be built on it.
    on_themselves: BTreeSet<usize>,
    /// What entries without a key may have made.
    unkeyed: Unkeyed,
}

/// The first replayed entries without a key, of those that can make a view.
#[derive(Debug, Default)]
struct Unkeyed {
    /// Of all.
    first: Option<usize>,
    /// Of those that cannot be searched, or spell names by confs.
    opaque: Option<usize>,
    /// By name: of those that contain it.
    named: BTreeMap<String, usize>,
}

impl Unkeyed {
    fn enter(&mut self, at: usize, found: Option<&BTreeMap<&str, usize>>) {
        self.first.get_or_insert(at);
        match found {
            Some(found) if !found.contains_key(REFERENCE) => {
                for name in found.keys() {
                    self.named.entry((*name).to_owned()).or_insert(at);
                }
            }
            Some(_) | None => _ = self.opaque.get_or_insert(at),
        }
    }

    /// Whether one before the place `at` may have made the view with this key.
    fn may_make(&self, at: usize, view: &str) -> bool {
        let named = match name_of(view) {
            Some(name) => self.named.get(&name).copied(),
            None => self.first,
        };
        [named, self.opaque].into_iter().flatten().any(|first| first < at)
    }
}

impl Mentions {
    /// Reads all requests once.
    pub(super) fn of(entries: &[LineageEntry]) -> Self {
        let mut names: BTreeSet<String> = entries.iter().filter_map(|entry| name_of(&entry.key)).collect();
        names.extend([REFERENCE].into_iter().chain(INDIRECT).map(str::to_owned));
        let names: Vec<String> = names.into_iter().collect();
        // It takes more than two thousand million bytes of names to fail: then nothing is searched.
        let search = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .build(&names)
            .ok();
        let mut mentions = Self::default();
        for (at, entry) in entries.iter().enumerate() {
            let found = search
                .as_ref()
                .and_then(|search| count(search, &names, &entry.payload));
            mentions.enter(at, entry, found.as_ref());
        }
        mentions
    }

    /// Adds an entry with how often it contains each name; `None` if that cannot be told.
    fn enter(&mut self, at: usize, entry: &LineageEntry, found: Option<&BTreeMap<&str, usize>>) {
        let times = |name: &str| found.map_or(usize::MAX, |found| found.get(name).copied().unwrap_or(0));
        let own = name_of(&entry.key);
        // Confs take effect on whatever is made under them, except on other confs that do not spell them out.
        let is_conf = entry.key.starts_with("conf:");
        let is_under_confs = !is_conf || times(REFERENCE) > 0;
        // `v = v.filter(..)`: once as the view's own name, and once more as what it is built on.
        let names_itself = || own.as_deref().is_none_or(|name| times(name) > 1);
        if entry.class == Class::State && is_under_confs && (is_conf || names_itself()) {
            self.on_themselves.insert(at);
        }
        if is_under_confs && is_replayed(entry) {
            self.under_confs.push(at);
        }
        if is_replayed(entry) {
            self.enter_replayed(at, entry, found);
        }
    }

    fn enter_replayed(&mut self, at: usize, entry: &LineageEntry, found: Option<&BTreeMap<&str, usize>>) {
        if entry.key.is_empty() && entry.call == EXECUTE {
            self.unkeyed.enter(at, found);
        }
        let Some(found) = found else {
            self.opaque.push(at);
            return;
        };
        // An `ALTER VIEW v` goes with the view that it alters: it does not keep one that is made again behind it.
        let alters = matches!(Change::of(entry), Change::Alters(_));
        let goes_with = name_of(&entry.key).filter(|_| alters);
        for (name, times) in found {
            if *times > 1 || goes_with.as_deref() != Some(*name) {
                self.named.entry((*name).to_owned()).or_default().push(at);
            }
        }
    }

    /// Whether an entry without a key, before the place `at`, may have made the view with this key.
    pub(super) fn may_be_made(&self, at: usize, view: &str) -> bool {
        self.unkeyed.may_make(at, view)
    }

    /// Whether the entry at `at` may be built on what had its key before.
    pub(super) fn is_built_on_itself(&self, at: usize) -> bool {
        self.on_themselves.contains(&at)
    }

    /// Whether replaying any of `places` may come out differently without the entry with this key.
    pub(super) fn any_depends(&self, places: Range<usize>, key: &str) -> bool {
        if key.starts_with("conf:") {
            return any_in(&self.under_confs, &places);
        }
        let Some(name) = name_of(key) else {
            return !places.is_empty();
        };
        any_in(&self.opaque, &places) || self.named.get(&name).is_some_and(|named| any_in(named, &places))
    }
}

/// Whether a rebuild does something for it that needs what was before it.
fn is_replayed(entry: &LineageEntry) -> bool {
    let may_have_succeeded = !matches!(entry.outcome, Outcome::Failed { .. });
    let is_altered = matches!(Change::of(entry), Change::Alters(_) | Change::Renames(_));
    may_have_succeeded && (entry.class == Class::State || is_altered)
}

/// Whether one of the ascending places is in the range.
fn any_in(ascending: &[usize], range: &Range<usize>) -> bool {
    let first = ascending.partition_point(|at| *at < range.start);
    ascending.get(first).is_some_and(|at| *at < range.end)
}

/// The name that others refer to a key by, in lower case; `None` for confs, and where it cannot be searched for:
/// beyond ASCII a request may spell it in another case.
fn name_of(key: &str) -> Option<String> {
    let key = changed(key);
    let (kind, name) = key.split_once(':').unwrap_or(("", key));
    let name = name.rsplit('.').next().unwrap_or(name);
    (kind != "conf" && !name.is_empty() && name.is_ascii()).then(|| name.to_ascii_lowercase())
}

/// How often a request contains each of the names; `None` if it cannot be searched.
fn count<'a>(
    search: &AhoCorasick,
    names: &'a [String],
    payload: &Payload,
) -> Option<BTreeMap<&'a str, usize>> {
    let Payload::Inline(text) = payload else {
        return None;
    };
    let bytes = BASE64.decode(text).ok()?;
    if bytes.windows(ZSTD.len()).any(|window| window == ZSTD) {
        return None;
    }
    let mut found = BTreeMap::new();
    for mention in search.find_overlapping_iter(&bytes) {
        if let Some(name) = names.get(mention.pattern().as_usize()) {
            *found.entry(name.as_str()).or_insert(0) += 1;
        }
    }
    let is_indirect = INDIRECT.iter().any(|word| found.contains_key(word));
    (!is_indirect).then_some(found)
}
