//! What one broker does for all: recover what nobody asks for, end what is idle, empty nodes that are drained, and
//! clear away what is left.
//!
//! What is to be done is decided in `berth_core::duties`. With no leader sessions go on: a client that asks for its
//! session has it recovered at once, by the broker that it asks.

mod chores;
mod heirs;
mod look;
mod sightings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::duties::{Duty, Patience, duty};
use berth_core::ids::{BrokerId, DriverId, SessionId, TenantId};
use berth_core::keys;
use berth_core::record::{Dialect, Work};
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::Tasks;
use berth_store::StoreRef;
use berth_store::election::{Election, Leadership};
use berth_store::lease::Keeper;
use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::config::BrokerConfig;
use crate::dialects::livy::batches::desk::Batches;
use crate::dialects::livy::desk::Desk;
use crate::dialects::livy::directory::{Directory, Resource};
use crate::dialects::sql;
use crate::fleet::{Fleet, Loss};
use crate::sessions::Sessions;

/// How often the leader looks at everything.
const ROUND: Duration = Duration::from_secs(5);
/// How often blobs are looked through.
const SWEEP: Duration = Duration::from_secs(3600);
/// How often batches without a session are looked for, and how long a broker may take to give one a session.
const FORSAKEN: Duration = Duration::from_secs(30);
const BEGUN_WITHIN: Duration = Duration::from_secs(60);
/// A blob that no record names is kept for so long after it was last written.
const BLOB_AGE: Duration = Duration::from_secs(24 * 3600);
/// Duties that are carried out at once: a lost node must not take the others down with its sessions.
const AT_ONCE: usize = 4;
/// How long one that needs a driver is waited for: without room for it, it would wait much longer.
const PLACED_WITHIN: Duration = Duration::from_secs(30);
/// Duties that wait; the next round finds the rest.
const MAX_WAITING: usize = 1_000;
/// A session whose duty failed is left alone for this time.
const REST: Duration = Duration::from_secs(60);
/// A driver that has been quiet for so long is at a point where its session can be moved. Brokers tell twice a second of
/// operations that are open, hosts every two seconds of streaming queries that run.
const QUIET: Duration = Duration::from_secs(5);

/// A broker that has been without its lease for so long does not come back.
const GONE: Duration = Duration::from_secs(30);

/// The parts that the leader works with.
#[derive(Debug)]
pub(crate) struct Leader {
    id: BrokerId,
    store: StoreRef,
    fleet: Arc<Fleet>,
    sessions: Arc<Sessions>,
    desk: Arc<Desk>,
    batches: [Arc<Batches>; 2],
    tasks: Tasks,
    patience: Patience,
    /// Room for duties that need no driver, and for those that do.
    room: Arc<Semaphore>,
    placing: Arc<Semaphore>,
    /// Sessions with a duty that waits or is carried out.
    busy: Mutex<BTreeSet<SessionId>>,
    /// Sessions whose duty failed, and until when they are left alone.
    resting: Mutex<BTreeMap<SessionId, Instant>>,
    /// Brokers that were seen lately.
    sightings: Mutex<sightings::Sightings>,
    /// What a lost broker may have left.
    estate: Mutex<heirs::Estate>,
    /// What was told of tenants in the last round.
    told: Mutex<BTreeSet<(TenantId, Dialect)>>,
}

