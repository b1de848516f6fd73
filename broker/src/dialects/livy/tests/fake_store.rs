//! A store in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use berth_store::{
    Compare, Entry, LeaseId, Op, Page, RawWatch, Revision, Store, StoreError, Txn, TxnOutcome,
};

/// Keys without leases and watches.
#[derive(Debug, Default)]
pub(super) struct FakeStore {
    state: Mutex<(Revision, BTreeMap<String, Entry>)>,
    /// Transactions that are carried out and whose answer is lost.
    unanswered: AtomicUsize,
}

impl FakeStore {
    pub(super) fn lose_answers(&self, count: usize) {
        self.unanswered.store(count, Ordering::Release);
    }
}

fn holds(entries: &BTreeMap<String, Entry>, compare: &Compare) -> bool {
    match compare {
        Compare::Absent(key) => !entries.contains_key(key),
        Compare::Present(key) => entries.contains_key(key),
        Compare::ModRevision(key, at) => entries.get(key).is_some_and(|entry| entry.mod_revision == *at),
        Compare::CreateRevision(key, at) => {
            entries.get(key).is_some_and(|entry| entry.create_revision == *at)
        }
    }
}

#[async_trait]
impl Store for FakeStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.state.lock().unwrap().1.get(key).cloned())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        _revision: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let state = self.state.lock().unwrap();
        let matching = state.1.values().filter(|entry| entry.key.starts_with(prefix));
        let mut entries: Vec<Entry> = matching
            .filter(|entry| after.is_none_or(|after| entry.key.as_str() > after))
            .cloned()
            .collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(Page {
            entries,
            revision: state.0,
            more,
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        // As over a network: others get between what was read and what is written.
        tokio::task::yield_now().await;
        let mut state = self.state.lock().unwrap();
        if !txn.when.iter().all(|compare| holds(&state.1, compare)) {
            return Ok(TxnOutcome::Conflict(state.0));
        }
        state.0 += 1;
        let revision = state.0;
        for op in txn.then {
            match op {
                Op::Put { key, value, lease } => {
                    let create_revision = state.1.get(&key).map_or(revision, |entry| entry.create_revision);
                    let entry = Entry {
                        key: key.clone(),
                        value,
                        create_revision,
                        mod_revision: revision,
                        lease,
                    };
                    state.1.insert(key, entry);
                }
                Op::Delete(key) => drop(state.1.remove(&key)),
                Op::DeletePrefix(prefix) => state.1.retain(|key, _| !key.starts_with(&prefix)),
            }
        }
        let lost = |left: usize| left.checked_sub(1);
        match self
            .unanswered
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, lost)
        {
            Ok(_) => Err(StoreError::Unknown {
                reason: "the answer was lost".to_owned(),
            }),
            Err(_) => Ok(TxnOutcome::Done(revision)),
        }
    }

    async fn grant(&self, _ttl: Duration) -> Result<LeaseId, StoreError> {
        unimplemented!("the dialect has no leases")
    }

    async fn renew(&self, _lease: LeaseId) -> Result<(), StoreError> {
        unimplemented!("the dialect has no leases")
    }

    async fn revoke(&self, _lease: LeaseId) -> Result<(), StoreError> {
        unimplemented!("the dialect has no leases")
    }

    async fn watch(&self, _prefix: &str, _from: Revision) -> Result<RawWatch, StoreError> {
        unimplemented!("the dialect does not watch")
    }
}
