//! What the agents of nodes are asked for: fences, reservations, the end of drivers.

use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use berth_core::record::{NodeRecord, Placement, SessionRecord, Work};
use berth_core::session::{Fence, fence};
use berth_proto::agent as api;
use berth_proto::agent::reserve_reply::refused::Reason;
use berth_proto::agent::reserve_reply::{Is, Refused};
use tokio::time::Instant;

use super::choose::Choice;
use super::{Miss, PAUSE, Placer, RETRY_AFTER};
use crate::dialects::connect::backend::Refusal;
use crate::ledger::unavailable;

/// A driver that has not started by then will not.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// A fence waits for a process to be gone.
const FENCE_DEADLINE: Duration = Duration::from_secs(15);

impl Placer {
    /// Makes sure that nothing of the epochs before runs any more (I1).
    pub(super) async fn fence(
        &self,
        record: &SessionRecord,
        from: &Placement,
        until: Instant,
    ) -> Result<(), Refusal> {
        loop {
            let node = self.fleet.node(&from.node).await.map_err(unavailable)?;
            let Some(node) = node.filter(|node| fence(from, Some(node)) == Fence::AskAgent) else {
                return Ok(());
            };
            let request = api::FenceRequest {
                session_id: record.id.to_string(),
                below_epoch: record.epoch.get(),
                forget: false,
            };
            let mut agent = self.fleet.client(&node.address);
            let fenced = tokio::time::timeout(FENCE_DEADLINE, agent.fence(request)).await;
            if let Ok(Ok(_)) = fenced {
                return Ok(());
            }
            if Instant::now() + PAUSE > until {
                let reason = format!("node {} neither answers nor loses its lease", from.node);
                return Err(Refusal::NoCapacity {
                    reason,
                    retry_after: RETRY_AFTER,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    pub(super) async fn reserve(
        &self,
        record: &SessionRecord,
        choice: &Choice,
    ) -> Result<api::Endpoint, Miss> {
        let node = &choice.node;
        let request = api::ReserveRequest {
            session_id: record.id.to_string(),
            epoch: record.epoch.get(),
            profile: record.profile.to_string(),
            tenant: record.tenant.to_string(),
            share_key: choice.share_key.clone(),
            memory_bytes: choice.memory_bytes,
            static_confs: choice.static_confs.clone(),
            batch: record.work == Work::Batch,
        };
        let mut agent = self.fleet.client(&node.address);
        let reserved = async {
            let mut replies = agent.reserve(request).await?.into_inner();
            while let Some(reply) = replies.message().await? {
                match reply.is {
                    Some(Is::Ready(endpoint)) => return Ok(Ok(endpoint)),
                    Some(Is::Refused(refused)) => return Ok(Err(refused)),
                    Some(Is::Starting(_)) | None => {}
                }
            }
            let message = "the agent ended the reservation without a word".to_owned();
            Ok::<_, tonic::Status>(Err(Refused {
                message,
                ..Refused::default()
            }))
        };
        match tokio::time::timeout(START_DEADLINE, reserved).await {
            Ok(Ok(Ok(endpoint))) => Ok(endpoint),
            Ok(Ok(Err(refused))) => {
                let said = format!("node {} refuses: {}", node.id, refused.message);
                match refused.reason() {
                    // The agent remembers an older session of this id: its epochs are over.
                    Reason::StaleEpoch => Err(Miss::Spent(said)),
                    Reason::StartFailed => Err(Miss::Failed(said)),
                    _ => Err(Miss::Again(said)),
                }
            }
            Ok(Err(status)) => Err(Miss::Spent(format!("node {}: {}", node.id, status.message()))),
            Err(late) => Err(Miss::Spent(format!(
                "node {} has not started a driver: {late}",
                node.id
            ))),
        }
    }

    /// Ends what may run on the node for the record's epoch, and with `forget` what is kept there of the session.
    /// Best effort: what an agent that does not answer holds ends with its lease.
    pub(crate) async fn end(&self, record: &SessionRecord, node: &NodeRecord, forget: bool) {
        self.end_epoch(record.id, record.epoch, node, forget).await;
    }

    /// As [`Placer::end`], of any session.
    pub(crate) async fn end_epoch(&self, session: SessionId, epoch: Epoch, node: &NodeRecord, forget: bool) {
        let request = api::FenceRequest {
            session_id: session.to_string(),
            below_epoch: epoch.next().get(),
            forget,
        };
        let mut agent = self.fleet.client(&node.address);
        match tokio::time::timeout(FENCE_DEADLINE, agent.fence(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => {
                tracing::warn!(session.id = %session, node.id = %node.id, error = status.message(), "a driver was not given back");
            }
            Err(late) => {
                tracing::warn!(session.id = %session, node.id = %node.id, %late, "a driver was not given back");
            }
        }
    }
}
