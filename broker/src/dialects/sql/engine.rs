//! The sessions that this broker serves, from their opening to their close.

mod statements;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::record::{Dialect, Lifetime};
use berth_runtime::tasks::Tasks;
use uuid::Uuid;

use super::failure::Failure;
use super::opening::Opening;
use super::place::Place;
use super::session::Session;
use super::spool::Spool;
use super::{Caller, Origin, Reach, SqlConfig};
use crate::dialects::connect::inside::{Inside, Terms};
use crate::dialects::connect::{Connect, Identity};

/// How long opening a session waits for its driver. A cold start takes longer, and is waited for by its statements.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// How often what nobody uses is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
/// How long closing a session may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);
/// The engine. One a broker.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Its limits.
    pub(crate) config: SqlConfig,
    connect: Arc<Connect>,
    tasks: Tasks,
    /// What the ids of its operations begin with.
    pub(crate) place: Place,
    spool: Arc<Spool>,
    sessions: Mutex<HashMap<Uuid, Arc<Session>>>,
}

impl Engine {
    /// An engine over `connect`, whose tasks belong to `tasks`. Starts the sweep of what nobody uses.
    pub(crate) fn new(connect: Arc<Connect>, config: SqlConfig, tasks: Tasks, place: Place) -> Arc<Self> {
        let engine = Arc::new(Self {
            spool: config.spool(),
            config,
            connect,
            tasks,
            place,
            sessions: Mutex::default(),
        });
        let (swept, draining) = (Arc::downgrade(&engine), engine.tasks.shutdown().clone());
        engine.tasks.spawn("sql sweep", async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = draining.draining() => return,
                }
                let Some(engine) = swept.upgrade() else { return };
                engine.sweep();
            }
        });
        engine
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a session, and waits a little for its driver: a refusal is told at once, a cold start is not waited for.
    ///
    /// # Errors
    /// What it asks for is not allowed, or there is no room for it.
    pub(crate) async fn open(
        self: &Arc<Self>,
        caller: &Caller,
        (dialect, protocol): (Dialect, i32),
        reach: Reach,
        opening: Opening,
    ) -> Result<Arc<Session>, Failure> {
        let (id, real) = (Uuid::new_v4(), caller.name().to_owned());
        let user = acting(caller, &real, opening.proxy_user.as_deref())?;
        let origin = Origin {
            id,
            opened_by: real,
            user,
            tenant: caller.tenant.clone(),
            dialect,
            protocol,
            reach,
        };
        let session = self.enter_session(origin, opening, false);
        let opened = self.opened(&session);
        let (begun, told) = (Arc::clone(&session), tokio::sync::oneshot::channel());
        self.tasks.spawn("sql session", async move {
            // Nobody waits for it any more when this fails; its statements will say the same.
            drop(told.0.send(begun.ready().await));
        });
        match tokio::time::timeout(OPEN_PATIENCE, told.1).await {
            Ok(Ok(Err(failure))) => {
                self.close(&session).await;
                Err(failure)
            }
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => {
                opened.keep();
                Ok(session)
            }
        }
    }

    /// Has a session closed unless it is kept: whoever opens it may leave before they know of it.
    pub(crate) fn opened(self: &Arc<Self>, session: &Arc<Session>) -> Opened {
        Opened {
            engine: Arc::clone(self),
            session: Some(Arc::clone(session)),
        }
    }

    /// Takes up a session that was opened by another broker, and is where its client left it.
    pub(crate) fn adopt(&self, origin: Origin, opening: Opening) -> Arc<Session> {
        let opening = Opening {
            catalog: None,
            database: None,
            ..opening
        };
        self.enter_session(origin, opening, true)
    }

    /// The session of this id; the one that is there already if another call was first.
    fn enter_session(&self, origin: Origin, opening: Opening, was_open: bool) -> Arc<Session> {
        let terms = self.terms(&origin, &opening, was_open);
        let identity = Identity {
            user: origin.user.clone(),
            tenant: origin.tenant.clone(),
        };
        let connect = Arc::clone(&self.connect);
        let inside = Inside::new(connect, &origin.user, Some(identity), origin.id, terms);
        let id = origin.id;
        let session = || Session::new(origin, opening, inside);
        Arc::clone(self.lock().entry(id).or_insert_with(session))
    }

    /// Forgets a session here, with its operations; it lives on.
    pub(crate) fn forget(&self, id: Uuid) {
        let session = self.lock().remove(&id);
        for operation in session.iter().flat_map(|session| session.take_all()) {
            operation.close();
        }
    }

    /// Forgets a session of a dialect that any broker serves: it was closed at one of them. One of this broker alone, or
    /// of another dialect, stays.
    pub(crate) fn let_go(&self, dialect: Dialect, id: Uuid) {
        let here = self.peek(id);
        if here.is_some_and(|session| session.is_shared() && session.dialect == dialect) {
            self.forget(id);
        }
    }

    fn terms(&self, origin: &Origin, opening: &Opening, was_open: bool) -> Terms {
        let idle = opening
            .idle
            .unwrap_or_else(|| Duration::from_secs(self.config.session_idle_seconds));
        Terms {
            dialect: origin.dialect,
            is_bound: origin.reach == Reach::Here,
            name: opening.name.clone(),
            profile: opening.profile.clone(),
            confs: opening.confs.clone(),
            lifetime: Lifetime {
                // There, 0 is the cluster's usual limit; here it is none.
                idle_millis: match u64::try_from(idle.as_millis()) {
                    Ok(0) | Err(_) => u64::MAX,
                    Ok(millis) => millis,
                },
                ..Lifetime::default()
            },
            share: opening.share.clone(),
            was_open: Arc::new(was_open.into()),
        }
    }

    /// A session of the caller's.
    ///
    /// # Errors
    /// There is none of this id.
    pub(crate) fn session(&self, id: Uuid, caller: &Caller) -> Result<Arc<Session>, Failure> {
        let found = self.lock().get(&id).cloned();
        let session = found.filter(|session| may_use(caller, session));
        let session = session.ok_or_else(|| Failure::no_session(id))?;
        session.touch();
        Ok(session)
    }

    /// A session as it is here, whoever's it is, without noting a call about it.
    pub(crate) fn peek(&self, id: Uuid) -> Option<Arc<Session>> {
        self.lock().get(&id).cloned()
    }

    /// The sessions here that other brokers may serve, too, and that nobody has used here for so long.
    pub(crate) fn shared(&self, dialect: Dialect, quiet: Duration) -> Vec<Uuid> {
        let sessions = self.lock();
        let is_wanted = |session: &&Arc<Session>| {
            session.is_shared() && session.dialect == dialect && session.idle() >= quiet
        };
        let shared = sessions.values().filter(is_wanted);
        shared.map(|session| session.id).collect()
    }

    /// Closes a session with everything that runs in it.
    pub(crate) async fn close(&self, session: &Arc<Session>) {
        if self.lock().remove(&session.id).is_none() {
            return;
        }
        for operation in session.take_all() {
            operation.close();
        }
        let (closed, done) = (Arc::clone(session), tokio::sync::oneshot::channel());
        self.tasks.spawn_to_end("sql close", CLOSE_DEADLINE, async move {
            if let Err(status) = closed.inside.close().await {
                tracing::warn!(session.id = %closed.inside.id(), %status, "a session was not closed; it ends when it is idle");
            }
            let _closed = done.0.send(());
        });
        let _closed = done.1.await;
    }

    /// True while a client that other brokers serve as well has a use for an operation that is here.
    pub(crate) fn is_awaited(&self) -> bool {
        let sessions: Vec<_> = self.lock().values().cloned().collect();
        sessions
            .iter()
            .any(|session| session.is_shared() && session.is_awaited())
    }

    /// Closes what nobody uses.
    fn sweep(self: &Arc<Self>) {
        let unused = Duration::from_secs(self.config.operation_idle_seconds);
        let sessions: Vec<_> = self.lock().values().cloned().collect();
        metrics::gauge!("berth_sql_sessions").set(sessions.len() as f64);
        metrics::gauge!("berth_sql_result_memory_bytes").set(self.spool.memory.used() as f64);
        metrics::gauge!("berth_sql_result_disk_bytes").set(self.spool.disk_bytes() as f64);
        for session in sessions {
            for operation in session.take_unused(unused) {
                operation.close();
            }
            let usual = Duration::from_secs(self.config.session_idle_seconds);
            let limit = session.opening.idle.unwrap_or(usual);
            if limit.is_zero() || session.idle() <= limit {
                continue;
            }
            if session.is_shared() {
                // Another broker may be using it: when it ends is in its record.
                self.forget(session.id);
            } else {
                tracing::info!(session.id = %session.inside.id(), "an idle session is closed");
                let engine = Arc::clone(self);
                self.tasks
                    .spawn("sql idle", async move { engine.close(&session).await });
            }
        }
    }
}

