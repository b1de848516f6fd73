//! Which calls keep a session alive. What ends one is decided in `berth_core::duties`.

use super::*;

/// livy#49, livy#50, livy#51: calls count where the client set a limit for them, connect counts as use.
#[tokio::test]
async fn calls_keep_a_session_alive_and_lists_do_not() {
    for (asked, counts) in [
        (json!({ "heartbeatTimeoutInSecond": 2 }), true),
        (json!({ "idleTimeout": "10m" }), false),
    ] {
        let house = house(1 << 20);
        house.post("/sessions", asked).await;
        house.wait_for("/sessions/0/state", "idle").await;
        house.backend.touches();
        for (path, calls) in [
            ("/sessions", 0),
            ("/sessions/0", 1),
            ("/sessions/0/state", 1),
            ("/sessions/0/log", 1),
            ("/sessions/0/statements", 1),
        ] {
            house.get(path).await;
            let wanted = vec![false; if counts { calls } else { 0 }];
            assert_eq!(house.backend.touches(), wanted, "{path}");
        }
        for (path, body) in [("connect", Value::Null), ("completion", json!({ "code": "s" }))] {
            house.post(&format!("/sessions/0/{path}"), body).await;
            assert_eq!(house.backend.touches().last(), Some(&true), "{path}");
        }
    }
}

#[test]
fn a_request_says_when_its_session_ends() {
    let body = br#"{"heartbeatTimeoutInSecond":60,"idleTimeout":"10m","ttl":"1h"}"#;
    let asked: super::super::request::NewSession = super::super::request::read(body).unwrap();
    let lifetime = asked.lifetime();
    assert_eq!(
        (
            lifetime.uncalled_millis,
            lifetime.idle_millis,
            lifetime.total_millis
        ),
        (60_000, 600_000, 3_600_000)
    );
}
