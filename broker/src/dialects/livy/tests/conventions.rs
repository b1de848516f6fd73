//! What holds around every call.

use std::io::Write as _;

use berth_runtime::listen::OverTls;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderMap;

use super::*;

const JSON: &str = "application/json;charset=utf-8";

impl House {
    async fn raw(&self, request: http::request::Builder, body: Vec<u8>) -> (StatusCode, HeaderMap, Vec<u8>) {
        let request = request.body(Body::from(body)).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status, parts.headers, body.to_vec())
    }
}

fn deflated(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// livy#9, livy#11
#[tokio::test]
async fn bodies_may_be_compressed_and_other_encodings_are_ignored() {
    let house = house(100);
    let post = |encoding: &str| Request::post("/sessions").header("content-encoding", encoding);
    let (status, ..) = house.raw(post("UTF-8"), b"{}".to_vec()).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, ..) = house.raw(post("gzip"), gzip(br#"{"name":"packed"}"#)).await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(house.get("/sessions/packed").await.1["id"], 1);
    let (status, ..) = house
        .raw(post("deflate"), deflated(br#"{"name":"deflated"}"#))
        .await;
    assert_eq!(status, StatusCode::CREATED);
    assert_eq!(house.get("/sessions/deflated").await.1["id"], 2);
    let (status, ..) = house.raw(post("gzip"), b"not gzip".to_vec()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    // The limit is on what comes out.
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let (status, ..) = house.raw(post("gzip"), bomb).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

/// livy#3
#[tokio::test]
async fn what_cannot_be_read_is_refused_in_livys_shape() {
    let house = house(1 << 20);
    house.session().await;
    for path in [
        "/sessions/%FF",
        "/sessions/0/statements/%FF",
        "/sessions/%FF/jobs/1",
        "/batches/%FF/state",
        "/sessions?from=1&from=2",
        "/sessions/0/log?size=1&size=2",
        "/batches?size=1&size=2",
        "/sessions?doAs=bob&doAs=bob",
    ] {
        let (status, headers, body) = house.raw(Request::get(path), Vec::new()).await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (StatusCode::BAD_REQUEST, JSON),
            "{path}"
        );
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["msg"].is_string(), "{path}: {body}");
    }
    let (status, headers, body) = house.raw(Request::post("/sessions/0/stop"), Vec::new()).await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::NO_CONTENT, JSON)
    );
    assert!(body.is_empty());
}

#[tokio::test]
async fn answers_are_compressed_for_who_asks() {
    let house = house(1 << 20);
    for encoding in ["gzip", "deflate"] {
        let asked = Request::get("/version").header("accept-encoding", encoding);
        let (_, headers, _) = house.raw(asked, Vec::new()).await;
        assert_eq!(headers["content-encoding"], encoding);
    }
    let (_, headers, _) = house.raw(Request::get("/version"), Vec::new()).await;
    assert!(!headers.contains_key("content-encoding"));
}

/// livy#3, livy#33
#[tokio::test]
async fn what_is_not_there_is_said_in_livys_shape() {
    let house = house(1 << 20);
    house.session().await;
    for path in ["/nothing", "/sessions/0/nothing", "/sessions/0/statements/"] {
        let (status, headers, body) = house.raw(Request::get(path), Vec::new()).await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (StatusCode::NOT_FOUND, JSON)
        );
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert!(body["msg"].as_str().unwrap().contains(path), "{body}");
    }
    let (status, headers, body) = house.raw(Request::put("/sessions/0"), Vec::new()).await;
    assert_eq!(
        (status, headers["content-type"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, JSON)
    );
    let allowed = headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("DELETE"), "{allowed}");
    assert!(serde_json::from_slice::<Value>(&body).unwrap()["msg"].is_string());
}

/// livy#34
#[tokio::test]
async fn there_is_one_version_of_the_api() {
    let house = house(1 << 20);
    let get = |accept: &str| Request::get("/sessions").header("accept", accept);
    let (status, ..) = house.raw(get("application/vnd.livy.v0.1+json"), Vec::new()).await;
    assert_eq!(status, StatusCode::OK);
    let (status, _, body) = house.raw(get("application/vnd.livy.v9.9"), Vec::new()).await;
    assert_eq!(status, StatusCode::NOT_ACCEPTABLE);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["msg"], "No value found for '9.9'");
}

