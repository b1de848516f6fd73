//! Electing one of several, and making the deposed harmless.
//!
//! The leader is who created the election's key, which ends with the leader's lease. Two may believe to be leader
//! for a moment; so what a leader writes compares the key's create revision, its token ([`Leadership::guard`]), and
//! the writes of a deposed one conflict.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::lease::{Keeper, LeaseState};
use crate::watch::next_batch;
use crate::{Compare, Event, LeaseId, Revision, StoreError, StoreRef, Txn, TxnOutcome};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// An election among those who use the same key.
#[derive(Debug, Clone)]
pub struct Election {
    store: StoreRef,
    key: String,
    candidate: Bytes,
}

impl Election {
    /// The election held on `key`. `candidate` says who is leader, to whoever reads the key.
    pub fn new(store: StoreRef, key: impl Into<String>, candidate: impl Into<Bytes>) -> Self {
        Self {
            store,
            key: key.into(),
            candidate: candidate.into(),
        }
    }

    /// Waits to become leader, under the lease that `keeper` holds.
    ///
    /// Cancel-safe: a key that a dropped campaign made is found by the next one, or ends with the lease.
    ///
    /// # Errors
    /// `Denied`, `Exhausted` and `Disk`, which waiting does not heal.
    pub async fn campaign(&self, keeper: &Keeper) -> Result<Leadership, StoreError> {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            let lease = keeper.held().await;
            match self.stand(lease).await {
                Ok(Standing::Elected(token)) => {
                    tracing::info!(key = %self.key, token, "elected leader");
                    return Ok(self.leadership(token, lease, keeper));
                }
                Ok(Standing::Behind(leader)) => gone(&self.store, &self.key, leader).await,
                Err(error @ StoreError::LeaseGone(_)) => {
                    tracing::debug!(%error, "the candidate's lease ended");
                    backoff.pause().await;
                }
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "a candidate could not stand");
                    backoff.pause().await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn stand(&self, lease: LeaseId) -> Result<Standing, StoreError> {
        let create = Txn::new().when(Compare::Absent(self.key.clone())).put_leased(
            &self.key,
            self.candidate.clone(),
            lease,
        );
        if let TxnOutcome::Done(token) = self.store.txn(create).await? {
            return Ok(Standing::Elected(token));
        }
        Ok(match self.store.get(&self.key).await? {
            // Made by an earlier try whose answer was lost.
            Some(entry) if entry.lease == Some(lease) => Standing::Elected(entry.create_revision),
            Some(entry) => Standing::Behind(entry.create_revision),
            None => Standing::Behind(0),
        })
    }

    fn leadership(&self, token: Revision, lease: LeaseId, keeper: &Keeper) -> Leadership {
        Leadership {
            store: self.store.clone(),
            key: self.key.clone(),
            token,
            lease,
            states: keeper.states(),
        }
    }
}

/// What came of an attempt to create the key.
enum Standing {
    /// It is ours, with this create revision.
    Elected(Revision),
    /// It was somebody else's, with this create revision.
    Behind(Revision),
}

/// What a leader holds.
#[derive(Debug)]
pub struct Leadership {
    store: StoreRef,
    key: String,
    token: Revision,
    lease: LeaseId,
    states: watch::Receiver<LeaseState>,
}

impl Leadership {
    /// The fencing token: greater than that of every earlier leader.
    pub fn token(&self) -> Revision {
        self.token
    }

    /// Makes a transaction conflict once this leader is deposed. Everything that a leader writes goes through here.
    #[must_use]
    pub fn guard(&self, txn: Txn) -> Txn {
        txn.when(Compare::CreateRevision(self.key.clone(), self.token))
    }

    /// True while the lease under which it was elected is surely held. Ask before an effect outside the store.
    pub fn is_held(&self) -> bool {
        self.states.borrow().held() == Some(self.lease)
    }

    /// Waits until this is not the leader any more, or cannot be sure of it. Then stop all duties. Cancel-safe.
    pub async fn lost(&self) {
        tokio::select! {
            () = self.unheld() => {}
            () = gone(&self.store, &self.key, self.token) => {}
        }
        tracing::info!(key = %self.key, token = self.token, "not leader any more");
    }

    async fn unheld(&self) {
        let mut states = self.states.clone();
        // An error means that the keeper is dropped, and nobody renews the lease.
        let _lost = states.wait_for(|state| state.held() != Some(self.lease)).await;
    }

    /// Steps down, so that another is elected at once.
    ///
    /// # Errors
    /// As [`Store::txn`](crate::Store::txn). The leadership then ends with its lease.
    pub async fn resign(self) -> Result<(), StoreError> {
        let delete = self.guard(Txn::new().delete(&self.key));
        // A conflict says that it was over already.
        self.store.txn(delete).await.map(drop)
    }
}

/// Waits until `key` is not the one any more that was created at `created`.
async fn gone(store: &StoreRef, key: &str, created: Revision) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    while let Err(error) = watch_until_gone(store, key, created).await {
        tracing::debug!(key, %error, "the watch of an election starts over");
        backoff.pause().await;
    }
}

async fn watch_until_gone(store: &StoreRef, key: &str, created: Revision) -> Result<(), StoreError> {
    let entry = store.get(key).await?;
    let Some(entry) = entry.filter(|entry| entry.create_revision == created) else {
        return Ok(());
    };
    let mut watch = store.watch(key, entry.mod_revision + 1).await?;
    loop {
        let batch = next_batch(&mut watch).await?;
        let is_deletion = |event: &Event| matches!(event, Event::Delete { key: gone, .. } if gone == key);
        if batch.events.iter().any(is_deletion) {
            return Ok(());
        }
    }
}
