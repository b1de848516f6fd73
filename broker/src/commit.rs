//! Transactions whose outcome is known in the end.
//!
//! A proposal that is sent to a store that is just losing its leader may or may not have been taken. It is read back,
//! and sent again where that is safe: a transaction that compares what it changes is taken at most once.

use std::time::Duration;

use berth_store::{Entry, Revision, StoreError, StoreRef, Txn, TxnOutcome};
use tokio::time::Instant;

/// How long a store that is away is waited for: an election of etcd takes a second or two.
const PATIENCE: Duration = Duration::from_secs(15);
/// A pause before it is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// Carries a transaction out that compares every key which it changes. `witness` is one of the keys that it sets,
/// with the value. Gives the revision, or `None` on a conflict.
///
/// # Errors
/// [`StoreError`]. If it is transient, the store was away for too long, and what became of it is not known.
pub(crate) async fn commit(
    store: &StoreRef,
    txn: Txn,
    (key, value): (&str, &[u8]),
) -> Result<Option<Revision>, StoreError> {
    let until = Instant::now() + PATIENCE;
    let mut doubtful = false;
    loop {
        match store.txn(txn.clone()).await {
            Ok(TxnOutcome::Done(revision)) => return Ok(Some(revision)),
            Ok(TxnOutcome::Conflict(_)) if !doubtful => return Ok(None),
            // Perhaps with its own earlier self.
            Ok(TxnOutcome::Conflict(_)) => {
                let stored = get(store, key).await?;
                let own = stored.filter(|stored| stored.value == value);
                return Ok(own.map(|own| own.mod_revision));
            }
            Err(error) if error.is_transient() && Instant::now() < until => {
                doubtful |= matches!(error, StoreError::Unknown { .. });
                tracing::debug!(key, %error, "a transaction is sent again");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Reads a key; waits for a store that is away.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn get(store: &StoreRef, key: &str) -> Result<Option<Entry>, StoreError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.get(key).await {
            Err(error) if error.is_transient() && Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use berth_store::embedded::Embedded;
    use berth_store::{Compare, LeaseId, Page, RawWatch, Store};

    use super::*;

    /// A store that takes, or loses, the first transactions without an answer.
    #[derive(Debug)]
    struct Doubtful {
        store: StoreRef,
        /// For each of the first calls: whether it is carried out before its answer is lost.
        taken: Mutex<Vec<bool>>,
    }

    #[async_trait]
    impl Store for Doubtful {
        async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
            self.store.get(key).await
        }

        async fn list(
            &self,
            prefix: &str,
            after: Option<&str>,
            limit: usize,
            revision: Option<Revision>,
        ) -> Result<Page, StoreError> {
            self.store.list(prefix, after, limit, revision).await
        }

        async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
            let next = self.taken.lock().unwrap().pop();
            if next != Some(false) {
                let outcome = self.store.txn(txn).await?;
                if next.is_none() {
                    return Ok(outcome);
                }
            }
            Err(StoreError::Unknown {
                reason: "the answer was lost".to_owned(),
            })
        }

        async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
            self.store.grant(ttl).await
        }

        async fn renew(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.store.renew(lease).await
        }

        async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
            self.store.revoke(lease).await
        }

        async fn watch(&self, prefix: &str, from: Revision) -> Result<RawWatch, StoreError> {
            self.store.watch(prefix, from).await
        }
    }

    fn create(value: &str) -> Txn {
        Txn::new()
            .when(Compare::Absent("k".to_owned()))
            .put("k", value.to_owned())
    }

    #[tokio::test]
    async fn i2_a_lost_answer_is_read_back() {
        for taken in [vec![true], vec![false], vec![false, true], vec![true, false]] {
            let store: StoreRef = Embedded::in_memory(100).unwrap();
            let doubtful: StoreRef = std::sync::Arc::new(Doubtful {
                store: store.clone(),
                taken: Mutex::new(taken.clone()),
            });
            let revision = commit(&doubtful, create("own"), ("k", b"own")).await.unwrap();
            let stored = store.get("k").await.unwrap().unwrap();
            assert_eq!(revision, Some(stored.mod_revision), "{taken:?}");
        }
    }

    #[tokio::test]
    async fn another_s_change_is_a_conflict() {
        let store: StoreRef = Embedded::in_memory(100).unwrap();
        store.txn(create("other")).await.unwrap();
        let doubtful: StoreRef = std::sync::Arc::new(Doubtful {
            store,
            taken: Mutex::new(vec![true]),
        });
        assert_eq!(
            commit(&doubtful, create("own"), ("k", b"own")).await.unwrap(),
            None
        );
    }
}
