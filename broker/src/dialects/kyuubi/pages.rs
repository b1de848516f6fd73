//! What needs no session: the version, the description of the API, and a page for people who look for Kyuubi's.

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::door::By;
use super::refusal::typed;
use super::sessions::{Answer, Desk, ok};

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Berth</title></head><body>\n<h1>Berth</h1>\n\
    <p>Kyuubi's REST API is served here at <code>/api/v1</code>; <a href=\"/api/openapi.json\">what is there</a>. \
    Kyuubi's own web interface is not.</p>\n</body></html>\n";

/// A call: its path, its methods, and what it does.
type Call = (&'static str, &'static [&'static str], &'static str);

/// The calls, as the router has them.
const CALLS: [Call; 34] = [
    ("/ping", &["get"], "Answers pong"),
    ("/version", &["get"], "The release of Kyuubi that the API is of"),
    ("/webui/config", &["get"], "What the web interface may do"),
    ("/sessions", &["get", "post"], "The caller's sessions; opens one"),
    ("/sessions/count", &["get"], "How many sessions are open"),
    (
        "/sessions/execPool/statistic",
        &["get"],
        "How many operations run at this broker",
    ),
    ("/sessions/{session}", &["get", "delete"], "A session; closes it"),
    (
        "/sessions/{session}/info/{number}",
        &["get"],
        "Information of the server by its number",
    ),
    (
        "/sessions/{session}/operations",
        &["get"],
        "The session's operations at this broker",
    ),
    (
        "/sessions/{session}/operations/statement",
        &["post"],
        "Runs a statement",
    ),
    (
        "/sessions/{session}/operations/typeInfo",
        &["post"],
        "Asks for the types",
    ),
    (
        "/sessions/{session}/operations/catalogs",
        &["post"],
        "Asks for the catalogs",
    ),
    (
        "/sessions/{session}/operations/schemas",
        &["post"],
        "Asks for schemas",
    ),
    (
        "/sessions/{session}/operations/tables",
        &["post"],
        "Asks for tables",
    ),
    (
        "/sessions/{session}/operations/tableTypes",
        &["post"],
        "Asks for the types of tables",
    ),
    (
        "/sessions/{session}/operations/columns",
        &["post"],
        "Asks for columns",
    ),
    (
        "/sessions/{session}/operations/functions",
        &["post"],
        "Asks for functions",
    ),
    (
        "/operations/{operation}",
        &["put"],
        "Cancels or closes an operation",
    ),
    (
        "/operations/{operation}/event",
        &["get"],
        "An operation and its state",
    ),
    (
        "/operations/{operation}/resultsetmetadata",
        &["get"],
        "The columns of a result",
    ),
    (
        "/operations/{operation}/log",
        &["get"],
        "Lines of an operation's log",
    ),
    ("/operations/{operation}/rowset", &["get"], "Rows of a result"),
    (
        "/batches",
        &["get", "post"],
        "The caller's batches; submits one, as JSON or in parts with its files",
    ),
    (
        "/batches/{batch}",
        &["get", "delete"],
        "A batch; ends it, and keeps what is known of it",
    ),
    ("/batches/{batch}/localLog", &["get"], "Lines of a batch's log"),
    (
        "/batches/reassign",
        &["post"],
        "Has this broker follow the batches of one that is gone",
    ),
    (
        "/admin/refresh/{what}",
        &["post"],
        "Answers as Kyuubi does; Berth reads its files by itself",
    ),
    ("/admin/sessions", &["get"], "Everybody's sessions"),
    (
        "/admin/sessions/{session}",
        &["delete"],
        "Closes anybody's session",
    ),
    (
        "/admin/operations",
        &["get"],
        "Everybody's operations at this broker",
    ),
    (
        "/admin/operations/{operation}",
        &["delete"],
        "Closes anybody's operation",
    ),
    ("/admin/engine", &["get", "delete"], "A user's drivers; ends them"),
    ("/admin/server", &["get"], "The brokers"),
    ("/admin/batch/count", &["get"], "How many batches there are"),
];

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

/// The OpenAPI document.
fn description() -> Value {
    let mut paths = Map::new();
    for (path, methods, does) in CALLS {
        let parameters: Vec<Value> = names(path)
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        let call = json!({
            "summary": does,
            "parameters": parameters,
            "responses": {
                "200": { "description": "Done" },
                "default": {
                    "description": "Not done",
                    "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
                },
            },
        });
        let methods = methods.iter().map(|method| ((*method).to_owned(), call.clone()));
        paths.insert(format!("/api/v1{path}"), Value::Object(methods.collect()));
    }
    json!({
        "openapi": "3.0.3",
        "info": { "title": "Kyuubi REST API v1 of Berth", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": { "Error": { "type": "object", "properties": { "message": { "type": "string" } } } },
            "securitySchemes": {
                "basic": { "type": "http", "scheme": "basic" },
                "bearer": { "type": "http", "scheme": "bearer" },
            },
        },
        "security": [{ "basic": [] }, { "bearer": [] }],
    })
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_the_parameters_of_a_call() {
        // tests/e2e/test_kyuubi.py asks every call that is described.
        let description = description();
        let call = &description["paths"]["/api/v1/sessions/{session}/info/{number}"]["get"];
        let names: Vec<_> = call["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(|p| &p["name"])
            .collect();
        assert_eq!(names, ["session", "number"]);
    }
}
