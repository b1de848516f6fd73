//! Lineage in the store: intents before they run, outcomes before clients hear them.
//!
//! An entry is `lineage/<session>/<seq>`; `operations/<session>/<operation>` points to it, so that an operation is
//! found by its id in any epoch and from any replica; an alias is kept as an operation is. All are written in one transaction that compares the
//! session's record: a broker that does not know that the session has moved cannot append to it (I1).

mod open;
mod outcome;
mod sweep;
mod tail;

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use berth_core::ids::{Epoch, SessionId};
use berth_core::keys;
use berth_core::lineage::{LineageEntry, Outcome, Payload};
use berth_core::record::Record;
use berth_runtime::clock::unix_millis;
use berth_store::blobs::{BlobError, Blobs};
use berth_store::{Compare, Revision, StoreError, StoreRef, Txn};
use bytes::Bytes;

use crate::commit::{commit, get};
use crate::dialects::connect::backend::{Intent, Refusal, Ticket};
use tail::Tail;

/// Payloads up to this size are in their record.
const INLINE_BYTES: usize = 32 << 10;
/// Appends that lose a race against another one of the same session try again so often.
const MAX_RACES: u32 = 16;
/// Entries read at once.
const PAGE: usize = 500;

/// The lineage of all sessions.
#[derive(Debug)]
pub struct Ledger {
    store: StoreRef,
    blobs: Blobs,
    /// Entries that one session may have.
    max_entries: u64,
    /// Where the lineage of each session ends, as far as this broker knows.
    tails: Mutex<BTreeMap<SessionId, Tail>>,
    settled: open::Settled,
}

impl Ledger {
    /// The lineage kept in `store`, with large payloads in `blobs` and up to `max_entries` of one session.
    pub fn new(store: StoreRef, blobs: Blobs, max_entries: u64) -> Self {
        Self {
            store,
            blobs,
            max_entries,
            tails: Mutex::new(BTreeMap::new()),
            settled: open::Settled::default(),
        }
    }

    /// Writes an intent under the session's record as it was at `revision`.
    ///
    /// # Errors
    /// `Duplicate` when the operation is recorded, `Unavailable` when the session has moved or the store is away,
    /// `LineageFull`.
    pub async fn begin(
        &self,
        session: SessionId,
        epoch: Epoch,
        revision: Revision,
        intent: Intent,
    ) -> Result<Ticket, Refusal> {
        self.append((session, epoch, revision), intent, false).await
    }

    /// As [`Ledger::begin`] for what waits for a driver: it is not given to one before it is claimed.
    ///
    /// # Errors
    /// As [`Ledger::begin`].
    pub async fn enlist(
        &self,
        session: SessionId,
        epoch: Epoch,
        revision: Revision,
        intent: Intent,
    ) -> Result<Ticket, Refusal> {
        self.append((session, epoch, revision), intent, true).await
    }

    async fn append(
        &self,
        (session, epoch, revision): (SessionId, Epoch, Revision),
        intent: Intent,
        waits: bool,
    ) -> Result<Ticket, Refusal> {
        let payload = self.keep(intent.payload.clone()).await?;
        for _ in 0..MAX_RACES {
            let tail = self.tail_with_room(session).await?;
            let seq = tail.seq + 1;
            let entry = LineageEntry {
                waits,
                ..entry(session, seq, epoch, &intent, payload.clone())
            };
            let entry = entry.encode();
            let key = keys::lineage(session, seq);
            let operation = keys::operation(session, &intent.operation);
            let mut txn = Txn::new()
                .when(Compare::ModRevision(keys::session(session), revision))
                .when(Compare::Absent(key.clone()))
                .when(Compare::Absent(operation.clone()))
                .when(tail.unchanged(session))
                .put(&key, entry.clone())
                .put(&operation, seq.to_string());
            if !intent.alias.is_empty() {
                let alias = keys::operation(session, &intent.alias);
                txn = txn
                    .when(Compare::Absent(alias.clone()))
                    .put(&alias, seq.to_string());
            }
            let begun = commit(&self.store, txn, (&key, &entry)).await;
            if begun.map_err(not_written)?.is_some() {
                self.remember(session, seq, tail);
                return Ok(Ticket {
                    session,
                    seq,
                    operation: intent.operation,
                });
            }
            self.explain_conflict(session, revision, &intent.operation)
                .await?;
            if !intent.alias.is_empty() {
                self.explain_conflict(session, revision, &intent.alias).await?;
            }
            self.forget_tail(session);
        }
        Err(Refusal::Unavailable {
            reason: "too many changes of the session at once; try again".to_owned(),
        })
    }

