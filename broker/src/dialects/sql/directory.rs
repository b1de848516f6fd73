//! Kyuubi's handles of sessions, in the store: every broker knows whose a session is and what it was opened with.
//!
//! `aliases/kyuubi/<handle>` lives from the answer to the client that opened the session until the session is closed.
//! What the leader finds there of sessions that are over goes an hour later at most.

use std::collections::BTreeMap;

use berth_core::ids::{SessionId, TenantId};
use berth_core::keys;
use berth_core::record::{BrokerRecord, FORMAT, Record, RecordError, SessionRecord, SessionState};
use berth_store::{Compare, StoreError, StoreRef, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::refusal::Refusal;
use crate::commit::{commit, get};
use crate::dialects::sql::place::Place;

const DIALECT: &str = "kyuubi";
/// Entries that are read from the store at once.
const PAGE: usize = 500;

/// A session as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Format number.
    pub(super) format: u16,
    /// The client's id.
    pub(super) handle: Uuid,
    /// Berth's id.
    pub(super) session: SessionId,
    /// Whom it acts for.
    pub(super) user: String,
    /// Who opened it, and may use it.
    pub(super) real_user: String,
    /// Their tenant; `None` for the default one.
    pub(super) tenant: Option<TenantId>,
    /// The version of its client's protocol.
    pub(super) protocol: i32,
    /// What it was opened with.
    pub(super) confs: BTreeMap<String, String>,
    /// Where its client called from.
    pub(super) client_ip: String,
    /// Under which address it called.
    pub(super) instance: String,
    /// When it was opened, in Unix milliseconds.
    pub(super) opened_at: u64,
}

impl Record for Listed {
    fn format(&self) -> u16 {
        self.format
    }
}

impl Listed {
    /// The confs as [`Opening::read`](crate::dialects::sql::opening::Opening::read) takes them. The order is that of
    /// the keys, in which Kyuubi's own key for the user to act for comes after Hive's, and wins.
    pub(super) fn pairs(&self) -> Vec<(String, String)> {
        self.confs.clone().into_iter().collect()
    }
}

/// A session with its record, if it has one by now.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) listed: Listed,
    pub(super) record: Option<SessionRecord>,
}

impl Found {
    /// True when the session has ended.
    pub(super) fn is_over(&self) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| matches!(record.state, SessionState::Closed { .. }))
    }
}

/// The directory.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    store: StoreRef,
}

fn damaged(error: &RecordError) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

impl Directory {
    /// The directory in `store`.
    pub(crate) fn new(store: StoreRef) -> Self {
        Self { store }
    }

    /// Enters a session.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(super) async fn enter(&self, listed: &Listed) -> Result<(), Refusal> {
        let (key, value) = (key(listed.handle), listed.encode());
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .put(&key, value.clone());
        match commit(&self.store, txn, (&key, &value)).await? {
            Some(_) => Ok(()),
            None => Err(Refusal::Unavailable("the handle is taken".to_owned())),
        }
    }

    /// The session of a handle.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(super) async fn find(&self, handle: Uuid) -> Result<Option<Found>, Refusal> {
        let key = key(handle);
        let Some(entry) = get(&self.store, &key).await? else {
            return Ok(None);
        };
        let listed = Listed::decode(&key, &entry.value).map_err(|error| damaged(&error))?;
        let record = self.record(listed.session).await?;
        Ok(Some(Found { listed, record }))
    }

    /// The record of a session.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn record(&self, session: SessionId) -> Result<Option<SessionRecord>, Refusal> {
        let key = keys::session(session);
        let entry = get(&self.store, &key).await?;
        let record = entry.map(|entry| SessionRecord::decode(&key, &entry.value));
        record.transpose().map_err(|error| damaged(&error))
    }

    /// All sessions that are not over and that `wanted` picks, the oldest first.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(super) async fn all(&self, wanted: impl Fn(&Listed) -> bool) -> Result<Vec<Found>, Refusal> {
        let mut all = Vec::new();
        for listed in self.entries().await? {
            if wanted(&listed) {
                let record = self.record(listed.session).await?;
                all.push(Found { listed, record });
            }
        }
        all.retain(|found| !found.is_over());
        all.sort_by_key(|found| found.listed.opened_at);
        Ok(all)
    }

    async fn entries(&self) -> Result<Vec<Listed>, Refusal> {
        let prefix = keys::alias(DIALECT, "");
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE, None).await?;
            for entry in &page.entries {
                all.push(Listed::decode(&entry.key, &entry.value).map_err(|error| damaged(&error))?);
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more || after.is_none() {
                return Ok(all);
            }
        }
    }

    /// The broker of a place, if it still holds its lease.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(super) async fn broker_at(&self, place: Place) -> Result<Option<BrokerRecord>, Refusal> {
        let mut after = None::<String>;
        loop {
            let page = self
                .store
                .list(keys::BROKERS, after.as_deref(), PAGE, None)
                .await?;
            for entry in &page.entries {
                let record =
                    BrokerRecord::decode(&entry.key, &entry.value).map_err(|error| damaged(&error))?;
                if Place::of_broker(&record.id) == place {
                    return Ok(Some(record));
                }
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more || after.is_none() {
                return Ok(None);
            }
        }
    }

    /// Removes a session. Idempotent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) async fn remove(&self, handle: Uuid) -> Result<(), StoreError> {
        self.store.txn(Txn::new().delete(key(handle))).await.map(drop)
    }

    /// Removes what was opened before a time in Unix milliseconds and is over. Tells how many.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(crate) async fn forget_over(&self, before: u64) -> Result<usize, Refusal> {
        let mut forgotten = 0;
        for listed in self.entries().await? {
            if listed.opened_at >= before {
                continue;
            }
            let handle = listed.handle;
            let record = self.record(listed.session).await?;
            if record.is_none() || (Found { listed, record }).is_over() {
                self.remove(handle).await?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }
}

fn key(handle: Uuid) -> String {
    keys::alias(DIALECT, &handle.to_string())
}

/// The format that this build writes.
pub(super) const fn format() -> u16 {
    FORMAT
}
