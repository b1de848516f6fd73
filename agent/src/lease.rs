//! The node's lease: proof that this agent may speak for its node.
//!
//! The lease surely holds until a part of its time to live after the last successful renewal was *sent*; the store
//! may let it go only later. Everything that acts for the node asks [`NodeLease::is_held`] first, and driver hosts
//! are told the same instant as their fence deadline.

mod saved;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::NodeIncarnation;
use berth_core::keys;
use berth_core::record::{FORMAT, NodeRecord, Record};
use berth_runtime::clock::{boot_time, unix_millis};
use berth_store::{Compare, LeaseId, StoreError, StoreRef, Txn, TxnOutcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::AgentError;
use crate::config::AgentConfig;

/// A pause before the store is asked again.
const PAUSE: Duration = Duration::from_millis(250);

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
    /// Where the next run of the agent finds what this one holds.
    saved: PathBuf,
    holding: Mutex<Holding>,
    held_until: watch::Sender<Duration>,
    let_go: CancellationToken,
}

impl NodeLease {
    /// The lease's time to live.
    pub(crate) const fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Takes the node's lease. If the earlier run of this agent still holds it, it is that run's lease and
    /// incarnation, and its drivers may go on; else `end_drivers` has ended them before the node is registered.
    pub(crate) async fn take<F: Future<Output = ()>>(
        config: &AgentConfig,
        store: StoreRef,
        address: SocketAddr,
        end_drivers: impl FnOnce() -> F,
    ) -> Result<(Arc<Self>, Resumed), AgentError> {
        let saved = config.state_dir.join("node.json");
        let mut record = record(config, address);
        let ttl = config.lease_ttl();
        let resumed = saved::resume(&store, ttl, &saved, &mut record).await?;
        let (lease, until) = match resumed {
            Some(held) => held,
            None => {
                end_drivers().await;
                register(&store, ttl, &record).await?
            }
        };
        let (held_until, _) = watch::channel(until);
        let taken = Self {
            store,
            ttl,
            saved,
            holding: Mutex::new(Holding { lease, record }),
            held_until,
            let_go: CancellationToken::new(),
        };
        taken.save();
        Ok((Arc::new(taken), Resumed(resumed.is_some())))
    }

    /// True while nobody else can have been told that this node is lost.
    pub(crate) fn is_held(&self) -> bool {
        boot_time() < *self.held_until.borrow()
    }

    /// The boot-clock instant until which the lease surely holds, and its changes.
    pub(crate) fn held_until(&self) -> watch::Receiver<Duration> {
        self.held_until.subscribe()
    }

    /// Ends when the lease is not surely held any more.
    pub(crate) async fn lost(&self) {
        let mut until = self.held_until();
        loop {
            let left = until.borrow_and_update().saturating_sub(boot_time());
            if left.is_zero() {
                return;
            }
            tokio::select! {
                // Timers do not count suspended time: look at the clock again soon.
                () = tokio::time::sleep(left.min(PAUSE)) => {}
                changed = until.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The node's record as it was last written.
    pub(crate) fn record(&self) -> NodeRecord {
        self.lock().record.clone()
    }

    /// Writes whether the node is draining.
    pub(crate) async fn set_draining(&self, draining: bool) -> Result<(), StoreError> {
        let mut wanted = self.lock().clone();
        wanted.record.draining = draining;
        let key = keys::node(&wanted.record.id);
        let put = Txn::new().put_leased(key, wanted.record.encode(), wanted.lease);
        self.store.txn(put).await?;
        self.lock().record.draining = draining;
        Ok(())
    }

    /// Stops renewing and leaves the lease to the next run of the agent, as long as it lasts.
    pub(crate) fn leave(&self) {
        self.let_go.cancel();
    }

    /// Ends the lease; the node is gone for all brokers at once.
    pub(crate) async fn give_back(&self) {
        self.let_go.cancel();
        let lease = self.lock().lease;
        self.held_until.send_replace(Duration::ZERO);
        // Absent if it could not be written.
        let _absent = std::fs::remove_file(&self.saved);
        if let Err(error) = self.store.revoke(lease).await {
            tracing::warn!(%error, "the node's lease could not be given back; it ends by itself");
        }
    }

    /// Renews the lease until it is let go. When it is gone, `end_drivers` ends what ran under it, and the node
    /// comes back as a new incarnation.
    pub(crate) async fn keep<F: Future<Output = ()>>(&self, end_drivers: impl Fn() -> F) {
        // A renewal that finds a lease gone that was given back must not register the node again.
        tokio::select! {
            () = self.renew_on(end_drivers) => {}
            () = self.let_go.cancelled() => {}
        }
    }

    async fn renew_on<F: Future<Output = ()>>(&self, end_drivers: impl Fn() -> F) {
        let mut ticks = tokio::time::interval(self.ttl / 4);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let sent = boot_time();
            let lease = self.lock().lease;
            match self.store.renew(lease).await {
                Ok(()) => self.hold_until(sure_until(sent, self.ttl)),
                Err(StoreError::LeaseGone(_)) => {
                    self.held_until.send_replace(Duration::ZERO);
                    end_drivers().await;
                    self.come_back().await;
                }
                Err(error) => tracing::warn!(%error, "the node's lease was not renewed"),
            }
        }
    }

    /// A lease that has been let go must not seem held again.
    fn hold_until(&self, until: Duration) {
        if !self.let_go.is_cancelled() {
            self.held_until.send_replace(until);
        }
    }

    async fn come_back(&self) {
        let mut record = self.record();
        record.incarnation = NodeIncarnation::new(Uuid::new_v4());
        match register(&self.store, self.ttl, &record).await {
            Ok((lease, until)) => {
                tracing::info!(node.id = %record.id, "the node lost its lease and is back as a new incarnation");
                *self.lock() = Holding { lease, record };
                self.save();
                self.hold_until(until);
            }
            Err(error) => tracing::warn!(%error, "the node could not register again"),
        }
    }

    fn save(&self) {
        let holding = self.lock().clone();
        if let Err(error) = saved::save(&self.saved, holding.lease, holding.record.incarnation) {
            tracing::warn!(%error, "the lease could not be written down; a restart will end the drivers");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Holding> {
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True when the agent goes on with the lease of its earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumed(pub(crate) bool);

fn record(config: &AgentConfig, address: SocketAddr) -> NodeRecord {
    NodeRecord {
        format: FORMAT,
        id: config.node_id.clone(),
        incarnation: NodeIncarnation::new(Uuid::new_v4()),
        address: config
            .advertise_address
            .clone()
            .unwrap_or_else(|| address.to_string()),
        labels: config.labels.clone(),
        draining: false,
        started_at: unix_millis(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
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
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i1_the_lease_is_sure_from_when_its_renewal_was_sent_and_shorter_than_the_store_keeps_it() {
        let (sent, ttl) = (Duration::from_secs(100), Duration::from_secs(10));
        assert_eq!(sure_until(sent, ttl), Duration::from_secs(108));
    }
}
