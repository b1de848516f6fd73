//! Sessions: opened, found, recovered, closed. The rest of the broker as the Connect dialect sees it.
//!
//! A broker remembers where the sessions that it serves are; everything else is in the store. Each change of a
//! session's record compares the revision that was read, so that of several brokers one wins and the others follow.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use berth_core::admission::{admit, release};
use berth_core::ids::{BrokerId, Epoch, SessionId};
use berth_core::keys;
use berth_core::lineage::{LineageEntry, Payload};
use berth_core::record::{
    Cause, CloseReason, Dialect, FORMAT, Placement, Record, SessionRecord, SessionState, UsageRecord,
};
use berth_core::session::{close, leave, let_go, placed, reopen, take_over};
use berth_proto::agent as api;
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::Tasks;
use berth_store::{Compare, Op, Revision, StoreRef, Txn, TxnOutcome};
use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::dialects::connect::backend::{Backend, Ended, Intent, Refusal, Route, Ticket, Wanted};
use crate::dialects::connect::rebuild;
use crate::fleet::Fleet;
use crate::ledger::{Ledger, unavailable};
use crate::place::{Placer, Unprepared};

/// How long to wait before reading a record again that another broker is changing.
const PAUSE: Duration = Duration::from_millis(50);
/// A driver that does not answer the cheapest call within this time does not serve.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);

/// A session that this broker serves.
#[derive(Debug, Clone)]
struct Served {
    route: Route,
    revision: Revision,
}

/// A record with the revision that it was read at.
#[derive(Debug, Clone)]
struct Read {
    record: Arc<SessionRecord>,
    revision: Revision,
}

