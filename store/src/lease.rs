//! Keeping a lease, and knowing for certain how long it is held.
//!
//! A lease surely holds until a part of its time to live after the last successful renewal was *sent*: the store
//! counts from a later instant. Whoever acts on the strength of a lease stops at that instant by itself, so when
//! the store lets the lease go and somebody else takes over, the former holder has stopped already (I1).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_runtime::clock::boot_time;
use berth_runtime::tasks::{Shutdown, Tasks};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::{LeaseId, StoreError, StoreRef};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A timer does not run while a machine is suspended, the boot-time clock does: it is looked at this often.
const LOOK: Duration = Duration::from_secs(1);

/// Whether a lease is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// It is, surely.
    Held {
        /// The lease. Another one than before means that the keys of the former are gone: register them again. The
        /// same one after [`LeaseState::Lost`] means that they are still there.
        lease: LeaseId,
        /// Until when, by [`boot_time`]. Moves on with each renewal.
        until: Duration,
    },
    /// Perhaps not: somebody may have been told that it ended.
    Lost,
}

impl LeaseState {
    /// The lease if it is held at this instant.
    ///
    /// Looks at the clock: a state that was read before a pause or a suspension tells the truth after it.
    pub fn held(self) -> Option<LeaseId> {
        match self {
            Self::Held { lease, until } if boot_time() < until => Some(lease),
            Self::Held { .. } | Self::Lost => None,
        }
    }
}

/// Keeps one lease, or its successor when it is lost, until it is released or dropped.
///
/// Dropped without [`Keeper::release`], the lease ends by itself after its time to live.
#[derive(Debug)]
pub struct Keeper {
    holder: Arc<Holder>,
    tasks: Tasks,
}

impl Keeper {
    /// Takes a lease that ends `ttl` after its last renewal, and renews it four times as often.
    ///
    /// # Errors
    /// As [`Store::grant`](crate::Store::grant).
    pub async fn start(store: StoreRef, ttl: Duration) -> Result<Self, StoreError> {
        let (state, _) = watch::channel(LeaseState::Lost);
        let (held_until, _) = watch::channel(Duration::ZERO);
        let holder = Arc::new(Holder {
            store,
            ttl,
            lease: Mutex::new(LeaseId(0)),
            state,
            held_until,
        });
        holder.take().await?;
        let tasks = Tasks::new(Shutdown::new());
        let renewing = Arc::clone(&holder);
        tasks.spawn("lease renewal", async move { renewing.renew_on().await });
        let lapsing = Arc::clone(&holder);
        tasks.spawn("lease lapse", async move { lapsing.lapse_on().await });
        Ok(Self { holder, tasks })
    }

    /// The state now.
    pub fn state(&self) -> LeaseState {
        match *self.holder.state.borrow() {
            state if state.held().is_some() => state,
            LeaseState::Held { .. } | LeaseState::Lost => LeaseState::Lost,
        }
    }

    /// True while the lease is surely held.
    pub fn is_held(&self) -> bool {
        self.state().held().is_some()
    }

    /// The instant by [`boot_time`] until which the lease is surely held. In the past if it is not.
    pub fn held_until(&self) -> Duration {
        *self.holder.held_until.borrow()
    }

    /// The state and its changes. The latest is kept; those in between may be missed.
    pub fn states(&self) -> watch::Receiver<LeaseState> {
        self.holder.state.subscribe()
    }

    /// [`Keeper::held_until`] and its changes, for whoever hands the deadline on.
    pub fn deadlines(&self) -> watch::Receiver<Duration> {
        self.holder.held_until.subscribe()
    }

