//! The agents: their gRPC clients, and what their nodes have free.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::{NodeId, ProfileName};
use berth_core::keys;
use berth_core::placement::NodeView;
use berth_core::record::{NodeRecord, Record};
use berth_proto::agent::agent_client::AgentClient;
use berth_proto::agent::{Load, WatchLoadRequest};
use berth_store::{StoreError, StoreRef};
use futures_util::future::join_all;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::tunnel::Dialer;

/// An agent that does not tell its figures within this time gets no new sessions.
const LOAD_DEADLINE: Duration = Duration::from_secs(2);
/// Nodes that are listed at once.
const PAGE: usize = 1_000;

/// A node with its figures.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its record.
    pub record: NodeRecord,
    /// Its figures; `None` while its agent does not answer.
    pub load: Option<Load>,
}

/// The nodes of the cluster.
#[derive(Debug)]
pub struct Fleet {
    store: StoreRef,
    dialer: Dialer,
    clients: Mutex<BTreeMap<String, AgentClient<Channel>>>,
}

impl Fleet {
    /// The nodes registered in `store`, reached by `dialer`.
    pub fn new(store: StoreRef, dialer: Dialer) -> Arc<Self> {
        Arc::new(Self {
            store,
            dialer,
            clients: Mutex::new(BTreeMap::new()),
        })
    }

    /// How drivers are reached.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The record of a node that holds its lease.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn node(&self, id: &NodeId) -> Result<Option<NodeRecord>, StoreError> {
        let entry = self.store.get(&keys::node(id)).await?;
        Ok(entry.and_then(|entry| readable(&entry.key, &entry.value)))
    }

    /// The client of an agent. It connects when it is used and again after a loss.
    pub fn client(&self, address: &str) -> AgentClient<Channel> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(address) {
            return client.clone();
        }
        // The URI only names the authority; the dialer knows the address and checks the certificate.
        let endpoint = Endpoint::from_static("http://agent.berth");
        let endpoint = endpoint.connect_timeout(Duration::from_secs(3));
        let client = AgentClient::new(endpoint.connect_with_connector_lazy(self.dialer.agent(address)));
        clients.insert(address.to_owned(), client.clone());
        client
    }

    /// All nodes with their figures, asked for at once.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let mut records = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(keys::NODES, after.as_deref(), PAGE, None).await?;
            after = page.entries.last().map(|entry| entry.key.clone());
            records.extend(
                page.entries
                    .iter()
                    .filter_map(|entry| readable(&entry.key, &entry.value)),
            );
            if !page.more {
                break;
            }
        }
        Ok(join_all(records.into_iter().map(|record| self.measure(record))).await)
    }

    async fn measure(&self, record: NodeRecord) -> Node {
        let load = tokio::time::timeout(LOAD_DEADLINE, self.load(&record.address)).await;
        let load = match load {
            Ok(Ok(load)) => load,
            Ok(Err(status)) => {
                tracing::debug!(node.id = %record.id, error = status.message(), "the agent tells no figures");
                None
            }
            Err(_elapsed) => None,
        };
        Node { record, load }
    }

    async fn load(&self, address: &str) -> Result<Option<Load>, Status> {
        self.client(address)
            .watch_load(WatchLoadRequest {})
            .await?
            .into_inner()
            .message()
            .await
    }
}

impl Node {
    /// The node as placement sees it, and what a driver of the profile reserves there.
    pub fn view(&self, profile: &ProfileName) -> Option<(NodeView, u64)> {
        let load = self.load.as_ref()?;
        let offered = load
            .profiles
            .iter()
            .find(|offered| offered.name == profile.as_str())?;
        let view = NodeView {
            capacity_bytes: load.memory_capacity_bytes,
            reserved_bytes: load.memory_reserved_bytes,
            free_slots: load.driver_slots.saturating_sub(load.drivers),
            warm: offered.warm,
            open: !load.draining,
        };
        Some((view, offered.memory_bytes))
    }
}

fn readable(key: &str, value: &[u8]) -> Option<NodeRecord> {
    NodeRecord::decode(key, value)
        .inspect_err(|error| tracing::warn!(%error, "a node is left out"))
        .ok()
}
