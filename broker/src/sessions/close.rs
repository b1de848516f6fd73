//! Ends a session: its record, its tenant's usage, its lineage and its driver.

use std::time::Duration;

use berth_core::admission::release;
use berth_core::ids::{Epoch, SessionId};
use berth_core::keys;
use berth_core::record::{
    CloseReason, NodeRecord, Placement, Record, SessionRecord, SessionState, UsageRecord, Work,
};
use berth_core::session::close;
use berth_runtime::clock::unix_millis;
use berth_store::{Compare, Op, Txn};
use tokio::sync::oneshot;

use super::Sessions;
use crate::commit::{commit, get};
use crate::dialects::connect::backend::Refusal;
use crate::ledger::unavailable;

/// How long who closes a session waits for its driver to be gone. A node that is cut off does not answer at all.
const GIVE_BACK: Duration = Duration::from_secs(3);

impl Sessions {
    pub(super) async fn try_close(
        &self,
        id: SessionId,
        reason: CloseReason,
        reopen: bool,
    ) -> Result<bool, Refusal> {
        let Some(read) = self.read(id).await? else {
            return Ok(true);
        };
        let Ok(next) = close(SessionRecord::clone(&read.record), reason, reopen, unix_millis()) else {
            return Ok(true);
        };
        let (key, usage_key) = (keys::session(id), keys::usage(&next.tenant));
        let value = next.encode();
        let mut txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, value.clone())
            .op(Op::DeletePrefix(keys::lineage_of(id)))
            .op(Op::DeletePrefix(keys::operations_of(id)));
        if let Some(entry) = get(&self.store, &usage_key).await.map_err(unavailable)? {
            let usage = UsageRecord::decode(&usage_key, &entry.value).map_err(unavailable)?;
            txn = txn
                .when(Compare::ModRevision(usage_key.clone(), entry.mod_revision))
                .put(&usage_key, release(&usage, next.memory_bytes).encode());
        }
        let closed = commit(&self.store, txn, (&key, &value)).await;
        if closed.map_err(unavailable)?.is_none() {
            return Ok(false);
        }
        self.end_placing(id);
        self.forget(id);
        self.ledger.forget(id);
        tracing::info!(session.id = %id, ?reason, "session closed");
        self.give_driver_back(&read.record).await;
        Ok(true)
    }

    /// Ends what an agent holds for an epoch of a session that is over.
    pub(crate) async fn end_on(&self, session: SessionId, epoch: Epoch, node: &NodeRecord) {
        self.placer.end_epoch(session, epoch, node, false).await;
    }

    async fn give_driver_back(&self, record: &SessionRecord) {
        let (from, patience) = match &record.state {
            // Who deletes a batch is told when it is gone.
            SessionState::Active { placement, .. } if record.work == Work::Batch => {
                return self.end_at(record, placement).await;
            }
            SessionState::Active { placement, .. } => (placement, GIVE_BACK),
            // Its driver may be there still. Who has closed the session does not wait for that.
            SessionState::Placing { from: Some(from), .. } => (from, Duration::ZERO),
            SessionState::Placing { from: None, .. } | SessionState::Closed { .. } => return,
        };
        let (me, record, from) = (self.me.upgrade(), record.clone(), from.clone());
        let (done, ended) = oneshot::channel::<()>();
        self.tasks.spawn("give back", async move {
            if let Some(me) = me {
                me.end_at(&record, &from).await;
            }
            drop(done);
        });
        // The session is over whatever its node says, and when.
        drop(tokio::time::timeout(patience, ended).await);
    }

    async fn end_at(&self, record: &SessionRecord, placement: &Placement) {
        match self.fleet.node(&placement.node).await {
            Ok(Some(node)) => self.placer.end(record, &node, true).await,
            // A node without its lease has ended its drivers.
            Ok(None) => {}
            Err(error) => tracing::warn!(session.id = %record.id, %error, "a driver was not given back"),
        }
    }
}