/// The sessions of the cluster, from this broker's place.
#[derive(Debug)]
pub struct Sessions {
    id: BrokerId,
    config: BrokerConfig,
    store: StoreRef,
    fleet: Arc<Fleet>,
    ledger: Arc<Ledger>,
    placer: Placer,
    tasks: Tasks,
    me: Weak<Self>,
    served: Mutex<BTreeMap<SessionId, Served>>,
    /// One recovery, opening or closing at a time for each session.
    locks: Mutex<BTreeMap<SessionId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Sessions {
    /// The sessions in `store`, served by the broker `id`, whose record must be in the store. Placings run in `tasks`.
    pub fn new(
        id: BrokerId,
        config: BrokerConfig,
        store: StoreRef,
        fleet: Arc<Fleet>,
        ledger: Arc<Ledger>,
        tasks: Tasks,
    ) -> Arc<Self> {
        let placer = Placer {
            fleet: Arc::clone(&fleet),
            ledger: Arc::clone(&ledger),
        };
        let (served, locks) = (Mutex::new(BTreeMap::new()), Mutex::new(BTreeMap::new()));
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            tasks,
            id,
            config,
            store,
            fleet,
            ledger,
            placer,
            served,
            locks,
        })
    }

    /// Forgets where a session is, if the store has it in another epoch or state. Called for each change there.
    pub fn on_change(&self, record: &SessionRecord) {
        let mut served = lock(&self.served);
        let moved = |known: &Served| {
            known.route.epoch < record.epoch || !matches!(record.state, SessionState::Active { .. })
        };
        if served.get(&record.id).is_some_and(moved) {
            served.remove(&record.id);
        }
    }

    fn served(&self, id: SessionId) -> Option<Served> {
        lock(&self.served).get(&id).cloned()
    }

    fn turn(&self, id: SessionId) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = lock(&self.locks);
        if locks.len() > 10_000 {
            locks.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        Arc::clone(locks.entry(id).or_default())
    }

    /// Runs a placing in a task of its own: a client that goes away must not leave it half-done.
    async fn owned(
        &self,
        work: impl Future<Output = Result<Route, Refusal>> + Send + 'static,
    ) -> Result<Route, Refusal> {
        let (done, placed) = tokio::sync::oneshot::channel();
        self.tasks.spawn("placing", async move {
            // Nobody waits for it any more when this fails; the route is remembered all the same.
            drop(done.send(work.await));
        });
        placed
            .await
            .map_err(|_aborted: tokio::sync::oneshot::error::RecvError| stopping())?
    }

    async fn read(&self, id: SessionId) -> Result<Option<Read>, Refusal> {
        let key = keys::session(id);
        let Some(entry) = self.store.get(&key).await.map_err(unavailable)? else {
            return Ok(None);
        };
        let record = Arc::new(SessionRecord::decode(&key, &entry.value).map_err(unavailable)?);
        Ok(Some(Read {
            record,
            revision: entry.mod_revision,
        }))
    }

    /// Writes the next record if nobody has changed the one that was read.
    async fn advance(&self, read: &Read, next: SessionRecord) -> Result<Option<Read>, Refusal> {
        let key = keys::session(next.id);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, next.encode());
        match self.store.txn(txn).await.map_err(unavailable)? {
            TxnOutcome::Done(revision) => Ok(Some(Read {
                record: Arc::new(next),
                revision,
            })),
            TxnOutcome::Conflict(_) => Ok(None),
        }
    }

    /// Follows the session to its driver, and goes on with whatever nobody else is doing for it.
    async fn settle(
        &self,
        wanted: Option<&Wanted>,
        id: SessionId,
        force: Option<(Epoch, Cause)>,
    ) -> Result<Route, Refusal> {
        let until = Instant::now() + Duration::from_secs(self.config.hold_seconds);
        let mut force = force;
        while Instant::now() < until {
            let Some(read) = self.read(id).await? else {
                self.create(wanted.ok_or(Refusal::Closed)?).await?;
                continue;
            };
            let step = match read.record.state.clone() {
                SessionState::Active { placement, .. } => {
                    let cause = force.take().filter(|(epoch, _)| *epoch == read.record.epoch);
                    self.locate(&read, &placement, cause.map(|(_, cause)| cause))
                        .await?
                }
                SessionState::Placing { broker, .. } if broker == self.id => self.place(&read, until).await?,
                SessionState::Placing { broker, .. } => {
                    self.wait_or_take_over(&read, &broker).await?;
                    None
                }
                SessionState::Closed { reopen: true, .. } => {
                    self.open_again(&read, wanted.ok_or(Refusal::Closed)?).await?;
                    None
                }
                SessionState::Closed { .. } => return Err(Refusal::Closed),
            };
            if let Some(route) = step {
                return Ok(route);
            }
        }
        let reason = format!("the session has had no driver for {} s", self.config.hold_seconds);
        Err(Refusal::NoCapacity {
            reason,
            retry_after: Duration::from_secs(5),
        })
    }

    /// The route of an active session; `None` when its record has been moved on.
    async fn locate(
        &self,
        read: &Read,
        placement: &Placement,
        cause: Option<Cause>,
    ) -> Result<Option<Route>, Refusal> {
        let cause = match cause {
            Some(cause @ Cause::DriverUnhealthy) => cause,
            reported => match self.find(read, placement).await? {
                Found::Serving(route) => {
                    let served = Served {
                        route: route.clone(),
                        revision: read.revision,
                    };
                    lock(&self.served).insert(read.record.id, served);
                    return Ok(Some(route));
                }
                Found::Gone(found) => reported.unwrap_or(found),
                Found::Unclear => {
                    tokio::time::sleep(PAUSE).await;
                    return Ok(None);
                }
            },
        };
        let record = SessionRecord::clone(&read.record);
        let epoch = record.epoch;
        if let Ok(next) = leave(record, epoch, self.id.clone(), cause, unix_millis())
            && self.advance(read, next).await?.is_some()
        {
            tracing::info!(session.id = %read.record.id, from = %epoch, to = %epoch.next(), reason = cause.as_str(), "session leaves its driver");
        }
        Ok(None)
    }

    /// Asks the agent, then the driver itself. Silence of an agent that holds its lease proves nothing.
    async fn find(&self, read: &Read, placement: &Placement) -> Result<Found, Refusal> {
        let node = self.fleet.node(&placement.node).await.map_err(unavailable)?;
        let Some(node) = node.filter(|node| node.incarnation == placement.incarnation) else {
            return Ok(Found::Gone(Cause::NodeLost));
        };
        let request = api::LocateRequest {
            session_id: read.record.id.to_string(),
            epoch: read.record.epoch.get(),
        };
        let mut agent = self.fleet.client(&node.address);
        let endpoint = match tokio::time::timeout(PROBE_DEADLINE, agent.locate(request)).await {
            Ok(Ok(endpoint)) => endpoint.into_inner(),
            Ok(Err(status)) if status.code() == tonic::Code::NotFound => {
                return Ok(Found::Gone(Cause::DriverLost));
            }
            Ok(Err(_)) | Err(_) => return Ok(Found::Unclear),
        };
        let route = self
            .placer
            .route(&read.record, &node, &endpoint, &placement.server_session_id)?;
        match tokio::time::timeout(PROBE_DEADLINE, rebuild(route.clone(), &[], Vec::new())).await {
            Ok(Ok(there)) if there.server_session_id == placement.server_session_id => {
                Ok(Found::Serving(route))
            }
            Ok(Ok(_)) => Ok(Found::Gone(Cause::DriverUnhealthy)),
            Ok(Err(_)) | Err(_) => Ok(Found::Gone(Cause::DriverLost)),
        }
    }

    async fn place(&self, read: &Read, until: Instant) -> Result<Option<Route>, Refusal> {
        let started = Instant::now();
        let record = SessionRecord::clone(&read.record);
        let epoch = record.epoch;
        let prepared = match self.placer.prepare(&read.record, until).await {
            Ok(prepared) => prepared,
            Err(Unprepared::Refused(refusal)) => {
                self.let_go(read).await;
                return Err(refusal);
            }
            Err(Unprepared::Spent(reason)) => {
                tracing::info!(session.id = %record.id, %epoch, reason, "the next epoch is tried");
                let next = take_over(record, self.id.clone(), unix_millis()).map_err(unavailable)?;
                self.advance(read, next).await?;
                return Ok(None);
            }
        };
        let next = placed(
            record,
            epoch,
            prepared.placement,
            prepared.what.clone(),
            unix_millis(),
        );
        let Some(active) = self.advance(read, next.map_err(unavailable)?).await? else {
            self.placer.give_back(&read.record, &prepared.node).await;
            return Ok(None);
        };
        self.count_placed(&active.record, &read.record.state, started);
        tracing::info!(session.id = %active.record.id, %epoch, what = prepared.what, "session placed");
        let route = Route {
            record: Arc::clone(&active.record),
            ..prepared.route
        };
        let served = Served {
            route: route.clone(),
            revision: active.revision,
        };
        lock(&self.served).insert(active.record.id, served);
        Ok(Some(route))
    }

    /// Leaves a session that could not be placed to whoever is asked for it next. Best effort: when this broker is
    /// asked again, it goes on by itself.
    async fn let_go(&self, read: &Read) {
        let record = SessionRecord::clone(&read.record);
        let epoch = record.epoch;
        let Ok(next) = let_go(record, epoch, unix_millis()) else {
            return;
        };
        if let Err(error) = self.advance(read, next).await {
            tracing::warn!(session.id = %read.record.id, %error, "a session stays with this broker");
        }
    }

    fn count_placed(&self, record: &SessionRecord, from: &SessionState, started: Instant) {
        let tenant = record.tenant.to_string();
        match from {
            SessionState::Placing {
                cause: Some(cause), ..
            } => {
                metrics::counter!("berth_recoveries_total", "tenant" => tenant, "cause" => cause.as_str(), "outcome" => "ok")
                    .increment(1);
                metrics::histogram!("berth_recovery_seconds", "cause" => cause.as_str())
                    .record(started.elapsed());
            }
            _ => {
                metrics::counter!("berth_session_opens_total", "tenant" => tenant, "dialect" => record.dialect.as_str())
                    .increment(1);
                metrics::histogram!("berth_session_open_seconds").record(started.elapsed());
            }
        }
    }

    async fn wait_or_take_over(&self, read: &Read, broker: &BrokerId) -> Result<(), Refusal> {
        let alive = self
            .store
            .get(&keys::broker(broker))
            .await
            .map_err(unavailable)?
            .is_some();
        if alive {
            tokio::time::sleep(PAUSE).await;
            return Ok(());
        }
        let next = take_over(SessionRecord::clone(&read.record), self.id.clone(), unix_millis());
        self.advance(read, next.map_err(unavailable)?).await.map(drop)
    }

    async fn create(&self, wanted: &Wanted) -> Result<(), Refusal> {
        let record = self.new_record(wanted)?;
        let key = keys::session(record.id);
        let txn = Txn::new()
            .when(Compare::Absent(key.clone()))
            .put(&key, record.encode());
        self.admitted(txn, &record).await
    }

    async fn open_again(&self, read: &Read, wanted: &Wanted) -> Result<(), Refusal> {
        let old = SessionRecord::clone(&read.record);
        let record = reopen(old, Uuid::new_v4(), self.id.clone(), unix_millis()).map_err(unavailable)?;
        let record = SessionRecord {
            tenant: self.tenant(wanted),
            ..record
        };
        let key = keys::session(record.id);
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, record.encode());
        self.admitted(txn, &record).await
    }

    /// Adds the tenant's usage to a transaction that opens a session (I5). A lost race is no error: the caller
    /// reads the record again.
    async fn admitted(&self, txn: Txn, record: &SessionRecord) -> Result<(), Refusal> {
        let key = keys::usage(&record.tenant);
        let usage = self.store.get(&key).await.map_err(unavailable)?;
        let compare = match &usage {
            Some(entry) => Compare::ModRevision(key.clone(), entry.mod_revision),
            None => Compare::Absent(key.clone()),
        };
        let usage = usage
            .map(|entry| UsageRecord::decode(&key, &entry.value))
            .transpose()
            .map_err(unavailable)?;
        let limits = self.config.limits(&record.tenant);
        let next =
            admit(usage.as_ref(), limits, record.memory_bytes).map_err(|reason| Refusal::Quota { reason })?;
        self.store
            .txn(txn.when(compare).put(&key, next.encode()))
            .await
            .map(drop)
            .map_err(unavailable)
    }

    fn tenant(&self, wanted: &Wanted) -> berth_core::ids::TenantId {
        wanted
            .tenant
            .clone()
            .unwrap_or_else(|| self.config.default_tenant.clone())
    }

    fn new_record(&self, wanted: &Wanted) -> Result<SessionRecord, Refusal> {
        let profile = match &wanted.profile {
            Some(name) => name.parse().map_err(|error| Refusal::Denied {
                reason: format!("{error}"),
            })?,
            None => self.config.default_profile.clone(),
        };
        let now = unix_millis();
        Ok(SessionRecord {
            format: FORMAT,
            id: wanted.session,
            dialect: Dialect::Connect,
            owner: wanted.owner.clone(),
            tenant: self.tenant(wanted),
            profile,
            client_id: wanted.client_session.to_string(),
            name: None,
            server_session_id: Uuid::new_v4(),
            memory_bytes: 0,
            confs: BTreeMap::new(),
            created_at: now,
            epoch: Epoch::INITIAL,
            state: SessionState::Placing {
                broker: self.id.clone(),
                from: None,
                cause: None,
                since: now,
            },
            history: Vec::new(),
        })
    }

    async fn try_close(&self, id: SessionId, reason: CloseReason, reopen: bool) -> Result<bool, Refusal> {
        let Some(read) = self.read(id).await? else {
            return Ok(true);
        };
        let Ok(next) = close(SessionRecord::clone(&read.record), reason, reopen, unix_millis()) else {
            return Ok(true);
        };
        let (key, usage_key) = (keys::session(id), keys::usage(&next.tenant));
        let mut txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, next.encode())
            .op(Op::DeletePrefix(keys::lineage_of(id)))
            .op(Op::DeletePrefix(keys::operations_of(id)));
        if let Some(entry) = self.store.get(&usage_key).await.map_err(unavailable)? {
            let usage = UsageRecord::decode(&usage_key, &entry.value).map_err(unavailable)?;
            txn = txn
                .when(Compare::ModRevision(usage_key.clone(), entry.mod_revision))
                .put(&usage_key, release(&usage, next.memory_bytes).encode());
        }
        if let TxnOutcome::Conflict(_) = self.store.txn(txn).await.map_err(unavailable)? {
            return Ok(false);
        }
        lock(&self.served).remove(&id);
        self.ledger.forget(id);
        tracing::info!(session.id = %id, ?reason, "session closed");
        self.give_driver_back(&read.record).await;
        Ok(true)
    }

    /// Best effort: a driver that nobody gives back ends when its agent does.
    async fn give_driver_back(&self, record: &SessionRecord) {
        let SessionState::Active { placement, .. } = &record.state else {
            return;
        };
        let Ok(Some(node)) = self.fleet.node(&placement.node).await else {
            return;
        };
        let request = api::FenceRequest {
            session_id: record.id.to_string(),
            below_epoch: record.epoch.next().get(),
            forget: true,
        };
        if let Err(status) = self.fleet.client(&node.address).fence(request).await {
            tracing::warn!(session.id = %record.id, error = status.message(), "the driver was not given back");
        }
    }
}

