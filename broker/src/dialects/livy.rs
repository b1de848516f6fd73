//! Livy's REST API: sessions, their statements, resources and jobs, and batches.
//!
//! [`router`] answers the calls, [`desk`] does what they ask for, and what it needs of the rest of the broker is
//! the small trait [`backend::Backend`]. docs/livy.md lists which calls are there.

pub mod access;
pub mod backend;
pub mod batches;
pub(crate) mod conventions;
pub mod desk;
pub mod directory;
pub mod duration;
mod extract;
pub mod files;
mod handlers;
pub mod idempotency;
pub mod job;
pub mod kind;
mod lenient;
pub mod listed;
pub mod paths;
pub(crate) mod receipt;
pub mod recovery;
pub mod refusal;
pub mod replay;
pub mod request;
pub mod resource;
pub mod retention;
pub mod statement;
pub mod task;
mod ui;
mod uploads;
pub mod view;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use berth_runtime::telemetry::trace;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;

use access::Users;
use batches::desk::Batches;
use berth_core::ids::TenantId;
use desk::Desk;
use view::Fields;

/// Limits and switches of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LivyConfig {
    /// Largest request body, in bytes, unpacked; JSON escapes count.
    pub max_body_bytes: usize,
    /// Largest code of a statement, in bytes. Not above the body's limit.
    pub max_code_bytes: usize,
    /// Largest file that is uploaded to a session, in bytes.
    pub max_upload_bytes: usize,
    /// True to let every user use every session, as a Livy without access control does.
    pub open_to_all: bool,
    /// True to show every user that others' sessions are there, without their logs, as Livy's access control does.
    pub show_to_all: bool,
    /// Users who may call.
    pub allowed_users: Users,
    /// Users who may read every session.
    pub view_users: Users,
    /// Users who may use and end every session.
    pub modify_users: Users,
    /// Users who may do everything, and act for others.
    pub superusers: Users,
    /// True to heed `doAs` and `proxyUser`.
    pub impersonation: bool,
    /// Statements of a session that are shown, the latest ones.
    pub retained_statements: u32,
    /// Sessions that one broker starts or recovers at once; a create beyond them is refused.
    pub max_starting: usize,
    /// The Livy whose session object is shown.
    pub session_fields: Fields,
    /// True to show pages for people at `/ui/`.
    pub ui: bool,
    /// True to refuse writes without the header `X-Requested-By`, with which a browser's forms cannot come.
    pub csrf_protection: bool,
    /// True to tell browsers what Livy 0.9 tells them.
    pub security_headers: bool,
    /// Directories of the nodes whose files requests may name, absolute; none if empty.
    pub local_dirs: Vec<PathBuf>,
}

impl Default for LivyConfig {
    fn default() -> Self {
        Self {
            // Code of the largest size whatever its escapes: `\u00e4` has six bytes for two.
            max_body_bytes: 8 << 20,
            max_code_bytes: 1 << 20,
            max_upload_bytes: 100 << 20,
            open_to_all: false,
            show_to_all: false,
            allowed_users: Users::all(),
            view_users: Users::default(),
            modify_users: Users::default(),
            superusers: Users::default(),
            impersonation: false,
            retained_statements: 100,
            max_starting: 100,
            session_fields: Fields::default(),
            ui: true,
            csrf_protection: false,
            security_headers: true,
            local_dirs: Vec::new(),
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
    /// The user that the call acts for, if it may and names one.
    pub acts_for: Option<String>,
}

impl Caller {
    /// Whose rights count.
    pub fn effective(&self) -> &str {
        self.acts_for.as_deref().unwrap_or(&self.user)
    }
}

/// The dialect's calls.
pub fn router(desk: Arc<Desk>, batches: Arc<Batches>) -> Router {
    let config = desk.config().clone();
    let limit = DefaultBodyLimit::max(config.max_body_bytes);
    let in_time = middleware::from_fn(conventions::in_time);
    let pages = if config.ui { ui::routes() } else { Router::new() };
    let calls = pages
        .route("/version", get(handlers::version))
        .route("/sessions", get(handlers::list).post(handlers::create))
        .route("/sessions/", get(handlers::list).post(handlers::create))
        .route(
            "/sessions/{id}",
            get(handlers::show)
                .delete(handlers::delete)
                .route_layer(in_time.clone()),
        )
        .route("/sessions/{id}/state", get(handlers::state))
        .route("/sessions/{id}/log", get(handlers::log))
        .route("/sessions/{id}/recovery", get(handlers::recovery))
        .route(
            "/sessions/{id}/stop",
            post(handlers::stop).route_layer(in_time.clone()),
        )
        .route(
            "/sessions/{id}/interrupt",
            post(handlers::interrupt).route_layer(in_time.clone()),
        )
        .route("/sessions/{id}/connect", post(handlers::connect))
        .route(
            "/sessions/{id}/completion",
            post(handlers::complete).route_layer(in_time.clone()),
        )
        .route(
            "/sessions/{id}/statements",
            get(handlers::statements).post(handlers::submit),
        )
        .route("/sessions/{id}/statements/{statement}", get(handlers::statement))
        .route(
            "/sessions/{id}/statements/{statement}/cancel",
            post(handlers::cancel).route_layer(in_time),
        )
        .route("/metrics/ping", get(handlers::ping))
        .merge(uploads::routes(&config))
        .with_state(desk)
        .merge(batches::router(batches))
        .layer(limit)
        .layer(middleware::from_fn(traced));
    conventions::around(calls, &config)
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
