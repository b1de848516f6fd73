//! What the calls answer, in Livy's shapes.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::directory::Listed;

/// Lines of the log inside a session object.
const LOG_LINES: usize = 10;

/// A JSON answer with Livy's content type.
pub(super) fn json(status: StatusCode, value: &Value) -> Response {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json;charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
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

/// Livy's session object: exactly these keys, since Java clients refuse others.
pub(super) fn session(listed: &Listed, state: &str, log: &[String]) -> Value {
    let request = &listed.request;
    let tail = &log[log.len().saturating_sub(LOG_LINES)..];
    let owner = (!listed.owner.is_empty()).then_some(&listed.owner);
    json!({
        "id": listed.number,
        "name": request.name,
        "appId": null,
        "owner": owner,
        "proxyUser": listed.proxy_user,
        "state": state,
        "kind": listed.kind,
        "appInfo": { "driverLogUrl": null, "sparkUiUrl": null, "executorLogUrls": null },
        "log": tail,
        "ttl": request.ttl,
        "idleTimeout": request.idle_timeout,
        "driverMemory": request.driver_memory,
        "driverCores": request.driver_cores.unwrap_or(0),
        "executorMemory": request.executor_memory,
        "executorCores": request.executor_cores.unwrap_or(0),
        "conf": request.conf,
        "archives": request.archives,
        "files": request.files,
        "heartbeatTimeoutInSecond": request.heartbeat_timeout_in_second.unwrap_or(0),
        "jars": request.jars,
        "numExecutors": request.num_executors.unwrap_or(0),
        "pyFiles": request.py_files,
        "queue": request.queue,
    })
}

/// The answer of a log call: `from` below zero means the last `size` lines, `size` below zero all of them.
pub(super) fn log(number: u32, lines: Vec<String>, from: i64, size: i64) -> Value {
    let total = i64::try_from(lines.len()).unwrap_or(i64::MAX);
    let size = if size < 0 { total } else { size };
    let from = if from < 0 { (total - size).max(0) } else { from };
    let shown = super::request::slice(lines, from, size);
    json!({ "id": number, "from": from, "total": total, "log": shown })
}
