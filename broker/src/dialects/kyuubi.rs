//! Kyuubi's REST API v1, on top of [`super::sql`]. docs/kyuubi-rest.md lists which calls are there.
//!
//! | module | what |
//! |---|---|
//! | `desk` | what the calls ask for |
//! | `operations` | handles of operations; those of sessions are in [`super::sql::directory`] |
//! | `sessions`, `statements`, `admin`, `pages` | one function a call |
//! | `batches` | applications that are submitted |
//! | `request`, `refusal`, `show`, `columns`, `rows` | what is in requests and answers |
//! | `forward` | calls about operations of other brokers |
//! | `door` | who calls, from where, and what they are told if nobody knows them |
//! | `cluster` | what it asks of the rest of the broker |

mod admin;
pub(crate) mod batches;
pub(crate) mod cluster;
mod columns;
mod desk;
mod door;
mod forward;
mod operations;
mod pages;
pub(crate) mod refusal;
mod request;
mod rows;
mod sessions;
mod show;
mod statements;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use berth_runtime::auth::{AuthenticateLayer, Authenticator};
use berth_runtime::telemetry::trace;
use serde::{Deserialize, Serialize};
use tracing::Instrument as _;

pub(crate) use desk::Kyuubi;
use refusal::Refusal;

/// Limits and switches of the dialect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct KyuubiConfig {
    /// Largest request body, in bytes; JSON escapes count.
    pub max_body_bytes: usize,
    /// The release of Kyuubi that clients are told of.
    pub version: String,
    /// Where other brokers reach this one's REST API, as `host:port`; the address that it listens on if unset.
    pub peer_address: Option<String>,
    /// The header in which a proxy in front tells a client's address.
    pub client_ip_header: String,
    /// Largest file that comes with a batch, in bytes; all files of one batch together have no more.
    pub max_upload_bytes: usize,
}

impl Default for KyuubiConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 32 << 20,
            version: "1.10.2".to_owned(),
            peer_address: None,
            client_ip_header: "X-Real-IP".to_owned(),
            max_upload_bytes: 256 << 20,
        }
    }
}

/// Everything that is served on the dialect's port: the calls for callers who are known, and a few pages for anybody.
pub(crate) fn router(kyuubi: Arc<Kyuubi>, authenticator: Authenticator) -> Router {
    let limit = DefaultBodyLimit::max(kyuubi.config.max_body_bytes);
    let of_operations = operation_calls(&kyuubi);
    let batches = batches::routes(&kyuubi);
    let calls = calls().merge(admin_calls()).merge(of_operations.clone());
    Router::new()
        .nest("/api/v1", calls.layer(limit).merge(batches))
        .merge(short_calls().merge(of_operations).layer(limit))
        .with_state(kyuubi)
        .layer(middleware::from_fn(traced))
        .layer(AuthenticateLayer::new(authenticator, "kyuubi"))
        .layer(middleware::from_fn(door::in_kyuubis_words))
        .merge(pages::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
}

fn calls() -> Router<Arc<Kyuubi>> {
    Router::new()
        .route("/ping", get(pages::ping))
        .route("/version", get(pages::version))
        .route("/webui/config", get(pages::web_ui))
        .route("/sessions", get(sessions::list).post(sessions::open))
        .route("/sessions/count", get(sessions::count))
        .route("/sessions/execPool/statistic", get(sessions::pool))
        .route("/sessions/{session}", get(sessions::show).delete(sessions::close))
        .route("/sessions/{session}/info/{number}", get(sessions::info))
        .route("/sessions/{session}/operations", get(sessions::operations))
        .route(
            "/sessions/{session}/operations/statement",
            post(statements::execute),
        )
        .route("/sessions/{session}/operations/{question}", post(statements::ask))
}

/// Calls about operations, which are answered by the broker that runs them.
fn operation_calls(kyuubi: &Arc<Kyuubi>) -> Router<Arc<Kyuubi>> {
    Router::new()
        .route("/operations/{operation}", put(statements::change))
        .route("/operations/{operation}/event", get(statements::event))
        .route(
            "/operations/{operation}/resultsetmetadata",
            get(statements::columns),
        )
        .route("/operations/{operation}/log", get(statements::log))
        .route("/operations/{operation}/rowset", get(statements::rows))
        .route("/admin/operations/{operation}", delete(admin::close_operation))
        .route_layer(middleware::from_fn_with_state(
            Arc::clone(kyuubi),
            forward::to_its_broker,
        ))
}

/// The calls that articles make without the version of the API.
fn short_calls() -> Router<Arc<Kyuubi>> {
    Router::new()
        .route("/sessions", get(sessions::list).post(sessions::open))
        .route("/sessions/{session}", get(sessions::show).delete(sessions::close))
        .route(
            "/sessions/{session}/operations/statement",
            post(statements::execute),
        )
}

fn admin_calls() -> Router<Arc<Kyuubi>> {
    Router::new()
        .route("/admin/refresh/{what}", post(admin::refresh))
        .route("/admin/sessions", get(admin::sessions))
        .route("/admin/sessions/{session}", delete(admin::close_session))
        .route("/admin/operations", get(admin::operations))
        .route("/admin/engine", get(admin::engines).delete(admin::end_engines))
        .route("/admin/server", get(admin::servers))
}

/// A call as a span, part of the caller's trace.
async fn traced(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let span = tracing::info_span!(
        "kyuubi",
        dialect = "kyuubi",
        method = %request.method(),
        route = route.map_or("", MatchedPath::as_str)
    );
    trace::adopt(request.headers(), &span);
    next.run(request).instrument(span).await
}

async fn nothing_here(request: Request) -> Refusal {
    Refusal::NoPath(request.uri().path().chars().take(200).collect())
}

async fn wrong_method(request: Request) -> Refusal {
    Refusal::NoMethod(request.method().to_string())
}
