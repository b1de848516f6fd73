//! Batches: the applications that [`crate::dialects::livy::batches`] runs, as Kyuubi's clients submit and see them.
//!
//! | module | what |
//! |---|---|
//! | `desk` | what the calls ask for |
//! | `request`, `parts` | what is submitted: as JSON, or in parts with its files |
//! | `wanted`, `show` | which batches are listed, and how they are shown |

mod desk;
mod parts;
mod request;
pub(super) mod show;
mod wanted;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequest as _, Multipart, Path, Query, Request, State};
use axum::routing::{get, post};
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::LengthLimitError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Kyuubi;
use super::door::{By, From};
use super::refusal::Refusal;
use super::request::read;
use super::sessions::{Answer, Desk, ok};
use request::{Files, NewBatch};
use wanted::Wanted;

/// Room in a body in parts for what is no file.
const AROUND_BYTES: usize = 1 << 20;

/// The calls.
pub(super) fn routes(kyuubi: &Kyuubi) -> Router<Arc<Kyuubi>> {
    let most = kyuubi.config.max_upload_bytes.saturating_add(AROUND_BYTES);
    let submit = post(submit).layer(DefaultBodyLimit::max(most.max(kyuubi.config.max_body_bytes)));
    Router::new()
        .route("/batches", get(list).merge(submit))
        .route("/batches/reassign", post(reassign))
        .route("/batches/{batch}", get(one).delete(cancel))
        .route("/batches/{batch}/localLog", get(log))
        .route("/admin/batch/count", get(count))
}

/// True of a body in parts.
fn is_in_parts(headers: &HeaderMap) -> bool {
    let media = headers.get(CONTENT_TYPE).and_then(|media| media.to_str().ok());
    media.is_some_and(|media| {
        media
            .trim_start()
            .to_ascii_lowercase()
            .starts_with("multipart/form-data")
    })
}

async fn submit(State(kyuubi): Desk, By(caller): By, from: From, request: Request) -> Answer {
    let (new, files) = if is_in_parts(request.headers()) {
        let parts = Multipart::from_request(request, &()).await;
        let parts = parts.map_err(|error| Refusal::Malformed(error.to_string()))?;
        parts::read(&kyuubi, parts).await?
    } else {
        let headers = request.headers().clone();
        let most = kyuubi.config.max_body_bytes;
        // The route lets bodies in that have files.
        let body = axum::body::to_bytes(request.into_body(), most).await;
        let body = body.map_err(|error| match error.into_inner().is::<LengthLimitError>() {
            true => Refusal::TooLarge(most),
            false => Refusal::Malformed("the body ended before its end".to_owned()),
        })?;
        (read::<NewBatch>(&headers, most, Ok(body))?, Files::default())
    };
    let (shown, is_new) = kyuubi.submit(&caller, from, new, files).await?;
    ok(&shown.show(!is_new))
}

async fn list(State(kyuubi): Desk, By(caller): By, Query(wanted): Query<Wanted>) -> Answer {
    let (from, _) = wanted.page()?;
    let picked = wanted.pick(kyuubi.batches_of(&caller).await?)?;
    let batches: Vec<Value> = picked.iter().map(|shown| shown.show(false)).collect();
    ok(&json!({ "from": from, "total": batches.len(), "batches": batches }))
}

async fn one(State(kyuubi): Desk, By(caller): By, Path(batch): Path<String>) -> Answer {
    ok(&kyuubi.batch(&batch, &caller).await?.show(false))
}

async fn cancel(State(kyuubi): Desk, By(caller): By, Path(batch): Path<String>) -> Answer {
    let (is_done, text) = kyuubi.cancel_batch(&batch, &caller).await?;
    ok(&json!({ "success": is_done, "msg": text }))
}

/// Which lines.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Range {
    from: Option<String>,
    size: Option<String>,
}

impl Range {
    fn read(&self) -> Result<(i64, i64), Refusal> {
        let number = |text: &Option<String>, usual: i64| match text.as_deref().filter(|text| !text.is_empty())
        {
            None => Ok(usual),
            Some(text) => text.parse().map_err(|_no_number| {
                Refusal::Malformed(format!("'{text:.64}' is not a line or a number of lines"))
            }),
        };
        Ok((number(&self.from, -1)?, number(&self.size, 100)?))
    }
}

async fn log(
    State(kyuubi): Desk,
    By(caller): By,
    Path(batch): Path<String>,
    Query(range): Query<Range>,
) -> Answer {
    let (from, size) = range.read()?;
    let lines = kyuubi.batch_log(&batch, &caller, from, size).await?;
    ok(&json!({ "logRowSet": lines, "rowCount": lines.len() }))
}

/// What is to be taken over.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Reassign {
    kyuubi_instance: Option<String>,
}

async fn reassign(
    State(kyuubi): Desk,
    by: By,
    from: From,
    headers: HeaderMap,
    body: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Answer {
    by.operator("reassign batches")?;
    let asked: Reassign = read(&headers, kyuubi.config.max_body_bytes, body)?;
    let instance = asked.kyuubi_instance.filter(|instance| !instance.is_empty());
    let none = || {
        Refusal::Malformed("kyuubiInstance is missing: the host:port of the server that is gone".to_owned())
    };
    let instance = instance.ok_or_else(none)?;
    let ids = kyuubi.reassign(&instance, &from.instance).await?;
    ok(&json!({
        "batchIds": ids,
        "originalKyuubiInstance": instance,
        "newKyuubiInstance": from.instance,
    }))
}

async fn count(State(kyuubi): Desk, by: By, Query(wanted): Query<Wanted>) -> Answer {
    by.operator("count batches")?;
    let count = wanted.count(kyuubi.batches_of(&by.0).await?)?;
    ok(&json!({ "count": count }))
}
