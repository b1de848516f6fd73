//! Reservations: a stream that follows a driver's start to its end.

use std::sync::Arc;

use berth_core::ids::ProfileName;
use berth_proto::agent as api;
use berth_proto::agent::reserve_reply::refused::Reason;
use berth_proto::agent::reserve_reply::{Is, Refused, Starting};
use futures_util::StreamExt;
use tokio::sync::watch;
use tonic::Status;

use super::{AgentService, Replies, invalid, session_epoch};
use crate::driver::{Driver, Phase};
use crate::drivers::{ReserveError, Wanted};
use crate::reservations::{Claim, Refusal};

impl AgentService {
    pub(super) async fn reserved(
        &self,
        request: api::ReserveRequest,
    ) -> Result<Replies<api::ReserveReply>, Status> {
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let profile: ProfileName = request.profile.parse().map_err(|error| invalid(&error))?;
        if !self.drivers.lease().is_held() {
            let message = "the node does not surely hold its lease".to_owned();
            return Ok(one(self.refusal(Reason::NotHoldingLease, message)));
        }
        if self.drivers.lease().record().draining {
            return Ok(one(
                self.refusal(Reason::Draining, "the node is being drained".to_owned())
            ));
        }
        let wanted = Wanted {
            profile,
            claim: Claim {
                session,
                epoch,
                share_key: Some(request.share_key).filter(|key| !key.is_empty()),
            },
            memory_bytes: (request.memory_bytes > 0).then_some(request.memory_bytes),
            static_confs: request.static_confs.into_iter().collect(),
            batch: request.batch,
        };
        match self.drivers.reserve(&wanted).await {
            Ok(driver) => Ok(self.follow(driver)),
            Err(error) => Ok(one(self.refusal(reason(&error), error.to_string()))),
        }
    }

    /// Follows a driver's start to its end.
    fn follow(&self, driver: Arc<Driver>) -> Replies<api::ReserveReply> {
        let (service, phase) = (self.clone(), driver.phase.subscribe());
        let next = move |(mut phase, first, ended): (watch::Receiver<Phase>, bool, bool)| {
            let (service, driver) = (service.clone(), Arc::clone(&driver));
            async move {
                if ended || (!first && phase.changed().await.is_err()) {
                    return None;
                }
                let now = phase.borrow_and_update().clone();
                let (reply, last) = service.reply(&driver, &now);
                Some((Ok(reply), (phase, false, last)))
            }
        };
        futures_util::stream::unfold((phase, true, false), next).boxed()
    }

    /// What a reservation says next, and whether that is all.
    fn reply(&self, driver: &Driver, phase: &Phase) -> (api::ReserveReply, bool) {
        match phase {
            Phase::Starting(phase) => {
                let starting = Starting { phase: phase.clone() };
                (
                    api::ReserveReply {
                        is: Some(Is::Starting(starting)),
                    },
                    false,
                )
            }
            // A lease that was lost while the driver started: its fence will end it.
            Phase::Ready(_) if !self.drivers.lease().is_held() => {
                let message = "the node does not surely hold its lease".to_owned();
                (self.refusal(Reason::NotHoldingLease, message), true)
            }
            Phase::Ready(_) => {
                driver.given();
                let is = self.endpoint(driver).map(Is::Ready);
                (api::ReserveReply { is }, true)
            }
            Phase::Ended(reason) => (self.refusal(Reason::StartFailed, reason.clone()), true),
        }
    }

    fn refusal(&self, reason: Reason, message: String) -> api::ReserveReply {
        let load = Some(self.load());
        api::ReserveReply {
            is: Some(Is::Refused(Refused {
                reason: reason.into(),
                message,
                load,
            })),
        }
    }
}

fn one(reply: api::ReserveReply) -> Replies<api::ReserveReply> {
    futures_util::stream::iter([Ok(reply)]).boxed()
}

fn reason(error: &ReserveError) -> Reason {
    match error {
        ReserveError::Refused(Refusal::NoMemory { .. }) => Reason::NoMemory,
        ReserveError::Refused(Refusal::NoSlot { .. }) => Reason::NoSlot,
        ReserveError::Refused(Refusal::StaleEpoch { .. }) => Reason::StaleEpoch,
        ReserveError::UnknownProfile(_) => Reason::UnknownProfile,
        ReserveError::Launch(_) | ReserveError::Resting { .. } | ReserveError::Fence(_) => {
            Reason::StartFailed
        }
    }
}
