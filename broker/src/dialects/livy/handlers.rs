//! One function a call: read, let the desk do it, show.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Caller;
use super::access::Right;
use super::desk::{Desk, Now};
use super::extract::{Path, Query};
use super::idempotency::Key;
use super::kind::Kind;
use super::listed::Listed;
use super::refusal::Refusal;
use super::request::{Completion, NewSession, NewStatement, PAGE, Range, integer, read, slice};
use super::statement::Intent;
use super::task::Task;
use super::view;

pub(super) type Answer = Result<Response, Refusal>;
pub(super) type DeskState = State<Arc<Desk>>;
pub(super) type By = Option<Extension<Caller>>;

pub(super) fn name(by: &By) -> &str {
    by.as_ref().map_or("", |Extension(caller)| caller.effective())
}

pub(super) fn ok(value: &Value) -> Answer {
    Ok(view::json(StatusCode::OK, value))
}

pub(super) fn body_of(desk: &Desk, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body_within(desk.config().max_body_bytes, body)
}

pub(super) fn body_within(limit: usize, body: Result<Bytes, BytesRejection>) -> Result<Bytes, Refusal> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge(limit),
        _ => Refusal::Malformed(rejection.to_string()),
    })
}

pub(super) async fn version() -> Response {
    let version = "0.9.0-incubating";
    let value = json!({
        "version": version,
        "user": "berth",
        "revision": env!("CARGO_PKG_VERSION"),
        "branch": "berth",
        "date": "",
        "url": "",
    });
    view::json(StatusCode::OK, &value)
}

pub(super) async fn list(State(desk): DeskState, by: By, Query(range): Query<Range>) -> Answer {
    let (from, size) = (range.from()?.unwrap_or(0), range.size()?.unwrap_or(PAGE));
    let all = desk.all(name(&by)).await?;
    let total = all.len();
    let mut sessions = Vec::new();
    for listed in slice(all, from, size) {
        let now = desk.now(&listed).await?;
        sessions.push(view::session(&listed, &now, &[], desk.config().session_fields));
    }
    ok(&json!({ "from": from, "total": total, "sessions": sessions }))
}

pub(super) async fn create(
    State(desk): DeskState,
    by: By,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = body_of(&desk, body)?;
    let key = Key::read(&headers, &body)?;
    let request: NewSession = read(&body)?;
    let caller = by.map(|Extension(caller)| caller).unwrap_or_default();
    let (listed, is_new) = desk.create(request, caller, key.as_ref()).await?;
    let now = match is_new {
        true => Now::starting(),
        false => desk.now(&listed).await?,
    };
    let location = format!("/sessions/{}", listed.number);
    let session = view::session(&listed, &now, &[], desk.config().session_fields);
    Ok(view::created(&session, &location))
}

async fn show_session(desk: &Arc<Desk>, listed: &Listed, user: &str) -> Answer {
    let now = desk.now(listed).await?;
    let log = match desk.may(listed, user, Right::View) {
        true => desk.log(listed).await?,
        false => Vec::new(),
    };
    ok(&view::session(listed, &now, &log, desk.config().session_fields))
}

pub(super) async fn show(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find_for(&id, name(&by), Right::Look).await?;
    show_session(&desk, &listed, name(&by)).await
}

pub(super) async fn state(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find_for(&id, name(&by), Right::Look).await?;
    let state = desk.state(&listed).await?;
    ok(&json!({ "id": listed.number, "state": state }))
}

pub(super) async fn log(
    State(desk): DeskState,
    by: By,
    Path(id): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let (from, size) = (range.from()?.unwrap_or(-1), range.size()?.unwrap_or(PAGE));
    let listed = desk.find_for(&id, name(&by), Right::View).await?;
    let lines = desk.log(&listed).await?;
    ok(&view::log(listed.number, lines, from, size))
}

pub(super) async fn delete(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by)).await?;
    desk.delete(&listed).await?;
    ok(&json!({ "msg": "deleted" }))
}

/// Berth's own: what was rebuilt, and what was not, each time that the session came to another driver.
pub(super) async fn recovery(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find_for(&id, name(&by), Right::View).await?;
    let (state, recovery) = (desk.state(&listed).await?, desk.recovery(&listed).await?);
    ok(&json!({
        "id": listed.number,
        "state": state,
        "recoveries": recovery.recoveries,
        "events": recovery.events,
    }))
}

/// Ends a session that stays in the lists.
pub(super) async fn stop(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by)).await?;
    desk.stop(&listed).await?;
    Ok(view::empty(StatusCode::NO_CONTENT))
}

/// Livy's own ends the session, whatever its name says.
pub(super) async fn interrupt(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by)).await?;
    desk.interrupt(&listed).await?;
    ok(&json!({ "msg": "interrupted" }))
}

pub(super) async fn connect(State(desk): DeskState, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    show_session(&desk, &listed, name(&by)).await
}

/// For load balancers.
pub(super) async fn ping() -> &'static str {
    "pong\n"
}

pub(super) async fn submit(
    State(desk): DeskState,
    by: By,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = body_of(&desk, body)?;
    let key = Key::read(&headers, &body)?;
    let asked: NewStatement = read(&body)?;
    let listed = desk.find(&id, name(&by)).await?;
    let own = asked.kind.as_deref().map(str::parse::<Kind>).transpose()?;
    let intent = Intent {
        kind: listed.kind.of_statement(own)?,
        code: asked.code,
        task: Task::Statement,
        rows: listed.request.most_rows()?,
    };
    let statement = desk.submit(&listed, intent, key.as_ref()).await?;
    let location = format!("/sessions/{}/statements/{}", listed.number, statement.number);
    Ok(view::created(&statement.show(None), &location))
}

pub(super) async fn statements(
    State(desk): DeskState,
    by: By,
    Path(id): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let (from, size) = (range.from()?.unwrap_or(0), range.size()?.unwrap_or(i64::MAX));
    let listed = desk.find_for(&id, name(&by), Right::View).await?;
    let found = desk.statements(&listed, (from, size), range.is_descending());
    let (total, shown) = found.await?;
    ok(&json!({ "total_statements": total, "statements": shown }))
}

pub(super) async fn statement(
    State(desk): DeskState,
    by: By,
    Path((id, statement)): Path<(String, String)>,
) -> Answer {
    let number = integer(&statement)?;
    let listed = desk.find_for(&id, name(&by), Right::View).await?;
    let (statement, live) = desk.statement(&listed, number).await?;
    ok(&statement.show(live.as_ref()))
}

pub(super) async fn cancel(
    State(desk): DeskState,
    by: By,
    Path((id, statement)): Path<(String, String)>,
) -> Answer {
    let number = integer(&statement)?;
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    desk.cancel(&listed, number).await?;
    ok(&json!({ "msg": "canceled" }))
}

pub(super) async fn complete(
    State(desk): DeskState,
    by: By,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let asked: Completion = read(&body_of(&desk, body)?)?;
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    let candidates = desk.complete(&listed, asked).await?;
    ok(&json!({ "candidates": candidates }))
}
