//! Errors in the shape that Spark's clients turn into proper exceptions.
//!
//! A client reads the gRPC message, and `google.rpc.ErrorInfo` in `grpc-status-details-bin`. Berth's errors leave
//! `errorId` out, so that no client asks a driver for details that it does not have. Errors of a driver pass
//! through untouched and never come here.

mod own;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status};

pub(crate) use own::*;

const DOMAIN: &str = "org.apache.spark";
const SQL_EXCEPTION: &str = "org.apache.spark.SparkSQLException";
const RUNTIME_EXCEPTION: &str = "org.apache.spark.SparkRuntimeException";
const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
/// Spark cuts its messages here too; more would not fit the 8 KiB of metadata that gRPC clients take.
const MAX_TEXT_CHARS: usize = 2048;

#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<AnyMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyMessage {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// What is wrong with a handle (a session id or an operation id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handle {
    /// It is not a UUID.
    Format,
    /// The operation was left alone for too long.
    OperationAbandoned,
    /// The id was used for another plan.
    OperationAlreadyExists,
    /// The operation was never seen. Lets a client that received nothing send its plan again.
    OperationNotFound,
    /// The client knows the session by another server-side id.
    SessionChanged,
    /// The session has ended.
    SessionClosed,
    /// The session was never seen.
    SessionNotFound,
}

impl Handle {
    const fn parts(self) -> (&'static str, &'static str) {
        match self {
            Self::Format => (
                "INVALID_HANDLE.FORMAT",
                "Handle must be an UUID string of the format '00112233-4455-6677-8899-aabbccddeeff'",
            ),
            Self::OperationAbandoned => (
                "INVALID_HANDLE.OPERATION_ABANDONED",
                "Operation was considered abandoned because of inactivity and removed.",
            ),
            Self::OperationAlreadyExists => (
                "INVALID_HANDLE.OPERATION_ALREADY_EXISTS",
                "Operation already exists.",
            ),
            Self::OperationNotFound => ("INVALID_HANDLE.OPERATION_NOT_FOUND", "Operation not found."),
            Self::SessionChanged => (
                "INVALID_HANDLE.SESSION_CHANGED",
                "The existing Spark server driver instance has restarted. Please reconnect.",
            ),
            Self::SessionClosed => ("INVALID_HANDLE.SESSION_CLOSED", "Session was closed."),
            Self::SessionNotFound => ("INVALID_HANDLE.SESSION_NOT_FOUND", "Session not found."),
        }
    }
}

/// An invalid session or operation id, as Spark says it.
pub(crate) fn invalid_handle(what: Handle, handle: &str) -> Status {
    let (class, text) = what.parts();
    let shown: String = handle.chars().take(64).collect();
    let text = format!("The handle {shown} is invalid. {text}");
    spark(SQL_EXCEPTION, class, "HY000", &text, &[("handle", &shown)])
}

/// What is wrong with a position in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CursorFault {
    /// Another call took the result over. Clients reattach on it.
    Disconnected,
    /// The execution was not started as reattachable.
    NotReattachable,
    /// The position was released, or fell out of the buffer.
    PositionNotAvailable,
    /// No answer ever had this id.
    PositionNotFound,
}

/// An invalid position in a result, as Spark says it.
pub(crate) fn invalid_cursor(fault: CursorFault, response_id: &str) -> Status {
    let shown: String = response_id.chars().take(128).collect();
    let (class, text) = match fault {
        CursorFault::Disconnected => (
            "INVALID_CURSOR.DISCONNECTED",
            "The cursor has been disconnected by the server.".to_owned(),
        ),
        CursorFault::NotReattachable => (
            "INVALID_CURSOR.NOT_REATTACHABLE",
            "The cursor is not reattachable.".to_owned(),
        ),
        CursorFault::PositionNotAvailable => (
            "INVALID_CURSOR.POSITION_NOT_AVAILABLE",
            format!("The cursor position id {shown} is no longer available."),
        ),
        CursorFault::PositionNotFound => (
            "INVALID_CURSOR.POSITION_NOT_FOUND",
            format!("The cursor position id {shown} is not found."),
        ),
    };
    let text = format!("The cursor is invalid. {text}");
    spark(SQL_EXCEPTION, class, "HY109", &text, &[("responseId", &shown)])
}

