//! The description of the API as OpenAPI has it: each call with what it takes.

use serde_json::{Map, Value, json};

use self::Kind::{Flag, Int, Long, Text, Texts};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Int,
    Long,
    Flag,
    Texts,
    Map,
}

/// Names and kinds of values.
type Fields = &'static [(&'static str, Kind)];

/// A call: its method, its path, what it does, and what it takes in its query and in its body.
type Call = (&'static str, &'static str, &'static str, Fields, Fields);

const NONE: Fields = &[];
const NEW_SESSION: Fields = &[("protocolVersion", Int), ("configs", Kind::Map)];
const STATEMENT: Fields = &[
    ("statement", Text),
    ("runAsync", Flag),
    ("queryTimeout", Long),
    ("confOverlay", Kind::Map),
];
const SCHEMAS: Fields = &[("catalogName", Text), ("schemaName", Text)];
const TABLES: Fields = &[
    ("catalogName", Text),
    ("schemaName", Text),
    ("tableName", Text),
    ("tableTypes", Texts),
];
const COLUMNS: Fields = &[
    ("catalogName", Text),
    ("schemaName", Text),
    ("tableName", Text),
    ("columnName", Text),
];
const FUNCTIONS: Fields = &[
    ("catalogName", Text),
    ("schemaName", Text),
    ("functionName", Text),
];
const ACTION: Fields = &[("action", Text)];
const PAGE: Fields = &[("maxrows", Int), ("fetchorientation", Text)];
const LINES: Fields = &[("from", Int), ("size", Int)];
const BATCHES: Fields = &[
    ("batchType", Text),
    ("batchState", Text),
    ("batchUser", Text),
    ("batchName", Text),
    ("createTime", Long),
    ("endTime", Long),
    ("from", Int),
    ("size", Int),
    ("desc", Flag),
];
const NEW_BATCH: Fields = &[
    ("batchType", Text),
    ("resource", Text),
    ("className", Text),
    ("name", Text),
    ("conf", Kind::Map),
    ("args", Texts),
    ("extraResourcesMap", Kind::Map),
];
const INSTANCE: Fields = &[("kyuubiInstance", Text)];
const SESSIONS: Fields = &[("users", Text), ("sessionType", Text)];
const OPERATIONS: Fields = &[("users", Text), ("sessionHandle", Text), ("sessionType", Text)];
const ENGINES: Fields = &[
    ("type", Text),
    ("sharelevel", Text),
    ("subdomain", Text),
    ("proxyUser", Text),
    ("hive.server2.proxy.user", Text),
];
const ENDED_ENGINES: Fields = &[
    ("type", Text),
    ("sharelevel", Text),
    ("subdomain", Text),
    ("proxyUser", Text),
    ("hive.server2.proxy.user", Text),
    ("kill", Flag),
];
const COUNTED: Fields = &[("batchType", Text), ("batchUser", Text), ("batchState", Text)];

/// The calls, as the router has them.
#[rustfmt::skip]
const CALLS: [Call; 39] = [
    ("get", "/ping", "Answers pong", NONE, NONE),
    ("get", "/version", "The release of Kyuubi that the API is of", NONE, NONE),
    ("get", "/webui/config", "What the web interface may do", NONE, NONE),
    ("get", "/sessions", "The caller's sessions", NONE, NONE),
    ("post", "/sessions", "Opens a session", NONE, NEW_SESSION),
    ("get", "/sessions/count", "How many sessions are open", NONE, NONE),
    ("get", "/sessions/execPool/statistic", "How many operations run at this broker", NONE, NONE),
    ("get", "/sessions/{session}", "A session", NONE, NONE),
    ("delete", "/sessions/{session}", "Closes a session", NONE, NONE),
    ("get", "/sessions/{session}/info/{number}", "Information of the server by its number", NONE, NONE),
    ("get", "/sessions/{session}/operations", "The session's operations at this broker", NONE, NONE),
    ("post", "/sessions/{session}/operations/statement", "Runs a statement", NONE, STATEMENT),
    ("post", "/sessions/{session}/operations/typeInfo", "Asks for the types", NONE, NONE),
    ("post", "/sessions/{session}/operations/catalogs", "Asks for the catalogs", NONE, NONE),
    ("post", "/sessions/{session}/operations/schemas", "Asks for schemas", NONE, SCHEMAS),
    ("post", "/sessions/{session}/operations/tables", "Asks for tables", NONE, TABLES),
    ("post", "/sessions/{session}/operations/tableTypes", "Asks for the types of tables", NONE, NONE),
    ("post", "/sessions/{session}/operations/columns", "Asks for columns", NONE, COLUMNS),
    ("post", "/sessions/{session}/operations/functions", "Asks for functions", NONE, FUNCTIONS),
    ("put", "/operations/{operation}", "Cancels or closes an operation", NONE, ACTION),
    ("get", "/operations/{operation}/event", "An operation and its state", NONE, NONE),
    ("get", "/operations/{operation}/resultsetmetadata", "The columns of a result", NONE, NONE),
    ("get", "/operations/{operation}/log", "Lines of an operation's log", PAGE, NONE),
    ("get", "/operations/{operation}/rowset", "Rows of a result", PAGE, NONE),
    ("get", "/batches", "The caller's batches", BATCHES, NONE),
    ("post", "/batches", "Submits a batch, as JSON or in parts with its files", NONE, NEW_BATCH),
    ("get", "/batches/{batch}", "A batch", NONE, NONE),
    ("delete", "/batches/{batch}", "Ends a batch, and keeps what is known of it", NONE, NONE),
    ("get", "/batches/{batch}/localLog", "Lines of a batch's log", LINES, NONE),
    ("post", "/batches/reassign", "Has this broker follow the batches of one that is gone", NONE, INSTANCE),
    ("post", "/admin/refresh/{what}", "Answers as Kyuubi does; Berth reads its files by itself", NONE, NONE),
    ("get", "/admin/sessions", "Everybody's sessions", SESSIONS, NONE),
    ("delete", "/admin/sessions/{session}", "Closes anybody's session", NONE, NONE),
    ("get", "/admin/operations", "Everybody's operations at this broker", OPERATIONS, NONE),
    ("delete", "/admin/operations/{operation}", "Closes anybody's operation", NONE, NONE),
    ("get", "/admin/engine", "A user's drivers", ENGINES, NONE),
    ("delete", "/admin/engine", "Ends a user's drivers", ENDED_ENGINES, NONE),
    ("get", "/admin/server", "The brokers", NONE, NONE),
    ("get", "/admin/batch/count", "How many batches there are", COUNTED, NONE),
];

/// The OpenAPI document.
pub(super) fn description() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for call in &CALLS {
        let methods = paths
            .entry(format!("/api/v1{}", call.1))
            .or_insert_with(|| json!({}));
        methods[call.0] = described(call);
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

fn described(&(_, path, does, query, body): &Call) -> Value {
    let text = schema(Text);
    let in_path =
        names(path).map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }));
    let in_query = query
        .iter()
        .map(|(name, kind)| json!({ "name": name, "in": "query", "schema": schema(*kind) }));
    let mut call = json!({
        "summary": does,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "responses": {
            "200": { "description": "Done" },
            "default": {
                "description": "Not done",
                "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
            },
        },
    });
    if !body.is_empty() {
        call["requestBody"] = taken(body);
    }
    call
}

