//! Berth's own gRPC API: what operators see and do.

mod describe;

use std::sync::Arc;

use berth_core::ids::SessionId;
use berth_core::keys;
use berth_core::lineage::Outcome;
use berth_core::record::{BrokerRecord, CloseReason, Record, SessionRecord, SessionState};
use berth_core::share::Level;
use berth_proto::agent as api;
use berth_proto::v1;
use berth_proto::v1::berth_server::Berth;
use berth_store::{Entry, StoreRef};
use tonic::{Request, Response, Status};

use crate::dialects::connect::backend::{Backend, Refusal};
use crate::fleet::{Fleet, Node};
use crate::ledger::Ledger;
use crate::place::offered;
use crate::sessions::Sessions;
use describe::{changed, describe_driver, describe_node, describe_session, millis};

/// Sessions of one page, at most.
const MAX_PAGE: usize = 1_000;
/// Changes of a session that are explained.
const MAX_EXPLAINED: usize = 200;

/// The service.
#[derive(Debug, Clone)]
pub struct Native {
    store: StoreRef,
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
    sessions: Arc<Sessions>,
}

impl Native {
    /// The service over a broker's parts.
    pub fn new(store: StoreRef, fleet: Arc<Fleet>, ledger: Arc<Ledger>, sessions: Arc<Sessions>) -> Self {
        Self {
            store,
            fleet,
            ledger,
            sessions,
        }
    }

    async fn read(&self, id: &str) -> Result<SessionRecord, Status> {
        let id: SessionId = id
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let key = keys::session(id);
        let entry = self.store.get(&key).await.map_err(away)?;
        let entry = entry
            .ok_or_else(|| Status::not_found(format!("no session {id}; list them with 'berth sessions'")))?;
        SessionRecord::decode(&key, &entry.value).map_err(|error| Status::internal(error.to_string()))
    }

    async fn all(&self, prefix: &str) -> Result<Vec<Entry>, Status> {
        let mut entries = Vec::new();
        loop {
            let after = entries.last().map(|entry: &Entry| entry.key.clone());
            let page = self
                .store
                .list(prefix, after.as_deref(), MAX_PAGE, None)
                .await
                .map_err(away)?;
            entries.extend(page.entries);
            if !page.more {
                return Ok(entries);
            }
        }
    }

    /// The sessions and batches that are not over.
    pub(crate) async fn open_records(&self) -> Result<Vec<SessionRecord>, Status> {
        let entries = self.all(keys::SESSIONS).await?;
        let records = entries
            .iter()
            .filter_map(|entry| SessionRecord::decode(&entry.key, &entry.value).ok());
        Ok(records
            .filter(|record| !matches!(record.state, SessionState::Closed { .. }))
            .collect())
    }

    /// How widely a node offers to share drivers of a profile.
    pub(crate) fn offered_share(&self, node: &str, profile: &str) -> Level {
        let nodes = self.fleet.nodes();
        let node = nodes.iter().find(|known| known.record.id.as_str() == node);
        match (node, profile.parse()) {
            (Some(node), Ok(profile)) => offered(node.share(&profile)),
            (None, _) | (_, Err(_)) => Level::Session,
        }
    }

    async fn drivers_of(&self, node: &Node) -> Vec<v1::Driver> {
        let listed = self
            .fleet
            .client(&node.record.address)
            .list_drivers(api::ListDriversRequest {})
            .await;
        let drivers = listed.map(|reply| reply.into_inner().drivers).unwrap_or_else(|status| {
            tracing::warn!(node.id = %node.record.id, error = status.message(), "the node's drivers are not listed");
            Vec::new()
        });
        drivers
            .into_iter()
            .map(|driver| describe_driver(&node.record.id, driver))
            .collect()
    }
}

fn away(error: berth_store::StoreError) -> Status {
    Status::unavailable(error.to_string())
}

fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Closed => Status::not_found("the session has ended"),
        other => Status::unavailable(other.to_string()),
    }
}

#[tonic::async_trait]
impl Berth for Native {
    type WatchEventsStream = futures_util::stream::BoxStream<'static, Result<v1::SessionEvent, Status>>;