    /// Says why an append conflicted, unless it only lost a race for its place.
    async fn explain_conflict(
        &self,
        session: SessionId,
        revision: Revision,
        operation: &str,
    ) -> Result<(), Refusal> {
        let recorded = get(&self.store, &keys::operation(session, operation))
            .await
            .map_err(unavailable)?;
        if recorded.is_some() {
            return Err(Refusal::Duplicate {
                operation: operation.to_owned(),
            });
        }
        let record = get(&self.store, &keys::session(session))
            .await
            .map_err(unavailable)?;
        if record.is_none_or(|record| record.mod_revision != revision) {
            return Err(Refusal::Unavailable {
                reason: "the session has just moved; try again".to_owned(),
            });
        }
        Ok(())
    }

    /// What is written down of an operation.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn recall(&self, session: SessionId, operation: &str) -> Result<Option<LineageEntry>, Refusal> {
        let pointer = get(&self.store, &keys::operation(session, operation))
            .await
            .map_err(unavailable)?;
        let seq = pointer.and_then(|entry| std::str::from_utf8(&entry.value).ok()?.parse().ok());
        match seq {
            Some(seq) => self.entry(session, seq).await,
            None => Ok(None),
        }
    }

    /// One entry of a session's lineage.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn entry(&self, session: SessionId, seq: u64) -> Result<Option<LineageEntry>, Refusal> {
        let key = keys::lineage(session, seq);
        let stored = get(&self.store, &key).await.map_err(unavailable)?;
        let entry = stored.map(|stored| LineageEntry::decode(&key, &stored.value));
        entry.transpose().map_err(unavailable)
    }

    /// The lineage of a session, in order.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Refusal> {
        self.entries_after(session, None).await
    }

    async fn entries_after(
        &self,
        session: SessionId,
        mut after: Option<String>,
    ) -> Result<Vec<LineageEntry>, Refusal> {
        let prefix = keys::lineage_of(session);
        let mut entries = Vec::new();
        loop {
            let page = self
                .store
                .list(&prefix, after.as_deref(), PAGE, None)
                .await
                .map_err(unavailable)?;
            for stored in &page.entries {
                entries.push(LineageEntry::decode(&stored.key, &stored.value).map_err(unavailable)?);
            }
            after = page.entries.last().map(|entry| entry.key.clone()).or(after);
            if !page.more {
                return Ok(entries);
            }
        }
    }

    /// The bytes of a payload.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn payload(&self, payload: &Payload) -> Result<Bytes, Refusal> {
        match payload {
            Payload::Inline(text) => BASE64.decode(text).map(Bytes::from).map_err(unavailable),
            Payload::Blob { sha256, .. } => self.blobs.get(sha256).await.map_err(unavailable),
        }
    }

    /// Keeps bytes that an intent will name, and gives their content hash.
    ///
    /// # Errors
    /// `Quota` when there is no room, `Unavailable`.
    pub async fn keep_blob(&self, data: Bytes) -> Result<String, Refusal> {
        self.blobs.put(data).await.map_err(not_kept)
    }

    /// The bytes of a blob that an entry names.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn blob(&self, sha256: &str) -> Result<Bytes, Refusal> {
        self.blobs.get(sha256).await.map_err(unavailable)
    }

    async fn keep(&self, data: Bytes) -> Result<Payload, Refusal> {
        if data.len() <= INLINE_BYTES {
            return Ok(Payload::Inline(BASE64.encode(&data)));
        }
        let len = data.len() as u64;
        let sha256 = self.blobs.put(data).await.map_err(not_kept)?;
        Ok(Payload::Blob { sha256, len })
    }
}

/// An error of the store or of the blobs, as the dialects tell it.
pub(crate) fn unavailable(error: impl std::fmt::Display) -> Refusal {
    Refusal::Unavailable {
        reason: error.to_string(),
    }
}

/// A record that the store does not take. To try again at once is of no use when it is full.
pub(crate) fn not_written(error: StoreError) -> Refusal {
    match error {
        StoreError::Exhausted { .. } => Refusal::Quota {
            reason: error.to_string(),
        },
        other => unavailable(other),
    }
}

/// To try again at once is of no use on a full disk, but clients would, for minutes.
fn not_kept(error: BlobError) -> Refusal {
    tracing::error!(%error, "a payload was not kept, and its call is refused");
    match error {
        BlobError::Full { .. } => Refusal::Quota {
            reason: error.to_string(),
        },
        error => unavailable(error),
    }
}

fn entry(session: SessionId, seq: u64, epoch: Epoch, intent: &Intent, payload: Payload) -> LineageEntry {
    LineageEntry {
        format: LineageEntry::FORMAT,
        session,
        seq,
        epoch,
        operation: intent.operation.clone(),
        alias: intent.alias.clone(),
        class: intent.class,
        call: intent.call.clone(),
        what: intent.what.clone(),
        key: intent.key.clone(),
        payload,
        blobs: intent.blobs.clone(),
        fingerprint: intent.fingerprint,
        outcome: Outcome::Unknown,
        waits: false,
        reruns: 0,
        claim: None,
        handed_on: false,
        at: unix_millis(),
    }
}