/// The body of a call. A batch may come in parts: the same object, and its files.
fn taken(body: Fields) -> Value {
    let members = body
        .iter()
        .map(|(name, kind)| ((*name).to_owned(), schema(*kind)));
    let object = json!({ "type": "object", "properties": Map::from_iter(members) });
    let mut content = json!({ "application/json": { "schema": object } });
    if body == NEW_BATCH {
        let file = json!({ "type": "string", "format": "binary" });
        let parts = json!({
            "type": "object",
            "properties": { "batchRequest": object, "resourceFile": file },
            "additionalProperties": file,
        });
        content["multipart/form-data"] = json!({ "schema": parts });
    }
    json!({ "content": content })
}

fn schema(kind: Kind) -> Value {
    match kind {
        Text => json!({ "type": "string" }),
        Int => json!({ "type": "integer", "format": "int32" }),
        Long => json!({ "type": "integer", "format": "int64" }),
        Flag => json!({ "type": "boolean" }),
        Texts => json!({ "type": "array", "items": { "type": "string" } }),
        Kind::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names and types of what a call takes in a place.
    fn parameters(call: &Value, place: &str) -> Vec<(String, String)> {
        let all = call["parameters"].as_array().unwrap().iter();
        all.filter(|parameter| parameter["in"] == place)
            .map(|parameter| (parameter["name"].clone(), parameter["schema"]["type"].clone()))
            .map(|(name, kind)| {
                (
                    name.as_str().unwrap().to_owned(),
                    kind.as_str().unwrap().to_owned(),
                )
            })
            .collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, kind): &(&str, &str)| ((*name).to_owned(), (*kind).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn the_description_has_what_a_call_takes() {
        // tests/e2e/test_kyuubi.py asks every call that is described.
        let paths = description()["paths"].clone();
        let info = &paths["/api/v1/sessions/{session}/info/{number}"]["get"];
        let expected = [("session", "string"), ("number", "string")];
        assert_eq!(parameters(info, "path"), owned(&expected));
        let rows = &paths["/api/v1/operations/{operation}/rowset"]["get"];
        let expected = [("maxrows", "integer"), ("fetchorientation", "string")];
        assert_eq!(parameters(rows, "query"), owned(&expected));
        let statement = &paths["/api/v1/sessions/{session}/operations/statement"]["post"];
        let body = &statement["requestBody"]["content"]["application/json"]["schema"]["properties"];
        assert_eq!(body["statement"]["type"], "string");
        assert_eq!(body["runAsync"]["type"], "boolean");
        assert_eq!(body["queryTimeout"]["format"], "int64");
        assert_eq!(body["confOverlay"]["additionalProperties"]["type"], "string");
        let parts = &paths["/api/v1/batches"]["post"]["requestBody"]["content"]["multipart/form-data"];
        let parts = &parts["schema"]["properties"];
        assert_eq!(parts["batchRequest"]["properties"]["args"]["type"], "array");
        assert_eq!(parts["resourceFile"]["format"], "binary");
    }

    #[test]
    fn a_call_is_described_once() {
        let mut calls: Vec<_> = CALLS.iter().map(|call| (call.1, call.0)).collect();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), CALLS.len());
    }
}