    async fn list_sessions(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsReply>, Status> {
        let request = request.into_inner();
        let size = match request.page_size as usize {
            0 => MAX_PAGE,
            asked => asked.min(MAX_PAGE),
        };
        let after = (!request.page_token.is_empty()).then_some(request.page_token.as_str());
        let page = self
            .store
            .list(keys::SESSIONS, after, size, None)
            .await
            .map_err(away)?;
        let last = page
            .entries
            .last()
            .map(|entry| entry.key.clone())
            .unwrap_or_default();
        let records = page
            .entries
            .iter()
            .filter_map(|entry| SessionRecord::decode(&entry.key, &entry.value).ok());
        let wanted = |record: &SessionRecord| {
            let open = !matches!(record.state, SessionState::Closed { .. });
            (open || request.include_closed)
                && (request.tenant.is_empty() || record.tenant.as_str() == request.tenant)
        };
        let sessions = records
            .filter(wanted)
            .map(|record| describe_session(&record))
            .collect();
        let next_page_token = if page.more { last } else { String::new() };
        Ok(Response::new(v1::ListSessionsReply {
            sessions,
            next_page_token,
        }))
    }

    async fn get_session(
        &self,
        request: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::Session>, Status> {
        Ok(Response::new(describe_session(
            &self.read(&request.into_inner().id).await?,
        )))
    }

    async fn close_session(
        &self,
        request: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionReply>, Status> {
        let record = self.read(&request.into_inner().id).await?;
        self.sessions
            .close(record.id, CloseReason::Operator, false)
            .await
            .map_err(refused)?;
        Ok(Response::new(v1::CloseSessionReply {}))
    }

    async fn explain_session(
        &self,
        request: Request<v1::ExplainSessionRequest>,
    ) -> Result<Response<v1::ExplainSessionReply>, Status> {
        let record = self.read(&request.into_inner().id).await?;
        let entries = self.ledger.entries(record.id).await.map_err(refused)?;
        let lineage = entries
            .iter()
            .rev()
            .take(MAX_EXPLAINED)
            .rev()
            .map(|entry| v1::LineageLine {
                seq: entry.seq,
                class: entry.class.as_str().to_owned(),
                what: entry.what.clone(),
                outcome: match &entry.outcome {
                    Outcome::Unknown => "unknown".to_owned(),
                    Outcome::Succeeded { .. } => "succeeded".to_owned(),
                    Outcome::Failed { message, .. } => {
                        format!("failed: {}", message.chars().take(200).collect::<String>())
                    }
                },
                bytes: 0,
            });
        let reasons = record
            .history
            .iter()
            .rev()
            .map(|event| format!("{}: {}", event.epoch, event.what));
        Ok(Response::new(v1::ExplainSessionReply {
            reasons: reasons.collect(),
            lineage: lineage.collect(),
            session: Some(describe_session(&record)),
        }))
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesReply>, Status> {
        let nodes = self.fleet.nodes().iter().map(describe_node).collect();
        Ok(Response::new(v1::ListNodesReply { nodes }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeReply>, Status> {
        let request = request.into_inner();
        let nodes = self.fleet.nodes();
        let node = nodes.iter().find(|node| node.record.id.as_str() == request.id);
        let node = node.ok_or_else(|| {
            Status::not_found(format!("no node {}; list them with 'berth nodes'", request.id))
        })?;
        let draining = api::SetDrainingRequest {
            draining: !request.undo,
        };
        self.fleet
            .client(&node.record.address)
            .set_draining(draining)
            .await?;
        Ok(Response::new(v1::DrainNodeReply {
            sessions: node.load.as_ref().map_or(0, |load| load.sessions),
        }))
    }

    async fn list_drivers(
        &self,
        _: Request<v1::ListDriversRequest>,
    ) -> Result<Response<v1::ListDriversReply>, Status> {
        let nodes = self.fleet.nodes();
        let listed = futures_util::future::join_all(nodes.iter().map(|node| self.drivers_of(node))).await;
        Ok(Response::new(v1::ListDriversReply {
            drivers: listed.into_iter().flatten().collect(),
        }))
    }

    async fn list_brokers(
        &self,
        _: Request<v1::ListBrokersRequest>,
    ) -> Result<Response<v1::ListBrokersReply>, Status> {
        let entries = self.all(keys::BROKERS).await?;
        let leader = self.store.get(keys::LEADER).await.map_err(away)?;
        let is_leader = |id: &str| {
            leader
                .as_ref()
                .is_some_and(|leader| leader.value == id.as_bytes())
        };
        let records = entries
            .iter()
            .filter_map(|entry| BrokerRecord::decode(&entry.key, &entry.value).ok());
        let brokers = records.map(|record| v1::Broker {
            id: record.id.to_string(),
            admin_address: record.admin_address,
            leader: is_leader(record.id.as_str()),
            started_at_unix_ms: millis(record.started_at),
            version: record.version,
        });
        Ok(Response::new(v1::ListBrokersReply {
            brokers: brokers.collect(),
        }))
    }

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        use futures_util::StreamExt;
        let now = self
            .store
            .list(keys::SESSIONS, None, 1, None)
            .await
            .map_err(away)?
            .revision;
        let watch = self.store.watch(keys::SESSIONS, now + 1).await.map_err(away)?;
        let events = watch.flat_map(|batch| {
            let events = match batch {
                Ok(batch) => batch.events.iter().filter_map(changed).map(Ok).collect(),
                Err(error) => vec![Err(away(error))],
            };
            futures_util::stream::iter(events)
        });
        Ok(Response::new(events.boxed()))
    }
}
