//! Errors in the one shape that every Livy client can read: a status and `{"msg": "..."}`.

use axum::response::{IntoResponse, Response};
use berth_store::StoreError;
use http::header::RETRY_AFTER;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::view;

/// Why a Livy call was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is not one that Livy takes.
    #[error("{0}")]
    Malformed(String),
    /// The request is well-formed but asks for something that is not to be had.
    #[error("Rejected, Reason: {0}")]
    Rejected(String),
    /// The request is over a limit of its tenant.
    #[error("Rejected, Reason: {0}")]
    Full(String),
    /// No such session, under an id or a name.
    #[error("Session '{0}' not found.")]
    NoSession(String),
    /// No such statement.
    #[error("Statement not found")]
    NoStatement,
    /// No such job.
    #[error("Job {0} not found")]
    NoJob(i64),
    /// No call is there.
    #[error("there is nothing at {0}; Livy's calls begin with /sessions, /batches or /version")]
    NoPath(String),
    /// The call does not know this method.
    #[error("{0} is not a method of this call; see the Allow header")]
    NoMethod(String),
    /// A version of the API that does not exist.
    #[error("No value found for '{0}'")]
    NoVersion(String),
    /// The session has ended.
    #[error("requirement failed: Session isn't active.")]
    Inactive,
    /// Another request was made with the key.
    #[error("Idempotency-Key belongs to another request: send a new one with a new key")]
    KeyReused,
    /// Too many sessions start.
    #[error("Rejected, too many sessions are being created!")]
    TooManyStarting,
    /// Too many statements of the session have not ended.
    #[error("the session has {0} statements that wait or run; send more once some have ended")]
    TooManyOpen(usize),
    /// The headers are over the limit.
    #[error("the request's headers are larger than {0} bytes")]
    HeadersTooLarge(usize),
    /// The session belongs to somebody else.
    #[error("session {0} belongs to another user")]
    Forbidden(u32),
    /// The caller may not call at all.
    #[error("User not authorised to use Livy: '{0}' is not among broker.livy.allowed-users")]
    NotAllowed(String),
    /// The caller may not act for somebody else.
    #[error("User '{user}' not allowed to impersonate 'Some({wanted})'.")]
    Impersonation {
        /// The caller.
        user: String,
        /// For whom they want to act.
        wanted: String,
    },
    /// The session exists but cannot run statements now.
    #[error("Session is in state {0}")]
    NotReady(&'static str),
    /// The body is over the limit.
    #[error("the request is larger than {0} bytes")]
    TooLarge(usize),
    /// Berth cannot do it now; the same call may succeed later.
    #[error("not available now, try again: {0}")]
    Unavailable(String),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_)
            | Self::Rejected(_)
            | Self::Full(_)
            | Self::Inactive
            | Self::TooManyStarting => StatusCode::BAD_REQUEST,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::HeadersTooLarge(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::NoSession(_) | Self::NoStatement | Self::NoJob(_) | Self::NoPath(_) => {
                StatusCode::NOT_FOUND
            }
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoVersion(_) => StatusCode::NOT_ACCEPTABLE,
            Self::Forbidden(_) | Self::NotAllowed(_) | Self::Impersonation { .. } => StatusCode::FORBIDDEN,
            Self::TooManyOpen(_) => StatusCode::TOO_MANY_REQUESTS,
            // Livy's own status; sparkmagic tries again on it.
            Self::NotReady(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = view::json(self.status(), &json!({ "msg": self.to_string() }));
        if matches!(self, Self::Unavailable(_) | Self::TooManyOpen(_)) {
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, soon);
        }
        response
    }
}