    /// Waits until a lease is held. For ever, once it was released. Cancel-safe.
    pub async fn held(&self) -> LeaseId {
        let mut states = self.states();
        loop {
            if let Some(lease) = states.borrow_and_update().held() {
                return lease;
            }
            if states.changed().await.is_err() {
                // The sender lives as long as the keeper that is borrowed here.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Gives the lease back: it is not held any more from here on, and its keys go at once.
    ///
    /// # Errors
    /// As [`Store::revoke`](crate::Store::revoke). The lease then ends by itself.
    pub async fn release(&self) -> Result<(), StoreError> {
        // First of all, or a renewal that finds the lease gone would take another one.
        self.tasks.shutdown().abort();
        self.tasks.stop(Duration::ZERO).await;
        self.holder.publish(LeaseState::Lost);
        self.holder.store.revoke(self.holder.lease()).await
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tasks.shutdown().abort();
    }
}

#[derive(Debug)]
struct Holder {
    store: StoreRef,
    ttl: Duration,
    /// The latest lease, held or not.
    lease: Mutex<LeaseId>,
    state: watch::Sender<LeaseState>,
    held_until: watch::Sender<Duration>,
}

impl Holder {
    fn lease(&self) -> LeaseId {
        // A number is not left half-written.
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: LeaseState) {
        let until = match state {
            LeaseState::Held { until, .. } => until,
            LeaseState::Lost => Duration::ZERO,
        };
        self.held_until.send_replace(until);
        self.state.send_replace(state);
    }

    /// The lease was surely alive at `sent`.
    fn prolong(&self, lease: LeaseId, sent: Duration) {
        let until = sure_until(sent, self.ttl);
        // An answer that took too long proves nothing any more.
        if boot_time() < until {
            self.publish(LeaseState::Held { lease, until });
        }
    }

    async fn take(&self) -> Result<(), StoreError> {
        let sent = boot_time();
        let lease = self.store.grant(self.ttl).await?;
        *self.lease.lock().unwrap_or_else(PoisonError::into_inner) = lease;
        self.prolong(lease, sent);
        Ok(())
    }

    async fn renew(&self) -> Result<(), StoreError> {
        let (lease, sent) = (self.lease(), boot_time());
        match self.store.renew(lease).await {
            Ok(()) => self.prolong(lease, sent),
            Err(StoreError::LeaseGone(_)) => {
                self.publish(LeaseState::Lost);
                tracing::warn!(
                    lease = lease.0,
                    "a lease ended under its holder, who takes another"
                );
                self.take().await?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn renew_on(&self) {
        let mut backoff = Backoff::new(FIRST_PAUSE, self.ttl / 8);
        loop {
            let outcome = match self.renew().await {
                Ok(()) => {
                    backoff.reset();
                    "renewed"
                }
                Err(error) => {
                    tracing::warn!(%error, "a lease was not renewed");
                    "failed"
                }
            };
            metrics::counter!("berth_lease_renewals_total", "outcome" => outcome).increment(1);
            if outcome == "renewed" {
                tokio::time::sleep(self.ttl / 4).await;
            } else {
                backoff.pause().await;
            }
        }
    }

    /// Tells of the end of certainty at the instant it comes, whatever the renewal is waiting for.
    async fn lapse_on(&self) {
        let mut states = self.state.subscribe();
        loop {
            let state = *states.borrow_and_update();
            let wait = match state {
                LeaseState::Lost => LOOK,
                LeaseState::Held { until, .. } => until.saturating_sub(boot_time()),
            };
            if wait.is_zero() {
                self.lapse();
            }
            tokio::select! {
                _ = states.changed() => {}
                () = tokio::time::sleep(wait.min(LOOK)) => {}
            }
        }
    }

    fn lapse(&self) {
        let lapsed = self.state.send_if_modified(|state| {
            let lapsed = *state != LeaseState::Lost && state.held().is_none();
            if lapsed {
                *state = LeaseState::Lost;
            }
            lapsed
        });
        if lapsed {
            tracing::warn!("a lease is not surely held any more: the store did not answer in time");
        }
    }
}

/// A fifth of the time to live is margin: clocks run at slightly different rates and processes pause.
fn sure_until(sent: Duration, ttl: Duration) -> Duration {
    sent + ttl * 4 / 5
}
