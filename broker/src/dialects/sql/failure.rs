//! What a client of a SQL dialect is told when something fails.

use std::fmt;

use tonic::{Code, Status};
use uuid::Uuid;

use crate::dialects::connect::inside;

/// SQLSTATE of a cursor that points at nothing.
const GONE: &str = "HY109";

/// An error with its SQLSTATE.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Failure {
    /// What happened and what to do.
    pub(crate) text: String,
    /// Its SQLSTATE.
    pub(crate) sql_state: String,
    /// True where asking again may help.
    pub(crate) is_passing: bool,
}

impl Failure {
    /// An error with this SQLSTATE.
    pub(crate) fn new(sql_state: &str, text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            sql_state: sql_state.to_owned(),
            is_passing: false,
        }
    }

    /// What was asked for is not there.
    pub(crate) fn unsupported(text: impl Into<String>) -> Self {
        Self::new("0A000", text)
    }

    /// What was asked for is malformed.
    pub(crate) fn invalid(text: impl Into<String>) -> Self {
        Self::new("HY000", text)
    }

    /// A row of a result is not kept any more.
    pub(crate) fn gone(row: u64) -> Self {
        let text = format!("row {row} of this result is not kept any more; run the statement again");
        Self::new(GONE, text)
    }

    /// True when the result can be read on from another row.
    pub(crate) fn is_of_place(&self) -> bool {
        self.sql_state == GONE
    }

    /// A driver sent rows that are not Arrow.
    pub(crate) fn unreadable(error: impl fmt::Display) -> Self {
        Self::invalid(format!("the driver's rows cannot be read: {error}"))
    }

    /// It ran for longer than it may.
    pub(crate) fn late() -> Self {
        Self::new(
            "HYT00",
            "the statement has run for longer than its limit; its last rows are not there",
        )
    }

    /// Its client wanted no more of a result.
    pub(crate) fn canceled() -> Self {
        Self::new("57014", "the statement was canceled; its last rows are not there")
    }

    /// True if the catalog has nothing of the name that was asked for.
    pub(crate) fn is_of_what_is_gone(&self) -> bool {
        // A table or view; a database, function or catalog.
        matches!(self.sql_state.as_str(), "42P01" | "42704")
    }

    /// What was asked for cannot be done just now.
    pub(crate) fn passing(text: impl Into<String>) -> Self {
        Self {
            is_passing: true,
            ..Self::new("08S01", text)
        }
    }

    /// The caller has no such session.
    pub(crate) fn no_session(id: Uuid) -> Self {
        let text = format!("Invalid SessionHandle [{id}]: it was closed, or was never opened by this user");
        Self::new("HY000", text)
    }

    /// The caller has no such operation.
    pub(crate) fn no_operation(id: Uuid) -> Self {
        let text = format!("Invalid OperationHandle [{id}]: it was closed, or was never begun by this user");
        Self::new("HY000", text)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let of_code = || match status.code() {
            Code::Unavailable | Code::DeadlineExceeded => "08S01",
            Code::PermissionDenied | Code::Unauthenticated => "42501",
            Code::ResourceExhausted => "53000",
            Code::Cancelled => "57014",
            _ => "HY000",
        };
        Self {
            sql_state: inside::sql_state(&status).unwrap_or_else(|| of_code().to_owned()),
            is_passing: status.code() == Code::Unavailable,
            text: status.message().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_without_sparks_details_have_a_state_of_their_kind() {
        let cases = [
            (Status::unavailable("x"), "08S01", true),
            (Status::permission_denied("x"), "42501", false),
            (Status::resource_exhausted("x"), "53000", false),
            (Status::internal("x"), "HY000", false),
        ];
        for (status, state, passing) in cases {
            let failure = Failure::from(status);
            assert_eq!((failure.sql_state.as_str(), failure.is_passing), (state, passing));
        }
    }
}
