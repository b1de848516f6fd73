//! The dialect over HTTP, with a store and a backend in memory.

mod access;
mod batches;
mod conventions;
mod expiry;
mod fake_store;
mod fakes;
mod idempotency;
mod limits;
mod places;
mod replicas;
mod surface;
mod ui;
mod uploads;

use axum::body::Body;
use berth_runtime::tasks::{Shutdown, Tasks};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use fake_store::FakeStore;
use fakes::FakeBackend;
use places::FakePlaces;

struct House {
    backend: Arc<FakeBackend>,
    places: Arc<FakePlaces>,
    store: Arc<FakeStore>,
    desk: Arc<Desk>,
    app: Router,
}

fn house(max_body_bytes: usize) -> House {
    house_of(LivyConfig {
        max_body_bytes,
        ..LivyConfig::default()
    })
}

fn house_of(config: LivyConfig) -> House {
    house_on(Arc::default(), Arc::default(), config)
}

fn house_on(backend: Arc<FakeBackend>, store: Arc<FakeStore>, config: LivyConfig) -> House {
    let tasks = Tasks::new(Shutdown::new());
    let places: Arc<FakePlaces> = Arc::default();
    let batches = Batches::new(
        Arc::clone(&places) as _,
        Arc::clone(&store) as _,
        tasks.clone(),
        config.clone(),
    );
    let desk = Arc::new(Desk::new(
        Arc::clone(&backend) as _,
        Arc::clone(&store) as _,
        tasks,
        config,
    ));
    House {
        backend,
        places,
        store,
        app: router(Arc::clone(&desk), Arc::new(batches)),
        desk,
    }
}

impl House {
    /// Another broker of the same cluster, or the next one after a crash.
    fn replica(&self) -> House {
        let (backend, store) = (Arc::clone(&self.backend), Arc::clone(&self.store));
        house_on(backend, store, LivyConfig::default())
    }

    async fn call_as(&self, user: &str, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let mut request = Request::builder().method(method).uri(path).body(body).unwrap();
        request.extensions_mut().insert(Caller {
            user: user.to_owned(),
            ..Caller::default()
        });
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.call_as("", Method::GET, path, &Value::Null).await
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.call_as("", Method::POST, path, &body).await
    }

