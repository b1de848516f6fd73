//! The node's lease: proof that this agent may speak for its node.
//!
//! The lease surely holds until a part of its time to live after the last successful renewal was *sent*; the store
//! may let it go only later. Everything that acts for the node asks [`NodeLease::is_held`] first, and driver hosts
//! are told the same instant as their fence deadline.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::NodeIncarnation;
use berth_core::keys;
use berth_core::record::{FORMAT, NodeRecord, Record};
use berth_runtime::clock::{boot_time, unix_millis};
use berth_runtime::tasks::Tasks;
use berth_store::{Compare, LeaseId, StoreError, StoreRef, Txn, TxnOutcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::AgentError;
use crate::config::AgentConfig;

/// What is held.
#[derive(Debug, Clone)]
struct Holding {
    lease: LeaseId,
    record: NodeRecord,
}

/// The lease and the node's record under it.
#[derive(Debug)]
pub(crate) struct NodeLease {
    store: StoreRef,
    ttl: Duration,
    holding: Mutex<Holding>,
    held_until: watch::Sender<Duration>,
    given_back: CancellationToken,
}

impl NodeLease {
    /// Takes the lease, registers the node and keeps both until the tasks are stopped.
    pub(crate) async fn take(
        config: &AgentConfig,
        store: StoreRef,
        address: SocketAddr,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, AgentError> {
        let record = NodeRecord {
            format: FORMAT,
            id: config.node_id.clone(),
            incarnation: NodeIncarnation::new(Uuid::new_v4()),
            address: config
                .advertise_address
                .clone()
                .unwrap_or_else(|| address.to_string()),
            labels: std::collections::BTreeMap::new(),
            draining: false,
            started_at: unix_millis(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let ttl = config.lease_ttl();
        let (lease, until) = register(&store, ttl, &record).await?;
        let (held_until, _) = watch::channel(until);
        let lease = Arc::new(Self {
            store,
            ttl,
            holding: Mutex::new(Holding { lease, record }),
            held_until,
            given_back: CancellationToken::new(),
        });
        let kept = Arc::clone(&lease);
        tasks.spawn("node lease", async move {
            tokio::select! {
                () = kept.keep() => {}
                () = kept.given_back.cancelled() => {}
            }
        });
        Ok(lease)
    }

    /// True while nobody else can have been told that this node is lost.
    pub(crate) fn is_held(&self) -> bool {
        boot_time() < *self.held_until.borrow()
    }

    /// The boot-clock instant until which the lease surely holds, and its changes.
    pub(crate) fn held_until(&self) -> watch::Receiver<Duration> {
        self.held_until.subscribe()
    }

    /// The node's record as it was last written.
    pub(crate) fn record(&self) -> NodeRecord {
        self.lock().record.clone()
    }

    /// Writes whether the node is draining.
    pub(crate) async fn set_draining(&self, draining: bool) -> Result<(), StoreError> {
        let holding = {
            let mut holding = self.lock();
            holding.record.draining = draining;
            holding.clone()
        };
        let key = keys::node(&holding.record.id);
        let put = Txn::new().put_leased(key, holding.record.encode(), holding.lease);
        self.store.txn(put).await.map(drop)
    }

    /// Ends the lease; the node is gone for all brokers at once.
    pub(crate) async fn give_back(&self) {
        // First of all, or the renewal that finds the lease gone would register the node again.
        self.given_back.cancel();
        let lease = self.lock().lease;
        self.held_until.send_replace(Duration::ZERO);
        if let Err(error) = self.store.revoke(lease).await {
            tracing::warn!(%error, "the node's lease could not be given back; it ends by itself");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Holding> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn keep(&self) {
        let mut ticks = tokio::time::interval(self.ttl / 4);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sent = boot_time();
            let lease = self.lock().lease;
            match self.store.renew(lease).await {
                Ok(()) => drop(self.held_until.send_replace(sure_until(sent, self.ttl))),
                Err(StoreError::LeaseGone(_)) => self.come_back().await,
                Err(error) => tracing::warn!(%error, "the node's lease was not renewed"),
            }
        }
    }

    /// The lease ended: this node was declared lost. It comes back as a new incarnation, without its old drivers.
    async fn come_back(&self) {
        let mut record = self.record();
        record.incarnation = NodeIncarnation::new(Uuid::new_v4());
        match register(&self.store, self.ttl, &record).await {
            Ok((lease, until)) => {
                tracing::info!(node.id = %record.id, "the node lost its lease and is back as a new incarnation");
                *self.lock() = Holding { lease, record };
                self.held_until.send_replace(until);
            }
            Err(error) => tracing::warn!(%error, "the node could not register again"),
        }
    }
}

/// A fifth of the time to live is margin: clocks run at slightly different rates and processes pause.
fn sure_until(sent: Duration, ttl: Duration) -> Duration {
    sent + ttl * 4 / 5
}

async fn register(
    store: &StoreRef,
    ttl: Duration,
    record: &NodeRecord,
) -> Result<(LeaseId, Duration), AgentError> {
    let key = keys::node(&record.id);
    let deadline = tokio::time::Instant::now() + ttl + Duration::from_secs(2);
    loop {
        let sent = boot_time();
        let lease = store.grant(ttl).await?;
        let put = Txn::new()
            .when(Compare::Absent(key.clone()))
            .put_leased(&key, record.encode(), lease);
        if let TxnOutcome::Done(_) = store.txn(put).await? {
            return Ok((lease, sure_until(sent, ttl)));
        }
        store.revoke(lease).await?;
        if tokio::time::Instant::now() > deadline {
            return Err(AgentError::Taken {
                node: record.id.to_string(),
            });
        }
        // An earlier run of this agent still has the key until its lease ends.
        tokio::time::sleep(ttl / 10).await;
    }
}