impl Leader {
    pub(crate) fn new(
        id: BrokerId,
        config: &BrokerConfig,
        store: StoreRef,
        fleet: Arc<Fleet>,
        (sessions, desk, batches): (Arc<Sessions>, Arc<Desk>, [Arc<Batches>; 2]),
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            store,
            fleet,
            sessions,
            desk,
            batches,
            tasks,
            patience: Patience {
                idle_millis: config.idle_seconds.saturating_mul(1000),
                closed_millis: config.closed_seconds.saturating_mul(1000),
                quiet_millis: u64::try_from(QUIET.as_millis()).unwrap_or(u64::MAX),
                broker_millis: u64::try_from(GONE.as_millis()).unwrap_or(u64::MAX),
            },
            room: Arc::new(Semaphore::new(AT_ONCE)),
            placing: Arc::new(Semaphore::new(AT_ONCE)),
            busy: Mutex::default(),
            resting: Mutex::default(),
            sightings: Mutex::default(),
            estate: Mutex::default(),
            told: Mutex::default(),
        })
    }

    /// Stands for election under the broker's lease and does the duties while elected, until the tasks drain.
    pub(crate) async fn run(self: Arc<Self>, keeper: Arc<Keeper>) {
        let draining = self.tasks.shutdown().clone();
        let election = Election::new(Arc::clone(&self.store), keys::LEADER, self.id.to_string());
        loop {
            let elected = tokio::select! {
                elected = election.campaign(&keeper) => elected,
                () = draining.draining() => return,
            };
            let leadership = match elected {
                Ok(leadership) => leadership,
                Err(error) => {
                    // Not for good: an operator gives the store room or rights, and no other broker may be left.
                    tracing::error!(%error, "this broker cannot stand for election, and tries again");
                    tokio::select! {
                        () = tokio::time::sleep(ROUND) => continue,
                        () = draining.draining() => return,
                    }
                }
            };
            metrics::gauge!("berth_leader").set(1.0);
            let over = tokio::select! {
                () = self.reign(&leadership) => true,
                () = draining.draining() => true,
                () = leadership.lost() => false,
            };
            metrics::gauge!("berth_leader").set(0.0);
            self.tell_tenants(&BTreeMap::new());
            if over {
                if let Err(error) = leadership.resign().await {
                    tracing::warn!(%error, "the leader's key stays until the lease ends");
                }
                return;
            }
        }
    }

    async fn reign(self: &Arc<Self>, leadership: &Leadership) {
        *lock(&self.estate) = heirs::Estate::default();
        let mut losses = self.fleet.losses();
        let mut rounds = tokio::time::interval(ROUND);
        let mut sweeps = tokio::time::interval_at(Instant::now() + SWEEP, SWEEP);
        let mut forsaken = tokio::time::interval_at(Instant::now() + FORSAKEN, FORSAKEN);
        loop {
            tokio::select! {
                _ = rounds.tick() => self.round(leadership).await,
                _ = sweeps.tick() => {
                    self.sweep_blobs();
                    self.sweep_numbers();
                }
                _ = forsaken.tick() => self.attend_forsaken(),
                loss = losses.recv() => match loss {
                    Ok(Loss::Drivers(drivers)) => self.on_lost_drivers(&drivers),
                    Ok(Loss::Node(_)) | Err(RecvError::Lagged(_)) => self.round(leadership).await,
                    Err(RecvError::Closed) => return,
                }
            }
        }
    }

    /// Looks at all sessions once.
    async fn round(self: &Arc<Self>, leadership: &Leadership) {
        self.tell_tenants(&self.sessions.table().count());
        let (cluster, held) = match self.look().await {
            Ok(seen) => seen,
            Err(error) => {
                tracing::warn!(%error, "the leader cannot see the cluster; nothing is done in this round");
                return;
            }
        };
        if !leadership.is_held() {
            return;
        }
        self.inherit(&cluster.brokers);
        let now = unix_millis();
        let mut found = self.sessions.table().pick(|row| {
            let duty = duty(&row.brief, &cluster, self.patience, now)?;
            Some((duty, std::cmp::Reverse(row.since), row.brief.id, row.brief.epoch))
        });
        // The most recently used first, as far as this is known.
        found.sort_unstable();
        for (duty, _, id, epoch) in found {
            self.assign(duty, id, epoch);
        }
        self.clear_orphans(held).await;
    }

    /// Removes what no record names any more, in a task of its own: the blobs may be many.
    fn sweep_blobs(self: &Arc<Self>) {
        let leader = Arc::clone(self);
        self.tasks.spawn("blob sweep", async move {
            match leader.sessions.ledger().sweep(BLOB_AGE).await {
                Ok(0) => {}
                Ok(removed) => {
                    metrics::counter!("berth_blobs_removed_total").increment(removed as u64);
                    tracing::info!(removed, "blobs that no record names are removed");
                }
                Err(error) => tracing::warn!(%error, "blobs are not swept"),
            }
        });
    }

    /// Removes numbers of Livy's sessions and batches that could not be started, and handles of what is over.
    fn sweep_numbers(self: &Arc<Self>) {
        let leader = Arc::clone(self);
        let before = unix_millis().saturating_sub(self.patience.closed_millis);
        self.tasks.spawn("alias sweep", async move {
            for resource in [Resource::Sessions, Resource::Batches, Resource::KyuubiBatches] {
                let directory = Directory::of(leader.store.clone(), resource);
                if let Err(error) = directory.forget_failed(before).await {
                    tracing::warn!(%error, ?resource, "what never started is not forgotten");
                }
            }
            for dialect in [Dialect::Kyuubi, Dialect::Hs2] {
                let handles = sql::directory::Directory::of(leader.store.clone(), dialect);
                if let Err(error) = handles.forget_over(before).await {
                    tracing::warn!(%error, ?dialect, "handles of what is over are not forgotten");
                }
            }
        });
    }

    fn on_lost_drivers(self: &Arc<Self>, drivers: &[String]) {
        let drivers: BTreeSet<DriverId> = drivers.iter().filter_map(|id| id.parse().ok()).collect();
        for id in self.sessions.table().on_drivers(&drivers) {
            let brief = self.sessions.table().brief(id);
            let is_batch = brief.is_some_and(|brief| brief.work == Work::Batch);
            let duty = if is_batch { Duty::Attend } else { Duty::Recover };
            self.assign(duty, id, berth_core::ids::Epoch::INITIAL);
        }
    }

    /// Has a duty carried out, unless one of the session is under way or has just failed.
    fn assign(self: &Arc<Self>, duty: Duty, id: SessionId, epoch: berth_core::ids::Epoch) {
        // What may find no room for a driver must not hold up what makes room.
        let places = matches!(duty, Duty::Recover | Duty::Move { .. });
        let most = if places { MAX_WAITING } else { 2 * MAX_WAITING };
        {
            let mut resting = lock(&self.resting);
            resting.retain(|_, until| *until > Instant::now());
            let mut busy = lock(&self.busy);
            if resting.contains_key(&id) || busy.len() >= most || !busy.insert(id) {
                return;
            }
        }
        let leader = Arc::clone(self);
        self.tasks.spawn("leader duty", async move {
            let room = if places { &leader.placing } else { &leader.room };
            let _room = room.acquire().await;
            let patience = if places { PLACED_WITHIN } else { Duration::MAX };
            let done = tokio::time::timeout(patience, leader.carry_out(duty, id, epoch)).await;
            let failed = match done {
                Ok(Ok(())) => None,
                Ok(Err(refusal)) => Some(refusal.to_string()),
                Err(_late) => Some("it goes on by itself".to_owned()),
            };
            if let Some(error) = failed {
                tracing::warn!(session.id = %id, ?duty, error, "a duty was not done");
                lock(&leader.resting).insert(id, Instant::now() + REST);
            }
            lock(&leader.busy).remove(&id);
        });
    }

    /// Open sessions by tenant: only the leader tells them, so that a sum over brokers is right.
    fn tell_tenants(&self, counts: &BTreeMap<(TenantId, Dialect), u64>) {
        let mut told = lock(&self.told);
        let now: BTreeSet<_> = counts.keys().cloned().collect();
        for (tenant, dialect) in told.difference(&now) {
            gauge(tenant, *dialect, 0);
        }
        for ((tenant, dialect), count) in counts {
            gauge(tenant, *dialect, *count);
        }
        *told = now;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "fewer sessions than a double counts exactly"
)]
fn gauge(tenant: &TenantId, dialect: Dialect, count: u64) {
    metrics::gauge!("berth_sessions", "tenant" => tenant.to_string(), "dialect" => dialect.as_str())
        .set(count as f64);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
