//! Batches over HTTP. Cases: spec of Livy.

use std::collections::BTreeSet;
use std::future::Future;

use berth_core::ids::SessionId;
use berth_proto::agent::statement::State as Reporting;
use uuid::Uuid;

use super::places::Loss;
use super::*;
use crate::dialects::livy::directory::{Directory, Resource};

const FILE: &str = "hdfs://nn/jobs/pi.py";
const KEYS: [&str; 8] = [
    "appId",
    "appInfo",
    "id",
    "log",
    "name",
    "owner",
    "proxyUser",
    "state",
];

impl House {
    async fn submit(&self, body: Value) -> Value {
        let (status, batch) = self.post("/batches", body).await;
        assert_eq!(status, StatusCode::CREATED, "{batch}");
        batch
    }

    /// Waits until so many runs were begun; gives the states that were shown meanwhile.
    async fn wait_until_started(&self, runs: usize) -> BTreeSet<String> {
        let mut states = BTreeSet::new();
        self.wait(async {
            while self.places.starts().len() < runs {
                let (_, answer) = self.get("/batches/0/state").await;
                states.insert(answer["state"].to_string());
                tokio::task::yield_now().await;
            }
        })
        .await;
        states
    }

    async fn wait_until_free(&self) {
        self.wait(async {
            while !self.places.are_free() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn wait(&self, what: impl Future<Output = ()>) {
        let limit = std::time::Duration::from_secs(10);
        tokio::time::timeout(limit, what).await.unwrap();
    }

    /// Another one with the same store and nodes.
    fn another_broker(&self) -> Arc<Batches> {
        let tasks = Tasks::new(Shutdown::new());
        let config = LivyConfig::default();
        let places = Arc::clone(&self.places) as _;
        Arc::new(Batches::new(places, self.store.clone(), tasks, config))
    }

    async fn delete_batch(&self, id: &str) -> (StatusCode, Value) {
        let path = format!("/batches/{id}");
        self.call_as("", Method::DELETE, &path, &Value::Null).await
    }
}

#[tokio::test]
async fn a_fresh_server_has_no_batches() {
    // livy#1, livy#96
    let house = house(1000);
    let empty = json!({ "from": 0, "total": 0, "sessions": [] });
    assert_eq!(house.get("/batches").await, (StatusCode::OK, empty));
    let missing = json!({ "msg": "Session '7' not found." });
    assert_eq!(house.get("/batches/7").await, (StatusCode::NOT_FOUND, missing));
}

#[tokio::test]
async fn what_cannot_be_submitted_leaves_nothing_behind() {
    // livy#18, #39, #90, #91
    let house = house(1000);
    let refused = [
        (json!({}), "requirement failed: File is required."),
        (json!({ "file": null }), "requirement failed: File is required."),
        (json!({ "file": FILE, "kind": "pyspark" }), "unknown field `kind`"),
        (json!({ "file": FILE, "ttl": "1h" }), "unknown field `ttl`"),
        (json!({ "file": FILE, "jars": "a.jar" }), "invalid type"),
        (json!({ "file": FILE, "args": [[]] }), "neither text, number"),
        (json!({ "file": FILE, "args": ["a\u{0}b"] }), "NUL"),
        (json!({ "file": "pi.py" }), "Path 'pi.py' is not absolute."),
        (json!({ "file": FILE, "jars": ["x.jar"] }), "is not absolute"),
        (
            json!({ "file": "file:/etc/passwd" }),
            "cannot be added to user sessions",
        ),
        (
            json!({ "file": FILE, "conf": { "spark.berth.batch.on-node-loss": "maybe" } }),
            "dead or rerun",
        ),
        (json!({ "file": FILE, "name": "12" }), "Invalid session name: 12"),
    ];
    for (body, why) in refused {
        let (status, answer) = house.post("/batches", body.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer["msg"].as_str().unwrap().contains(why), "{answer}");
    }
    assert_eq!(house.submit(json!({ "file": FILE })).await["id"], 0);
}

#[tokio::test]
async fn i8_a_submission_fits_into_the_store() {
    let house = house(8 << 20);
    let args = vec!["x".repeat(1 << 10); 600];
    let (status, answer) = house
        .post("/batches", json!({ "file": FILE, "args": args }))
        .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["msg"].as_str().unwrap().contains("into a file"),
        "{answer}"
    );
    assert_eq!(house.get("/batches").await.1["total"], 0);
}

#[tokio::test]
async fn a_submission_answers_with_livy_s_eight_keys_and_a_location() {
    // livy#92, #110
    let house = house(1000);
    let body = Body::from(json!({ "file": FILE, "executorCores": "2" }).to_string());
    let request = Request::post("/batches").body(body).unwrap();
    let response = house.app.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(response.headers()["location"], "/batches/0");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let batch: Value = serde_json::from_slice(&bytes).unwrap();
    let keys: Vec<&String> = batch.as_object().unwrap().keys().collect();
    assert_eq!(keys, KEYS);
    assert_eq!(batch["state"], "starting");
    let state = house.wait_for("/batches/0/state", "running").await;
    assert_eq!(state, json!({ "id": 0, "state": "running" }));
}

#[tokio::test]
async fn the_application_gets_what_was_sent() {
    let house = house(1000);
    let conf = json!({ "spark.app.name": "conf" });
    house
        .submit(json!({
            "file": FILE, "className": "a.B", "args": ["a b", 3, true], "pyFiles": ["s3a://b/x.zip"], "conf": conf,
        }))
        .await;
    house.wait_for("/batches/0/state", "running").await;
    house.places.end_all(Reporting::Ok, ("", ""), &[]);
    house.wait_for("/batches/0/state", "success").await;
    let what: Value = serde_json::from_str(&house.places.starts()[0]).unwrap();
    let expected = json!({
        "name": "conf", "file": FILE, "class_name": "a.B", "args": ["a b", "3", "true"], "jars": [],
        "py_files": ["s3a://b/x.zip"], "files": [], "archives": [],
    });
    assert_eq!(what, expected);
}

#[tokio::test]
async fn each_end_has_its_state_its_log_and_its_place_back() {
    // livy#47, #93
    let table = [
        (Reporting::Ok, ("", ""), "success", "last line"),
        (
            Reporting::Error,
            ("Failed", "exit code 3"),
            "dead",
            "berth: exit code 3",
        ),
        (
            Reporting::Error,
            ("Killed", "by SIGKILL"),
            "killed",
            "berth: by SIGKILL",
        ),
    ];
    for (reported, error, state, last) in table {
        let house = house(1000);
        house.submit(json!({ "file": FILE })).await;
        house.places.end_all(reported, error, &["first", "last line"]);
        house.wait_for("/batches/0/state", state).await;
        let (_, batch) = house.get("/batches/0").await;
        let log = batch["log"].as_array().unwrap();
        assert_eq!((&log[0], log.last().unwrap()), (&json!("first"), &json!(last)));
        house.wait_until_free().await;
    }
}

#[tokio::test]
async fn a_log_is_read_page_by_page_beyond_its_end() {
    // livy#95
    let house = house(1000);
    house.submit(json!({ "file": FILE })).await;
    let lines: Vec<String> = (0..150).map(|n| n.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    house.places.end_all(Reporting::Ok, ("", ""), &lines);
    house.wait_for("/batches/0/state", "success").await;
    for (from, shown) in [(0, 100), (100, 50), (200, 0)] {
        let (status, page) = house.get(&format!("/batches/0/log?from={from}&size=100")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            (page["total"].as_u64(), page["from"].as_u64()),
            (Some(150), Some(from))
        );
        assert_eq!(page["log"].as_array().unwrap().len(), shown);
    }
}

#[tokio::test]
async fn batches_count_and_name_for_themselves() {
    // livy#20, #25, #28, #29, #31, #111
    let house = house(1000);
    house
        .post("/sessions", json!({ "kind": "pyspark", "name": "n" }))
        .await;
    assert_eq!(house.submit(json!({ "file": FILE, "name": "n" })).await["id"], 0);
    let (status, taken) = house.post("/batches", json!({ "file": FILE, "name": "n" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let start = "Rejected, Reason: Duplicate session name: Some(n)";
    assert!(taken["msg"].as_str().unwrap().starts_with(start), "{taken}");
    assert_eq!(house.get("/batches/n").await.1["id"], 0);
    house.delete_batch("n").await;
    let again = house.submit(json!({ "file": FILE, "name": "n" })).await;
    assert_eq!(again["id"], 1);
    let (_, list) = house.get("/batches?from=0&size=5").await;
    assert_eq!(
        (&list["total"], &list["sessions"][0]["id"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(house.get("/sessions").await.1["total"], 1);
}

#[tokio::test]
async fn the_name_of_a_batch_that_is_over_can_be_given_to_the_next() {
    // livy#119: as long as it is not, its name finds it
    let house = house(1000);
    house.submit(json!({ "file": FILE, "name": "daily" })).await;
    house.places.end_all(Reporting::Ok, ("", ""), &[]);
    house.wait_for("/batches/daily/state", "success").await;
    let next = house.submit(json!({ "file": FILE, "name": "daily" })).await;
    assert_eq!(next["id"], 1);
    house.delete_batch("0").await;
    assert_eq!(house.get("/batches/daily").await.1["id"], 1);
}

#[tokio::test]
async fn a_deleted_batch_is_asked_to_end_and_gives_its_place_back() {
    // livy#94
    let house = house(1000);
    house.submit(json!({ "file": FILE })).await;
    house.wait_for("/batches/0/state", "running").await;
    house.wait_until_started(1).await;
    let deleted = (StatusCode::OK, json!({ "msg": "deleted" }));
    assert_eq!(house.delete_batch("0").await, deleted);
    assert!(house.places.was_cancelled() && house.places.are_free());
    assert_eq!(house.get("/batches/0").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn i7_another_user_s_batch_is_not_to_be_seen() {
    let house = house(1000);
    house
        .call_as("alice", Method::POST, "/batches", &json!({ "file": FILE }))
        .await;
    let (status, _) = house
        .call_as("bob", Method::DELETE, "/batches/0", &Value::Null)
        .await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (_, list) = house.call_as("bob", Method::GET, "/batches", &Value::Null).await;
    assert_eq!(list["total"], 0);
}

#[tokio::test]
async fn rights_to_batches_are_those_to_sessions() {
    // livy#99, #100, #101, #103
    let house = house_of(LivyConfig {
        show_to_all: true,
        impersonation: true,
        ..LivyConfig::default()
    });
    let submission = json!({ "file": FILE });
    let (_, batch) = house
        .call_as("alice", Method::POST, "/batches", &submission)
        .await;
    assert_eq!(
        (&batch["owner"], &batch["proxyUser"]),
        (&json!("alice"), &json!("alice"))
    );
    house.places.end_all(Reporting::Ok, ("", ""), &["secret"]);
    house.wait_until_free().await;
    for path in ["/batches/0", "/batches/0/log"] {
        let (status, own) = house.call_as("alice", Method::GET, path, &Value::Null).await;
        assert_eq!((status, &own["log"]), (StatusCode::OK, &json!(["secret"])));
    }
    let (status, seen) = house
        .call_as("bob", Method::GET, "/batches/0", &Value::Null)
        .await;
    assert_eq!((status, &seen["log"]), (StatusCode::OK, &json!([])));
    let (_, list) = house.call_as("bob", Method::GET, "/batches", &Value::Null).await;
    assert_eq!(list["sessions"][0]["log"], json!([]));
    for (method, path) in [(Method::GET, "/batches/0/log"), (Method::DELETE, "/batches/0")] {
        let (status, _) = house.call_as("bob", method, path, &Value::Null).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    let foreign = json!({ "file": FILE, "proxyUser": "bob" });
    let (status, _) = house.call_as("alice", Method::POST, "/batches", &foreign).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn i5_a_batch_over_its_tenant_s_limit_is_refused_at_once() {
    let house = house(1000);
    house.places.fill();
    let (status, answer) = house.post("/batches", json!({ "file": FILE })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
    assert_eq!(house.get("/batches").await.1["total"], 0);
}

#[tokio::test]
async fn i3_a_batch_whose_place_is_lost_is_dead_and_never_runs_again() {
    for loss in [Loss::Node, Loss::Driver] {
        let house = house(1000);
        house.submit(json!({ "file": FILE })).await;
        house.wait_until_started(1).await;
        house.places.lose(loss);
        let state = house.wait_for("/batches/0/state", "dead").await;
        assert_eq!(state["state"], "dead");
        house.wait_until_free().await;
        let (_, log) = house.get("/batches/0/log").await;
        assert!(
            log["log"][0].as_str().unwrap().contains("on-node-loss=rerun"),
            "{log}"
        );
        assert_eq!(house.places.starts().len(), 1);
    }
}

#[tokio::test]
async fn a_batch_that_asked_for_it_runs_again_and_is_never_shown_as_recovering() {
    // livy#114
    for name in ["spark.berth.batch.on-node-loss", "berth.batch.on-node-loss"] {
        let house = house(1000);
        house
            .submit(json!({ "file": FILE, "conf": { name: "rerun" } }))
            .await;
        house.wait_until_started(1).await;
        house.places.lose(Loss::Node);
        let states = house.wait_until_started(2).await;
        let running = BTreeSet::from([json!("running").to_string()]);
        assert!(states.is_subset(&running), "{states:?}");
        house.places.end_all(Reporting::Ok, ("", ""), &[]);
        house.wait_until_free().await;
        assert_eq!(house.get("/batches/0/state").await.1["state"], "success");
    }
}

#[tokio::test]
async fn a_batch_that_loses_every_place_ends() {
    let house = house(1000);
    let conf = json!({ "spark.berth.batch.on-node-loss": "rerun" });
    house.submit(json!({ "file": FILE, "conf": conf })).await;
    for run in 1..=3 {
        house.wait_until_started(run).await;
        house.places.lose(Loss::Driver);
    }
    house.wait_for("/batches/0/state", "dead").await;
    assert_eq!(house.places.starts().len(), 3);
}

#[tokio::test]
async fn i2_what_surely_never_began_runs_at_the_next_place() {
    let house = house(1000);
    house.submit(json!({ "file": FILE })).await;
    house.wait_until_started(1).await;
    house.places.lose(Loss::BeforeItBegan);
    house.wait_until_started(2).await;
    house.places.end_all(Reporting::Ok, ("", ""), &[]);
    house.wait_for("/batches/0/state", "success").await;
}

#[tokio::test]
async fn i3_brokers_that_follow_the_same_batch_start_it_once_a_run() {
    // livy#110: one of them takes it over, or both follow it
    let house = house(1000);
    let conf = json!({ "spark.berth.batch.on-node-loss": "rerun" });
    house.submit(json!({ "file": FILE, "conf": conf })).await;
    let directory = Directory::of(house.store.clone(), Resource::Batches);
    let listed = directory.find("0").await.unwrap();
    let others: Vec<_> = (0..3).map(|_| house.another_broker()).collect();
    for other in &others {
        other.attend(listed.number, listed.session);
    }
    house.wait_until_started(1).await;
    house.places.lose(Loss::Driver);
    house.wait_until_started(2).await;
    house.places.end_all(Reporting::Ok, ("", ""), &[]);
    house.wait_for("/batches/0/state", "success").await;
    house.wait_until_free().await;
    assert_eq!(house.places.starts().len(), 2);
}

#[tokio::test]
async fn a_place_without_an_entry_is_given_back() {
    let house = house(1000);
    house.submit(json!({ "file": FILE })).await;
    let directory = Directory::of(house.store.clone(), Resource::Batches);
    let listed = directory.find("0").await.unwrap();
    directory.remove(&listed).await.unwrap();
    house.another_broker().attend(0, listed.session);
    house.wait_until_free().await;
    assert_eq!(house.get("/batches").await.1["sessions"], json!([]));
}

#[tokio::test]
async fn i2_a_batch_is_begun_whose_broker_died_before_it_began_it() {
    let house = house(1000);
    house.submit(json!({ "file": FILE })).await;
    house.wait_until_started(1).await;
    // What such a broker leaves behind: an entry, and no session.
    let directory = Directory::of(house.store.clone(), Resource::Batches);
    let mut left = directory.find("0").await.unwrap();
    left.session = SessionId::new(Uuid::now_v7());
    let (left, _) = directory.enter(left).await.unwrap();
    let after = left.opened_at() + 1;
    let begun = directory.find("0").await.unwrap().session;
    let is_begun = |session| session == begun;
    assert!(
        directory
            .forsaken(left.opened_at(), is_begun)
            .await
            .unwrap()
            .is_empty()
    );
    let forsaken = directory.forsaken(after, is_begun).await.unwrap();
    assert_eq!(
        forsaken.iter().map(|listed| listed.number).collect::<Vec<_>>(),
        [1]
    );
    house.another_broker().follow(&forsaken[0]);
    house.wait_until_started(2).await;
    house.places.end_all(Reporting::Ok, ("", ""), &[]);
    house
        .wait(async {
            let all = |_| false;
            while !directory.forsaken(after, all).await.unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
}

#[tokio::test]
async fn the_place_of_a_reader_is_known_to_every_broker_and_goes_with_the_batch() {
    // kyuubi#58, kyuubi#61
    let house = house(1000);
    house.submit(json!({ "file": FILE })).await;
    let [here, there] = [(); 2].map(|()| Directory::of(house.store.clone(), Resource::Batches));
    let listed = here.find("0").await.unwrap();
    assert_eq!(here.next_line(&listed).await, Ok(0));
    here.keep_next_line(&listed, 20).await.unwrap();
    assert_eq!(there.next_line(&listed).await, Ok(20));
    there.remove(&listed).await.unwrap();
    here.keep_next_line(&listed, 30).await.unwrap();
    assert_eq!(there.next_line(&listed).await, Ok(0));
}
