//! Livy's REST API: sessions and statements.
//!
//! [`router`] answers the calls, [`desk`] does what they ask for, and what it needs of the rest of the broker is
//! the small trait [`backend::Backend`]. docs/livy.md lists which calls are there.

pub mod backend;
pub mod desk;
pub mod directory;
mod handlers;
pub mod kind;
pub mod refusal;
pub mod replay;
pub mod request;
pub mod statement;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use berth_runtime::telemetry::trace;
use tracing::Instrument as _;

use berth_core::ids::TenantId;
use desk::Desk;

/// Limits and switches of the dialect.
#[derive(Debug, Clone)]
pub struct LivyConfig {
    /// Largest request body, in bytes; JSON escapes count.
    pub max_body_bytes: usize,
    /// Largest code of a statement, in bytes. Not above the body's limit.
    pub max_code_bytes: usize,
    /// True to let every user use every session, as a Livy without access control does.
    pub open_to_all: bool,
}

impl Default for LivyConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 1 << 20,
            max_code_bytes: 1 << 20,
            open_to_all: false,
        }
    }
}

/// Who calls, as the layer in front found out; put it into the request's extensions. Without it the caller is
/// nobody, and owns what nobody owns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user; empty for nobody.
    pub user: String,
    /// The user's tenant; `None` for the default one.
    pub tenant: Option<TenantId>,
}

/// The dialect's calls.
pub fn router(desk: Arc<Desk>) -> Router {
    let limit = DefaultBodyLimit::max(desk.config().max_body_bytes);
    Router::new()
        .route("/version", get(handlers::version))
        .route("/sessions", get(handlers::list).post(handlers::create))
        .route("/sessions/", get(handlers::list).post(handlers::create))
        .route("/sessions/{id}", get(handlers::show).delete(handlers::delete))
        .route("/sessions/{id}/state", get(handlers::state))
        .route("/sessions/{id}/log", get(handlers::log))
        .route("/sessions/{id}/completion", post(handlers::complete))
        .route(
            "/sessions/{id}/statements",
            get(handlers::statements).post(handlers::submit),
        )
        .route("/sessions/{id}/statements/{statement}", get(handlers::statement))
        .route(
            "/sessions/{id}/statements/{statement}/cancel",
            post(handlers::cancel),
        )
        .layer(limit)
        .layer(middleware::from_fn(traced))
        .with_state(desk)
}

/// A call as a span, part of the caller's trace.
async fn traced(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let span = tracing::info_span!(
        "livy",
        dialect = "livy",
        method = %request.method(),
        route = route.map_or("", MatchedPath::as_str)
    );
    trace::adopt(request.headers(), &span);
    next.run(request).instrument(span).await
}

#[cfg(test)]
mod tests;
