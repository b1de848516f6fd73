//! Brings a session to a driver: fence the old place, choose a node, reserve, rebuild.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, NodeId};
use berth_core::lineage::replay::{self, Step as Replay};
use berth_core::lineage::{LineageEntry, Outcome};
use berth_core::placement::{Decision, place};
use berth_core::record::{NodeRecord, Placement, SessionRecord, SessionState};
use berth_core::session::{Fence, fence};
use berth_core::wire;
use berth_proto::agent as api;
use berth_proto::agent::reserve_reply::Is;
use bytes::Bytes;
use tokio::time::Instant;

use crate::dialects::connect::backend::{Refusal, Route, Ticket};
use crate::dialects::connect::{Rebuilt, Step, rebuild};
use crate::fleet::{Fleet, Node};
use crate::ledger::{Ledger, unavailable};

/// How long to wait before looking for room, or for the end of a lease, again.
const PAUSE: Duration = Duration::from_millis(250);
/// A driver that has not started by then will not.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// A fence waits for a process to be gone.
const FENCE_DEADLINE: Duration = Duration::from_secs(15);
/// A client that finds no room should ask again after this time.
const RETRY_AFTER: Duration = Duration::from_secs(5);

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
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) ledger: Arc<Ledger>,
}

impl Placer {
    /// Prepares a driver for the record's epoch, which this broker is placing.
    pub(crate) async fn prepare(
        &self,
        record: &Arc<SessionRecord>,
        until: Instant,
    ) -> Result<Prepared, Unprepared> {
        if let SessionState::Placing { from: Some(from), .. } = &record.state {
            self.fence(record, from, until)
                .await
                .map_err(Unprepared::Refused)?;
        }
        let mut tried = BTreeSet::new();
        loop {
            let missed = match self.attempt(record, &tried).await {
                Ok(prepared) => return Ok(prepared),
                Err((_, Miss::Never(refusal))) => return Err(Unprepared::Refused(refusal)),
                Err((_, Miss::Spent(reason))) => return Err(Unprepared::Spent(reason)),
                Err((node, Miss::Again(reason))) => {
                    tracing::info!(session.id = %record.id, epoch = %record.epoch, reason, "no driver yet");
                    match node {
                        Some(node) => drop(tried.insert(node)),
                        // None is left that was not tried: they may have room by now.
                        None => tried.clear(),
                    }
                    reason
                }
            };
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
    ) -> Result<Prepared, (Option<NodeId>, Miss)> {
        let (node, memory, confs) = self.choose(record, tried).await.map_err(|miss| (None, miss))?;
        let id = node.id.clone();
        let prepared = async {
            let endpoint = self.reserve(record, &node, memory).await?;
            let rebuilt = self.rebuild(record, &node, &endpoint, &confs).await;
            rebuilt.map_err(|miss| match miss {
                Miss::Again(reason) => Miss::Spent(reason),
                Miss::Spent(_) | Miss::Never(_) => miss,
            })
        };
        let missed = match prepared.await {
            Ok(prepared) => return Ok(prepared),
            Err(missed) => missed,
        };
        if !matches!(missed, Miss::Again(_)) {
            self.end(record, &node, false).await;
        }
        Err((Some(id), missed))
    }

    /// Ends what may run on the node for the record's epoch, and with `forget` what is kept there of the session.
    /// Best effort: what an agent that does not answer holds ends with its lease.
    pub(crate) async fn end(&self, record: &SessionRecord, node: &NodeRecord, forget: bool) {
        let request = api::FenceRequest {
            session_id: record.id.to_string(),
            below_epoch: record.epoch.next().get(),
            forget,
        };
        let mut agent = self.fleet.client(&node.address);
        match tokio::time::timeout(FENCE_DEADLINE, agent.fence(request)).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => {
                tracing::warn!(session.id = %record.id, node.id = %node.id, error = status.message(), "a driver was not given back");
            }
            Err(late) => {
                tracing::warn!(session.id = %record.id, node.id = %node.id, %late, "a driver was not given back");
            }
        }
    }

    async fn choose(
        &self,
        record: &SessionRecord,
        tried: &BTreeSet<NodeId>,
    ) -> Result<(NodeRecord, u64, BTreeMap<String, String>), Miss> {
        let nodes = self
            .fleet
            .nodes()
            .await
            .map_err(|error| Miss::Again(error.to_string()))?;
        let nodes: Vec<Node> = nodes
            .into_iter()
            .filter(|node| !tried.contains(&node.record.id))
            .collect();
        let offers: BTreeMap<_, _> = nodes
            .iter()
            .filter_map(|node| Some((&node.record.id, node.view(&record.profile)?)))
            .collect();
        let memory = match record.memory_bytes {
            0 => offers.values().map(|(_, memory)| *memory).max().unwrap_or(0),
            asked => asked,
        };
        let views = offers
            .iter()
            .map(|(id, (view, _))| ((*id).clone(), view.clone()))
            .collect();
        let chosen = match place(memory, &views, rand::random::<u64>) {
            Decision::Placed { node, .. } => node,
            Decision::Queued { reason } => return Err(Miss::Again(reason)),
            Decision::Rejected { reason } => return Err(Miss::Never(Refusal::Denied { reason })),
        };
        let node = nodes.into_iter().find(|node| node.record.id == chosen);
        let node = node.ok_or_else(|| Miss::Again("the chosen node has just gone".to_owned()))?;
        let offered = node.load.iter().flat_map(|load| &load.profiles);
        let offered = offered.filter(|offered| offered.name == record.profile.as_str());
        let mut confs: BTreeMap<String, String> = offered
            .flat_map(|offered| offered.session_confs.clone())
            .collect();
        confs.extend(record.confs.clone());
        Ok((node.record, memory, confs))
    }

