//! What only Berth has to say: outcomes that nobody knows, results that cannot be continued, limits.

use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use berth_core::record::SessionRecord;
use prost::Message as _;
use tonic::{Code, Status};

use super::super::backend::Refusal;
use super::{
    CursorFault, Handle, ProtoDuration, RETRY_INFO, RetryInfo, berth, error_class, invalid_cursor,
    invalid_handle, with_details,
};

/// How a view begins that could not be made again, in a session's history.
pub(crate) const LOST_VIEW: &str = "create view ";

/// The session lost its driver while a statement with outside effects ran; nobody can know whether it took effect.
pub(crate) fn outcome_unknown(what: &str) -> Status {
    let text = format!(
        "The driver was lost while this statement ran: {what}. It may or may not have taken effect, and Berth \
         does not run it a second time. Look at its target before you run it again; the session goes on."
    );
    berth("BERTH.OUTCOME_UNKNOWN", "40003", &text)
}

/// A query whose second run differed from what was delivered of the first.
pub(crate) fn not_deterministic(what: &str) -> Status {
    let text = format!(
        "The driver was lost while the result of this query was being delivered: {what}. Its second run gave other \
         rows than the first, so the result cannot be continued. Run the query again, or order its rows."
    );
    berth("BERTH.RESULT_NOT_DETERMINISTIC", "HY000", &text)
}

/// A result that was delivered in part, and of which nothing can be recovered.
pub(crate) fn result_lost(operation: &str) -> Status {
    let text = format!(
        "The rest of the result of operation {operation} was lost with the broker and the driver that had it. \
         Run the query again; the session goes on."
    );
    berth("BERTH.RESULT_LOST", "HY000", &text)
}

/// A statement during which too many drivers ended.
pub(crate) fn kills_driver(what: &str, losses: u32) -> Status {
    let text = format!(
        "This statement was running when {losses} drivers were lost: {what}. Berth does not run it again. Give the \
         driver more memory or make the statement smaller; the session goes on."
    );
    berth("BERTH.STATEMENT_KILLS_DRIVER", "HY000", &text)
}

/// A streaming query that ended with its driver.
pub(crate) fn query_lost(query: &str) -> Status {
    let text = format!(
        "Streaming query {query} ended with a driver that was lost. Start it again with the same checkpointLocation: \
         it goes on from there, under the same id. The session goes on."
    );
    berth("BERTH.STREAMING_QUERY_LOST", "HY000", &text)
}

/// An operation that was interrupted while no driver had it, in the words of Spark's own error.
pub(crate) fn interrupted(operation: &str) -> Status {
    let text = "Operation has been canceled.";
    tracing::debug!(operation, "interrupted between two drivers");
    berth("OPERATION_CANCELED", "HY008", text)
}

/// Something that only a lost driver had.
pub(crate) fn pinned_lost(what: &str) -> Status {
    let text = format!(
        "The checkpoint, model or other object {what} existed only on a driver that was lost, and Berth cannot make \
         it again. Compute it once more; the session goes on."
    );
    berth("BERTH.PINNED_STATE_LOST", "HY000", &text)
}

/// Why the broker cannot serve a session.
pub(crate) fn refused(refusal: &Refusal, session: SessionId) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::Closed => invalid_handle(Handle::SessionClosed, &session.to_string()),
        Refusal::Quota { .. } => Status::resource_exhausted(text),
        Refusal::Denied { .. } => Status::permission_denied(text),
        Refusal::NoCapacity { retry_after, .. } => retry_later(Code::Unavailable, &text, *retry_after),
        Refusal::Unavailable { .. } => Status::unavailable(text),
        // Another broker runs it: clients reattach on this error, and find it there.
        Refusal::Duplicate { operation } => invalid_cursor(CursorFault::Disconnected, operation),
        Refusal::LineageFull { .. } => berth("BERTH.LINEAGE_FULL", "54000", &text),
    }
}

/// An operation ended, and that could not be made durable: what was not written down must not be told (I2).
pub(crate) fn outcome_not_recorded(operation: &str, refusal: &Refusal) -> Status {
    let text = format!(
        "Operation {operation} ended on the driver, but its outcome could not be written down: {refusal}. Look at \
         what it was to do before you run it again."
    );
    berth("BERTH.OUTCOME_NOT_RECORDED", "40003", &text)
}

/// An answer that was too large to be kept with its record.
pub(crate) fn answer_not_kept(what: &str) -> Status {
    let text = format!(
        "This statement succeeded, but its answer was too large to be kept and the broker that had it is gone: \
         {what}. Do not run it again for its effect."
    );
    berth("BERTH.ANSWER_NOT_KEPT", "HY000", &text)
}

