//! Everything that this dialect asks of the rest of the broker.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::{Epoch, SessionId, TenantId};
use berth_core::lineage::{Class, LineageEntry, Payload};
use berth_core::record::{Cause, CloseReason, Dialect, Lifetime, SessionRecord, Work};
use berth_core::share;
use bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;
use uuid::Uuid;

/// Connection to a driver's Connect port. Adds the driver's token.
pub type Upstream =
    BoxCloneSyncService<http::Request<tonic::body::Body>, http::Response<tonic::body::Body>, UpstreamError>;

/// A call that did not get as far as an HTTP response.
#[derive(Debug, thiserror::Error)]
#[error("the driver cannot be reached")]
pub struct UpstreamError(#[source] pub tower::BoxError);

/// Where a session lives now.
#[derive(Clone)]
pub struct Route {
    /// The session's record.
    pub record: Arc<SessionRecord>,
    /// The epoch of this place.
    pub epoch: Epoch,
    /// The driver.
    pub upstream: Upstream,
    /// The session's id there.
    pub upstream_session_id: Uuid,
    /// The driver's own id for it; empty where drivers give none.
    pub upstream_server_session_id: Arc<str>,
    /// Where the driver's agent is reached.
    pub agent: Arc<str>,
    /// Cancelled once the session surely is not served here any more. A node that is cut off sends nothing, so calls
    /// that wait for its answer wait for this too.
    pub over: CancellationToken,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("session", &self.record.id)
            .field("epoch", &self.epoch)
            .finish()
    }
}

/// A session that a client asks for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its id.
    pub session: SessionId,
    /// The dialect that it is opened by.
    pub dialect: Dialect,
    /// What it is for.
    pub work: Work,
    /// Its user.
    pub owner: String,
    /// The tenant of the authenticated user, if somebody was authenticated.
    pub tenant: Option<TenantId>,
    /// The client's id for it.
    pub client_id: String,
    /// A name that the client gave.
    pub name: Option<String>,
    /// The profile that the client asked for, if it did.
    pub profile: Option<String>,
    /// Spark confs that it gave, which a broker has looked through.
    pub confs: BTreeMap<String, String>,
    /// Bytes that its driver reserves, if it asked for more or less than the profile has.
    pub memory_bytes: Option<u64>,
    /// When it ends by its client's wish.
    pub lifetime: Lifetime,
    /// With whom it wants to be on a driver.
    pub share: Option<share::Asked>,
    /// True where its client can reach it at this broker alone.
    pub is_bound: bool,
    /// True where it was open before: it is not made anew when its record is gone.
    pub was_open: bool,
}

/// Something that is about to be run and must be written down first.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The client's operation id, or one made for calls without.
    pub operation: String,
    /// Another name for it, which nothing else of the session has; empty for none.
    pub alias: String,
    /// What it does.
    pub class: Class,
    /// The RPC: "execute", "config", "analyze", "artifacts".
    pub call: String,
    /// For a person.
    pub what: String,
    /// Entries with equal, non-empty keys replace each other.
    pub key: String,
    /// The request as it came; for "artifacts" all its messages, packed.
    pub payload: Bytes,
    /// Blobs that the payload names.
    pub blobs: Vec<String>,
    /// Hash of the plan or request.
    pub fingerprint: u64,
}

/// A written intent that waits for its outcome.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// The session.
    pub session: SessionId,
    /// The entry's place in its lineage.
    pub seq: u64,
    /// The operation.
    pub operation: String,
}

/// What became of a written intent.
#[derive(Debug, Clone)]
pub enum Ended {
    /// It succeeded; the answer's messages, packed, or `None` when they are too large to keep.
    Succeeded(Option<Bytes>),
    /// It failed with this status.
    Failed(tonic::Status),
}

/// Why the broker cannot serve a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The session has ended.
    #[error("the session has ended")]
    Closed,
    /// A limit of the tenant is reached.
    #[error("{reason}")]
    Quota {
        /// Which one, and what to do.
        reason: String,
    },
    /// The caller may not have such a session.
    #[error("{reason}")]
    Denied {
        /// Why.
        reason: String,
    },
    /// No driver could be had within the patience.
    #[error("{reason}")]
    NoCapacity {
        /// What was tried.
        reason: String,
        /// When to ask again.
        retry_after: Duration,
    },
    /// The store or an agent cannot be reached.
    #[error("{reason}")]
    Unavailable {
        /// What cannot be reached.
        reason: String,
    },
    /// An operation with this id is written down already.
    #[error("operation {operation} is recorded already")]
    Duplicate {
        /// The operation.
        operation: String,
    },
    /// The session's lineage has no room for the entry.
    #[error("{reason}")]
    LineageFull {
        /// Which limit.
        reason: String,
    },
}

/// The rest of the broker, as this dialect sees it.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// The session's place; opens or recovers it first if needed.
    async fn open(&self, wanted: Wanted) -> Result<Route, Refusal>;

    /// Reports that the session's driver does not serve it, and gives its next place. The same epoch comes back
    /// when the driver turns out to be there.
    async fn lost(&self, route: &Route, cause: Cause) -> Result<Route, Refusal>;

    /// The session's record, if there ever was one.
    async fn record(&self, session: SessionId) -> Result<Option<Arc<SessionRecord>>, Refusal>;

    /// Ends a session. With `reopen`, its id may be opened again, as a new session.
    async fn close(&self, session: SessionId, reason: CloseReason, reopen: bool) -> Result<(), Refusal>;

    /// True while this broker serves the session, as far as it has heard. Asks nobody.
    fn serves(&self, session: SessionId) -> bool;

    /// Notes that a client uses a session, where its driver does not see it.
    fn touch(&self, session: SessionId);

    /// Writes an intent down. Durable when it returns.
    async fn begin(&self, route: &Route, intent: Intent) -> Result<Ticket, Refusal>;

    /// Writes an outcome down. Durable when it returns.
    async fn finish(&self, ticket: Ticket, ended: Ended) -> Result<(), Refusal>;

    /// What is written down of an operation.
    async fn recall(&self, session: SessionId, operation: &str) -> Result<Option<LineageEntry>, Refusal>;

    /// The bytes of a payload.
    async fn payload(&self, payload: &Payload) -> Result<Bytes, Refusal>;

    /// The lineage of a session, in order.
    async fn entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Refusal>;
}
