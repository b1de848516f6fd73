//! Spark Connect: every RPC of `spark.connect.SparkConnectService`, for unmodified clients.
//!
//! A request is read only as far as routing needs; its ids are replaced by appending. Sessions keep one server-side
//! id for life, whatever driver serves them, and operations outlive the loss of their driver as far as their class
//! allows.
//!
//! | module | what |
//! |---|---|
//! | `rpc`, `codec`, `rewrite`, `errors` | the wire: field numbers, raw messages, ids, Spark-shaped errors |
//! | `session`, `upstream`, `loss` | who calls, where the session lives, what a failed call of a driver means |
//! | `execute`, `reattach`, `release` | the three calls about operations |
//! | `execution`, `recourse`, `attempt`, `delivery`, `recorded` | the task of an operation and its rules |
//! | `outbox`, `operation`, `registry`, `stream` | what an operation has for its client |
//! | `unary`, `interrupt`, `status`, `artifacts`, `clone` | all other calls |
//! | `rebuild` | makes a session's state again on a new driver |
//! | `inside` | the same sessions, for other dialects of the broker |
//! | `backend` | what this dialect asks of the rest of the broker |

mod artifacts;
mod attempt;
pub mod backend;
mod clone;
mod codec;
mod delivery;
mod errors;
mod execute;
mod execution;
mod in_use;
pub(crate) mod inside;
mod interrupt;
mod loss;
mod operation;
mod outbox;
mod reattach;
mod rebuild;
mod recorded;
mod recourse;
mod registry;
mod release;
mod rewrite;
mod rpc;
mod service;
mod session;
mod status;
mod stream;
mod unary;
mod upstream;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{SessionId, TenantId};
use berth_core::lineage::{Class, LineageEntry, Payload};
use berth_core::record::{CloseReason, SessionRecord};
use berth_runtime::tasks::Tasks;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tonic::Status;

use backend::{Backend, Ended, Intent, Route, Ticket};
use outbox::Limits;
use registry::Operations;
use session::Call;

pub(crate) use errors::{kills_driver, too_busy};
pub(crate) use rebuild::named;
pub use rebuild::{Probe, RebuildError, Rebuilt, Step, probe, rebuild};
pub use service::service;

/// Who was authenticated, in the extensions of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: String,
    /// The tenant that the user belongs to; `None` for the default one.
    pub tenant: Option<TenantId>,
}

/// What to do with a request that names another user than the authenticated one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForgedUser {
    /// Serve it as the authenticated user.
    Override,
    /// Refuse it.
    Refuse,
}

/// Limits and policies of this dialect.
#[derive(Debug, Clone)]
pub struct ConnectConfig {
    /// What to do with forged user names.
    pub forged_user: ForgedUser,
    /// How long an operation lives without a call that reads it. Spark's own default is 5 min.
    pub detached_timeout: Duration,
    /// Result bytes that may wait for one client. Far below the 64 MiB that drivers keep of what they sent: what a
    /// client has not got must be there for another broker.
    pub unsent_bytes: usize,
    /// Result bytes kept after sending, for a client that comes back.
    pub sent_bytes: usize,
    /// Operations of one session that may run or wait to be read at once.
    pub max_operations_per_session: usize,
    /// Bytes of one AddArtifacts call. Clients send up to 1 GiB at once.
    pub max_upload_bytes: usize,
    /// Bytes of all AddArtifacts calls that are in memory at once.
    pub upload_budget_bytes: usize,
    /// After which time a client that was refused for lack of room should ask again.
    pub retry_delay: Duration,
    /// How long a state change, write or upload may run after its client went away.
    pub to_end_deadline: Duration,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            forged_user: ForgedUser::Override,
            detached_timeout: Duration::from_secs(300),
            unsent_bytes: 4 << 20,
            sent_bytes: 10 << 20,
            max_operations_per_session: 1000,
            max_upload_bytes: (1 << 30) + (64 << 20),
            upload_budget_bytes: 2 << 30,
            retry_delay: Duration::from_secs(2),
            to_end_deadline: Duration::from_secs(3600),
        }
    }
}

