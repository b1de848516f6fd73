//! Livy's integers and names for sessions and batches, in the store.
//!
//! An id comes from a counter that only rises, so that it is never given twice, over any restart and from any
//! replica. The entry is what makes a session durable before its client hears the id: it holds the request, so that
//! whichever broker is asked next can go on with a start that its first broker did not finish.

mod batches;
mod entries;

use std::sync::Arc;

use berth_core::ids::SessionId;
use berth_core::keys;
use berth_core::record::{Dialect, FORMAT, Record, RecordError, SessionRecord, SessionState, Work};
use berth_store::{Compare, Entry, Revision, StoreError, StoreRef, Txn, TxnOutcome};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::listed::{Listed, number_of};
use super::refusal::Refusal;
use crate::commit::commit;

const MAX_TRIES: u32 = 32;
const PAGE: usize = 500;

/// What numbers and names are given to. Each kind counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Sessions.
    Sessions,
    /// Batches.
    Batches,
    /// Batches that came over Kyuubi's API. Their clients know them by their keys.
    KyuubiBatches,
}

impl Resource {
    /// Where the session of a record is listed, if it is in such a directory.
    pub const fn of_record(record: &SessionRecord) -> Option<Self> {
        match (record.dialect, record.work) {
            (Dialect::Livy, Work::Session) => Some(Self::Sessions),
            (Dialect::Livy, Work::Batch) => Some(Self::Batches),
            (Dialect::Kyuubi, Work::Batch) => Some(Self::KyuubiBatches),
            (Dialect::Kyuubi | Dialect::Connect | Dialect::Hs2 | Dialect::Native, _) => None,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Number {
    format: u16,
    number: u32,
}

impl Record for Number {
    fn format(&self) -> u16 {
        self.format
    }
}

/// The directory.
#[derive(Debug, Clone)]
pub struct Directory {
    store: StoreRef,
    resource: Resource,
    /// Held while a number is taken: those of one broker queue here, so that only brokers contend for the counter.
    turn: Arc<Mutex<()>>,
}

fn damaged(error: &RecordError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

impl Directory {
    /// The directory of sessions in `store`.
    pub fn new(store: StoreRef) -> Self {
        Self::of(store, Resource::Sessions)
    }

    /// The directory of one kind of resource in `store`.
    pub fn of(store: StoreRef, resource: Resource) -> Self {
        Self {
            store,
            resource,
            turn: Arc::default(),
        }
    }

    /// Enters a session under the next free number, unless its key has made one before: then that one is given, and
    /// false. `entry.number` is overwritten.
    ///
    /// # Errors
    /// [`Refusal::Rejected`] for a name that is taken, [`Refusal::KeyReused`], [`Refusal::Unavailable`] when the
    /// store is or when too many other brokers do the same.
    pub async fn enter(&self, mut entry: Listed) -> Result<(Listed, bool), Refusal> {
        let _turn = self.turn.lock().await;
        for _ in 0..MAX_TRIES {
            if let Some(first) = self.made_before(&entry).await? {
                return Ok((first, false));
            }
            let counter = self.store.get(&self.resource.counter_key()).await?;
            entry.number = number_in(counter.as_ref())?;
            let left = self.check_name(&entry).await?;
            let txn = entering(self.resource, &entry, counter.as_ref(), left);
            let witness = (self.resource.id_key(entry.number), entry.encode());
            match commit(&self.store, txn, (&witness.0, &witness.1)).await {
                Ok(Some(_)) => return Ok((entry, true)),
                Ok(None) => {}
                Err(error) if error.is_transient() => return Err(doubtful(&error)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Unavailable(
            "too many sessions are being created at once".to_owned(),
        ))
    }

    /// The session that an earlier request with the same key made.
    ///
    /// # Errors
    /// [`Refusal::KeyReused`], [`Refusal::Unavailable`].
    pub async fn made_before(&self, entry: &Listed) -> Result<Option<Listed>, Refusal> {
        let Some(own) = &entry.key else { return Ok(None) };
        let key = self.resource.key_key(own.id);
        let Some(stored) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let number = number_in(Some(&stored))?;
        match self.by_number(number).await? {
            Some((first, _)) if first.key == entry.key => Ok(Some(first)),
            Some(_) => Err(Refusal::KeyReused),
            None => Ok(None),
        }
    }

    /// When the name of `entry` was given to another that is over by now, if it was: it can be taken over from that.
    async fn check_name(&self, entry: &Listed) -> Result<Option<Revision>, Refusal> {
        let Some(name) = &entry.request.name else {
            return Ok(None);
        };
        let Some(stored) = self.store.get(&self.resource.name_key(name)).await? else {
            return Ok(None);
        };
        match self.by_number(number_in(Some(&stored))?).await? {
            Some((holder, _)) if !self.is_over(&holder).await? => {
                let number = entry.number;
                Err(Refusal::Rejected(format!(
                    "Duplicate session name: Some({name}) for session {number}"
                )))
            }
            Some(_) | None => Ok(Some(stored.mod_revision)),
        }
    }

    /// True when a session has ended for good: by its entry, or by its record if it was not its client that ended it.
    async fn is_over(&self, listed: &Listed) -> Result<bool, Refusal> {
        // The end of a batch is in its entry.
        if listed.is_over() || listed.work() == Work::Batch {
            return Ok(listed.is_over());
        }
        let key = keys::session(listed.session);
        let Some(stored) = self.store.get(&key).await? else {
            return Ok(false);
        };
        let record = SessionRecord::decode(&key, &stored.value).map_err(|error| damaged(&error))?;
        Ok(matches!(record.state, SessionState::Closed { reopen: false, .. }))
    }

    /// The session that a path segment means: a number or a name.
    ///
    /// # Errors
    /// [`Refusal::NoSession`], or [`Refusal::Malformed`] for a number that is too large.
    pub async fn find(&self, segment: &str) -> Result<Listed, Refusal> {
        let none = || Refusal::NoSession(segment.to_owned());
        let number = if !segment.is_empty() && segment.chars().all(|c| c.is_ascii_digit()) {
            u32::try_from(super::request::integer(segment)?).unwrap_or(u32::MAX)
        } else {
            let key = self.resource.name_key(segment);
            let entry = self.store.get(&key).await?.ok_or_else(none)?;
            Number::decode(&key, &entry.value)
                .map_err(|error| damaged(&error))?
                .number
        };
        self.by_number(number)
            .await?
            .map(|(listed, _)| listed)
            .ok_or_else(none)
    }

    /// What was made with a key of this id.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn by_key(&self, key: Uuid) -> Result<Option<(Listed, Revision)>, Refusal> {
        let Some(number) = self.number_of_key(key).await? else {
            return Ok(None);
        };
        let found = self.by_number(number).await?;
        Ok(found.filter(|(listed, _)| listed.key.is_some_and(|own| own.id == key)))
    }

    async fn number_of_key(&self, key: Uuid) -> Result<Option<u32>, Refusal> {
        let stored = self.store.get(&self.resource.key_key(key)).await?;
        stored.map(|stored| number_in(Some(&stored))).transpose()
    }

    /// The number of what its session's record calls so.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn number(&self, client_id: &str) -> Result<Option<u32>, Refusal> {
        match (self.resource, Uuid::try_parse(client_id)) {
            (Resource::KyuubiBatches, Ok(key)) => self.number_of_key(key).await,
            (Resource::KyuubiBatches, Err(_no_id)) => Ok(None),
            (Resource::Sessions | Resource::Batches, _) => Ok(number_of(client_id)),
        }
    }

    async fn by_number(&self, number: u32) -> Result<Option<(Listed, Revision)>, Refusal> {
        let key = self.resource.id_key(number);
        let Some(entry) = self.store.get(&key).await? else {
            return Ok(None);
        };
        let listed = Listed::decode(&key, &entry.value).map_err(|error| damaged(&error))?;
        Ok(Some((listed, entry.mod_revision)))
    }

    /// All sessions in creation order.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn all(&self) -> Result<Vec<Listed>, Refusal> {
        let prefix = keys::alias(self.resource.ids(), "");
        let mut all = Vec::new();
        let (mut after, mut revision) = (None::<String>, None);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE, revision).await?;
            for entry in &page.entries {
                all.push(Listed::decode(&entry.key, &entry.value).map_err(|error| damaged(&error))?);
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            revision = Some(page.revision);
            if !page.more || after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Writes down why a session is dead. The first reason stays; nothing happens if the session is gone.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn fail(&self, number: u32, reason: &str) -> Result<(), Refusal> {
        let Some((mut listed, revision)) = self.by_number(number).await? else {
            return Ok(());
        };
        if listed.failed.is_some() {
            return Ok(());
        }
        listed.failed = Some(reason.chars().take(1000).collect());
        let key = self.resource.id_key(number);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), revision))
            .put(key, listed.encode());
        self.store.txn(txn).await?;
        Ok(())
    }

    /// The entry of a number, if the session still has it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn of_session(
        &self,
        number: u32,
        session: SessionId,
    ) -> Result<Option<(Listed, Revision)>, Refusal> {
        let found = self.by_number(number).await?;
        Ok(found.filter(|(listed, _)| listed.session == session))
    }

