//! The calls for resources and jobs.

use std::sync::Arc;

use axum::extract::multipart::{Multipart, MultipartRejection};
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use axum::{Router, middleware};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::access::Right;
use super::desk::Desk;
use super::extract::Path;
use super::handlers::{Answer, By, DeskState, body_of, name};
use super::idempotency::Key;
use super::job::{self, NewJob};
use super::receipt::{broken, receive};
use super::refusal::Refusal;
use super::request::{integer, read};
use super::resource::{Resource, Source, What, safe_name};
use super::{LivyConfig, conventions, paths, view};

/// Room in a multipart body for what is not the file.
const AROUND_BYTES: usize = 64 << 10;

/// The body of `add-jar`, `add-pyfile` and `add-file`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Add {
    uri: String,
}

/// The calls, below a session's path.
pub(super) fn routes(config: &LivyConfig) -> Router<Arc<Desk>> {
    let limit = config.max_upload_bytes.saturating_add(AROUND_BYTES);
    let large = |route: MethodRouter<Arc<Desk>>| route.layer(DefaultBodyLimit::max(limit));
    Router::new()
        .route("/sessions/{id}/upload-jar", large(post(upload_jar)))
        .route("/sessions/{id}/upload-pyfile", large(post(upload_pyfile)))
        .route("/sessions/{id}/upload-file", large(post(upload_file)))
        .route("/sessions/{id}/add-jar", post(add_jar))
        .route("/sessions/{id}/add-pyfile", post(add_pyfile))
        .route("/sessions/{id}/add-file", post(add_file))
        .route("/sessions/{id}/submit-job", post(submit_job))
        .route("/sessions/{id}/run-job", post(submit_job))
        .route("/sessions/{id}/jobs/{job}", get(show_job))
        .route(
            "/sessions/{id}/jobs/{job}/cancel",
            post(cancel_job).route_layer(middleware::from_fn(conventions::in_time)),
        )
}

type Parts = Result<Multipart, MultipartRejection>;
type Body = Result<Bytes, BytesRejection>;

async fn upload_jar(desk: DeskState, by: By, id: Path<String>, parts: Parts) -> Answer {
    upload(desk, by, id, What::Jar, parts).await
}

async fn upload_pyfile(desk: DeskState, by: By, id: Path<String>, parts: Parts) -> Answer {
    upload(desk, by, id, What::Pyfile, parts).await
}

async fn upload_file(desk: DeskState, by: By, id: Path<String>, parts: Parts) -> Answer {
    upload(desk, by, id, What::File, parts).await
}

async fn add_jar(desk: DeskState, by: By, id: Path<String>, body: Body) -> Answer {
    add(desk, by, id, What::Jar, body).await
}

async fn add_pyfile(desk: DeskState, by: By, id: Path<String>, body: Body) -> Answer {
    add(desk, by, id, What::Pyfile, body).await
}

async fn add_file(desk: DeskState, by: By, id: Path<String>, body: Body) -> Answer {
    add(desk, by, id, What::File, body).await
}

async fn upload(State(desk): DeskState, by: By, Path(id): Path<String>, what: What, parts: Parts) -> Answer {
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    let mut parts = parts.map_err(|_no_multipart| missing(what))?;
    let most = desk.config().max_upload_bytes;
    loop {
        let part = parts.next_field().await;
        let part = part.map_err(|error| broken(most, &error))?;
        let mut part = part.ok_or_else(|| missing(what))?;
        if part.name() != Some(what.part()) {
            continue;
        }
        let Some(given) = part.file_name() else { continue };
        let name = safe_name(given)?;
        let upload = receive(&mut part, name, most, |piece| desk.keep(piece)).await?;
        let source = Source::Upload(upload);
        desk.add(&listed, &Resource { what, source }).await?;
        return Ok(empty());
    }
}

async fn add(State(desk): DeskState, by: By, Path(id): Path<String>, what: What, body: Body) -> Answer {
    let asked: Add = read(&body_of(&desk, body)?)?;
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    let uri = paths::resolve(&asked.uri, &desk.config().local_dirs)?;
    let source = Source::At { uri };
    desk.add(&listed, &Resource { what, source }).await?;
    Ok(empty())
}

/// `run-job` is the same: a driver runs one thing at a time.
async fn submit_job(
    State(desk): DeskState,
    by: By,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let body = body_of(&desk, body)?;
    let key = Key::read(&headers, &body)?;
    let asked: NewJob = read(&body)?;
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    let job = desk.submit_job(&listed, asked.intent()?, key.as_ref()).await?;
    let location = format!("/sessions/{}/jobs/{}", listed.number, job.number);
    Ok(view::created(&job::show(&job, None), &location))
}

async fn show_job(State(desk): DeskState, by: By, Path((id, job)): Path<(String, String)>) -> Answer {
    let number = integer(&job)?;
    let listed = desk.find_for(&id, name(&by), Right::View).await?;
    desk.touch(&listed, true);
    let (job, live) = desk.job(&listed, number).await?;
    Ok(view::json(StatusCode::OK, &job::show(&job, live.as_ref())))
}

async fn cancel_job(State(desk): DeskState, by: By, Path((id, job)): Path<(String, String)>) -> Answer {
    let number = integer(&job)?;
    let listed = desk.find(&id, name(&by)).await?;
    desk.touch(&listed, true);
    desk.cancel_job(&listed, number).await?;
    Ok(empty())
}

fn missing(what: What) -> Refusal {
    Refusal::Malformed(format!("No {} sent!", what.part()))
}

fn empty() -> Response {
    view::empty(StatusCode::OK)
}