/// An error of Berth's own, as a Spark runtime exception with `class`.
pub(crate) fn berth(class: &str, sql_state: &str, text: &str) -> Status {
    spark(RUNTIME_EXCEPTION, class, sql_state, text, &[])
}

fn spark(exception: &str, class: &str, sql_state: &str, text: &str, parameters: &[(&str, &str)]) -> Status {
    let message: String = format!("[{class}] {text} SQLSTATE: {sql_state}")
        .chars()
        .take(MAX_TEXT_CHARS)
        .collect();
    let parameters: BTreeMap<&str, &str> = parameters.iter().copied().collect();
    let metadata = [
        ("classes", json(&class_chain(exception))),
        ("errorClass", class.to_owned()),
        ("sqlState", sql_state.to_owned()),
        ("messageParameters", json(&parameters)),
    ];
    let info = ErrorInfo {
        reason: exception.to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: metadata
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    };
    with_details(Code::Internal, &message, ERROR_INFO, info.encode_to_vec())
}

fn class_chain(exception: &str) -> Vec<&str> {
    let base = if exception == SQL_EXCEPTION {
        "java.sql.SQLException"
    } else {
        "java.lang.RuntimeException"
    };
    vec![
        exception,
        base,
        "java.lang.Exception",
        "java.lang.Throwable",
        "java.lang.Object",
    ]
}

fn json(value: &impl serde::Serialize) -> String {
    // Lists and maps of strings: serde_json has no way to fail on them.
    serde_json::to_string(value).unwrap_or_default()
}

fn with_details(code: Code, message: &str, type_url: &str, value: Vec<u8>) -> Status {
    let detail = AnyMessage {
        type_url: type_url.to_owned(),
        value,
    };
    let status = RpcStatus {
        code: code as i32,
        message: message.to_owned(),
        details: vec![detail],
    };
    Status::with_details(code, message, Bytes::from(status.encode_to_vec()))
}

/// The `errorClass` of a status, when it carries Spark's details.
pub(crate) fn error_class(status: &Status) -> Option<String> {
    detail(status, "errorClass")
}

/// One of Spark's details of a status.
pub(crate) fn detail(status: &Status, name: &str) -> Option<String> {
    let decoded = RpcStatus::decode(status.details()).ok()?;
    let info = decoded.details.iter().find(|any| any.type_url == ERROR_INFO)?;
    ErrorInfo::decode(info.value.as_slice())
        .ok()?
        .metadata
        .remove(name)
}