    /// Writes an entry that was read at `revision`. False if it has changed since.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: then it may have been written.
    pub async fn replace(&self, next: &Listed, revision: Revision) -> Result<bool, Refusal> {
        let key = self.resource.id_key(next.number);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), revision))
            .put(key, next.encode());
        Ok(matches!(self.store.txn(txn).await?, TxnOutcome::Done(_)))
    }

    /// Removes the number and name of a session that is over, if it still has them.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn forget(&self, client_id: &str, session: SessionId) -> Result<(), Refusal> {
        let Some(number) = self.number(client_id).await? else {
            return Ok(());
        };
        match self.by_number(number).await? {
            Some((listed, _)) if listed.session == session => self.remove(&listed).await,
            Some(_) | None => Ok(()),
        }
    }

    /// Removes what was opened before a time in Unix milliseconds, could not be started and has no record that would
    /// be reaped. Tells how many.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn forget_failed(&self, before: u64) -> Result<usize, Refusal> {
        let mut forgotten = 0;
        for listed in self.all().await? {
            let is_old = listed.is_over() && listed.opened_at() < before;
            if is_old && self.store.get(&keys::session(listed.session)).await?.is_none() {
                self.remove(&listed).await?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    /// Removes a session's number and name. Idempotent.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn remove(&self, listed: &Listed) -> Result<(), Refusal> {
        let key = self.resource.id_key(listed.number);
        for _ in 0..MAX_TRIES {
            let mut txn = Txn::new().when(Compare::Present(key.clone())).delete(key.clone());
            if listed.batch.is_some() {
                txn = txn.delete(self.resource.read_key(listed.number));
            }
            if let Some(own) = &listed.key {
                txn = txn.delete(self.resource.key_key(own.id));
            }
            // Another may have the name, if it was over before.
            if let Some(name) = listed.request.name.as_ref()
                && let Some(stored) = self.store.get(&self.resource.name_key(name)).await?
                && number_in(Some(&stored))? == listed.number
            {
                txn = txn
                    .when(Compare::ModRevision(stored.key.clone(), stored.mod_revision))
                    .delete(stored.key);
            }
            let removed = matches!(self.store.txn(txn).await?, TxnOutcome::Done(_));
            if removed || self.store.get(&key).await?.is_none() {
                return Ok(());
            }
        }
        Err(Refusal::Unavailable(
            "the entry is being changed by others".to_owned(),
        ))
    }
}