/// A session that is nobody's yet: it is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Opened {
    engine: Arc<Engine>,
    session: Option<Arc<Session>>,
}

impl Opened {
    /// It is somebody's now.
    pub(crate) fn keep(mut self) {
        self.session = None;
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            let engine = Arc::clone(&self.engine);
            let closing = async move { engine.close(&session).await };
            self.engine
                .tasks
                .spawn_to_end("sql opening", CLOSE_DEADLINE, closing);
        }
    }
}

/// Who a session of `real` acts for.
pub(crate) fn acting(caller: &Caller, real: &str, wanted: Option<&str>) -> Result<String, Failure> {
    match wanted {
        None | Some("") => Ok(real.to_owned()),
        Some(wanted) if wanted == real || caller.operator => Ok(wanted.to_owned()),
        Some(wanted) => Err(Failure::new(
            "42501",
            format!(
                "Failed to validate proxy privilege of {real} for {wanted}: only operators act for others; \
                 leave the proxy user out"
            ),
        )),
    }
}

/// Who named nobody may use any session, since they could have named anybody.
fn may_use(caller: &Caller, session: &Session) -> bool {
    let is_theirs = |user: &String| *user == session.opened_by;
    caller.user.as_ref().is_none_or(is_theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i7_only_operators_act_for_others() {
        // hs2#19
        let caller = |operator| Caller {
            user: Some("ann".to_owned()),
            tenant: None,
            operator,
        };
        assert_eq!(acting(&caller(false), "ann", None).unwrap(), "ann");
        assert_eq!(acting(&caller(false), "ann", Some("ann")).unwrap(), "ann");
        assert_eq!(acting(&caller(true), "ann", Some("bob")).unwrap(), "bob");
        let failure = acting(&caller(false), "ann", Some("bob")).unwrap_err();
        assert!(failure.text.contains("proxy privilege of ann for bob"));
    }
}
