//! Calls that run something, and about what runs.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use super::desk::Held;
use super::door::User;
use super::operations::Entry;
use super::refusal::{self, Refusal};
use super::request::{Action, Names, NewStatement, Range};
use super::sessions::{Answer, Desk, done, ok};
use super::{Kyuubi, columns as shape, request, rows as rowset, show};
use crate::dialects::sql::Statement;
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::operation::State as Stage;

/// Lines of a statement in its log.
const MAX_LOGGED_LINES: usize = 50;

fn handle(entry: &Entry) -> Answer {
    ok(&json!({ "identifier": entry.operation.id }))
}

pub(super) async fn execute(
    State(kyuubi): Desk,
    User(caller): User,
    Path(session): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new: NewStatement = request::read(&headers, kyuubi.config.max_body_bytes, body)?;
    let runs_async = new.runs_async();
    let statement = new.into_statement()?;
    let held = kyuubi.session(&session, &caller).await?;
    let entry = begin(&kyuubi, &held, statement, runs_async)?;
    if !runs_async {
        let failure = failure_of(entry.operation.ended().await);
        if let Some(failure) = failure {
            kyuubi.close_operation(&entry);
            return Err(Refusal::of_operation("Error executing statement", failure));
        }
    }
    handle(&entry)
}

fn begin(
    kyuubi: &Kyuubi,
    held: &Held,
    statement: Statement,
    runs_async: bool,
) -> Result<Arc<Entry>, Refusal> {
    let text = statement.text.clone();
    let limit = statement.limit;
    let operation = kyuubi.engine.execute(&held.session, statement);
    let operation =
        operation.map_err(|failure| Refusal::of_operation("Error executing statement", failure))?;
    let listed = &held.found.listed;
    let place = held.found.record.as_ref();
    let mut told = vec![format!(
        "INFO operation {} in session {}, statement:",
        operation.id, listed.handle
    )];
    told.extend(text.lines().take(MAX_LOGGED_LINES).map(str::to_owned));
    told.extend([
        format!("INFO user {} (opened by {})", listed.user, listed.real_user),
        format!(
            "INFO {}",
            if runs_async {
                "runs on its own"
            } else {
                "its client waits for its end"
            }
        ),
        format!(
            "INFO limit: {}",
            limit.map_or_else(|| "none".to_owned(), |limit| format!("{} s", limit.as_secs()))
        ),
        format!("INFO protocol version {}", listed.protocol),
        format!("INFO session of Berth {}", listed.session),
        format!(
            "INFO profile {}",
            place.map_or("not known yet", |record| record.profile.as_str())
        ),
        format!(
            "INFO epoch {}",
            place.map_or_else(|| "not known yet".to_owned(), |record| record.epoch.to_string())
        ),
    ]);
    told.iter().for_each(|line| operation.note(line));
    Ok(kyuubi.enter(held, operation, &text, runs_async))
}

fn failure_of(stage: Stage) -> Option<Failure> {
    match stage {
        Stage::Failed(failure) => Some(failure),
        Stage::Canceled => Some(Failure::new("57014", "the statement was canceled")),
        Stage::TimedOut => Some(Failure::new("HYT00", "the statement ran longer than its limit")),
        Stage::Pending | Stage::Running | Stage::Finished(_) => None,
    }
}

pub(super) async fn ask(
    State(kyuubi): Desk,
    User(caller): User,
    Path((session, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let names: Names = request::read(&headers, kyuubi.config.max_body_bytes, body)?;
    let held = kyuubi.session(&session, &caller).await?;
    let unknown = || {
        let call: String = call.chars().take(100).collect();
        Refusal::of_operation(
            &format!("Error asking for {call}"),
            Failure::unsupported("Spark has no such thing; the calls are listed at /api/openapi.json"),
        )
    };
    let (name, question) = names.question(&call).ok_or_else(unknown)?;
    let operation = kyuubi.engine.ask(&held.session, question).await;
    let operation =
        operation.map_err(|failure| Refusal::of_operation(&format!("Error in {name}"), failure))?;
    handle(&kyuubi.enter(&held, operation, name, false))
}

pub(super) async fn event(State(kyuubi): Desk, User(caller): User, Path(operation): Path<String>) -> Answer {
    let entry = kyuubi.operation(&operation, &caller).await?;
    ok(&show::operation_event(&entry))
}

pub(super) async fn change(
    State(kyuubi): Desk,
    User(caller): User,
    Path(operation): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let action: Action = request::read(&headers, kyuubi.config.max_body_bytes, body)?;
    let entry = kyuubi.operation(&operation, &caller).await?;
    match action.name().as_str() {
        "cancel" => entry.operation.cancel(),
        "close" => kyuubi.close_operation(&entry),
        other => {
            let other: String = other.chars().take(100).collect();
            return Err(Refusal::NotFound(format!(
                "Invalid action {other}; use cancel or close"
            )));
        }
    }
    done()
}

pub(super) async fn columns(
    State(kyuubi): Desk,
    User(caller): User,
    Path(operation): Path<String>,
) -> Answer {
    let entry = kyuubi.operation(&operation, &caller).await?;
    match entry.operation.state() {
        Stage::Finished(schema) => ok(&shape::describe(&schema)),
        other => Err(Refusal::of_operation(
            "Error getting result set metadata",
            unfinished(other),
        )),
    }
}

/// Why an operation has no result.
fn unfinished(stage: Stage) -> Failure {
    match stage {
        Stage::Failed(failure) => failure,
        other => Failure::invalid(format!(
            "the operation has no result: it is {}; wait until it is finished",
            other.name()
        )),
    }
}

pub(super) async fn log(
    State(kyuubi): Desk,
    User(caller): User,
    Path(operation): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let (most, rewind) = (range.most()?, range.rewinds()?);
    let entry = kyuubi.operation(&operation, &caller).await?;
    entry.on_log_fetch();
    let lines = entry.operation.log(rewind, most);
    ok(&json!({ "logRowSet": lines, "rowCount": lines.len() }))
}

pub(super) async fn rows(
    State(kyuubi): Desk,
    User(caller): User,
    Path(operation): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let (most, orientation) = (range.most()?, range.orientation()?);
    let entry = kyuubi.operation(&operation, &caller).await?;
    entry.on_row_fetch();
    if most == 0 {
        return match entry.operation.state() {
            Stage::Finished(_) => ok(&json!({ "rows": [], "rowCount": 0 })),
            other => Err(Refusal::of_operation("Error fetching rows", unfinished(other))),
        };
    }
    let page = entry
        .operation
        .fetch(orientation, most, kyuubi.engine.config.page_bytes)
        .await;
    let page = page.map_err(|failure| Refusal::of_operation("Error fetching rows", failure))?;
    let body = rowset::write(&page, entry.listed.protocol);
    Ok(refusal::typed(StatusCode::OK, "application/json", body))
}