/// What is known of an active session's driver.
enum Found {
    Serving(Route),
    Gone(Cause),
    Unclear,
}

fn stopping() -> Refusal {
    Refusal::Unavailable {
        reason: "this broker is stopping; try another one".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Backend for Sessions {
    async fn open(&self, wanted: Wanted) -> Result<Route, Refusal> {
        if let Some(served) = self.served(wanted.session) {
            return Ok(served.route);
        }
        let me = self.me.upgrade();
        self.owned(async move {
            let me = me.ok_or_else(stopping)?;
            let turn = me.turn(wanted.session);
            let _turn = turn.lock().await;
            match me.served(wanted.session) {
                Some(served) => Ok(served.route),
                None => me.settle(Some(&wanted), wanted.session, None).await,
            }
        })
        .await
    }

    async fn lost(&self, route: &Route, cause: Cause) -> Result<Route, Refusal> {
        let (me, id, epoch) = (self.me.upgrade(), route.record.id, route.epoch);
        self.owned(async move {
            let me = me.ok_or_else(stopping)?;
            let turn = me.turn(id);
            let _turn = turn.lock().await;
            match me.served(id) {
                Some(served) if served.route.epoch > epoch => return Ok(served.route),
                _ => lock(&me.served).remove(&id),
            };
            me.settle(None, id, Some((epoch, cause))).await
        })
        .await
    }

    async fn record(&self, session: SessionId) -> Result<Option<Arc<SessionRecord>>, Refusal> {
        if let Some(served) = self.served(session) {
            return Ok(Some(served.route.record));
        }
        Ok(self.read(session).await?.map(|read| read.record))
    }

    async fn close(&self, session: SessionId, reason: CloseReason, reopen: bool) -> Result<(), Refusal> {
        let turn = self.turn(session);
        let _turn = turn.lock().await;
        for _ in 0..100 {
            if self.try_close(session, reason, reopen).await? {
                return Ok(());
            }
        }
        Err(Refusal::Unavailable {
            reason: "the session is being changed by others; try again".to_owned(),
        })
    }

    async fn begin(&self, route: &Route, intent: Intent) -> Result<Ticket, Refusal> {
        let id = route.record.id;
        let served = self.served(id).filter(|served| served.route.epoch == route.epoch);
        let moved = || Refusal::Unavailable {
            reason: "the session has just moved; try again".to_owned(),
        };
        self.ledger
            .begin(id, route.epoch, served.ok_or_else(moved)?.revision, intent)
            .await
    }

    async fn finish(&self, ticket: Ticket, ended: Ended) -> Result<(), Refusal> {
        self.ledger.finish(&ticket, ended).await
    }

    async fn recall(&self, session: SessionId, operation: &str) -> Result<Option<LineageEntry>, Refusal> {
        self.ledger.recall(session, operation).await
    }

    async fn payload(&self, payload: &Payload) -> Result<Bytes, Refusal> {
        self.ledger.payload(payload).await
    }

    async fn entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Refusal> {
        self.ledger.entries(session).await
    }
}
