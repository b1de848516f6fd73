//! Pages for people: the sessions, one session with its statements, its log.
//!
//! Plain HTML made on the server. Everything shown is escaped, there are no scripts, and the policy sent along allows
//! none. Links are relative, so that the pages work behind a proxy that strips a prefix.

mod pages;
mod value;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use berth_runtime::clock::unix_millis;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use http::{HeaderName, HeaderValue, StatusCode};
use maud::Markup;

use super::access::Right;
use super::desk::Desk;
use super::extract::{Path, Query};
use super::handlers::{By, name};
use super::refusal::Refusal;
use super::request::{Range, slice};
use pages::{SessionLine, Shown};

/// Sessions, and statements of a session, on one page.
const PAGE: i64 = 50;
/// Lines of a log that are shown.
const LOG_LINES: usize = 1000;
const STYLE: &str = include_str!("ui/style.css");
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'self'";

type DeskState = State<Arc<Desk>>;

/// The pages.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(home))
        .route("/ui", get(home))
        .route("/ui/", get(sessions))
        .route("/ui/style.css", get(style))
        .route("/ui/session/{id}", get(session))
        .route("/ui/session/{id}/log", get(log))
}

/// Livy's own status, which axum has no helper for.
async fn home() -> Response {
    (StatusCode::FOUND, [(LOCATION, "/ui/")]).into_response()
}

async fn style() -> Response {
    let headers = [
        (CONTENT_TYPE, "text/css;charset=utf-8"),
        (CACHE_CONTROL, "max-age=3600"),
    ];
    (headers, STYLE).into_response()
}

fn html(status: StatusCode, page: Markup) -> Response {
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html;charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (status, headers, page.into_string()).into_response()
}

fn shown(root: &str, page: Result<Markup, Refusal>) -> Response {
    match page {
        Ok(page) => html(StatusCode::OK, page),
        Err(refusal) => html(refusal.status(), pages::failure(root, &refusal)),
    }
}

async fn sessions(State(desk): DeskState, by: By, Query(range): Query<Range>) -> Response {
    shown("", sessions_page(&desk, name(&by), &range).await)
}

async fn sessions_page(desk: &Arc<Desk>, user: &str, range: &Range) -> Result<Markup, Refusal> {
    let from = range.from()?.unwrap_or(0).max(0);
    let mut all = desk.all(user).await?;
    let total = all.len();
    all.reverse();
    let mut lines = Vec::new();
    for listed in slice(all, from, PAGE) {
        let state = desk.state(&listed).await?;
        lines.push(SessionLine { listed, state });
    }
    Ok(pages::sessions(&lines, (from, PAGE, total), unix_millis()))
}

async fn session(
    State(desk): DeskState,
    by: By,
    Path(id): Path<String>,
    Query(range): Query<Range>,
) -> Response {
    shown("../", session_page(&desk, name(&by), &id, &range).await)
}

async fn session_page(desk: &Arc<Desk>, user: &str, id: &str, range: &Range) -> Result<Markup, Refusal> {
    let from = range.from()?.unwrap_or(0).max(0);
    let listed = desk.find_for(id, user, Right::View).await?;
    let state = desk.state(&listed).await?;
    let recovery = desk.recovery(&listed).await?;
    let (total, statements) = match desk.statements(&listed, (from, PAGE), true).await {
        // Its code is gone with it.
        Err(Refusal::Inactive) => (0, Vec::new()),
        found => found?,
    };
    let shown = Shown {
        line: SessionLine { listed, state },
        statements,
        range: (from, PAGE, total),
        recovery,
    };
    Ok(pages::session(&shown, unix_millis()))
}

async fn log(State(desk): DeskState, by: By, Path(id): Path<String>) -> Response {
    shown("../../", log_page(&desk, name(&by), &id).await)
}

async fn log_page(desk: &Desk, user: &str, id: &str) -> Result<Markup, Refusal> {
    let listed = desk.find_for(id, user, Right::View).await?;
    let mut lines = desk.log(&listed).await?;
    let surplus = lines.len().saturating_sub(LOG_LINES);
    lines.drain(..surplus);
    Ok(pages::log(&listed, &lines))
}
