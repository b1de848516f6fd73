//! Sessions: opened, found, recovered, closed. The rest of the broker as the Connect dialect sees it.
//!
//! A broker remembers where the sessions that it serves are; everything else is in the store. Each change of a
//! session's record compares the revision that was read, so that of several brokers one wins and the others follow.
//!
//! `admit` opens records and counts them, `settle` takes a session to its driver, `close` ends it. `backend` is
//! what the Connect dialect calls, `code` what Livy calls, with `numbers` for what it is called by, `batch` what its
//! batches call.

mod admit;
mod ask;
mod backend;
mod batch;
mod close;
mod code;
pub(crate) mod entries;
mod let_go;
mod numbers;
mod settle;
mod touch;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use berth_core::ids::{BrokerId, DriverId, Epoch, SessionId};
use berth_core::keys;
use berth_core::record::{Record, SessionRecord, SessionState};
use berth_runtime::tasks::Tasks;
use berth_store::{Compare, Revision, StoreRef, Txn};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::commit::{commit, get};
use crate::config::BrokerConfig;
use crate::dialects::connect::backend::{Refusal, Route};
use crate::fleet::Fleet;
use crate::ledger::{Ledger, not_written, unavailable};
use crate::place::Placer;
use crate::table::Table;
use touch::Touches;

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

/// A session is being placed for as long as this is there.
struct Placing<'a> {
    sessions: &'a Sessions,
    id: SessionId,
    token: CancellationToken,
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        lock(&self.sessions.placings).remove(&self.id);
    }
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
    /// The places of each session that this broker has served, the last one and the one before.
    routes: Mutex<BTreeMap<SessionId, [Option<Route>; 2]>>,
    /// The epoch of each served session, and what ends calls that wait there.
    places: Mutex<BTreeMap<SessionId, (Epoch, CancellationToken)>>,
    /// Sessions that are let go as soon as the store takes it.
    leaving: Mutex<BTreeSet<SessionId>>,
    /// What ends the placing of each session that is being placed.
    placings: Mutex<BTreeMap<SessionId, CancellationToken>>,
    table: Table,
    touches: Touches,
    /// One recovery, opening or closing at a time for each session.
    locks: Mutex<BTreeMap<SessionId, Arc<tokio::sync::Mutex<()>>>>,
    /// What the next statements, resources and jobs are numbered.
    numbers: numbers::Numbers,
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
        let placer = Placer::new(Arc::clone(&fleet), Arc::clone(&ledger));
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
            routes: Mutex::default(),
            places: Mutex::default(),
            leaving: Mutex::default(),
            placings: Mutex::default(),
            table: Table::default(),
            touches: Touches::default(),
            locks,
            numbers: numbers::Numbers::default(),
        })
    }

    /// What is written down of all sessions.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// All sessions, as this broker last heard of them.
    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    /// Forgets where a session is, if the store has it in another epoch or state since. Called for each change there.
    pub fn on_change(&self, record: &SessionRecord, revision: Revision) {
        self.table.put(record);
        if matches!(record.state, SessionState::Closed { .. }) {
            self.end_placing(record.id);
            // It may be opened again, with a lineage that begins anew.
            self.ledger.forget(record.id);
            // Each has a connection to its agent.
            lock(&self.routes).remove(&record.id);
        }
        let mut served = lock(&self.served);
        let moved = |known: &Served| {
            let left = !matches!(record.state, SessionState::Active { .. }) && known.revision < revision;
            known.route.epoch < record.epoch || left
        };
        if served.get(&record.id).is_some_and(moved) {
            served.remove(&record.id);
            self.leave_for(record.id, None);
        }
    }

    /// Ends the calls that wait for drivers that are lost, so that their sessions are looked for elsewhere.
    pub(crate) fn on_lost_drivers(&self, drivers: &BTreeSet<DriverId>) {
        for id in self.table.on_drivers(drivers) {
            lock(&self.served).remove(&id);
            self.leave_for(id, None);
        }
    }

    /// Remembers where a session is.
    fn serve(&self, mut route: Route, revision: Revision) -> Route {
        let id = route.record.id;
        route.over = self.leave_for(id, Some(&route));
        let served = Served {
            route: route.clone(),
            revision,
        };
        lock(&self.served).insert(id, served);
        self.note_place(&route);
        route
    }

    fn note_place(&self, route: &Route) {
        let mut routes = lock(&self.routes);
        let [last, before] = routes.entry(route.record.id).or_default();
        if last.as_ref().is_some_and(|last| last.epoch < route.epoch) {
            *before = last.take();
        }
        *last = Some(route.clone());
    }

    /// Where a session is, or was, in an epoch, if this broker has served it there and not long ago.
    fn place_in(&self, id: SessionId, epoch: Epoch) -> Option<Route> {
        let routes = lock(&self.routes);
        let mut known = routes.get(&id)?.iter().flatten();
        known.find(|route| route.epoch == epoch).cloned()
    }

    /// Ends what waits for the places of a session before `next`, and gives the token of that one.
    fn leave_for(&self, id: SessionId, next: Option<&Route>) -> CancellationToken {
        let mut places = lock(&self.places);
        match (places.get(&id), next) {
            (Some((epoch, over)), Some(next)) if *epoch == next.epoch && !over.is_cancelled() => over.clone(),
            (_, next) => {
                if let Some((_, over)) = places.remove(&id) {
                    over.cancel();
                }
                let over = next.map_or_else(CancellationToken::new, |next| next.over.child_token());
                if let Some(next) = next {
                    places.insert(id, (next.epoch, over.clone()));
                }
                over
            }
        }
    }

    /// Forgets a session whose record is gone.
    pub fn on_delete(&self, id: SessionId) {
        self.table.remove(id);
        self.end_placing(id);
        self.forget(id);
        lock(&self.routes).remove(&id);
        self.ledger.forget(id);
    }

    /// Forgets where a session is.
    fn forget(&self, id: SessionId) {
        lock(&self.served).remove(&id);
        self.leave_for(id, None);
    }

    /// Notes that a session is being placed; whoever closes it meanwhile cancels the token.
    fn placing(&self, id: SessionId) -> Placing<'_> {
        let token = CancellationToken::new();
        lock(&self.placings).insert(id, token.clone());
        Placing {
            sessions: self,
            id,
            token,
        }
    }

    /// Has a session not be placed any more.
    fn end_placing(&self, id: SessionId) {
        if let Some(token) = lock(&self.placings).get(&id) {
            token.cancel();
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
        let work = async move {
            // Nobody waits for it any more when this fails; the route is remembered all the same.
            drop(done.send(work.await));
        };
        self.tasks.spawn("placing", work.in_current_span());
        placed
            .await
            .map_err(|_aborted: tokio::sync::oneshot::error::RecvError| stopping())?
    }

    async fn read(&self, id: SessionId) -> Result<Option<Read>, Refusal> {
        let key = keys::session(id);
        let Some(entry) = get(&self.store, &key).await.map_err(unavailable)? else {
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
        let (key, value) = (keys::session(next.id), next.encode());
        let txn = Txn::new()
            .when(Compare::ModRevision(key.clone(), read.revision))
            .put(&key, value.clone());
        let advanced = commit(&self.store, txn, (&key, &value)).await;
        Ok(advanced.map_err(not_written)?.map(|revision| Read {
            record: Arc::new(next),
            revision,
        }))
    }
}

fn stopping() -> Refusal {
    Refusal::Unavailable {
        reason: "this broker is stopping; try another one".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