    async fn reserve(
        &self,
        record: &SessionRecord,
        node: &NodeRecord,
        memory_bytes: u64,
    ) -> Result<api::Endpoint, Miss> {
        let request = api::ReserveRequest {
            session_id: record.id.to_string(),
            epoch: record.epoch.get(),
            profile: record.profile.to_string(),
            tenant: record.tenant.to_string(),
            share_key: String::new(),
            memory_bytes,
            static_confs: std::collections::HashMap::new(),
        };
        let mut agent = self.fleet.client(&node.address);
        let reserved = async {
            let mut replies = agent.reserve(request).await?.into_inner();
            while let Some(reply) = replies.message().await? {
                match reply.is {
                    Some(Is::Ready(endpoint)) => return Ok(Ok(endpoint)),
                    Some(Is::Refused(refused)) => return Ok(Err(refused.message)),
                    Some(Is::Starting(_)) | None => {}
                }
            }
            Ok::<_, tonic::Status>(Err("the agent ended the reservation without a word".to_owned()))
        };
        match tokio::time::timeout(START_DEADLINE, reserved).await {
            Ok(Ok(Ok(endpoint))) => Ok(endpoint),
            Ok(Ok(Err(refused))) => Err(Miss::Again(format!("node {} refuses: {refused}", node.id))),
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
        node: &NodeRecord,
        endpoint: &api::Endpoint,
        confs: &BTreeMap<String, String>,
    ) -> Result<Prepared, Miss> {
        let mut route = self.route(record, node, endpoint, "").map_err(Miss::Never)?;
        let entries = self.ledger.entries(record.id).await.map_err(Miss::Never)?;
        let steps = self.steps(&entries).await.map_err(Miss::Never)?;
        let confs: Vec<_> = confs.clone().into_iter().collect();
        let rebuilt = rebuild(route.clone(), &confs, steps).await;
        let rebuilt = rebuilt.map_err(|error| Miss::Again(error.to_string()))?;
        self.settle_unknown(&entries, &rebuilt)
            .await
            .map_err(Miss::Never)?;
        route.upstream_server_session_id = rebuilt.server_session_id.as_str().into();
        let placement = Placement {
            node: node.id.clone(),
            incarnation: node.incarnation,
            driver: endpoint
                .driver_id
                .parse()
                .map_err(|error| Miss::Never(unavailable(error)))?,
            server_session_id: rebuilt.server_session_id.clone(),
        };
        Ok(Prepared {
            node: node.clone(),
            placement,
            route,
            what: describe(node, &rebuilt, &replay::lost(&entries)),
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
        })
    }

    async fn steps(&self, entries: &[LineageEntry]) -> Result<Vec<Step>, Refusal> {
        let mut steps = Vec::new();
        for step in replay::plan(entries) {
            steps.push(match step {
                Replay::Send(entry) => Step {
                    entry: entry.clone(),
                    request: self.ledger.payload(&entry.payload).await?,
                },
                Replay::DropTempView { entry, name } => Step {
                    entry: entry.clone(),
                    request: drop_temp_view(name),
                },
            });
        }
        Ok(steps)
    }

    /// Writes down how entries ended whose outcome nobody knew before they were replayed.
    async fn settle_unknown(&self, entries: &[LineageEntry], rebuilt: &Rebuilt) -> Result<(), Refusal> {
        for (seq, ended) in &rebuilt.ended {
            let unknown = entries
                .iter()
                .find(|entry| entry.seq == *seq && entry.outcome == Outcome::Unknown);
            if let Some(entry) = unknown {
                let ticket = Ticket {
                    session: entry.session,
                    seq: *seq,
                    operation: entry.operation.clone(),
                };
                self.ledger.finish(&ticket, ended.clone()).await?;
            }
        }
        Ok(())
    }
}

/// An `ExecutePlanRequest` whose plan (3) is a root (1) with the catalog operation (200) `drop_temp_view` (15).
pub(crate) fn drop_temp_view(name: &str) -> Bytes {
    let mut message = Vec::new();
    wire::append_string(&mut message, 1, name);
    for number in [15, 200, 1, 3] {
        let inner = std::mem::take(&mut message);
        wire::append_bytes(&mut message, number, &inner);
    }
    message.into()
}

fn describe(node: &NodeRecord, rebuilt: &Rebuilt, pinned: &[String]) -> String {
    let mut what = format!("placed on {}, {} changes replayed", node.id, rebuilt.replayed);
    for lost in rebuilt.lost.iter().chain(pinned) {
        what.push_str("; lost: ");
        what.push_str(lost);
    }
    what.chars().take(1000).collect()
}
