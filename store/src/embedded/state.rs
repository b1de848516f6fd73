//! The published state: current entries and a bounded log of the latest changes.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use crate::{Batch, Entry, Event, Page, Revision, StoreError};

/// The changes of one revision: key, value before, value after.
#[derive(Debug, Clone)]
pub(super) struct Logged {
    pub(super) revision: Revision,
    pub(super) changes: Vec<(String, Option<Entry>, Option<Entry>)>,
}

/// Entries and log. Changed by the writer only.
#[derive(Debug)]
pub(super) struct State {
    entries: BTreeMap<String, Entry>,
    revision: Revision,
    log: VecDeque<Logged>,
    log_events: usize,
    log_limit: usize,
    /// Changes up to this revision are not in the log any more.
    compacted: Revision,
}

impl State {
    pub(super) fn new(entries: BTreeMap<String, Entry>, revision: Revision, log_limit: usize) -> Self {
        Self {
            entries,
            revision,
            log: VecDeque::new(),
            log_events: 0,
            log_limit,
            compacted: revision,
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    pub(super) fn keys_with(&self, prefix: &str) -> impl Iterator<Item = &String> {
        self.entries
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map(|(key, _)| key)
            .take_while(move |key| key.starts_with(prefix))
    }

    pub(super) fn leased_keys(&self) -> Vec<String> {
        let leased = self.entries.values().filter(|entry| entry.lease.is_some());
        leased.map(|entry| entry.key.clone()).collect()
    }

    /// Makes changes that are on disk visible.
    pub(super) fn publish(&mut self, logged: Logged) {
        self.revision = logged.revision;
        for (key, _, after) in &logged.changes {
            match after {
                Some(entry) => self.entries.insert(key.clone(), entry.clone()),
                None => self.entries.remove(key),
            };
        }
        self.log_events += logged.changes.len();
        self.log.push_back(logged);
        while self.log_events > self.log_limit
            && let Some(oldest) = self.log.pop_front()
        {
            self.log_events -= oldest.changes.len();
            self.compacted = oldest.revision;
        }
    }

    /// Fails when changes from `from` on are not all in the log.
    pub(super) fn check_log(&self, from: Revision) -> Result<(), StoreError> {
        if from <= self.compacted {
            return Err(StoreError::Compacted {
                wanted: from,
                oldest: self.compacted + 1,
            });
        }
        Ok(())
    }

    /// The changes from `from` on to keys with `prefix`, in one batch.
    pub(super) fn changes(&self, prefix: &str, from: Revision) -> Result<Batch, StoreError> {
        self.check_log(from)?;
        let start = self.log.partition_point(|logged| logged.revision < from);
        let mut events = Vec::new();
        for logged in self.log.range(start..) {
            for (key, _, after) in logged
                .changes
                .iter()
                .filter(|(key, _, _)| key.starts_with(prefix))
            {
                events.push(match after {
                    Some(entry) => Event::Put(entry.clone()),
                    None => Event::Delete {
                        key: key.clone(),
                        revision: logged.revision,
                    },
                });
            }
        }
        Ok(Batch {
            events,
            revision: self.revision,
        })
    }

    pub(super) fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let revision = revision.unwrap_or(self.revision);
        let undone = self.undo_to(prefix, revision)?;
        let start = after.map_or(Bound::Included(prefix), Bound::Excluded);
        let mut found: BTreeMap<&str, &Entry> = BTreeMap::new();
        let past = |key: &str| after.is_none_or(|after| key > after);
        found.extend(
            undone
                .iter()
                .filter(|(key, _)| past(key))
                .filter_map(|(key, entry)| Some((*key, (*entry)?))),
        );
        let current = self.entries.range::<str, _>((start, Bound::Unbounded));
        let current = current.take_while(|(key, _)| key.starts_with(prefix));
        let unchanged = current.filter(|(key, _)| !undone.contains_key(key.as_str()));
        found.extend(
            unchanged
                .take(limit.saturating_add(1))
                .map(|(key, entry)| (key.as_str(), entry)),
        );
        let more = found.len() > limit;
        let entries = found.into_values().take(limit).cloned().collect();
        Ok(Page {
            entries,
            revision,
            more,
        })
    }

    /// What keys with `prefix` that changed after `revision` were at that revision.
    fn undo_to(
        &self,
        prefix: &str,
        revision: Revision,
    ) -> Result<BTreeMap<&str, Option<&Entry>>, StoreError> {
        if revision < self.revision {
            self.check_log(revision + 1)?;
        }
        let mut undone = BTreeMap::new();
        for logged in self
            .log
            .iter()
            .rev()
            .take_while(|logged| logged.revision > revision)
        {
            for (key, before, _) in logged
                .changes
                .iter()
                .filter(|(key, _, _)| key.starts_with(prefix))
            {
                undone.insert(key.as_str(), before.as_ref());
            }
        }
        Ok(undone)
    }
}
