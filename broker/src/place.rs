//! Brings a session to a driver: fence the old place, choose a node, reserve, rebuild.
//!
//! A Connect session is rebuilt from its recorded requests ([`connect`]), a code session from its statements
//! ([`code`]).

mod choose;
mod code;
pub(crate) mod connect;
pub(crate) mod upload;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, NodeId, SessionId};
use berth_core::record::{Application, Dialect, NodeRecord, Placement, SessionRecord, SessionState, Work};
use berth_core::session::{Fence, fence};
use berth_proto::agent as api;
use berth_proto::agent::reserve_reply::refused::Reason;
use berth_proto::agent::reserve_reply::{Is, Refused};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::dialects::connect::backend::{Refusal, Route};
use crate::dialects::livy::recovery::LOST;
use crate::dialects::livy::replay::Policy;
use crate::fleet::Fleet;
use crate::ledger::{Ledger, unavailable};
use choose::{Choice, has_own_start};
use code::Poison;

/// How long to wait before looking for room, or for the end of a lease, again.
const PAUSE: Duration = Duration::from_millis(250);
/// A driver that has not started by then will not.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// A fence waits for a process to be gone.
const FENCE_DEADLINE: Duration = Duration::from_secs(15);
/// A client that finds no room should ask again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// A session whose own confs and files its driver starts with is given up when it has not come up so often.
const MAX_FAILED_STARTS: u32 = 2;

/// A driver that is ready for a session, with what was rebuilt on it.
pub(crate) struct Prepared {
    pub(crate) node: NodeRecord,
    pub(crate) placement: Placement,
    pub(crate) route: Route,
    pub(crate) what: String,
}

/// Why one try did not end with a prepared driver.
enum Miss {
    /// Another try may do; the node should not be tried again at once.
    Again(String),
    /// The driver did not come up. Another try may do, on another node too.
    Failed(String),
    /// The epoch was used on a node, and is over there now. Another try needs the next one.
    Spent(String),
    /// No try will do.
    Never(Refusal),
}

/// Why no driver is prepared.
pub(crate) enum Unprepared {
    /// The client is told so.
    Refused(Refusal),
    /// Something may have run for this epoch; the next one can be tried.
    Spent(String),
}

/// Places sessions.
#[derive(Debug)]
pub(crate) struct Placer {
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
    poison: Poison,
}

/// What a rebuild made, for the session's history.
struct Made {
    server_session_id: String,
    replayed: u64,
    lost: Vec<String>,
}

impl Made {
    /// Of a batch: what it does, it does from its beginning.
    const fn nothing() -> Self {
        Self {
            server_session_id: String::new(),
            replayed: 0,
            lost: Vec::new(),
        }
    }
}

impl Placer {
    /// A placer on the nodes of `fleet`.
    pub(crate) fn new(fleet: Arc<Fleet>, ledger: Arc<Ledger>) -> Self {
        Self {
            fleet,
            ledger,
            poison: Poison::default(),
        }
    }