/// Of an entering whose outcome stays unknown.
fn doubtful(error: &StoreError) -> Refusal {
    Refusal::Unavailable(format!(
        "{error}; it may have been made all the same: look for it, or send it again with its Idempotency-Key if it \
         had one"
    ))
}

fn number_in(counter: Option<&Entry>) -> Result<u32, Refusal> {
    match counter {
        None => Ok(0),
        Some(entry) => Number::decode(&entry.key, &entry.value)
            .map(|n| n.number)
            .map_err(|error| damaged(&error)),
    }
}

fn entering(resource: Resource, entry: &Listed, counter: Option<&Entry>, left: Option<Revision>) -> Txn {
    let (key, next) = (resource.counter_key(), entry.number.saturating_add(1));
    let unchanged = match counter {
        None => Compare::Absent(key.clone()),
        Some(counter) => Compare::ModRevision(key.clone(), counter.mod_revision),
    };
    let numbered = |number| {
        Number {
            format: FORMAT,
            number,
        }
        .encode()
    };
    let id = resource.id_key(entry.number);
    let txn = Txn::new().when(unchanged).when(Compare::Absent(id.clone()));
    let txn = txn.put(key, numbered(next)).put(id, entry.encode());
    let txn = match &entry.key {
        None => txn,
        Some(key) => {
            let key = resource.key_key(key.id);
            txn.when(Compare::Absent(key.clone()))
                .put(key, numbered(entry.number))
        }
    };
    match &entry.request.name {
        None => txn,
        Some(name) => {
            let name = resource.name_key(name);
            let free = match left {
                None => Compare::Absent(name.clone()),
                Some(revision) => Compare::ModRevision(name.clone(), revision),
            };
            txn.when(free).put(name, numbered(entry.number))
        }
    }
}
