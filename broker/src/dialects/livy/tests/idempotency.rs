//! Requests that are sent again.

use super::*;

impl House {
    async fn keyed(&self, user: &str, path: &str, key: &str, body: &Value) -> (StatusCode, Value) {
        let request = Request::post(path).header("Idempotency-Key", key);
        let mut request = request.body(Body::from(body.to_string())).unwrap();
        request.extensions_mut().insert(Caller {
            user: user.to_owned(),
            ..Caller::default()
        });
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

#[tokio::test]
async fn i3_a_batch_with_the_same_key_is_made_once() {
    let house = house(1 << 20);
    let body = json!({ "file": "hdfs:///jobs/a.py" });
    for _ in 0..2 {
        let (status, answer) = house.keyed("alice", "/batches", "k", &body).await;
        assert_eq!((status.as_u16(), &answer["id"]), (201, &json!(0)), "{answer}");
    }
    assert_eq!(house.keyed("bob", "/batches", "k", &body).await.1["id"], 1);
}

#[tokio::test]
async fn i3_a_create_with_the_same_key_makes_one_session() {
    let house = house(1 << 20);
    let body = json!({ "kind": "pyspark", "name": "mine" });
    for _ in 0..3 {
        let (status, answer) = house.keyed("alice", "/sessions", "k", &body).await;
        assert_eq!((status.as_u16(), &answer["id"]), (201, &json!(0)), "{answer}");
    }
    let (status, _) = house
        .keyed("alice", "/sessions", "k", &json!({ "kind": "sql" }))
        .await;
    assert_eq!(
        status,
        StatusCode::UNPROCESSABLE_ENTITY,
        "another request has the key"
    );
    let (_, other) = house
        .keyed("bob", "/sessions", "k", &json!({ "kind": "sql" }))
        .await;
    assert_eq!(other["id"], 1, "a key is its owner's");
    // It lives as long as the session.
    house
        .call_as("alice", Method::DELETE, "/sessions/0", &Value::Null)
        .await;
    let (_, next) = house.keyed("alice", "/sessions", "k", &body).await;
    assert_eq!(next["id"], 2);
}

#[tokio::test]
async fn i3_creates_at_once_with_one_key_make_one_session() {
    let house = house(1 << 20);
    let body = json!({ "kind": "pyspark" });
    let creates = (0..8).map(|_| house.keyed("alice", "/sessions", "k", &body));
    for (status, answer) in futures_util::future::join_all(creates).await {
        assert_eq!((status.as_u16(), &answer["id"]), (201, &json!(0)));
    }
}

/// livy#37: the one that was made has its room already.
#[tokio::test]
async fn i3_a_create_is_repeated_whether_there_is_room_or_not() {
    let house = house_of(LivyConfig {
        max_starting: 1,
        ..LivyConfig::default()
    });
    house.backend.hold(true);
    let body = json!({ "kind": "pyspark" });
    for _ in 0..2 {
        let (status, answer) = house.keyed("alice", "/sessions", "k", &body).await;
        assert_eq!((status.as_u16(), &answer["id"]), (201, &json!(0)), "{answer}");
    }
    let (status, _) = house.keyed("alice", "/sessions", "other", &body).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

/// livy#83
#[tokio::test]
async fn i3_a_job_with_the_same_key_runs_once() {
    let house = house(1 << 20);
    house.session().await;
    let job = json!({ "job": "eA==", "jobType": "pyspark" });
    for path in ["/sessions/0/submit-job", "/sessions/0/run-job"] {
        let (status, answer) = house.keyed("", path, "k", &job).await;
        assert_eq!((status.as_u16(), &answer["id"]), (201, &json!(1)), "{answer}");
    }
    house.backend.wait_for_starts(1).await;
    assert_eq!(house.backend.starts(), 1);
    let other = json!({ "job": "eQ==", "jobType": "pyspark" });
    let (status, _) = house.keyed("", "/sessions/0/submit-job", "k", &other).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    // A statement is another request, too.
    let statement = json!({ "code": "1" });
    let (status, _) = house.keyed("", "/sessions/0/statements", "k", &statement).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(
        house.keyed("", "/sessions/0/submit-job", "l", &job).await.1["id"],
        2
    );
}

#[tokio::test]
async fn i3_a_statement_with_the_same_key_runs_once() {
    let house = house(1 << 20);
    house.session().await;
    let path = "/sessions/0/statements";
    let body = json!({ "code": "effects()" });
    let sent = (0..4).map(|_| house.keyed("", path, "k", &body));
    for (status, answer) in futures_util::future::join_all(sent).await {
        assert_eq!((status.as_u16(), &answer["id"]), (201, &json!(0)), "{answer}");
    }
    house.backend.end_all("2");
    house.wait_for("/sessions/0/statements/0", "available").await;
    let (_, again) = house.keyed("", path, "k", &body).await;
    assert_eq!(
        (&again["id"], &again["output"]["status"]),
        (&json!(0), &json!("ok"))
    );
    assert_eq!(house.backend.starts(), 1);
    let (status, _) = house.keyed("", path, "k", &json!({ "code": "other()" })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let (_, next) = house.keyed("", path, "another", &body).await;
    assert_eq!(next["id"], 1);
}

/// livy#119: without a key, the name tells.
#[tokio::test]
async fn a_create_whose_answer_was_lost_is_found_by_its_name() {
    let house = house(1 << 20);
    house.post("/sessions", json!({ "name": "mine" })).await;
    let (status, _) = house.post("/sessions", json!({ "name": "mine" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(house.get("/sessions/mine").await.1["id"], 0);
    assert_eq!(house.get("/sessions").await.1["total"], 1);
}