impl ConnectConfig {
    fn outbox(&self, reattachable: bool) -> Limits {
        Limits {
            unsent_bytes: self.unsent_bytes,
            sent_bytes: if reattachable { self.sent_bytes } else { 0 },
        }
    }
}

/// Releases that may be on their way to drivers at once.
const MAX_BACKGROUND_CALLS: usize = 256;
/// How often abandoned operations are looked for.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// The dialect's state. One a broker.
#[derive(Debug)]
pub struct Connect {
    backend: Arc<dyn Backend>,
    config: ConnectConfig,
    tasks: Tasks,
    operations: Operations,
    uploads: Arc<Semaphore>,
    background: Arc<Semaphore>,
}

impl Connect {
    /// The dialect over `backend`, with its tasks owned by `tasks`. Starts the sweep of abandoned operations.
    pub fn new(backend: Arc<dyn Backend>, config: ConnectConfig, tasks: Tasks) -> Arc<Self> {
        let connect = Arc::new(Self {
            backend,
            operations: Operations::new(config.max_operations_per_session),
            uploads: Arc::new(Semaphore::new(
                config.upload_budget_bytes / artifacts::PERMIT_BYTES,
            )),
            background: Arc::new(Semaphore::new(MAX_BACKGROUND_CALLS)),
            config,
            tasks,
        });
        let swept = Arc::downgrade(&connect);
        let draining = connect.tasks.shutdown().clone();
        connect.tasks.spawn("connect sweep", async move {
            let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = draining.draining() => return,
                }
                let Some(connect) = swept.upgrade() else { return };
                connect.sweep();
            }
        });
        connect.spawn_telling();
        connect
    }

    async fn record_of(&self, call: &Call) -> Result<Option<Arc<SessionRecord>>, Status> {
        self.backend
            .record(call.session)
            .await
            .map_err(|refusal| errors::refused(&refusal, call.session))
    }

    async fn begin(&self, route: &Route, intent: Intent) -> Result<Ticket, Status> {
        let begun = self.backend.begin(route, intent).await;
        begun.map_err(|refusal| errors::refused(&refusal, route.record.id))
    }

    async fn finish(&self, ticket: Ticket, ended: Ended) -> Result<(), Status> {
        let operation = ticket.operation.clone();
        let finished = self.backend.finish(ticket, ended).await;
        finished.map_err(|refusal| errors::outcome_not_recorded(&operation, &refusal))
    }

    async fn recall(&self, session: SessionId, operation: &str) -> Result<Option<LineageEntry>, Status> {
        let recalled = self.backend.recall(session, operation).await;
        recalled.map_err(|refusal| errors::refused(&refusal, session))
    }

    async fn payload(&self, session: SessionId, payload: &Payload) -> Result<Bytes, Status> {
        let read = self.backend.payload(payload).await;
        read.map_err(|refusal| errors::refused(&refusal, session))
    }

    async fn entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Status> {
        let read = self.backend.entries(session).await;
        read.map_err(|refusal| errors::refused(&refusal, session))
    }

    async fn close(&self, session: SessionId, reason: CloseReason, reopen: bool) -> Result<(), Status> {
        let closed = self.backend.close(session, reason, reopen).await;
        closed.map_err(|refusal| errors::refused(&refusal, session))
    }

    /// Runs `work` to its end even if the call that asked for it goes away.
    async fn to_end<T, F>(&self, name: &'static str, work: F) -> Result<T, Status>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let (done, waiting) = tokio::sync::oneshot::channel();
        self.tasks
            .spawn_to_end(name, self.config.to_end_deadline, async move {
                // Nobody waits for the answer any more when this fails.
                drop(done.send(work.await));
            });
        waiting
            .await
            .map_err(|error| Status::unavailable(format!("{name} was given up: {error}")))
    }

    fn count_statement(&self, tenant: &TenantId, class: Class, end: &Result<(), Status>) {
        let outcome = if end.is_ok() { "ok" } else { "error" };
        let tenant = tenant.as_str().to_owned();
        metrics::counter!("berth_statements_total", "tenant" => tenant, "class" => class.as_str(), "outcome" => outcome)
            .increment(1);
    }
}

#[cfg(test)]
mod tests;
