//! The agents: their gRPC clients, and what their nodes have free.
//!
//! The nodes are followed in the store, and the figures of each in a stream of its agent. Both are hints for
//! placement: the agent decides. Whether a node is lost is always read from the store.

mod figures;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{NodeId, ProfileName};
use berth_core::keys;
use berth_core::record::{NodeRecord, Record};
use berth_proto::agent::agent_client::AgentClient;
use berth_proto::agent::{Load, WatchLoadRequest};
use berth_runtime::tasks::Tasks;
use berth_runtime::telemetry::trace;
use berth_store::watch::{self, Change};
use berth_store::{Event, StoreError, StoreRef};
use futures_util::StreamExt;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::tunnel::Dialer;
pub use figures::Node;

/// Longest answer of an agent: a statement's result.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// An agent sends its figures every second. One that is silent for longer gets no new sessions.
const SILENCE: Duration = Duration::from_secs(3);
/// A pause before an agent is asked again for its figures.
const PAUSE: Duration = Duration::from_millis(500);
/// Losses that a slow listener may lag behind; what it misses it finds when it looks at all sessions.
const MAX_LOSSES: usize = 256;

/// Something that sessions lived on and that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// A node, or one run of its agent.
    Node(NodeId),
    /// Drivers of a node.
    Drivers(Vec<String>),
}

/// A node that is followed.
#[derive(Debug)]
struct Followed {
    node: Node,
    /// Ends the stream of its figures.
    end: CancellationToken,
}

/// A client of an agent, whose calls name the trace that they are part of.
pub(crate) type Agent =
    AgentClient<InterceptedService<Channel, fn(Request<()>) -> Result<Request<()>, Status>>>;

/// The nodes of the cluster.
#[derive(Debug)]
pub struct Fleet {
    store: StoreRef,
    dialer: Dialer,
    clients: Mutex<BTreeMap<String, Agent>>,
    followed: Mutex<BTreeMap<NodeId, Followed>>,
    losses: broadcast::Sender<Loss>,
}

impl Fleet {
    /// The nodes registered in `store`, reached by `dialer`. None is known before [`Fleet::follow`].
    pub fn new(store: StoreRef, dialer: Dialer) -> Arc<Self> {
        Arc::new(Self {
            store,
            dialer,
            clients: Mutex::default(),
            followed: Mutex::default(),
            losses: broadcast::channel(MAX_LOSSES).0,
        })
    }

    /// Keeps the nodes and their figures up to date until the tasks drain.
    pub fn follow(self: &Arc<Self>, tasks: &Tasks) {
        let (fleet, owner) = (Arc::clone(self), tasks.clone());
        tasks.spawn("node watch", async move {
            let draining = owner.shutdown().clone();
            tokio::select! {
                () = fleet.follow_nodes(&owner) => {}
                () = draining.draining() => {}
            }
        });
    }

    /// How drivers are reached.
    pub fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// What is lost from now on. Hints: a listener that lags misses some.
    pub fn losses(&self) -> broadcast::Receiver<Loss> {
        self.losses.subscribe()
    }

    /// The record of a node that holds its lease, as the store has it now.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer.
    pub async fn node(&self, id: &NodeId) -> Result<Option<NodeRecord>, StoreError> {
        let entry = self.store.get(&keys::node(id)).await?;
        Ok(entry.and_then(|entry| readable(&entry.key, &entry.value)))
    }

    /// The client of an agent. It connects when it is used and again after a loss.
    pub(crate) fn client(&self, address: &str) -> Agent {
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(address) {
            return client.clone();
        }
        // The URI only names the authority; the dialer knows the address and checks the certificate.
        let endpoint = Endpoint::from_static("http://agent.berth")
            .connect_timeout(Duration::from_secs(3))
            // An agent whose machine is gone sends nothing, not even a reset.
            .http2_keep_alive_interval(Duration::from_secs(2))
            .keep_alive_timeout(Duration::from_secs(2));
        let channel = endpoint.connect_with_connector_lazy(self.dialer.agent(address));
        let client: Agent = AgentClient::with_interceptor(channel, in_trace);
        let client = client.max_decoding_message_size(MAX_ANSWER_BYTES);
        clients.insert(address.to_owned(), client.clone());
        client
    }

    /// All nodes as they were last heard of.
    pub fn nodes(&self) -> Vec<Node> {
        lock(&self.followed)
            .values()
            .map(|followed| followed.node.clone())
            .collect()
    }

    /// What a driver of the profile reserves; the most that any node says.
    pub fn memory_of(&self, profile: &ProfileName) -> Option<u64> {
        let nodes = self.nodes();
        nodes.iter().filter_map(|node| node.memory_of(profile)).max()
    }

    /// A token that is cancelled when this run of the node's agent is lost.
    pub fn presence(&self, record: &NodeRecord) -> CancellationToken {
        let followed = lock(&self.followed);
        let there = followed.get(&record.id);
        let there = there.filter(|there| there.node.record.incarnation == record.incarnation);
        // One that is not followed yet will be.
        there.map_or_else(CancellationToken::new, |there| there.end.child_token())
    }

