//! Kyuubi's REST API v1, on top of [`super::sql`]. docs/kyuubi-rest.md lists which calls are there.
//!
//! | module | what |
//! |---|---|
//! | `desk` | what the calls ask for |
//! | `operations` | handles of operations; those of sessions are in [`super::sql::directory`] |
//! | `sessions`, `statements`, `admin`, `pages` | one function a call |
//! | `jdbc` | sessions of HiveServer2's protocol among those of this API |
//! | `engines` | drivers as Kyuubi's engines |
//! | `batches` | applications that are submitted |
//! | `request`, `refusal`, `show`, `columns`, `rows` | what is in requests and answers |
//! | `described` | the calls as OpenAPI has them |
//! | `forward` | calls about operations of other brokers |
//! | `door` | who calls, from where, and what they are told if nobody knows them |
//! | `cluster` | what it asks of the rest of the broker |

mod admin;
pub(crate) mod batches;
pub(crate) mod cluster;
mod columns;
mod described;
mod desk;
mod door;
mod engines;
mod forward;
mod jdbc;
mod operations;
mod pages;
pub(crate) mod refusal;
mod request;
mod rows;
mod sessions;
mod show;
mod statements;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, MatchedPath, OriginalUri, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use axum::{Extension, Router};
use berth_runtime::auth::{AuthenticateLayer, Authenticator};
use berth_runtime::telemetry::trace;
use http::Uri;
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
    let believed = door::Believed(!authenticator.is_checking());
    let routes = Router::new()
        // Who has not logged in is not told what is there and what is not, or what can be done with it.
        .nest(
            "/api/v1",
            calls.layer(limit).merge(batches).fallback(nothing_here),
        )
        .merge(short_calls().merge(of_operations).layer(limit))
        .with_state(kyuubi)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(traced))
        .layer(Extension(believed))
        .layer(AuthenticateLayer::new(authenticator, "kyuubi"))
        .layer(middleware::from_fn(door::in_kyuubis_words))
        .merge(pages::routes())
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method);
    // Routes are looked for after this, so that a slash at the end of a path makes no other path of it.
    Router::new()
        .fallback_service(routes)
        .layer(middleware::map_request(without_last_slash))
}

async fn without_last_slash(mut request: Request) -> Request {
    if let Some(uri) = trimmed(request.uri()) {
        *request.uri_mut() = uri;
    }
    request
}

/// A path without slashes at its end, if it has some and is more than those.
fn trimmed(uri: &Uri) -> Option<Uri> {
    let path = uri.path().trim_end_matches('/');
    if path.is_empty() || path.len() == uri.path().len() {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = format!("{path}{query}").parse().ok();
    Uri::from_parts(parts).ok()
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
        .route("/admin/engine", get(engines::list).delete(engines::end))
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

async fn nothing_here(OriginalUri(uri): OriginalUri) -> Refusal {
    Refusal::NoPath(uri.path().chars().take(200).collect())
}

async fn wrong_method(request: Request) -> Refusal {
    Refusal::NoMethod(request.method().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_at_the_end_of_a_path_do_not_count() {
        // kyuubi#74
        let table = [
            ("/api/v1/sessions/", Some("/api/v1/sessions")),
            ("/ui//?a=/", Some("/ui?a=/")),
            ("http://berth:1/ui/", Some("http://berth:1/ui")),
            ("/api/v1/sessions", None),
            ("/", None),
            ("//", None),
        ];
        for (path, expected) in table {
            let trimmed = trimmed(&path.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(trimmed.as_deref(), expected, "{path}");
        }
    }
}