    /// Prepares a driver for the record's epoch, which this broker is placing. With `over` it is given up at once, and
    /// what was started ends.
    pub(crate) async fn prepare(
        &self,
        record: &Arc<SessionRecord>,
        until: Instant,
        over: &CancellationToken,
    ) -> Result<Prepared, Unprepared> {
        if let SessionState::Placing { from: Some(from), .. } = &record.state {
            self.fence(record, from, until)
                .await
                .map_err(Unprepared::Refused)?;
        }
        if let SessionState::Placing {
            cause: Some(cause), ..
        } = &record.state
            && Policy::of(&record.confs) == Policy::None
        {
            let reason = format!(
                "its driver is gone ({}), and berth.recovery = none asks for no other",
                cause.as_str()
            );
            return Err(Unprepared::Refused(Refusal::Denied { reason }));
        }
        let (mut tried, mut failed) = (BTreeSet::new(), 0);
        loop {
            let (node, missed) = match self.attempt(record, &tried, over).await {
                Ok(prepared) => return Ok(prepared),
                Err((_, Miss::Never(refusal))) => return Err(Unprepared::Refused(refusal)),
                Err((_, Miss::Spent(reason))) => return Err(Unprepared::Spent(reason)),
                Err((_, Miss::Failed(reason)))
                    if failed + 1 >= MAX_FAILED_STARTS && has_own_start(record) =>
                {
                    return Err(Unprepared::Refused(Refusal::Denied { reason }));
                }
                Err((node, Miss::Failed(reason))) => {
                    failed += 1;
                    (node, reason)
                }
                Err((node, Miss::Again(reason))) => (node, reason),
            };
            tracing::info!(session.id = %record.id, epoch = %record.epoch, reason = missed, "no driver yet");
            match node {
                Some(node) => drop(tried.insert(node)),
                // None is left that was not tried: they may have room by now.
                None => tried.clear(),
            }
            if over.is_cancelled() {
                return Err(Unprepared::Refused(Refusal::Closed));
            }
            if Instant::now() + PAUSE > until {
                return Err(Unprepared::Refused(Refusal::NoCapacity {
                    reason: missed,
                    retry_after: RETRY_AFTER,
                }));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Makes sure that nothing of the epochs before runs any more (I1).
    async fn fence(&self, record: &SessionRecord, from: &Placement, until: Instant) -> Result<(), Refusal> {
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

    async fn attempt(
        &self,
        record: &Arc<SessionRecord>,
        tried: &BTreeSet<NodeId>,
        over: &CancellationToken,
    ) -> Result<Prepared, (Option<NodeId>, Miss)> {
        let choice = self.choose(record, tried).map_err(|miss| (None, miss))?;
        let (node, id) = (choice.node.clone(), choice.node.id.clone());
        // On the heap: the futures of all who wait for a placing hold it.
        let prepared = Box::pin(async {
            let reserving = tracing::info_span!("reserve", node.id = %id);
            let endpoint = self.reserve(record, &choice).instrument(reserving).await?;
            self.rebuild(record, &choice, &endpoint)
                .instrument(tracing::info_span!("rebuild", driver.id = endpoint.driver_id))
                .await
                .map_err(|miss| match miss {
                    Miss::Again(reason) => Miss::Spent(reason),
                    Miss::Failed(_) | Miss::Spent(_) | Miss::Never(_) => miss,
                })
        });
        let missed = match over.run_until_cancelled(prepared).await {
            Some(Ok(prepared)) => return Ok(prepared),
            Some(Err(missed)) => missed,
            None => Miss::Never(Refusal::Closed),
        };
        if !matches!(missed, Miss::Again(_) | Miss::Failed(_)) {
            self.end(record, &node, false).await;
        }
        Err((Some(id), missed))
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

    async fn reserve(&self, record: &SessionRecord, choice: &Choice) -> Result<api::Endpoint, Miss> {
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

    async fn rebuild(
        &self,
        record: &Arc<SessionRecord>,
        choice: &Choice,
        endpoint: &api::Endpoint,
    ) -> Result<Prepared, Miss> {
        let node = &choice.node;
        let mut route = self.route(record, node, endpoint, "").map_err(Miss::Never)?;
        let made = match record.dialect {
            Dialect::Livy if record.work == Work::Batch => Made::nothing(),
            Dialect::Livy => self.rebuild_code(&route).await?,
            Dialect::Connect | Dialect::Kyuubi | Dialect::Hs2 | Dialect::Native => {
                self.rebuild_connect(&route, &choice.session_confs).await?
            }
        };
        route.upstream_server_session_id = made.server_session_id.as_str().into();
        let driver = endpoint.driver_id.parse();
        let placement = Placement {
            node: node.id.clone(),
            incarnation: node.incarnation,
            driver: driver.map_err(|error| Miss::Never(unavailable(error)))?,
            server_session_id: made.server_session_id.clone(),
            application: application(endpoint),
        };
        Ok(Prepared {
            node: node.clone(),
            placement,
            route,
            what: describe(choice, &made),
        })
    }

    /// Where a session is, from its agent's answer.
    pub(crate) fn route(
        &self,
        record: &Arc<SessionRecord>,
        node: &NodeRecord,
        endpoint: &api::Endpoint,
        server_session_id: &str,
    ) -> Result<Route, Refusal> {
        let driver: DriverId = endpoint.driver_id.parse().map_err(unavailable)?;
        Ok(Route {
            record: Arc::clone(record),
            epoch: record.epoch,
            upstream: self
                .fleet
                .dialer()
                .driver(&node.address, driver, &endpoint.connect_token),
            upstream_session_id: record.id.upstream(record.epoch),
            upstream_server_session_id: server_session_id.into(),
            agent: node.address.as_str().into(),
            over: self.fleet.presence(node),
        })
    }
}

/// The driver as an application. The place of a batch is none, and an older agent does not tell.
fn application(endpoint: &api::Endpoint) -> Option<Application> {
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Some(Application {
        id: told(&endpoint.application_id)?,
        ui_url: told(&endpoint.ui_url),
    })
}

fn describe(choice: &Choice, made: &Made) -> String {
    let (node, reason) = (&choice.node.id, choice.reason);
    let mut what = format!("placed on {node}: {reason}; {} changes replayed", made.replayed);
    for lost in &made.lost {
        what.push_str(LOST);
        what.push_str(lost);
    }
    what.chars().take(2000).collect()
}
