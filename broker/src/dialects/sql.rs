//! SQL for dialects that translate: sessions, statements and the catalog, over Spark Connect in this process.
//!
//! The engine knows nothing of Thrift or REST. A session of it is a session of [`super::connect`], so that what was
//! set, used and created in it is back after a loss, a read goes on where it was, and a write is never run twice.
//!
//! | module | what |
//! |---|---|
//! | `opening` | what a client asks for when it opens a session |
//! | `session`, `operation` | their lives |
//! | `aside` | settings for one statement alone |
//! | `buffer`, `spool` | rows that are not fetched yet, in memory and on disk |
//! | `cursor` | a client's place among them |
//! | `directory` | sessions that any broker serves |
//! | `place` | which broker an operation runs at |
//! | `plan`, `whole` | requests and answers of Spark Connect |
//! | `text` | values as Hive writes them |
//! | `metadata` | the catalog in the shape that JDBC has |
//! | `failure`, `log` | what a client is told |

mod aside;
mod buffer;
pub(crate) mod cursor;
pub(crate) mod directory;
pub(crate) mod failure;
mod log;
pub(crate) mod metadata;
pub(crate) mod opening;
pub(crate) mod operation;
pub(crate) mod place;
mod plan;
pub(crate) mod session;
mod spool;
pub(crate) mod text;
mod whole;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::TenantId;
use berth_core::record::{Dialect, Lifetime};
use berth_runtime::tasks::Tasks;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::connect::inside::{Inside, Terms};
use super::connect::{Connect, Identity};
use aside::Aside;
use buffer::Buffer;
use failure::Failure;
use metadata::Question;
use opening::Opening;
use operation::{Kind, Operation, State, Work};
use place::Place;
use session::Session;
use spool::Spool;

/// Limits of the dialects that run SQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SqlConfig {
    /// Operations of one session that are kept; the longest unused gives way to a new one.
    pub max_operations: usize,
    /// Seconds after which an operation that is over and that nobody asks for is closed.
    pub operation_idle_seconds: u64,
    /// Seconds after which a session that nobody uses is closed, where its client asks for no other time.
    pub session_idle_seconds: u64,
    /// Seconds for which a question about a running operation waits for its end. A cancel on the same connection
    /// waits as long.
    pub poll_seconds: u64,
    /// Rows that clients fetch at once if they do not say.
    pub fetch_rows: u32,
    /// Bytes of rows in one fetch.
    pub page_bytes: usize,
    /// Bytes of rows that one operation has in memory.
    pub window_bytes: usize,
    /// Bytes of rows that all operations have in memory, before files are used.
    pub memory_bytes: u64,
    /// Where rows are that memory has no room for; `spool` in the data directory if it is empty.
    pub spool_dir: PathBuf,
    /// Bytes of rows that one operation has in files.
    pub operation_spool_bytes: u64,
    /// Bytes of rows that all operations have in files.
    pub spool_bytes: u64,
}

impl Default for SqlConfig {
    fn default() -> Self {
        Self {
            max_operations: 200,
            operation_idle_seconds: 1800,
            session_idle_seconds: 6 * 3600,
            poll_seconds: 1,
            fetch_rows: 1000,
            page_bytes: 8 << 20,
            window_bytes: 8 << 20,
            memory_bytes: 256 << 20,
            spool_dir: PathBuf::new(),
            operation_spool_bytes: 4 << 30,
            spool_bytes: 16 << 30,
        }
    }
}

impl SqlConfig {
    fn spool(&self) -> Arc<Spool> {
        let directory = self.spool_dir.clone();
        Spool::new(
            directory,
            self.memory_bytes,
            self.spool_bytes,
            self.operation_spool_bytes,
        )
    }

    /// How long a question about a running operation waits.
    pub(crate) fn poll(&self) -> Duration {
        Duration::from_secs(self.poll_seconds)
    }
}

/// Who calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The user; `None` for nobody in particular, where nobody asks.
    pub(crate) user: Option<String>,
    /// The user's tenant.
    pub(crate) tenant: Option<TenantId>,
    /// True for who may act for others and see everybody's sessions.
    pub(crate) operator: bool,
}

impl Caller {
    /// The user's name.
    pub(crate) fn name(&self) -> &str {
        self.user.as_deref().unwrap_or(NOBODY)
    }
}

/// Who nobody in particular is.
const NOBODY: &str = "anonymous";
/// How long opening a session waits for its driver. A cold start takes longer, and is waited for by its statements.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// How often what nobody uses is looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);
/// How long closing a session may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(60);

/// Where a session comes from: the same for every broker that serves it.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Its client's id of it.
    pub(crate) id: Uuid,
    /// Who opened it, and may use it.
    pub(crate) opened_by: String,
    /// Whom it acts for.
    pub(crate) user: String,
    /// Their tenant.
    pub(crate) tenant: Option<TenantId>,
    /// The protocol of its client.
    pub(crate) dialect: Dialect,
    /// That protocol's version, a number of the dialect.
    pub(crate) protocol: i32,
}

