//! Calls about sessions.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::Kyuubi;
use super::door::{By, From, User};
use super::refusal::{self, Refusal};
use super::{request, show};

pub(super) type Answer = Result<Response, Refusal>;
pub(super) type Desk = State<Arc<Kyuubi>>;

pub(super) fn ok(value: &impl Serialize) -> Answer {
    Ok(refusal::json(StatusCode::OK, value))
}

/// An answer that says nothing but that it was done.
pub(super) fn done() -> Answer {
    Ok(Response::default())
}

pub(super) async fn list(State(kyuubi): Desk, By(caller): By) -> Answer {
    let found = kyuubi
        .all_sessions(|listed| listed.real_user == caller.name())
        .await?;
    let shown: Vec<Value> = found
        .iter()
        .map(|found| show::session(found, &kyuubi.seen(found.listed.handle)))
        .collect();
    ok(&shown)
}

pub(super) async fn open(
    State(kyuubi): Desk,
    By(caller): By,
    from: From,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new = request::read(&headers, kyuubi.config.max_body_bytes, body)?;
    let listed = kyuubi.open(&caller, from, new).await?;
    ok(&json!({ "identifier": listed.handle, "kyuubiInstance": listed.instance }))
}

pub(super) async fn count(State(kyuubi): Desk, _: By) -> Answer {
    let open = kyuubi.all_sessions(|_| true).await?;
    ok(&json!({ "openSessionCount": open.len() }))
}

/// There is no pool of threads: what runs is all that there is to count.
pub(super) async fn pool(State(kyuubi): Desk, _: By) -> Answer {
    let running = kyuubi
        .operations
        .all(|entry| !entry.operation.state().is_settled());
    ok(&json!({
        "execPoolSize": running.len(),
        "execPoolActiveCount": running.len(),
        "execPoolWorkQueueSize": 0,
    }))
}

pub(super) async fn show(State(kyuubi): Desk, User(caller): User, Path(handle): Path<String>) -> Answer {
    let held = kyuubi.session(&handle, &caller).await?;
    ok(&show::session_event(&held.found, &kyuubi.seen(held.session.id)))
}

pub(super) async fn close(State(kyuubi): Desk, User(caller): User, Path(handle): Path<String>) -> Answer {
    let held = kyuubi.session(&handle, &caller).await?;
    kyuubi.close(&held).await?;
    done()
}

pub(super) async fn info(
    State(kyuubi): Desk,
    User(caller): User,
    Path((handle, number)): Path<(String, String)>,
) -> Answer {
    kyuubi.session(&handle, &caller).await?;
    let (name, value) = match number.as_str() {
        "13" => ("CLI_SERVER_NAME", "Spark SQL"),
        "17" => ("CLI_DBMS_NAME", "Spark SQL"),
        "18" => ("CLI_DBMS_VER", kyuubi.spark_version.as_str()),
        "10006" => ("CLI_ODBC_KEYWORDS", "Unimplemented"),
        _ => {
            let number: String = number.chars().take(100).collect();
            return Err(Refusal::NotFound(format!(
                "Unrecognized GetInfoType value: {number}"
            )));
        }
    };
    ok(&json!({ "infoType": name, "infoValue": value }))
}

/// Those that this broker runs.
pub(super) async fn operations(
    State(kyuubi): Desk,
    User(caller): User,
    Path(handle): Path<String>,
) -> Answer {
    let id = kyuubi.session(&handle, &caller).await?.session.id;
    let own = kyuubi.operations.all(|entry| entry.listed.handle == id);
    let shown: Vec<Value> = own.iter().map(|entry| show::operation(entry)).collect();
    ok(&shown)
}