    /// Asks again and again until the answer's `state` is as wanted.
    async fn wait_for(&self, path: &str, state: &str) -> Value {
        // Of the wall: where time is paused, it goes on with each look, once there is nothing else to do.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        loop {
            let (_, answer) = self.get(path).await;
            if answer["state"] == state {
                return answer;
            }
            assert!(
                std::time::Instant::now() < until,
                "{path} is not {state}: {answer}"
            );
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    async fn session(&self) {
        let (status, _) = self.post("/sessions", json!({ "kind": "pyspark" })).await;
        assert_eq!(status, StatusCode::CREATED);
        self.wait_for("/sessions/0/state", "idle").await;
    }
}

#[tokio::test]
async fn a_session_from_start_to_end() {
    let house = house(1 << 20);
    assert_eq!(
        house.get("/sessions").await.1,
        json!({ "from": 0, "total": 0, "sessions": [] })
    );
    let (status, created) = house.post("/sessions", json!({ "name": "mine" })).await;
    assert_eq!(
        (status, &created["state"]),
        (StatusCode::CREATED, &json!("starting"))
    );
    assert_eq!((&created["id"], &created["kind"]), (&json!(0), &json!("shared")));
    assert_eq!(created.as_object().unwrap().len(), 23);
    house.wait_for("/sessions/mine", "idle").await;
    let deleted = house
        .call_as("", Method::DELETE, "/sessions/0", &Value::Null)
        .await;
    assert_eq!(deleted, (StatusCode::OK, json!({ "msg": "deleted" })));
    let gone = house.get("/sessions/0").await;
    assert_eq!(
        gone,
        (StatusCode::NOT_FOUND, json!({ "msg": "Session '0' not found." }))
    );
    let (_, next) = house.post("/sessions", json!({ "name": "mine" })).await;
    assert_eq!(next["id"], 1, "ids are never used again, names are");
}

#[tokio::test]
async fn wrong_requests_use_up_no_id() {
    let house = house(200);
    house.session().await;
    let long = json!({ "name": "x".repeat(300) });
    assert_eq!(
        house.post("/sessions", long).await.0,
        StatusCode::PAYLOAD_TOO_LARGE
    );
    for body in [
        json!({ "kind": "pyspark3" }),
        json!({ "kind": "foo" }),
        json!({ "surprise": 1 }),
        json!({ "name": "7" }),
    ] {
        let (status, answer) = house.post("/sessions", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["msg"].is_string());
    }
    assert_eq!(house.post("/sessions", json!({ "name": "n" })).await.1["id"], 1);
    let (status, answer) = house.post("/sessions", json!({ "name": "n" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["msg"]
            .as_str()
            .unwrap()
            .starts_with("Rejected, Reason: Duplicate session name")
    );
}

#[tokio::test]
async fn a_statement_from_code_to_output() {
    let house = house(1 << 20);
    house.session().await;
    let (status, statement) = house
        .post("/sessions/0/statements", json!({ "code": "1+1" }))
        .await;
    assert_eq!((status, &statement["id"]), (StatusCode::CREATED, &json!(0)));
    house.backend.end_all("2");
    let done = house.wait_for("/sessions/0/statements/0", "available").await;
    assert_eq!(done["output"]["data"]["text/plain"], "2");
    let (_, list) = house.get("/sessions/0/statements?order=desc&size=1").await;
    assert_eq!(
        (&list["total_statements"], &list["statements"][0]["id"]),
        (&json!(1), &json!(0))
    );
    assert_eq!(
        house.get("/sessions/0/statements/9").await.0,
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        house.get("/sessions/0/statements/x").await.0,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn i3_a_statement_whose_driver_died_is_not_run_again() {
    let house = house(1 << 20);
    house.session().await;
    house
        .post("/sessions/0/statements", json!({ "code": "effects()" }))
        .await;
    house.backend.kill_driver();
    let ended = house.wait_for("/sessions/0/statements/0", "available").await;
    assert_eq!(ended["output"]["ename"], "OutcomeUnknown");
    house.wait_for("/sessions/0/state", "idle").await;
    assert_eq!(house.backend.starts(), 1);
}

/// What stays inside the session is run again, on one more driver at most.
#[tokio::test]
async fn sql_that_only_reads_runs_again_on_the_next_driver() {
    let house = house(1 << 20);
    house.session().await;
    let statement = json!({ "code": "select 1", "kind": "sql" });
    house.post("/sessions/0/statements", statement.clone()).await;
    house.backend.kill_driver();
    house.backend.wait_for_starts(2).await;
    house.backend.end_all("1");
    let ended = house.wait_for("/sessions/0/statements/0", "available").await;
    assert_eq!(ended["output"]["status"], "ok");

    let house = self::house(1 << 20);
    house.session().await;
    house.post("/sessions/0/statements", statement).await;
    house.backend.kill_driver();
    house.backend.wait_for_starts(2).await;
    house.backend.kill_driver();
    let ended = house.wait_for("/sessions/0/statements/0", "available").await;
    assert_eq!(ended["output"]["ename"], "OutcomeUnknown");
    assert_eq!(house.backend.starts(), 2);
}

/// The broker that followed it is lost with the driver; whoever is asked next takes it on.
#[tokio::test]
async fn sql_that_only_reads_runs_again_at_another_replica() {
    let first = house(1 << 20);
    first.session().await;
    let statement = json!({ "code": "select 1", "kind": "sql" });
    first.post("/sessions/0/statements", statement).await;
    let next = first.replica();
    drop(first);
    next.backend.kill_driver();
    next.get("/sessions/0/statements/0").await;
    next.backend.wait_for_starts(2).await;
    next.backend.end_all("1");
    let ended = next.wait_for("/sessions/0/statements/0", "available").await;
    assert_eq!(ended["output"]["status"], "ok");
}

#[tokio::test]
async fn i2_a_statement_that_never_arrived_runs_on_the_next_driver() {
    let house = house(1 << 20);
    house.session().await;
    house.backend.refuse_next_start();
    house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    house.backend.end_all("1");
    let ended = house.wait_for("/sessions/0/statements/0", "available").await;
    assert_eq!(ended["output"]["status"], "ok");
}

#[tokio::test]
async fn i7_another_users_session_is_out_of_reach() {
    let house = house(1 << 20);
    house.session().await;
    for (method, path) in [
        (Method::GET, "/sessions/0"),
        (Method::DELETE, "/sessions/0"),
        (Method::GET, "/sessions/0/log"),
    ] {
        let (status, _) = house.call_as("bob", method, path, &Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(
        house
            .call_as("bob", Method::GET, "/sessions", &Value::Null)
            .await
            .1["total"],
        0
    );
}
