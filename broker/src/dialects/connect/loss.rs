//! Tells a lost driver from a driver's answer.
//!
//! Only what a driver cannot have meant for the client counts as a loss: a broken connection, a stopped
//! SparkContext, or a session that the driver does not know although Berth made it there.

use std::error::Error as _;

use berth_core::record::Cause;
use tonic::{Code, Status};

use super::errors::error_class;

/// What a failed call of a driver means.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// The driver's answer: it belongs to the client.
    Answer(Status),
    /// The session is not served there any more.
    Lost {
        /// Why, for the session's history.
        cause: Cause,
        /// True when the request surely did not begin to run.
        refused: bool,
        /// What was seen.
        status: Status,
    },
    /// The driver serves the session but does not have the operation.
    NoOperation(Status),
    /// Another broker follows the operation now: its client went there.
    Taken(Status),
}

impl Fault {
    /// Sorts a failed call.
    pub(crate) fn of(status: Status) -> Self {
        let class = error_class(&status).unwrap_or_default();
        match class.as_str() {
            "INVALID_HANDLE.OPERATION_NOT_FOUND" | "INVALID_HANDLE.OPERATION_ABANDONED" => {
                Self::NoOperation(status)
            }
            "INVALID_HANDLE.SESSION_NOT_FOUND"
            | "INVALID_HANDLE.SESSION_CHANGED"
            | "INVALID_HANDLE.SESSION_CLOSED" => Self::Lost {
                cause: Cause::DriverLost,
                refused: true,
                status,
            },
            "INVALID_CURSOR.DISCONNECTED" => Self::Taken(status),
            // What has a class may quote anything.
            "" if is_stopped_context(&status) => Self::Lost {
                cause: Cause::DriverUnhealthy,
                refused: false,
                status,
            },
            _ if is_broken_connection(&status) => Self::Lost {
                cause: Cause::DriverLost,
                refused: false,
                status,
            },
            _ => Self::Answer(status),
        }
    }
}

impl Fault {
    /// True when what was asked for surely did not begin.
    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self, Self::Lost { refused: true, .. })
    }

    /// The status that it came as.
    pub(crate) fn into_status(self) -> Status {
        match self {
            Self::Answer(status) | Self::NoOperation(status) | Self::Taken(status) => status,
            Self::Lost { status, .. } => status,
        }
    }
}

/// An out-of-memory driver stops its SparkContext and goes on answering for a while.
fn is_stopped_context(status: &Status) -> bool {
    let text = status.message();
    matches!(status.code(), Code::Internal | Code::Unknown)
        && (text.contains("stopped SparkContext")
            || text.contains("SparkContext has been shutdown")
            || text.contains("SparkContext was shut down"))
}

/// Errors that did not come as a gRPC status over the wire have a source; a driver's own have none.
pub(crate) fn is_broken_connection(status: &Status) -> bool {
    status.source().is_some()
        || status.code() == Code::Unavailable
        || (status.details().is_empty() && is_cut_short(status.message()))
}

/// What the gRPC client says of a stream that ended without a status.
fn is_cut_short(text: &str) -> bool {
    text.starts_with("Unexpected EOF decoding stream") || text.contains("missing grpc-status trailer")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::errors::{Handle, invalid_handle};
    use super::*;

    fn is_lost(status: Status) -> bool {
        matches!(Fault::of(status), Fault::Lost { .. })
    }

    #[test]
    fn an_answer_of_the_driver_is_not_a_loss() {
        let analysis = super::super::errors::berth("TABLE_OR_VIEW_NOT_FOUND", "42P01", "no such table");
        assert!(matches!(Fault::of(analysis), Fault::Answer(_)));
        let quoting = super::super::errors::berth("USER_RAISED_EXCEPTION", "P0001", "a stopped SparkContext");
        let quoting = Status::with_details(
            Code::Internal,
            quoting.message(),
            quoting.details().to_vec().into(),
        );
        assert!(matches!(Fault::of(quoting), Fault::Answer(_)));
        let deep = Status::unknown("Application error processing RPC");
        assert!(matches!(Fault::of(deep), Fault::Answer(_)));
        assert!(matches!(
            Fault::of(invalid_handle(Handle::OperationNotFound, "x")),
            Fault::NoOperation(_)
        ));
    }

    #[test]
    fn what_a_lost_driver_looks_like() {
        assert!(is_lost(Status::unavailable("connection refused")));
        assert!(is_lost(invalid_handle(Handle::SessionChanged, "x")));
        assert!(is_lost(Status::internal(
            "Cannot call methods on a stopped SparkContext.\nThis stopped SparkContext was created at: ..."
        )));
        let mut broken = Status::unknown("transport error");
        broken.set_source(Arc::new(std::io::Error::other("reset")));
        assert!(is_lost(broken));
    }
}
