//! Sessions and statements as Livy's clients see them: cases that need no driver.

use std::collections::BTreeSet;

use super::*;
use crate::dialects::livy::view::Fields;

impl House {
    /// Posts text as it is.
    async fn post_text(&self, path: &str, text: &str) -> (StatusCode, http::HeaderMap, Value) {
        let request = Request::post(path).header("content-type", "text/plain");
        let request = request.body(Body::from(text.to_owned())).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            serde_json::from_slice(&body).unwrap_or(Value::Null),
        )
    }

    async fn run_all(&self, n: usize) {
        self.session().await;
        self.backend.end_all("1");
        for id in 0..n {
            self.post("/sessions/0/statements", json!({ "code": "1" })).await;
            self.wait_for(&format!("/sessions/0/statements/{id}"), "available")
                .await;
        }
    }
}

fn ids(list: &Value, of: &str) -> Vec<u64> {
    let entries = list[of].as_array().unwrap().iter();
    entries.map(|entry| entry["id"].as_u64().unwrap()).collect()
}

/// livy#1, livy#4, livy#5, livy#7, livy#8
#[tokio::test]
async fn a_first_session_is_number_0_whatever_its_content_type_says() {
    for path in ["/sessions", "/sessions/"] {
        let house = house(1 << 20);
        let empty = json!({ "from": 0, "total": 0, "sessions": [] });
        assert_eq!(house.get(path).await, (StatusCode::OK, empty));
        let (status, headers, created) = house.post_text(path, "{}").await;
        assert_eq!(status, StatusCode::CREATED);
        assert_eq!(headers["location"], "/sessions/0");
        let found = (&created["id"], &created["kind"], &created["state"]);
        assert_eq!(found, (&json!(0), &json!("shared"), &json!("starting")));
    }
}

/// livy#6
#[tokio::test]
async fn a_new_session_has_nulls_and_zeros_for_what_was_not_asked() {
    let house = house(1 << 20);
    let (_, created) = house.post("/sessions", json!({})).await;
    let expected = json!({
        "id": 0, "name": null, "appId": null, "owner": null, "proxyUser": null, "state": "starting",
        "kind": "shared", "log": [], "ttl": null, "idleTimeout": null, "driverMemory": null, "driverCores": 0,
        "appInfo": { "driverLogUrl": null, "sparkUiUrl": null, "executorLogUrls": null },
        "executorMemory": null, "executorCores": 0, "conf": {}, "archives": [], "files": [],
        "heartbeatTimeoutInSecond": 0, "jars": [], "numExecutors": 0, "pyFiles": [], "queue": null,
    });
    assert_eq!(created, expected);
}

/// livy#123: the shapes of older releases, for Java clients of theirs.
#[tokio::test]
async fn older_clients_are_shown_the_keys_that_they_know() {
    const V07: &str = "appId appInfo id kind log name owner proxyUser state";
    const SINCE_V08: &str = "archives conf driverCores driverMemory executorCores executorMemory files \
        heartbeatTimeoutInSecond jars numExecutors pyFiles queue ttl";
    let table = [
        (Fields::V07, V07.to_owned(), 2),
        (Fields::V08, format!("{V07} {SINCE_V08}"), 2),
        (Fields::V09, format!("{V07} {SINCE_V08} idleTimeout"), 3),
    ];
    for (session_fields, keys, urls) in table {
        let house = house_of(LivyConfig {
            session_fields,
            ..LivyConfig::default()
        });
        let (_, created) = house.post("/sessions", json!({})).await;
        let (_, shown) = house.get("/sessions/0").await;
        for session in [created, shown] {
            let wanted: BTreeSet<&str> = keys.split(' ').collect();
            let found: BTreeSet<&str> = session.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(found, wanted);
            assert_eq!(session["appInfo"].as_object().unwrap().len(), urls);
        }
    }
}

