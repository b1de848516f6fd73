//! A broker in memory: one session after another on a list of stub drivers, and a lineage that outlives the
//! dialect's own state, as the store does.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use berth_core::ids::{Epoch, SessionId};
use berth_core::lineage::{Class, LineageEntry, Outcome, Payload};
use berth_core::record::{Cause, CloseReason, Dialect, Lifetime, SessionRecord, SessionState, Work};
use bytes::Bytes;
use uuid::Uuid;

use super::super::backend::{Backend, Ended, Intent, Refusal, Route, Ticket, Wanted};
use super::super::rebuild::{Step, rebuild};
use super::stub::StubDriver;

#[derive(Debug)]
pub(super) struct FakeBackend {
    drivers: Vec<Arc<StubDriver>>,
    inner: Mutex<Inner>,
    moving: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Inner {
    places: HashMap<SessionId, Route>,
    records: HashMap<SessionId, Arc<SessionRecord>>,
    closed: HashMap<SessionId, bool>,
    entries: Vec<LineageEntry>,
    losses: Vec<Cause>,
    asked: bool,
    touches: usize,
}

impl FakeBackend {
    pub(super) fn new(drivers: &[Arc<StubDriver>]) -> Arc<Self> {
        Arc::new(Self {
            drivers: drivers.to_vec(),
            inner: Mutex::default(),
            moving: tokio::sync::Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub(super) fn lineage(&self) -> Vec<LineageEntry> {
        self.lock().entries.clone()
    }

    /// Holds every new session and every recovery back until the guard is dropped.
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.moving.lock().await
    }

    /// True once somebody waits for a recovery that is held back.
    pub(super) fn is_asked(&self) -> bool {
        self.lock().asked
    }

    /// How often a session was told to be in use.
    pub(super) fn touches(&self) -> usize {
        self.lock().touches
    }

    pub(super) fn losses(&self) -> Vec<Cause> {
        self.lock().losses.clone()
    }

    async fn place(&self, record: Arc<SessionRecord>, epoch: Epoch) -> Result<Route, Refusal> {
        let alive = self.drivers.iter().find(|driver| driver.is_free());
        let Some(driver) = alive else {
            let reason = "no driver is left".to_owned();
            return Err(Refusal::NoCapacity {
                reason,
                retry_after: std::time::Duration::from_secs(1),
            });
        };
        let mut route = Route {
            epoch,
            upstream: driver.upstream(),
            upstream_session_id: record.id.upstream(epoch),
            upstream_server_session_id: "".into(),
            agent: "".into(),
            over: tokio_util::sync::CancellationToken::new(),
            record,
        };
        let steps = self.steps(route.record.id);
        let rebuilt = rebuild(route.clone(), &[], steps).await;
        let rebuilt = rebuilt.map_err(|error| Refusal::Unavailable {
            reason: error.to_string(),
        })?;
        route.upstream_server_session_id = rebuilt.server_session_id.as_str().into();
        for (seq, ended) in rebuilt.ended {
            self.settle(seq, ended);
        }
        self.lock().places.insert(route.record.id, route.clone());
        Ok(route)
    }

    fn steps(&self, session: SessionId) -> Vec<Step> {
        let entries = self.lock().entries.clone();
        let replayed = entries.into_iter().filter(|entry| {
            entry.session == session
                && entry.class == Class::State
                && !matches!(entry.outcome, Outcome::Failed { .. })
        });
        replayed
            .map(|entry| Step {
                request: inline(&entry.payload),
                entry,
            })
            .collect()
    }

    fn settle(&self, seq: u64, ended: Ended) {
        let mut inner = self.lock();
        let entry = inner.entries.iter_mut().find(|entry| entry.seq == seq).unwrap();
        entry.outcome = match ended {
            Ended::Succeeded(answer) => Outcome::Succeeded {
                answer: answer.map(|answer| payload(&answer)),
            },
            Ended::Failed(status) => Outcome::Failed {
                code: status.code() as i32,
                message: status.message().to_owned(),
                details: BASE64.encode(status.details()),
            },
        };
    }
}

fn payload(bytes: &Bytes) -> Payload {
    Payload::Inline(BASE64.encode(bytes))
}

fn inline(payload: &Payload) -> Bytes {
    let Payload::Inline(text) = payload else {
        panic!("only inline payloads here")
    };
    BASE64.decode(text).unwrap().into()
}

fn new_record(wanted: &Wanted) -> SessionRecord {
    SessionRecord {
        format: 1,
        id: wanted.session,
        dialect: Dialect::Connect,
        work: Work::Session,
        owner: wanted.owner.clone(),
        tenant: "blue".parse().unwrap(),
        profile: "default".parse().unwrap(),
        client_id: wanted.client_id.clone(),
        name: None,
        server_session_id: Uuid::new_v4(),
        memory_bytes: 1,
        confs: BTreeMap::new(),
        lifetime: Lifetime::default(),
        share: None,
        bound_to: None,
        created_at: 0,
        epoch: Epoch::INITIAL,
        state: SessionState::Placing {
            broker: "b".parse().unwrap(),
            from: None,
            cause: None,
            since: 0,
        },
        early_losses: Vec::new(),
        left_out: 0,
        history: Vec::new(),
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn touch(&self, _: SessionId) {
        self.lock().touches += 1;
    }

    fn serves(&self, session: SessionId) -> bool {
        self.lock().places.contains_key(&session)
    }

    async fn open(&self, wanted: Wanted) -> Result<Route, Refusal> {
        let id = wanted.session;
        if let Some(route) = self.lock().places.get(&id) {
            return Ok(route.clone());
        }
        let _one = self.moving.lock().await;
        let closed = self.lock().closed.get(&id).copied();
        if let Some(reopen) = closed {
            if !reopen {
                return Err(Refusal::Closed);
            }
            self.lock().closed.remove(&id);
        }
        let there = self.lock().places.get(&id).cloned();
        if let Some(route) = there {
            return Ok(route);
        }
        let record = Arc::new(new_record(&wanted));
        self.lock().records.insert(id, Arc::clone(&record));
        self.place(record, Epoch::INITIAL).await
    }

    async fn lost(&self, route: &Route, cause: Cause) -> Result<Route, Refusal> {
        self.lock().asked = true;
        let _one = self.moving.lock().await;
        let id = route.record.id;
        let now = self.lock().places.get(&id).unwrap().clone();
        if now.epoch != route.epoch {
            return Ok(now);
        }
        self.lock().losses.push(cause);
        if cause == Cause::DriverUnhealthy {
            // Its agent ends it.
            self.drivers
                .iter()
                .find(|driver| !driver.is_dead())
                .unwrap()
                .kill();
        }
        self.place(Arc::clone(&route.record), route.epoch.next()).await
    }

    async fn record(&self, session: SessionId) -> Result<Option<Arc<SessionRecord>>, Refusal> {
        Ok(self.lock().records.get(&session).cloned())
    }

    async fn close(&self, session: SessionId, _: CloseReason, reopen: bool) -> Result<(), Refusal> {
        let mut inner = self.lock();
        inner.places.remove(&session);
        inner.closed.insert(session, reopen);
        Ok(())
    }

    async fn begin(&self, route: &Route, intent: Intent) -> Result<Ticket, Refusal> {
        let mut inner = self.lock();
        let known =
            |entry: &LineageEntry| entry.session == route.record.id && entry.operation == intent.operation;
        if inner.entries.iter().any(known) {
            return Err(Refusal::Duplicate {
                operation: intent.operation,
            });
        }
        let seq = inner.entries.len() as u64 + 1;
        inner.entries.push(LineageEntry {
            format: LineageEntry::FORMAT,
            session: route.record.id,
            seq,
            epoch: route.epoch,
            operation: intent.operation.clone(),
            alias: intent.alias,
            class: intent.class,
            call: intent.call,
            what: intent.what,
            key: intent.key,
            payload: payload(&intent.payload),
            blobs: intent.blobs,
            fingerprint: intent.fingerprint,
            outcome: Outcome::Unknown,
            waits: false,
            reruns: 0,
            claim: None,
            handed_on: false,
            at: 0,
        });
        Ok(Ticket {
            session: route.record.id,
            seq,
            operation: intent.operation,
        })
    }

    async fn finish(&self, ticket: Ticket, ended: Ended) -> Result<(), Refusal> {
        self.settle(ticket.seq, ended);
        Ok(())
    }

    async fn recall(&self, session: SessionId, operation: &str) -> Result<Option<LineageEntry>, Refusal> {
        let inner = self.lock();
        let mut entries = inner.entries.iter();
        Ok(entries
            .find(|entry| entry.session == session && entry.operation == operation)
            .cloned())
    }

    async fn payload(&self, payload: &Payload) -> Result<Bytes, Refusal> {
        Ok(inline(payload))
    }

    async fn entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Refusal> {
        Ok(self
            .lock()
            .entries
            .iter()
            .filter(|entry| entry.session == session)
            .cloned()
            .collect())
    }
}
