//! Handles of sessions that any broker serves, in the store: whose a session is and what it was opened with.
//!
//! `aliases/<dialect>/<handle>`, for Kyuubi's REST API and HiveServer2's protocol over HTTP, lives from the answer to the client that opened the session until the session is closed.
//! What the leader finds there of sessions that are over goes an hour later at most.

use std::collections::BTreeMap;

use berth_core::ids::{SessionId, TenantId};
use berth_core::keys;
use berth_core::record::{BrokerRecord, Dialect, FORMAT, Record, RecordError, SessionRecord, SessionState};
use berth_store::{Compare, StoreError, StoreRef, Txn};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failure::Failure;
use super::place::Place;
use crate::commit::{commit, get};

/// Entries that are read from the store at once.
const PAGE: usize = 500;

/// A session as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Listed {
    /// Format number.
    pub(crate) format: u16,
    /// The client's id.
    pub(crate) handle: Uuid,
    /// Berth's id.
    pub(crate) session: SessionId,
    /// Whom it acts for.
    pub(crate) user: String,
    /// Who opened it, and may use it.
    pub(crate) real_user: String,
    /// Their tenant; `None` for the default one.
    pub(crate) tenant: Option<TenantId>,
    /// The version of its client's protocol.
    pub(crate) protocol: i32,
    /// What it was opened with.
    pub(crate) confs: BTreeMap<String, String>,
    /// Where its client called from.
    pub(crate) client_ip: String,
    /// Under which address it called.
    pub(crate) instance: String,
    /// When it was opened, in Unix milliseconds.
    pub(crate) opened_at: u64,
}

impl Record for Listed {
    fn format(&self) -> u16 {
        self.format
    }
}

impl Listed {
    /// The confs as [`Opening::read`](super::opening::Opening::read) takes them. The order is that of
    /// the keys, in which Kyuubi's own key for the user to act for comes after Hive's, and wins.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.confs.clone().into_iter().collect()
    }
}

/// A session with its record, if it has one by now.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) listed: Listed,
    pub(crate) record: Option<SessionRecord>,
}

impl Found {
    /// True when the session has ended.
    pub(crate) fn is_over(&self) -> bool {
        let record = self.record.as_ref();
        record.is_some_and(|record| matches!(record.state, SessionState::Closed { .. }))
    }
}

/// The store does not answer, or what it has cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Away(pub(crate) String);

impl From<StoreError> for Away {
    fn from(error: StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<RecordError> for Away {
    fn from(error: RecordError) -> Self {
        Self(error.to_string())
    }
}

impl From<Away> for Failure {
    fn from(away: Away) -> Self {
        Self::passing(format!("not available now, try again: {away}"))
    }
}

/// The directory of one dialect.
#[derive(Debug, Clone)]
pub(crate) struct Directory {
    store: StoreRef,
    dialect: Dialect,
}

impl Directory {
    /// The directory of `dialect` in `store`.
    pub(crate) fn of(store: StoreRef, dialect: Dialect) -> Self {
        Self { store, dialect }
    }

    fn key(&self, handle: Uuid) -> String {
        keys::alias(self.dialect.as_str(), &handle.to_string())
    }

    /// Enters a session.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn enter(&self, listed: &Listed) -> Result<(), Away> {
        let (key, value) = (self.key(listed.handle), listed.encode());
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .put(&key, value.clone());
        match commit(&self.store, txn, (&key, &value)).await? {
            Some(_) => Ok(()),
            None => Err(Away("the handle is taken".to_owned())),
        }
    }

    /// The session of a handle.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn find(&self, handle: Uuid) -> Result<Option<Found>, Away> {
        let key = self.key(handle);
        let Some(entry) = get(&self.store, &key).await? else {
            return Ok(None);
        };
        let listed = Listed::decode(&key, &entry.value)?;
        let record = self.record(listed.session).await?;
        Ok(Some(Found { listed, record }))
    }

    /// The session of a handle, if it is not over. What is over goes.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn find_open(&self, handle: Uuid) -> Result<Option<Found>, Away> {
        let found = self.find(handle).await?;
        if found.as_ref().is_some_and(Found::is_over) {
            self.remove(handle).await?;
            return Ok(None);
        }
        Ok(found)
    }

    /// The record of a session.
    ///
    /// # Errors
    /// [`Away`].
    async fn record(&self, session: SessionId) -> Result<Option<SessionRecord>, Away> {
        let key = keys::session(session);
        let entry = get(&self.store, &key).await?;
        let record = entry.map(|entry| SessionRecord::decode(&key, &entry.value));
        Ok(record.transpose()?)
    }

    /// All sessions that are not over and that `wanted` picks, the oldest first.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn all(&self, wanted: impl Fn(&Listed) -> bool) -> Result<Vec<Found>, Away> {
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

    /// All entries, those of sessions that are over included.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn entries(&self) -> Result<Vec<Listed>, Away> {
        let prefix = keys::alias(self.dialect.as_str(), "");
        let (mut all, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = self.store.list(&prefix, after.as_deref(), PAGE, None).await?;
            for entry in &page.entries {
                all.push(Listed::decode(&entry.key, &entry.value)?);
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
    /// [`Away`].
    pub(crate) async fn broker_at(&self, place: Place) -> Result<Option<BrokerRecord>, Away> {
        let brokers = self.brokers().await?;
        Ok(brokers
            .into_iter()
            .find(|broker| Place::of_broker(&broker.id) == place))
    }

    /// The brokers that hold their lease.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn brokers(&self) -> Result<Vec<BrokerRecord>, Away> {
        let mut brokers = Vec::new();
        let mut after = None::<String>;
        loop {
            let page = self
                .store
                .list(keys::BROKERS, after.as_deref(), PAGE, None)
                .await?;
            for entry in &page.entries {
                brokers.push(BrokerRecord::decode(&entry.key, &entry.value)?);
            }
            after = page.entries.last().map(|entry| entry.key.clone());
            if !page.more || after.is_none() {
                return Ok(brokers);
            }
        }
    }

    /// Removes a session. Idempotent.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn remove(&self, handle: Uuid) -> Result<(), Away> {
        self.store.txn(Txn::new().delete(self.key(handle))).await?;
        Ok(())
    }

    /// Removes what was opened before a time in Unix milliseconds and is over. Tells how many.
    ///
    /// # Errors
    /// [`Away`].
    pub(crate) async fn forget_over(&self, before: u64) -> Result<usize, Away> {
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

/// The format that this build writes.
pub(crate) const fn format() -> u16 {
    FORMAT
}
