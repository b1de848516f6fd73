//! Carries duties out. Each ends in a transaction that an outdated leader loses.

use std::sync::Arc;

use berth_core::duties::{At, Brief, Duty, is_orphan};
use berth_core::ids::{Epoch, SessionId};
use berth_core::keys;
use berth_core::lineage::Outcome;
use berth_core::record::{Cause, CloseReason, Record, SessionRecord, SessionState};
use berth_runtime::clock::unix_millis;
use berth_store::{Compare, Txn};

use super::look::Held;
use super::{BEGUN_WITHIN, Leader};
use crate::dialects::connect::backend::{Backend, Refusal};
use crate::dialects::livy::directory::{Directory, Resource};
use crate::ledger::unavailable;

impl Leader {
    pub(super) async fn carry_out(&self, duty: Duty, id: SessionId, epoch: Epoch) -> Result<(), Refusal> {
        let done = match duty {
            Duty::Attend => self.attend(id).await,
            Duty::Recover => self.sessions.follow_on(id).await.map(drop),
            Duty::Move { forsaken } => self.move_away(id, epoch, forsaken).await,
            Duty::Expire => self.expire(id).await,
            Duty::Reap => self.reap(id).await,
        };
        match done {
            // Somebody was faster.
            Err(Refusal::Closed) => Ok(()),
            other => other,
        }
    }

    /// Follows a batch, if its broker is gone, or beside it.
    async fn attend(&self, id: SessionId) -> Result<(), Refusal> {
        let record = self.sessions.record(id).await?;
        let batches = record.as_ref().and_then(|record| {
            let resource = Resource::of_record(record)?;
            self.batches.iter().find(|batches| batches.are(resource))
        });
        match (record, batches) {
            (Some(record), Some(batches)) => {
                let attended = batches.attend_called(&record.client_id, id).await;
                attended.map_err(unavailable)
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Follows batches that are not over and have no open session, so that no record asks for it: their broker died
    /// before it wrote one down, or before it wrote down their end.
    pub(super) fn attend_forsaken(self: &Arc<Self>) {
        let patience = u64::try_from(BEGUN_WITHIN.as_millis()).unwrap_or(u64::MAX);
        let before = unix_millis().saturating_sub(patience);
        for batches in self.batches.iter().map(Arc::clone) {
            let leader = Arc::clone(self);
            self.tasks.spawn("forsaken batches", async move {
                let is_open = |id| {
                    let brief = leader.sessions.table().brief(id);
                    brief.is_some_and(|brief| !matches!(brief.at, At::Closed { .. }))
                };
                match batches.directory.forsaken(before, is_open).await {
                    Ok(forsaken) => forsaken.iter().for_each(|listed| batches.follow(listed)),
                    Err(error) => tracing::warn!(%error, "batches that nobody follows are not looked for"),
                }
            });
        }
    }

    /// At a safe point: nothing that changes anything is under way.
    async fn move_away(&self, id: SessionId, epoch: Epoch, forsaken: bool) -> Result<(), Refusal> {
        let entries = self.sessions.entries(id).await?;
        let running = entries
            .iter()
            .any(|entry| entry.epoch == epoch && entry.outcome == Outcome::Unknown);
        if running && !forsaken {
            return Ok(());
        }
        self.sessions.move_away(id, epoch, Cause::Drained).await.map(drop)
    }

    /// Livy's clients are told that there is no such session, as if they had deleted it.
    async fn expire(&self, id: SessionId) -> Result<(), Refusal> {
        tracing::info!(session.id = %id, "session is past a limit of its life");
        let record = self.sessions.record(id).await?;
        self.sessions.close(id, CloseReason::Idle, false).await?;
        match record {
            Some(record) => self.forget_number(&record).await,
            None => Ok(()),
        }
    }

    async fn forget_number(&self, record: &SessionRecord) -> Result<(), Refusal> {
        let Some(resource) = Resource::of_record(record) else {
            return Ok(());
        };
        let directory = Directory::of(self.store.clone(), resource);
        let forgotten = directory.forget(&record.client_id, record.id).await;
        forgotten.map_err(unavailable)
    }

    async fn reap(&self, id: SessionId) -> Result<(), Refusal> {
        let key = keys::session(id);
        let Some(entry) = self.store.get(&key).await.map_err(unavailable)? else {
            return Ok(());
        };
        let record = SessionRecord::decode(&key, &entry.value).map_err(unavailable)?;
        if !matches!(record.state, SessionState::Closed { .. }) {
            return Ok(());
        }
        self.forget_number(&record).await?;
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), entry.mod_revision))
            .delete(key);
        self.store.txn(txn).await.map(drop).map_err(unavailable)
    }

    /// Ends drivers that were reserved for what is over: their broker died before it could give them back.
    pub(super) async fn clear_orphans(&self, held: Vec<Held>) {
        for Held { node, session, epoch } in held {
            let known = self.sessions.table().brief(session);
            if !is_orphan(known.as_ref(), epoch) {
                continue;
            }
            // The table may be behind: the store has the last word.
            let key = keys::session(session);
            let Ok(entry) = self.store.get(&key).await else {
                return;
            };
            let record = entry.map(|entry| SessionRecord::decode(&key, &entry.value));
            let record = match record.transpose() {
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(session.id = %session, %error, "a driver is left alone");
                    continue;
                }
            };
            if is_orphan(record.as_ref().map(Brief::of).as_ref(), epoch) {
                tracing::info!(session.id = %session, %epoch, node.id = %node.id, "ending a driver that serves nobody");
                self.sessions.end_on(session, epoch, &node).await;
            }
        }
    }
}