/// Too many operations of one session at once.
pub(crate) fn too_many_operations(limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "this session has {limit} operations that run or wait to be read; close some results first"
    ))
}

/// A plan that is larger than Spark accepts once it is inflated.
pub(crate) fn plan_too_large(limit: u64) -> Status {
    let text = format!("The plan is larger than {limit} bytes after decompression.");
    berth("CONNECT_INVALID_PLAN.PLAN_SIZE_LARGER_THAN_MAX", "56K00", &text)
}

/// An upload over the limit of one call.
pub(crate) fn upload_too_large(limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "one AddArtifacts call may bring {limit} bytes; send the artifacts apart"
    ))
}

/// CloneSession to an id that is taken.
pub(crate) fn clone_exists(session: &str) -> Status {
    let text = format!("Cannot clone to session {session}: a session with this id already exists.");
    berth(
        "INVALID_CLONE_SESSION_REQUEST.TARGET_SESSION_ID_ALREADY_EXISTS",
        "42K04",
        &text,
    )
}

/// True for the error on which clients reattach, because another call or broker has the operation.
fn is_disconnected(status: &Status) -> bool {
    error_class(status).as_deref() == Some("INVALID_CURSOR.DISCONNECTED")
}

/// True for the errors on which clients come back under the same id: they reattach, or send their plan again.
pub(crate) fn brings_back(status: &Status) -> bool {
    is_disconnected(status) || error_class(status).as_deref() == Some("INVALID_HANDLE.OPERATION_NOT_FOUND")
}

/// Errors with which a driver says that it does not have a server-side object.
const MISSING_HANDLE: [&str; 2] = [
    "CONNECT_INVALID_PLAN.DATAFRAME_NOT_FOUND",
    "CONNECT_ML.CACHE_INVALID",
];

/// A driver's error, or what it means when the plan refers to `handles` that an earlier driver of the session had, or
/// to a view that was built on one.
pub(crate) fn explained(status: Status, handles: &[String], record: &SessionRecord) -> Status {
    if record.epoch == Epoch::INITIAL {
        return status;
    }
    let class = error_class(&status).unwrap_or_default();
    if MISSING_HANDLE.contains(&class.as_str()) && !handles.is_empty() {
        return pinned_lost(&handles.join(", "));
    }
    if class == "CONNECT_INVALID_PLAN.STREAMING_QUERY_NOT_FOUND" && !handles.is_empty() {
        return query_lost(&handles.join(", "));
    }
    if class == "TABLE_OR_VIEW_NOT_FOUND" {
        let text = status.message().to_lowercase();
        let lost = lost_views(record).find(|view| text.contains(&quoted(view)));
        return lost.map_or(status, |view| pinned_lost(&format!("under view {view}")));
    }
    match missing(status.message()) {
        Some(what) => pinned_lost(&what),
        None => status,
    }
}

/// The resource profile, or the graph of a pipeline, that a driver says it does not have.
fn missing(text: &str) -> Option<String> {
    let between = |head, tail| Some(text.split_once(head)?.1.split_once(tail)?.0);
    let profile = between("ResourceProfileId ", " not found").map(|id| format!("resource profile {id}"));
    profile.or_else(|| {
        let graph = between("Dataflow graph with id ", " could not be found")?;
        Some(format!("pipeline graph {graph}"))
    })
}

/// A view as Spark names it in an error; its case is that of the query, and says nothing.
fn quoted(view: &str) -> String {
    format!("`{}`", view.to_lowercase().replace('.', "`.`"))
}

/// The views that were not made again when the session came to its driver, from its history.
fn lost_views(record: &SessionRecord) -> impl Iterator<Item = &str> {
    let placed = record.history.iter().filter(|event| event.epoch == record.epoch);
    placed
        .flat_map(|event| event.what.split("; lost: ").skip(1))
        .filter_map(|lost| lost.strip_prefix(LOST_VIEW)?.split(": ").next())
}

/// A message over the limit, in the words of Spark's server.
pub(crate) fn too_large(limit: usize) -> Status {
    Status::resource_exhausted(format!("gRPC message exceeds maximum size {limit}"))
}

/// The broker has no room for one more call.
pub(crate) fn too_busy(text: &str) -> Status {
    retry_later(Code::Unavailable, text, Duration::from_secs(1))
}

/// A refusal that its client should repeat after `delay`.
pub(crate) fn retry_later(code: Code, text: &str, delay: Duration) -> Status {
    let delay = ProtoDuration {
        seconds: i64::try_from(delay.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(delay.subsec_nanos()).unwrap_or_default(),
    };
    let retry = RetryInfo {
        retry_delay: Some(delay),
    };
    with_details(code, text, RETRY_INFO, retry.encode_to_vec())
}