/// livy#97, livy#98
#[tokio::test]
async fn writes_need_the_header_if_configured() {
    for (csrf_protection, without) in [(true, StatusCode::BAD_REQUEST), (false, StatusCode::CREATED)] {
        let house = house_of(LivyConfig {
            csrf_protection,
            ..LivyConfig::default()
        });
        let (status, ..) = house.raw(Request::post("/sessions"), b"{}".to_vec()).await;
        assert_eq!(status, without);
        let asked = Request::post("/sessions").header("X-Requested-By", "");
        let (status, ..) = house.raw(asked, b"{}".to_vec()).await;
        assert_eq!(status, StatusCode::CREATED);
        let (status, ..) = house.raw(Request::get("/sessions"), Vec::new()).await;
        assert_eq!(status, StatusCode::OK);
    }
}

/// livy#108
#[tokio::test]
async fn browsers_are_told_what_livy_tells_them() {
    for security_headers in [true, false] {
        let house = house_of(LivyConfig {
            security_headers,
            ..LivyConfig::default()
        });
        for path in ["/version", "/nothing"] {
            let (_, headers, _) = house.raw(Request::get(path), Vec::new()).await;
            assert_eq!(headers.contains_key("x-frame-options"), security_headers);
            assert_eq!(headers.contains_key("content-security-policy"), security_headers);
            assert!(!headers.contains_key("strict-transport-security"));
        }
        let secure = Request::get("/version").extension(OverTls);
        let (_, headers, _) = house.raw(secure, Vec::new()).await;
        assert_eq!(
            headers.contains_key("strict-transport-security"),
            security_headers
        );
    }
}

/// livy#36, its half for load balancers
#[tokio::test]
async fn a_load_balancer_is_answered() {
    let house = house(1 << 20);
    let (status, _, body) = house.raw(Request::get("/metrics/ping"), Vec::new()).await;
    assert_eq!((status, body.as_slice()), (StatusCode::OK, b"pong\n".as_slice()));
}

/// livy#38
#[tokio::test]
async fn times_are_read_as_livy_reads_them() {
    let house = house(1 << 20);
    for (ttl, wanted) in [
        ("10m", 201),
        ("5", 201),
        ("abc", 400),
        ("10 parsecs", 400),
        ("-5s", 400),
    ] {
        let (status, answer) = house.post("/sessions", json!({ "ttl": ttl })).await;
        assert_eq!(status.as_u16(), wanted, "{ttl}: {answer}");
    }
}

/// livy#48, livy#49, livy#76
#[tokio::test]
async fn a_stopped_session_stays_in_the_list_and_is_dead() {
    let house = house(1 << 20);
    house.session().await;
    let (status, session) = house.post("/sessions/0/connect", Value::Null).await;
    assert_eq!((status, &session["state"]), (StatusCode::OK, &json!("idle")));
    let (status, body) = house.post("/sessions/0/stop", Value::Null).await;
    assert_eq!((status, body), (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(house.get("/sessions/0/state").await.1["state"], "dead");
    let (_, log) = house.get("/sessions/0/log").await;
    assert_eq!(
        log["log"].as_array().unwrap().last().unwrap(),
        "the session was stopped"
    );
    assert_eq!(house.get("/sessions").await.1["total"], 1);
    let (status, answer) = house.get("/sessions/0/statements").await;
    assert_eq!(
        (status, &answer["msg"]),
        (
            StatusCode::BAD_REQUEST,
            &json!("requirement failed: Session isn't active.")
        )
    );
    let (status, _) = house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}
