//! What needs no session: the version, the description of the API, and a page for people who look for Kyuubi's.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::json;

use super::described::description;
use super::door::By;
use super::refusal::typed;
use super::sessions::{Answer, Desk, ok};

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Berth</title></head><body>\n<h1>Berth</h1>\n\
    <p>Kyuubi's REST API is served here at <code>/api/v1</code>; <a href=\"/api/openapi.json\">what is there</a>. \
    Kyuubi's own web interface is not.</p>\n</body></html>\n";

/// The pages that nobody needs to log in for.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/ui") }))
        .route("/ui", get(page))
        .route("/ui/{*rest}", get(page))
        .route("/openapi.json", get(described))
        .route("/api/openapi.json", get(described))
        .route("/api/openapi.yaml", get(described_as_yaml))
}

async fn page() -> Response {
    typed(StatusCode::OK, "text/html; charset=utf-8", PAGE)
}

async fn described() -> Response {
    typed(StatusCode::OK, "application/json", description().to_string())
}

/// JSON is YAML.
async fn described_as_yaml() -> Response {
    typed(StatusCode::OK, "application/yaml", description().to_string())
}

pub(super) async fn ping() -> Response {
    "pong".into_response()
}

pub(super) async fn version(State(kyuubi): Desk, _: By) -> Answer {
    ok(&json!({ "version": kyuubi.config.version }))
}

pub(super) async fn web_ui(_: By) -> Answer {
    ok(&json!({ "engineUIProxyEnabled": false }))
}
