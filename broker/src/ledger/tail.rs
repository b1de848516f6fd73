//! Where the lineage of a session ends, and whether it has room for one more entry.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use berth_core::ids::SessionId;
use berth_core::keys;
use berth_core::lineage::compact::{Room, removable};
use berth_runtime::clock::unix_millis;
use berth_store::{Compare, Revision, Txn};

use super::{Ledger, unavailable};
use crate::commit::get;
use crate::dialects::connect::backend::Refusal;

/// After so many new entries it is looked whether older ones are needed.
const COMPACT_EVERY: u64 = 500;
/// How long a full lineage is taken for full: to look costs reading all of it.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Entries that are removed in one transaction: etcd takes 128 changes.
const REMOVED_AT_ONCE: usize = 50;

/// The end of a lineage; a guess that the transaction checks: the place after it must be free, and nobody may have
/// compacted the lineage since, for that frees places before its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    /// The last sequence number.
    pub(super) seq: u64,
    /// The latest compaction.
    compacted: Option<Revision>,
    /// How many entries there are.
    pub(super) entries: u64,
    /// How many were added since it was looked whether older ones are needed.
    added: u64,
    /// When it was found that there is no room for more.
    full_at: Option<Instant>,
}

impl Tail {
    /// Holds while nobody compacts the lineage.
    pub(super) fn unchanged(&self, session: SessionId) -> Compare {
        let mark = keys::compaction(session);
        match self.compacted {
            None => Compare::Absent(mark),
            Some(revision) => Compare::ModRevision(mark, revision),
        }
    }
}

impl Ledger {
    /// Removes entries that neither a rebuild nor a client needs any more, and tells how many. Entries that are
    /// removed have an outcome and do not change: nobody can be in the middle of anything with them.
    pub(crate) async fn compact(&self, session: SessionId, room: Room) -> Result<usize, Refusal> {
        let entries = self.entries(session).await?;
        let gone = removable(&entries, unix_millis(), room);
        let gone: Vec<_> = entries.iter().filter(|entry| gone.contains(&entry.seq)).collect();
        for some in gone.chunks(REMOVED_AT_ONCE) {
            let marked = Txn::new().put(keys::compaction(session), unix_millis().to_string());
            let txn = some.iter().fold(marked, |txn, entry| {
                txn.delete(keys::lineage(session, entry.seq))
                    .delete(keys::operation(session, &entry.operation))
            });
            self.store.txn(txn).await.map_err(unavailable)?;
        }
        self.forget_tail(session);
        metrics::counter!("berth_lineage_entries_removed_total").increment(gone.len() as u64);
        tracing::debug!(session.id = %session, entries = entries.len(), removed = gone.len(), "lineage compacted");
        Ok(gone.len())
    }

    /// The end of a lineage to which one more entry may be appended.
    pub(super) async fn tail_with_room(&self, session: SessionId) -> Result<Tail, Refusal> {
        let tail = self.tail(session).await?;
        if tail.entries < self.max_entries {
            return Ok(tail);
        }
        let looked_just_now = tail.full_at.is_some_and(|at| at.elapsed() < LOOK_AGAIN);
        if !looked_just_now {
            if self.compact(session, Room::Short).await? > 0 {
                return self.read_tail(session).await;
            }
            self.note_full(session, tail);
        }
        let reason = format!(
            "the session has {} recorded changes, as many as broker.lineage-entries allows: open a new one",
            self.max_entries
        );
        Err(Refusal::LineageFull { reason })
    }

    fn known_tails(&self) -> MutexGuard<'_, BTreeMap<SessionId, Tail>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_full(&self, session: SessionId, tail: Tail) {
        let full_at = Some(Instant::now());
        self.known_tails().insert(session, Tail { full_at, ..tail });
    }

    async fn tail(&self, session: SessionId) -> Result<Tail, Refusal> {
        let known = self.known_tails().get(&session).copied();
        match known {
            Some(tail) if tail.added >= COMPACT_EVERY => {
                self.compact(session, Room::Enough).await?;
                self.read_tail(session).await
            }
            Some(tail) => Ok(tail),
            None => self.read_tail(session).await,
        }
    }

    async fn read_tail(&self, session: SessionId) -> Result<Tail, Refusal> {
        // Before the entries are: a compaction between the two shows when an entry is appended.
        let mark = get(&self.store, &keys::compaction(session)).await;
        let mark = mark.map_err(unavailable)?;
        let entries = self.entries(session).await?;
        Ok(Tail {
            compacted: mark.map(|mark| mark.mod_revision),
            seq: entries.last().map_or(0, |entry| entry.seq),
            entries: entries.len() as u64,
            added: 0,
            full_at: None,
        })
    }

    pub(super) fn remember(&self, session: SessionId, seq: u64, before: Tail) {
        let mut tails = self.known_tails();
        let tail = tails.entry(session).or_insert(before);
        tail.seq = seq.max(tail.seq);
        tail.entries += 1;
        tail.added += 1;
    }

    /// Forgets where a lineage ends; the store is asked again.
    pub(super) fn forget_tail(&self, session: SessionId) {
        self.known_tails().remove(&session);
    }

    /// Forgets what is known of a session; the store is asked again.
    pub fn forget(&self, session: SessionId) {
        self.forget_tail(session);
        self.settled.forget(session);
    }
}
