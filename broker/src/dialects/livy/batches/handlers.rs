//! One function a call: read, let the desk do it, show.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Value, json};

use super::desk::Batches;
use super::request::NewBatch;
use super::{Batch, shown};
use crate::dialects::livy::access::Right;
use crate::dialects::livy::extract::{Path, Query};
use crate::dialects::livy::handlers::{Answer, By, body_within, name, ok};
use crate::dialects::livy::idempotency::Key;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::request::{PAGE, Range, read, slice};
use crate::dialects::livy::view;

type Desk = State<Arc<Batches>>;

fn batch_of(listed: &Listed) -> Result<&Batch, Refusal> {
    let none = || Refusal::NoSession(listed.number.to_string());
    listed.batch.as_ref().ok_or_else(none)
}

pub(super) async fn list(State(desk): Desk, by: By, Query(range): Query<Range>) -> Answer {
    let (from, size) = (range.from()?.unwrap_or(0), range.size()?.unwrap_or(PAGE));
    let all = desk.all(name(&by)).await?;
    let total = all.len();
    let mut batches = Vec::new();
    for listed in slice(all, from, size) {
        let batch = batch_of(&listed)?;
        let end = batch.end.as_ref();
        let end = end.filter(|_| desk.may(&listed, name(&by), Right::View));
        let log = end.map_or(&[] as &[String], |end| &end.log);
        batches.push(shown(&listed, batch, log));
    }
    ok(&json!({ "from": from, "total": total, "sessions": batches }))
}

pub(super) async fn create(
    State(desk): Desk,
    by: By,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = body_within(desk.config().max_body_bytes, body)?;
    let key = Key::read(&headers, &body)?;
    let request: NewBatch = read(&body)?;
    let caller = by.map(|axum::Extension(caller)| caller).unwrap_or_default();
    let listed = desk.create(request, caller, key.as_ref()).await?;
    let location = format!("/batches/{}", listed.number);
    Ok(view::created(&shown(&listed, batch_of(&listed)?, &[]), &location))
}

pub(super) async fn show(State(desk): Desk, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by), Right::Look).await?;
    let batch = batch_of(&listed)?;
    let log = match desk.may(&listed, name(&by), Right::View) {
        true => desk.log(&listed, batch).await?,
        false => Vec::new(),
    };
    ok(&shown(&listed, batch, &log))
}

pub(super) async fn state(State(desk): Desk, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by), Right::Look).await?;
    let state: Value = batch_of(&listed)?.state().into();
    ok(&json!({ "id": listed.number, "state": state }))
}

pub(super) async fn log(
    State(desk): Desk,
    by: By,
    Path(id): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let (from, size) = (range.from()?.unwrap_or(-1), range.size()?.unwrap_or(PAGE));
    let listed = desk.find(&id, name(&by), Right::View).await?;
    let lines = desk.log(&listed, batch_of(&listed)?).await?;
    ok(&view::log(listed.number, lines, from, size))
}

pub(super) async fn delete(State(desk): Desk, by: By, Path(id): Path<String>) -> Answer {
    let listed = desk.find(&id, name(&by), Right::Modify).await?;
    desk.delete(&listed, batch_of(&listed)?).await?;
    ok(&json!({ "msg": "deleted" }))
}
