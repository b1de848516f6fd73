//! What the calls answer, in Livy's shapes.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::desk::Now;
use super::listed::Listed;

/// Lines of the log inside a session object.
pub(super) const LOG_LINES: usize = 10;
/// A conf whose key has one of these words in it holds a secret.
const SECRETS: [&str; 6] = [
    "secret",
    "password",
    "token",
    "accesskey",
    "access.key",
    "credential",
];
const REDACTED: &str = "*********(redacted)";

/// A JSON answer with Livy's content type.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json;charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// An answer without a body, which Livy calls JSON all the same.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = json(status, &Value::Null);
    *response.body_mut() = Body::empty();
    response
}

/// A 201 answer with its `Location`.
pub(super) fn created(value: &Value, location: &str) -> Response {
    let mut response = json(StatusCode::CREATED, value);
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Whose session object is shown: a Java client refuses keys that its own release does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fields {
    /// Livy 0.7: 9 keys.
    #[serde(rename = "0.7")]
    V07,
    /// Livy 0.8: 22 keys.
    #[serde(rename = "0.8")]
    V08,
    /// Livy 0.9: 23 keys.
    #[default]
    #[serde(rename = "0.9")]
    V09,
}

/// Livy's session object: exactly the keys of one of its releases.
pub(super) fn session(listed: &Listed, now: &Now, log: &[String], fields: Fields) -> Value {
    let request = &listed.request;
    let tail = &log[log.len().saturating_sub(LOG_LINES)..];
    let app = now.application.as_ref();
    let owner = (!listed.owner.is_empty()).then_some(&listed.owner);
    let mut object = json!({
        "id": listed.number,
        "name": request.name,
        "appId": app.map(|app| &app.id),
        "owner": owner,
        "proxyUser": listed.proxy_user,
        "state": now.state,
        "kind": listed.kind,
        "appInfo": { "driverLogUrl": null, "sparkUiUrl": app.and_then(|app| app.ui_url.as_ref()) },
        "log": tail,
    });
    if fields == Fields::V09 {
        object["appInfo"]["executorLogUrls"] = Value::Null;
        object["idleTimeout"] = json!(request.idle_timeout);
    }
    if let (Fields::V08 | Fields::V09, Value::Object(object), Value::Object(more)) =
        (fields, &mut object, asked(listed))
    {
        object.extend(more);
    }
    object
}

/// What the client asked for, as Livy shows it since 0.8.
fn asked(listed: &Listed) -> Value {
    let request = &listed.request;
    json!({
        "ttl": request.ttl,
        "driverMemory": request.driver_memory,
        "driverCores": request.driver_cores.unwrap_or(0),
        "executorMemory": request.executor_memory,
        "executorCores": request.executor_cores.unwrap_or(0),
        "conf": redacted(&request.conf),
        "archives": request.archives,
        "files": request.files,
        "heartbeatTimeoutInSecond": request.heartbeat_timeout_in_second.unwrap_or(0),
        "jars": request.jars,
        "numExecutors": request.num_executors.unwrap_or(0),
        "pyFiles": request.py_files,
        "queue": request.queue,
    })
}

/// Confs as they may be shown: others than the owner see them, too. The words are those of Spark's own redaction.
fn redacted(conf: &BTreeMap<String, String>) -> BTreeMap<&str, &str> {
    let is_secret = |key: &str| {
        let key = key.to_ascii_lowercase();
        SECRETS.iter().any(|word| key.contains(word))
    };
    conf.iter()
        .map(|(key, value)| {
            (
                key.as_str(),
                if is_secret(key) { REDACTED } else { value.as_str() },
            )
        })
        .collect()
}

/// The lines of a log in Livy's sections. What the driver writes to either stream is in one file, shown as `stderr`,
/// where Spark logs.
pub(super) fn sections(driver: Vec<String>, told: Vec<String>) -> Vec<String> {
    let mut lines = vec!["stdout: ".to_owned(), "\nstderr: ".to_owned()];
    lines.extend(driver);
    lines.push("\nBerth Diagnostics: ".to_owned());
    lines.extend(told);
    lines
}

/// The answer of a log call: `from` below zero means the last `size` lines, `size` below zero all of them.
pub(super) fn log(number: u32, lines: Vec<String>, from: i64, size: i64) -> Value {
    let total = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    let size = if size < 0 { total } else { size };
    let from = if from < 0 { (total - size).max(0) } else { from };
    let shown = super::request::slice(lines, from, size);
    json!({ "id": number, "from": from, "total": total, "log": shown })
}
