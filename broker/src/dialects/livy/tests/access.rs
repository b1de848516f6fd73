//! Whose session it is: access control and impersonation.

use super::*;

impl House {
    async fn as_(&self, user: &str, method: Method, path: &str) -> (StatusCode, Value) {
        self.call_as(user, method, path, &Value::Null).await
    }

    async fn session_of(&self, user: &str, path: &str, body: Value) -> (StatusCode, Value) {
        self.call_as(user, Method::POST, path, &body).await
    }
}

fn house_with(impersonation: bool) -> House {
    house_of(LivyConfig {
        show_to_all: true,
        impersonation,
        superusers: ["root"].into(),
        view_users: ["reader"].into(),
        modify_users: ["keeper"].into(),
        ..LivyConfig::default()
    })
}

/// livy#103: others see that it is there, and neither its log nor its statements.
#[tokio::test]
async fn i7_others_see_a_session_without_its_log() {
    let house = house_with(false);
    house
        .session_of("alice", "/sessions", json!({ "kind": "pyspark" }))
        .await;
    house.wait_for("/sessions/0/state", "idle").await;
    for (user, reads) in [("alice", true), ("bob", false)] {
        let (_, shown) = house.as_(user, Method::GET, "/sessions/0").await;
        assert_eq!(shown["owner"], "alice");
        let log = shown["log"].as_array().unwrap();
        assert_eq!(log.contains(&json!("a line")), reads, "{user}");
        assert_eq!(log.is_empty(), !reads, "{user}");
        let (_, list) = house.as_(user, Method::GET, "/sessions").await;
        assert_eq!(list["total"], 1);
    }
    for (method, path) in [
        (Method::GET, "/sessions/0/log"),
        (Method::GET, "/sessions/0/statements"),
        (Method::POST, "/sessions/0/connect"),
        (Method::DELETE, "/sessions/0"),
    ] {
        let (status, _) = house.as_("bob", method, path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
    }
}

/// livy#104
#[tokio::test]
async fn i7_users_of_the_lists_may_read_or_end() {
    let house = house_with(true);
    for _ in 0..2 {
        house
            .session_of("root", "/sessions", json!({ "proxyUser": "bob" }))
            .await;
    }
    house.wait_for("/sessions/0/state", "idle").await;
    let (status, _) = house.as_("reader", Method::GET, "/sessions/0/log").await;
    assert_eq!(status, StatusCode::OK);
    let (status, _) = house.as_("reader", Method::DELETE, "/sessions/0").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    for (user, path) in [("keeper", "/sessions/0"), ("bob", "/sessions/1")] {
        let (status, _) = house.as_(user, Method::DELETE, path).await;
        assert_eq!(status, StatusCode::OK, "{user}");
    }
}

/// livy#105
#[tokio::test]
async fn i7_who_may_not_call_is_refused_everywhere() {
    let house = house_of(LivyConfig {
        allowed_users: ["alice"].into(),
        ..LivyConfig::default()
    });
    let table = [
        (Method::GET, "/sessions"),
        (Method::GET, "/version"),
        (Method::GET, "/sessions/0/log"),
        (Method::GET, "/nothing"),
        (Method::GET, "/batches"),
        (Method::GET, "/ui/"),
        (Method::POST, "/sessions"),
        (Method::POST, "/batches"),
        (Method::POST, "/sessions/0/statements"),
        (Method::DELETE, "/sessions/0"),
        (Method::DELETE, "/batches/0"),
    ];
    for (method, path) in table {
        let (status, answer) = house.as_("bob", method, path).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path}");
        assert!(
            answer["msg"]
                .as_str()
                .unwrap()
                .starts_with("User not authorised to use Livy")
        );
    }
    assert_eq!(
        house.as_("alice", Method::GET, "/sessions").await.0,
        StatusCode::OK
    );
}

/// livy#106
#[tokio::test]
async fn with_sessions_open_to_all_anybody_may_end_them() {
    let house = house_of(LivyConfig {
        open_to_all: true,
        ..LivyConfig::default()
    });
    house.session_of("alice", "/sessions", json!({})).await;
    let (status, _) = house.as_("bob", Method::DELETE, "/sessions/0").await;
    assert_eq!(status, StatusCode::OK);
}

/// livy#99: without impersonation.
#[tokio::test]
async fn without_impersonation_a_proxy_user_is_ignored() {
    let house = house_with(false);
    let (_, own) = house
        .session_of("alice", "/sessions?doAs=bob", json!({ "proxyUser": "bob" }))
        .await;
    assert_eq!(
        (&own["owner"], &own["proxyUser"]),
        (&json!("alice"), &Value::Null)
    );
    let (_, nobody) = house
        .session_of("", "/sessions", json!({ "proxyUser": "bob" }))
        .await;
    assert_eq!(
        (&nobody["owner"], &nobody["proxyUser"]),
        (&Value::Null, &Value::Null)
    );
}

/// livy#100, livy#101, livy#102
#[tokio::test]
async fn i7_with_impersonation_a_session_runs_as_whom_its_owner_may_name() {
    let house = house_with(true);
    let none = json!({});
    let bob = json!({ "proxyUser": "bob" });
    let table = [
        ("alice", "/sessions", &none, 201, "alice"),
        ("alice", "/sessions", &bob, 403, ""),
        ("alice", "/sessions?doAs=bob", &none, 403, ""),
        ("root", "/sessions", &bob, 201, "bob"),
        ("root", "/sessions?doAs=carol", &bob, 201, "carol"),
    ];
    for (user, path, body, status, proxy_user) in table {
        let (found, answer) = house.session_of(user, path, body.clone()).await;
        assert_eq!(found.as_u16(), status, "{user} {path}: {answer}");
        if status == 201 {
            assert_eq!(
                (&answer["owner"], &answer["proxyUser"]),
                (&json!(user), &json!(proxy_user))
            );
        } else {
            assert_eq!(
                answer["msg"],
                "User 'alice' not allowed to impersonate 'Some(bob)'."
            );
        }
    }
    // Refusals use up no id, and who comes for somebody else has their rights only.
    let (_, list) = house.as_("root", Method::GET, "/sessions").await;
    assert_eq!(list["total"], 3);
    let (status, _) = house.as_("root", Method::GET, "/sessions/0/log?doAs=bob").await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let (status, _) = house.as_("root", Method::GET, "/sessions/1/log?doAs=bob").await;
    assert_eq!(status, StatusCode::OK);
}
