//! What a failure of the client library means: may the call be tried again, and may it have had an effect?

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

use crate::{LeaseId, Revision, StoreError};

/// A failed try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// It surely had no effect; another try may succeed.
    NotApplied(String),
    /// The answer is lost: it may have had its effect, or may have it later.
    Lost(String),
    /// A lease is unknown or has ended.
    LeaseMissing,
    /// A lease with the wanted id is there already.
    LeaseExists,
    /// The wanted revision is compacted away.
    Compacted,
    /// The answer is larger than this client takes.
    TooLarge(String),
    /// The credentials or the key range are refused.
    Denied(String),
    /// Out of space, or beyond a limit of etcd.
    Exhausted(String),
}

impl Fault {
    /// What the caller of something without an effect is told.
    pub(super) fn of_read(self) -> StoreError {
        match self {
            Self::Lost(reason) => StoreError::Unavailable { reason },
            other => other.of_write(None),
        }
    }

    /// What the caller of a listing or watch from `wanted` is told.
    pub(super) fn of_history(self, wanted: Revision) -> StoreError {
        match self {
            // etcd does not say which revision is the oldest; it is a later one.
            Self::Compacted => StoreError::Compacted {
                wanted,
                oldest: wanted + 1,
            },
            other => other.of_read(),
        }
    }

    /// What the caller of a change is told. `lease` is the one that it uses, if any.
    pub(super) fn of_write(self, lease: Option<LeaseId>) -> StoreError {
        match (self, lease) {
            (Self::LeaseMissing, Some(lease)) => StoreError::LeaseGone(lease),
            (Self::NotApplied(reason), _) => StoreError::Unavailable { reason },
            (Self::Lost(reason), _) => StoreError::Unknown { reason },
            (Self::Denied(reason), _) => StoreError::Denied { reason },
            (Self::Exhausted(reason), _) => StoreError::Exhausted {
                reason: format!("{reason}; compact and defragment etcd, then disarm its alarm with etcdctl"),
            },
            (Self::TooLarge(reason), _) => StoreError::Exhausted { reason },
            (other @ (Self::LeaseMissing | Self::LeaseExists | Self::Compacted), _) => {
                StoreError::Unavailable {
                    reason: format!("etcd gave an answer that does not fit the question: {other:?}"),
                }
            }
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        match error {
            Error::GRpcStatus(status) => Self::from(status),
            Error::LeaseKeepAliveError(reason) if reason.contains("not found") => Self::LeaseMissing,
            // These come from building a connection, not from using one.
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::InvalidMetadataValue(_)
            | Error::TransportError(_) => {
                let reason = with_causes(&error);
                Self::Denied(format!("{reason}; check the etcd endpoints and certificates"))
            }
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<Status> for Fault {
    fn from(status: Status) -> Self {
        let reason = with_causes(&status);
        let says = |part: &str| reason.contains(part);
        match status.code() {
            Code::NotFound if says("lease not found") => Self::LeaseMissing,
            Code::FailedPrecondition if says("lease already exists") => Self::LeaseExists,
            Code::OutOfRange if says("has been compacted") => Self::Compacted,
            Code::OutOfRange if says("decoded message length too large") => Self::TooLarge(reason),
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied(reason),
            Code::InvalidArgument if says("authentication failed") || says("user name is empty") => {
                Self::Denied(reason)
            }
            // Said before anything is proposed, and over soon.
            Code::ResourceExhausted if says("too many requests") => Self::NotApplied(reason),
            Code::InvalidArgument if says("revision of auth store is old") => Self::NotApplied(reason),
            Code::ResourceExhausted | Code::InvalidArgument => Self::Exhausted(reason),
            Code::Unavailable if never_sent(&status) => Self::NotApplied(reason),
            // Checked on arrival, as `hasleader` asks for.
            Code::Unavailable if says("etcdserver: no leader") => Self::NotApplied(reason),
            _ => Self::Lost(reason),
        }
    }
}

/// The error and what caused it, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let part = error.to_string();
        if !text.contains(&part) {
            text = format!("{text}: {part}");
        }
        cause = error.source();
    }
    text
}

/// True when no connection came about.
fn never_sent(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(code: Code, message: &str) -> Fault {
        Fault::from(Status::new(code, message))
    }

    #[test]
    fn only_what_surely_had_no_effect_counts_as_not_applied() {
        let applied = [
            (Code::Unavailable, "etcdserver: no leader", false),
            (Code::ResourceExhausted, "etcdserver: too many requests", false),
            (Code::Unavailable, "etcdserver: request timed out", true),
            (
                Code::Unavailable,
                "etcdserver: request timed out, possibly due to previous leader failure",
                true,
            ),
            (Code::Unavailable, "etcdserver: server stopped", true),
            (Code::Unavailable, "error reading server preface", true),
            (Code::Unknown, "transport error", true),
            (Code::Cancelled, "Timeout expired", true),
        ];
        for (code, message, maybe) in applied {
            let fault = fault(code, message);
            assert_eq!(matches!(fault, Fault::Lost(_)), maybe, "{message}: {fault:?}");
            assert_eq!(
                matches!(fault, Fault::NotApplied(_)),
                !maybe,
                "{message}: {fault:?}"
            );
        }
    }

    #[test]
    fn errors_that_nobody_waits_out_are_told_apart() {
        let lease = Some(LeaseId(7));
        let missing = fault(Code::NotFound, "etcdserver: requested lease not found");
        assert!(matches!(
            missing.of_write(lease),
            StoreError::LeaseGone(LeaseId(7))
        ));
        let full = fault(
            Code::ResourceExhausted,
            "etcdserver: mvcc: database space exceeded",
        );
        assert!(matches!(full.of_write(None), StoreError::Exhausted { .. }));
        let many = fault(
            Code::InvalidArgument,
            "etcdserver: too many operations in txn request",
        );
        assert!(matches!(many.of_write(None), StoreError::Exhausted { .. }));
        let denied = fault(Code::PermissionDenied, "etcdserver: permission denied");
        assert!(matches!(denied.of_read(), StoreError::Denied { .. }));
        let old = fault(
            Code::OutOfRange,
            "etcdserver: mvcc: required revision has been compacted",
        );
        assert!(matches!(
            old.of_history(5),
            StoreError::Compacted { wanted: 5, oldest: 6 }
        ));
    }
}