    /// Counts a driver that is about to be asked for on a node, until its next figures.
    pub(crate) fn claim(&self, id: &NodeId, memory_bytes: u64, profile: &ProfileName) {
        if let Some(followed) = lock(&self.followed).get_mut(id) {
            followed.node.claim(memory_bytes, profile);
        }
    }

    async fn follow_nodes(self: &Arc<Self>, tasks: &Tasks) {
        let mut changes = watch::follow(Arc::clone(&self.store), keys::NODES);
        while let Some(change) = changes.next().await {
            match change {
                Change::Snapshot(entries, _) => {
                    let records = entries
                        .iter()
                        .filter_map(|entry| readable(&entry.key, &entry.value));
                    let records: Vec<NodeRecord> = records.collect();
                    let known: Vec<NodeId> = lock(&self.followed).keys().cloned().collect();
                    let is_there = |id: &NodeId| records.iter().any(|record| record.id == *id);
                    known
                        .iter()
                        .filter(|id| !is_there(id))
                        .for_each(|id| self.forget(id));
                    records.into_iter().for_each(|record| self.learn(record, tasks));
                }
                Change::Batch(batch) => {
                    for event in batch.events {
                        self.apply(&event, tasks);
                    }
                }
            }
        }
    }

    fn apply(self: &Arc<Self>, event: &Event, tasks: &Tasks) {
        match event {
            Event::Put(entry) => {
                if let Some(record) = readable(&entry.key, &entry.value) {
                    self.learn(record, tasks);
                }
            }
            Event::Delete { key, .. } => {
                let id = key.strip_prefix(keys::NODES).and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    self.forget(&id);
                }
            }
        }
    }

    fn learn(self: &Arc<Self>, record: NodeRecord, tasks: &Tasks) {
        let mut followed = lock(&self.followed);
        if let Some(known) = followed.get_mut(&record.id)
            && known.node.record.incarnation == record.incarnation
            && known.node.record.address == record.address
        {
            known.node.record = record;
            return;
        }
        let end = CancellationToken::new();
        let watched = Followed {
            node: Node::new(record.clone()),
            end: end.clone(),
        };
        if let Some(old) = followed.insert(record.id.clone(), watched) {
            old.end.cancel();
            self.tell(Loss::Node(record.id.clone()));
        }
        drop(followed);
        tracing::info!(node.id = %record.id, address = record.address, "node is there");
        let (fleet, draining) = (Arc::clone(self), tasks.shutdown().clone());
        tasks.spawn("node figures", async move {
            tokio::select! {
                () = fleet.hear(&record) => {}
                () = end.cancelled() => {}
                () = draining.draining() => {}
            }
        });
    }

    fn forget(&self, id: &NodeId) {
        if let Some(gone) = lock(&self.followed).remove(id) {
            gone.end.cancel();
            lock(&self.clients).remove(&gone.node.record.address);
            tracing::warn!(node.id = %id, "node is lost");
            self.tell(Loss::Node(id.clone()));
        }
    }

    fn tell(&self, loss: Loss) {
        // Only the leader listens.
        let _unheard = self.losses.send(loss);
    }

    /// Takes in the figures of one node, for ever.
    async fn hear(&self, record: &NodeRecord) {
        loop {
            if let Err(status) = self.hear_stream(record).await {
                tracing::debug!(node.id = %record.id, error = status.message(), "the agent tells no figures");
            }
            self.note(&record.id, None);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hear_stream(&self, record: &NodeRecord) -> Result<(), Status> {
        let silent = |_late| Status::deadline_exceeded("silence");
        let mut agent = self.client(&record.address);
        let asked = tokio::time::timeout(SILENCE, agent.watch_load(WatchLoadRequest {})).await;
        let mut loads = asked.map_err(silent)??.into_inner();
        loop {
            let load = tokio::time::timeout(SILENCE, loads.message()).await;
            let Some(load) = load.map_err(silent)?? else {
                return Ok(());
            };
            if !load.lost_drivers.is_empty() {
                self.tell(Loss::Drivers(load.lost_drivers.clone()));
            }
            self.note(&record.id, Some(load));
        }
    }

    fn note(&self, id: &NodeId, load: Option<Load>) {
        if let Some(followed) = lock(&self.followed).get_mut(id) {
            followed.node.hear(load);
        }
    }
}

#[allow(
    clippy::result_large_err,
    clippy::unnecessary_wraps,
    reason = "the shape of an interceptor"
)]
fn in_trace(request: Request<()>) -> Result<Request<()>, Status> {
    let (mut metadata, extensions, message) = request.into_parts();
    trace::pass_on(&tracing::Span::current(), metadata.as_mut());
    Ok(Request::from_parts(metadata, extensions, message))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn readable(key: &str, value: &[u8]) -> Option<NodeRecord> {
    NodeRecord::decode(key, value)
        .inspect_err(|error| tracing::warn!(%error, "a node is left out"))
        .ok()
}
