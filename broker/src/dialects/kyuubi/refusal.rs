//! Errors in the one shape that Kyuubi's clients read: a status and `{"message": "..."}`.

use axum::response::{IntoResponse, Response};
use berth_store::StoreError;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;

use crate::dialects::sql::directory::Away;
use crate::dialects::sql::failure::Failure;

/// SQLSTATE of what a caller may not do.
const FORBIDDEN: &str = "42501";
/// SQLSTATE of a limit that is reached.
const FULL: &str = "53000";

/// Why a call was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The request is malformed or asks for something that is not to be had.
    #[error("{0}")]
    Malformed(String),
    /// What the call is about is not there, or could not be done: Kyuubi tells both with one status.
    #[error("{0}")]
    NotFound(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// A limit is reached.
    #[error("{0}")]
    Full(String),
    /// No call is there.
    #[error("there is nothing at {0}; the calls begin with /api/v1 and are listed at /api/openapi.json")]
    NoPath(String),
    /// The call does not know this method.
    #[error("{0} is not a method of this call; see the Allow header")]
    NoMethod(String),
    /// The body is over the limit.
    #[error("the request is larger than {0} bytes (broker.kyuubi.max-body-bytes)")]
    TooLarge(usize),
    /// The files of a body are over the limit.
    #[error("the files of a batch are larger than {0} bytes together (broker.kyuubi.max-upload-bytes)")]
    FilesTooLarge(usize),
    /// The body is something else than JSON.
    #[error("the body is {0}; send application/json")]
    NotJson(String),
    /// Berth cannot do it now; the same call may succeed later.
    #[error("not available now, try again: {0}")]
    Unavailable(String),
}

impl Refusal {
    /// No session of the caller's has this handle.
    pub(crate) fn no_session(handle: &str) -> Self {
        let handle: String = handle.chars().take(100).collect();
        Self::NotFound(format!(
            "Invalid SessionHandle [{handle}]: it was closed, or was never opened by this user"
        ))
    }

    /// A limit is reached by one session or batch more. Clients look for the first words.
    pub(crate) fn full(reason: &str) -> Self {
        Self::Full(format!("Connection limit per user reached: {reason}"))
    }

    /// Why a session was not opened.
    pub(crate) fn of_opening(failure: Failure) -> Self {
        match failure.sql_state.as_str() {
            FORBIDDEN => Self::Forbidden(failure.text),
            FULL => Self::full(&failure.text),
            _ if failure.is_passing => Self::Unavailable(failure.text),
            _ => Self::Malformed(failure.text),
        }
    }

    /// Why something in a session was not done. Kyuubi's clients are used to one status for all of it.
    pub(crate) fn of_operation(doing: &str, failure: Failure) -> Self {
        match failure.sql_state.as_str() {
            FULL => Self::Full(failure.text),
            _ if failure.is_passing => Self::Unavailable(failure.text),
            _ => Self::NotFound(format!("{doing}: {}", failure.text)),
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) | Self::NoPath(_) => StatusCode::NOT_FOUND,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::Full(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoMethod(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) | Self::FilesTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotJson(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<Away> for Refusal {
    fn from(away: Away) -> Self {
        Self::Unavailable(away.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = json(self.status(), &json!({ "message": self.to_string() }));
        if matches!(self, Self::Unavailable(_)) {
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(RETRY_AFTER, soon);
        }
        response
    }
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Plain data with string keys: there is no way to fail on it.
    typed(
        status,
        "application/json",
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

/// An answer of this media type.
pub(crate) fn typed(status: StatusCode, media: &'static str, body: impl Into<axum::body::Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_status_that_clients_know() {
        let failure = |state: &str, is_passing| Failure {
            text: "x".to_owned(),
            sql_state: state.to_owned(),
            is_passing,
        };
        let table = [
            (failure("42501", false), 403, 404),
            (failure("53000", false), 429, 429),
            (failure("08S01", true), 503, 503),
            (failure("HY000", false), 400, 404),
            (failure("42601", false), 400, 404),
        ];
        for (failure, opening, operation) in table {
            assert_eq!(Refusal::of_opening(failure.clone()).status().as_u16(), opening);
            assert_eq!(
                Refusal::of_operation("running", failure).status().as_u16(),
                operation
            );
        }
    }
}