/// A statement.
#[derive(Debug, Clone, Default)]
pub(crate) struct Statement {
    /// Its text.
    pub(crate) text: String,
    /// Settings for it alone.
    pub(crate) overlay: Vec<(String, String)>,
    /// How long it may run.
    pub(crate) limit: Option<Duration>,
}

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
        dialect: Dialect,
        protocol: i32,
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
        };
        let session = self.enter_session(origin, opening);
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
            Ok(Ok(Ok(())) | Err(_)) | Err(_) => Ok(session),
        }
    }

    /// Takes up a session that was opened by another broker, and is where its client left it.
    pub(crate) fn adopt(&self, origin: Origin, opening: Opening) -> Arc<Session> {
        let opening = Opening {
            catalog: None,
            database: None,
            ..opening
        };
        self.enter_session(origin, opening)
    }

    /// The session of this id; the one that is there already if another call was first.
    fn enter_session(&self, origin: Origin, opening: Opening) -> Arc<Session> {
        let terms = self.terms(origin.dialect, &opening);
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

    fn terms(&self, dialect: Dialect, opening: &Opening) -> Terms {
        let idle = opening
            .idle
            .unwrap_or_else(|| Duration::from_secs(self.config.session_idle_seconds));
        Terms {
            dialect,
            name: opening.name.clone(),
            profile: opening.profile.clone(),
            confs: opening.confs.clone(),
            lifetime: Lifetime {
                idle_millis: u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
                ..Lifetime::default()
            },
            share: opening.share.clone(),
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

    /// An operation of one of the caller's sessions.
    ///
    /// # Errors
    /// There is none of this id.
    pub(crate) fn operation(
        &self,
        session: Uuid,
        id: Uuid,
        caller: &Caller,
    ) -> Result<Arc<Operation>, Failure> {
        let unknown = |_no_session: Failure| Failure::no_operation(id);
        let session = self.session(session, caller).map_err(unknown)?;
        let operation = session.operation(id).ok_or_else(|| Failure::no_operation(id))?;
        operation.touch();
        Ok(operation)
    }

    /// Begins a statement.
    ///
    /// # Errors
    /// It cannot be begun; what it does wrong itself is told by its operation.
    pub(crate) fn execute(
        &self,
        session: &Arc<Session>,
        statement: Statement,
    ) -> Result<Arc<Operation>, Failure> {
        let mut asked = opening::statement(&statement.text, &statement.overlay)?;
        let plan = plan::sql(&asked.text);
        let aside = self.aside(session, &plan, &mut asked);
        let operation = self.enter(session, Kind::Statement, aside.clone())?;
        for note in session.opening.notes.iter().chain(&asked.notes) {
            operation.note(note);
        }
        let limits = [statement.limit, session.opening.query_timeout];
        let limit = limits.into_iter().flatten().min();
        let (owner, running) = (Arc::clone(session), Arc::clone(&operation));
        self.tasks.spawn("sql statement", async move {
            let work = async {
                if let Some(aside) = aside {
                    // On the heap: every statement's task has room for this, and few need it.
                    Box::pin(aside.open()).await?;
                }
                Ok(Work::Plan(plan))
            };
            running.run(owner.ready(), work, limit).await;
        });
        Ok(operation)
    }

    /// Where a statement runs that has settings of its own.
    fn aside(&self, session: &Session, plan: &[u8], asked: &mut opening::Asked) -> Option<Arc<Aside>> {
        let settings = std::mem::take(&mut asked.confs);
        if settings.is_empty() {
            return None;
        }
        if aside::can_run(plan) {
            return Some(Aside::new(session.inside.clone(), settings, self.tasks.clone()));
        }
        asked.notes.extend(settings.iter().map(|(key, value)| {
            format!(
                "WARN {key} is not heeded for a statement that changes its session; use SET {key}={value}"
            )
        }));
        None
    }

    /// Asks about the catalog, and waits for the answer.
    ///
    /// # Errors
    /// It cannot be answered.
    pub(crate) async fn ask(
        &self,
        session: &Arc<Session>,
        question: Question,
    ) -> Result<Arc<Operation>, Failure> {
        let operation = self.enter(session, question.kind(), None)?;
        let (owner, asked) = (Arc::clone(session), Arc::clone(&operation));
        let limit = session.opening.query_timeout;
        self.tasks.spawn("sql metadata", async move {
            let work = async { Ok(Work::Table(metadata::answer(&owner, question).await?)) };
            asked.run(owner.ready(), work, limit).await;
        });
        match operation.ended().await {
            State::Failed(failure) => {
                self.close_operation(session, &operation);
                Err(failure)
            }
            _ => Ok(operation),
        }
    }

    fn enter(
        &self,
        session: &Arc<Session>,
        kind: Kind,
        aside: Option<Arc<Aside>>,
    ) -> Result<Arc<Operation>, Failure> {
        let id = self.place.new_operation();
        let buffer = Buffer::new(Arc::clone(&self.spool), self.config.window_bytes);
        let operation = Operation::new(id, session.id, kind, session.inside.clone(), aside, buffer);
        if let Some(gone) = session.enter(&operation, self.config.max_operations)? {
            gone.close();
        }
        Ok(operation)
    }

    /// Closes an operation.
    pub(crate) fn close_operation(&self, session: &Session, operation: &Operation) {
        if session.take(operation.id).is_some() {
            operation.close();
        }
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