#[cfg(test)]
mod tests {
    use berth_core::ids::{Epoch, SessionId};
    use berth_core::record::{
        CloseReason, Dialect, Lifetime, SessionEvent, SessionRecord, SessionState, Work,
    };
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_bad_session_id_reads_as_sparks_own_error() {
        let status = invalid_handle(Handle::Format, "nonsense");
        assert_eq!(status.code(), Code::Internal);
        assert!(
            status
                .message()
                .starts_with("[INVALID_HANDLE.FORMAT] The handle nonsense is invalid.")
        );
        assert_eq!(error_class(&status).as_deref(), Some("INVALID_HANDLE.FORMAT"));

        let decoded = RpcStatus::decode(status.details()).unwrap();
        let info = ErrorInfo::decode(decoded.details[0].value.as_slice()).unwrap();
        assert_eq!(info.reason, "org.apache.spark.SparkSQLException");
        assert_eq!(info.domain, "org.apache.spark");
        assert_eq!(info.metadata["messageParameters"], r#"{"handle":"nonsense"}"#);
        assert!(info.metadata["classes"].starts_with(r#"["org.apache.spark.SparkSQLException","#));
        assert!(!info.metadata.contains_key("errorId"));
    }

    #[test]
    fn berths_errors_never_carry_the_names_that_make_clients_send_a_plan_again() {
        let all = [
            outcome_unknown("INSERT"),
            not_deterministic("query"),
            result_lost("op"),
            kills_driver("query", 2),
            pinned_lost("checkpoint c"),
        ];
        for status in all {
            assert!(
                !status.message().contains("INVALID_HANDLE"),
                "{}",
                status.message()
            );
            assert_ne!(status.code(), Code::Unavailable);
        }
    }

    /// A session that came to its second driver as `what` says.
    fn moved(what: &str) -> SessionRecord {
        let epoch = Epoch::INITIAL.next();
        let event = SessionEvent {
            at: 0,
            epoch,
            what: what.to_owned(),
        };
        SessionRecord {
            format: 1,
            id: SessionId::for_connect("u", Uuid::from_u128(1)),
            dialect: Dialect::Connect,
            work: Work::Session,
            owner: "u".to_owned(),
            tenant: "blue".parse().unwrap(),
            profile: "default".parse().unwrap(),
            client_id: String::new(),
            name: None,
            server_session_id: Uuid::from_u128(2),
            memory_bytes: 1,
            confs: BTreeMap::new(),
            lifetime: Lifetime::default(),
            share: None,
            bound_to: None,
            created_at: 0,
            epoch,
            state: SessionState::Closed {
                at: 0,
                reason: CloseReason::Client,
                reopen: false,
            },
            early_losses: Vec::new(),
            left_out: 0,
            history: vec![event],
        }
    }

    #[test]
    fn a_checkpoint_of_an_earlier_driver_is_named() {
        let missing = || {
            berth(
                "CONNECT_INVALID_PLAN.DATAFRAME_NOT_FOUND",
                "56K00",
                "no such data frame",
            )
        };
        let handles = ["checkpoint 12".to_owned()];
        let named = explained(missing(), &handles, &moved(""));
        assert_eq!(error_class(&named).as_deref(), Some("BERTH.PINNED_STATE_LOST"));
        assert!(named.message().contains("checkpoint 12"));
        let record = SessionRecord {
            epoch: Epoch::INITIAL,
            ..moved("")
        };
        let own = explained(missing(), &handles, &record);
        assert_eq!(own.message(), missing().message());
    }

    #[test]
    fn what_has_no_handle_is_named_by_the_drivers_words() {
        let cases = [
            (
                "org.apache.spark.SparkException: ResourceProfileId 3 not found!",
                "resource profile 3",
            ),
            (
                "[DATAFLOW_GRAPH_NOT_FOUND] Dataflow graph with id g-1 could not be found SQLSTATE: KD011",
                "pipeline graph g-1",
            ),
        ];
        for (text, named) in cases {
            let told = explained(Status::internal(text), &[], &moved(""));
            assert_eq!(error_class(&told).as_deref(), Some("BERTH.PINNED_STATE_LOST"));
            assert!(told.message().contains(named), "{}", told.message());
        }
    }

    #[test]
    fn a_view_over_a_lost_checkpoint_is_named() {
        let lost = moved(
            "placed on n1: only node; 2 changes replayed; lost: create view v: [X] none; \
             lost: create view global_temp.g: [X] none; lost: checkpoint",
        );
        let missing = |view: &str| {
            let text = format!("The table or view `{view}` cannot be found.");
            berth("TABLE_OR_VIEW_NOT_FOUND", "42P01", &text)
        };
        let named = explained(missing("v"), &[], &lost);
        assert_eq!(error_class(&named).as_deref(), Some("BERTH.PINNED_STATE_LOST"));
        assert!(named.message().contains("under view v"), "{}", named.message());
        for (view, shown) in [("V", "view v"), ("global_temp`.`G", "view global_temp.g")] {
            let named = explained(missing(view), &[], &lost);
            assert!(named.message().contains(shown), "{}", named.message());
        }
        for (view, record) in [
            ("w", &lost),
            ("v", &moved("placed on n1: only node; 3 changes replayed")),
        ] {
            let own = explained(missing(view), &[], record);
            assert_eq!(error_class(&own).as_deref(), Some("TABLE_OR_VIEW_NOT_FOUND"));
        }
    }

    #[test]
    fn a_long_statement_does_not_overflow_the_metadata() {
        let status = outcome_unknown(&"x".repeat(100_000));
        assert!(status.message().chars().count() <= MAX_TEXT_CHARS);
        assert!(status.details().len() < 4096);
    }
}