/// livy#12, livy#13, livy#14, livy#16, livy#18, livy#30, livy#38: refused, and no id is used up.
#[tokio::test]
async fn wrong_requests_are_refused_in_livys_words() {
    let house = house(1 << 20);
    let table = [
        ("", "EOF"),
        ("{", "EOF"),
        (r#"{"surprise":1}"#, "unknown field"),
        (r#"{"heartbeatTimeoutInSecs":1}"#, "unknown field"),
        (r#"{"kind":"pyspark3"}"#, "Invalid kind: pyspark3"),
        (r#"{"kind":"foo"}"#, "Invalid kind: foo"),
        (r#"{"jars":"x.jar"}"#, "invalid type"),
        (r#"{"name":"123"}"#, "Rejected, Reason: Invalid session name: 123"),
        (r#"{"name":""}"#, "Rejected, Reason: Invalid session name: "),
        (r#"{"ttl":"10 parsecs"}"#, "Rejected, Reason: Invalid suffix"),
    ];
    for (body, wanted) in table {
        let (status, _, answer) = house.post_text("/sessions", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
        assert!(
            answer["msg"].as_str().unwrap().contains(wanted),
            "{body}: {answer}"
        );
    }
    assert_eq!(house.post("/sessions", json!({})).await.1["id"], 0);
}

/// livy#17, livy#19; secrets are not shown.
#[tokio::test]
async fn values_of_other_types_are_taken_and_shown_as_text() {
    let house = house(1 << 20);
    let body =
        json!({ "driverCores": "2", "conf": { "a": 1, "b": true, "my.Password": "p", "x.accessKey": "k" } });
    let (_, created) = house.post("/sessions", body).await;
    assert_eq!(created["driverCores"], 2);
    let redacted = "*********(redacted)";
    let conf = json!({ "a": "1", "b": "true", "my.Password": redacted, "x.accessKey": redacted });
    assert_eq!(created["conf"], conf);
}

/// livy#21, livy#22, livy#23, livy#24
#[tokio::test]
async fn lists_are_paged_in_creation_order() {
    let house = house_of(LivyConfig {
        max_starting: 200,
        ..LivyConfig::default()
    });
    for id in 0..101 {
        assert_eq!(house.post("/sessions", json!({})).await.1["id"], id);
    }
    let (_, all) = house.get("/sessions").await;
    assert_eq!((ids(&all, "sessions").len(), &all["total"]), (100, &json!(101)));
    let table = [
        ("from=1&size=1", vec![1]),
        ("from=99", vec![99, 100]),
        ("from=101", vec![]),
        ("size=-1", vec![]),
    ];
    for (query, wanted) in table {
        let (status, list) = house.get(&format!("/sessions?{query}")).await;
        assert_eq!(
            (status, ids(&list, "sessions")),
            (StatusCode::OK, wanted),
            "{query}"
        );
        assert_eq!(list["total"], 101);
    }
    let (status, answer) = house.get("/sessions?from=abc").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        answer["msg"]
            .as_str()
            .unwrap()
            .starts_with("For input string: \"abc\"")
    );
}

/// livy#25, livy#26, livy#27, livy#28, livy#31, livy#32
#[tokio::test]
async fn a_session_is_found_by_id_and_by_name() {
    let house = house(1 << 20);
    house.post("/sessions", json!({ "name": "mine" })).await;
    house.wait_for("/sessions/0/state", "idle").await;
    assert_eq!(house.get("/sessions/mine").await, house.get("/sessions/0").await);
    assert_eq!(
        house.get("/sessions/mine/state").await.1,
        json!({ "id": 0, "state": "idle" })
    );
    let not_found = |name: &str| {
        (
            StatusCode::NOT_FOUND,
            json!({ "msg": format!("Session '{name}' not found.") }),
        )
    };
    for name in ["12345", "-1", "nobody"] {
        assert_eq!(house.get(&format!("/sessions/{name}")).await, not_found(name));
    }
    assert_eq!(
        house.get("/sessions/99999999999").await.0,
        StatusCode::BAD_REQUEST
    );
    let (status, answer) = house.post("/sessions", json!({ "name": "mine" })).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let text = answer["msg"].as_str().unwrap();
    assert!(
        text.starts_with("Rejected, Reason: Duplicate session name: Some(mine) for session"),
        "{text}"
    );
    house
        .call_as("", Method::DELETE, "/sessions/mine", &Value::Null)
        .await;
    assert_eq!(
        house.post("/sessions", json!({ "name": "mine" })).await.0,
        StatusCode::CREATED
    );
}

/// livy#35
#[tokio::test]
async fn the_version_is_one_that_clients_read() {
    let house = house(1 << 20);
    let (_, version) = house.get("/version").await;
    let keys = ["branch", "date", "revision", "url", "user", "version"];
    assert!(version.as_object().unwrap().keys().eq(keys.iter()));
    assert!(version.as_object().unwrap().values().all(Value::is_string));
    // pylivy compares the parts as texts, with 0.5.0.
    let parts: Vec<&str> = version["version"].as_str().unwrap().split('.').collect();
    assert!(parts[0] > "0" || parts[1] >= "5", "{version}");
    assert!(
        parts.len() == 3 && parts[2].starts_with(|c: char| c.is_ascii_digit()),
        "{version}"
    );
}

/// livy#37
#[tokio::test]
async fn i8_only_so_many_sessions_start_at_once() {
    let house = house_of(LivyConfig {
        max_starting: 0,
        ..LivyConfig::default()
    });
    let (status, answer) = house.post("/sessions", json!({})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(answer["msg"], "Rejected, too many sessions are being created!");
    assert_eq!(house.get("/sessions").await.1["total"], 0);
}

/// livy#41
#[tokio::test]
async fn large_headers_are_taken_up_to_the_limit() {
    let house = house(1 << 20);
    for (bytes, wanted) in [
        (100_000, StatusCode::OK),
        (140_000, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
    ] {
        let request = Request::get("/version").header("x-large", "x".repeat(bytes));
        let request = request.body(Body::empty()).unwrap();
        let response = house.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), wanted);
    }
}

/// A POST may stand in for another method, and HEAD for GET.
#[tokio::test]
async fn methods_may_be_overridden() {
    let house = house(1 << 20);
    house.session().await;
    let head = Request::head("/sessions/0").body(Body::empty()).unwrap();
    assert_eq!(
        house.app.clone().oneshot(head).await.unwrap().status(),
        StatusCode::OK
    );
    for (method, wanted) in [("delete", StatusCode::OK), ("GET", StatusCode::NOT_FOUND)] {
        let request = Request::post("/sessions/0").header("X-HTTP-Method-Override", method);
        let request = request.body(Body::empty()).unwrap();
        let response = house.app.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), wanted, "{method}");
    }
}

/// livy#54
#[tokio::test]
async fn a_log_has_sections_and_pages() {
    let house = house(1 << 20);
    house.session().await;
    let all = json!([
        "stdout: ",
        "\nstderr: ",
        "a line",
        "\nBerth Diagnostics: ",
        "driver 1: placed on a: warm; 1 changes replayed",
        "  not rebuilt: statement 0: not run again"
    ]);
    let (_, log) = house.get("/sessions/0/log?size=-1").await;
    assert_eq!(log, json!({ "id": 0, "from": 0, "total": 6, "log": all }));
    let table = [
        ("from=0&size=1", 0, json!(["stdout: "])),
        ("size=1", 5, json!(["  not rebuilt: statement 0: not run again"])),
        ("from=100", 100, json!([])),
    ];
    for (query, from, lines) in table {
        let (status, log) = house.get(&format!("/sessions/0/log?{query}")).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            log,
            json!({ "id": 0, "from": from, "total": 6, "log": lines }),
            "{query}"
        );
    }
}

#[tokio::test]
async fn what_a_recovery_did_is_told() {
    let house = house(1 << 20);
    house.session().await;
    house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    house.backend.kill_driver();
    house.wait_for("/sessions/0/statements/0", "available").await;
    house.wait_for("/sessions/0/state", "idle").await;
    let (status, told) = house.get("/sessions/0/recovery").await;
    assert_eq!(
        (status, &told["recoveries"], &told["state"]),
        (StatusCode::OK, &json!(1), &json!("idle"))
    );
    assert_eq!(told["events"][0]["lost"], json!(["statement 0: not run again"]));
}

/// livy#66, livy#67: an error, and no statement is left behind.
#[tokio::test]
async fn a_statement_without_a_kind_that_runs_is_refused() {
    let house = house(1 << 20);
    house.post("/sessions", json!({})).await;
    house.wait_for("/sessions/0/state", "idle").await;
    for body in [
        json!({ "code": "1" }),
        json!({ "code": "1", "kind": "foo" }),
        json!({ "code": "1", "kind": "shared" }),
    ] {
        let (status, _) = house.post("/sessions/0/statements", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(house.get("/sessions/0/statements").await.1["total_statements"], 0);
}

/// livy#70, livy#71
#[tokio::test]
async fn a_statement_that_is_not_there_is_not_found_and_cancels() {
    let house = house(1 << 20);
    house.run_all(1).await;
    for (statement, wanted) in [
        ("9", StatusCode::NOT_FOUND),
        ("x", StatusCode::BAD_REQUEST),
        ("-1", StatusCode::NOT_FOUND),
    ] {
        let (status, answer) = house.get(&format!("/sessions/0/statements/{statement}")).await;
        assert_eq!(status, wanted, "{statement}");
        assert!(answer["msg"].is_string());
    }
    for statement in [0, 9] {
        let cancel = format!("/sessions/0/statements/{statement}/cancel");
        let canceled = (StatusCode::OK, json!({ "msg": "canceled" }));
        assert_eq!(house.post(&cancel, json!({})).await, canceled);
    }
}

/// livy#72, livy#73
#[tokio::test]
async fn statements_are_listed_in_either_order_and_the_latest_are_kept() {
    let house = house_of(LivyConfig {
        retained_statements: 3,
        ..LivyConfig::default()
    });
    house.run_all(5).await;
    let table = [
        ("", vec![2, 3, 4]),
        ("?order=%20DESC%20", vec![4, 3, 2]),
        ("?order=desc&from=0&size=1", vec![4]),
        ("?order=up&from=2", vec![4]),
    ];
    for (query, wanted) in table {
        let (_, list) = house.get(&format!("/sessions/0/statements{query}")).await;
        assert_eq!(
            (ids(&list, "statements"), &list["total_statements"]),
            (wanted, &json!(3)),
            "{query}"
        );
    }
    for (statement, wanted) in [(1, StatusCode::NOT_FOUND), (2, StatusCode::OK)] {
        assert_eq!(
            house.get(&format!("/sessions/0/statements/{statement}")).await.0,
            wanted
        );
    }
    assert_eq!(
        house
            .post("/sessions/0/statements", json!({ "code": "1" }))
            .await
            .1["id"],
        5
    );
}

/// livy#72: what runs is shown as running in the list, too.
#[tokio::test]
async fn a_list_shows_how_far_statements_are() {
    let house = house(1 << 20);
    house.session().await;
    house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    let (_, list) = house.get("/sessions/0/statements").await;
    assert_eq!(list["statements"][0]["state"], "running");
}
