//! Blobs in a bucket: a stand-in for S3 that keeps objects and shows under which names.
//!
//! Run with credentials of any kind: `AWS_ACCESS_KEY_ID=a AWS_SECRET_ACCESS_KEY=b cargo test --features s3`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_store::blobs::{BlobError, Blobs, S3Config};
use bytes::Bytes;

type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

async fn answer(State(objects): State<Objects>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().to_owned();
    let mut objects = objects.lock().unwrap();
    match parts.method {
        Method::PUT => {
            objects.insert(path, body);
            [("etag", "\"1\"")].into_response()
        }
        Method::GET => match objects.get(&path) {
            Some(found) => {
                let headers = [
                    ("etag", "\"1\""),
                    ("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT"),
                ];
                (headers, Body::from(found.clone())).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        Method::DELETE => {
            objects.remove(&path);
            StatusCode::NO_CONTENT.into_response()
        }
        other => panic!("{other} {path}"),
    }
}

#[tokio::test]
async fn blobs_go_to_a_bucket_and_come_back() {
    assert!(
        std::env::var_os("AWS_ACCESS_KEY_ID").is_some(),
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to anything"
    );
    let objects = Objects::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(Arc::clone(&objects));
    let tasks = Tasks::new(Shutdown::new());
    tasks.spawn(
        "bucket",
        async move { axum::serve(listener, router).await.unwrap() },
    );

    let blobs = Blobs::s3(S3Config {
        bucket: "berth".to_owned(),
        prefix: "blobs".to_owned(),
        region: Some("here".to_owned()),
        endpoint: Some(endpoint),
    });
    let blobs = blobs.unwrap();
    let sha256 = blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    let names: Vec<_> = objects.lock().unwrap().keys().cloned().collect();
    assert_eq!(names, [format!("/berth/blobs/{}/{}", &sha256[..2], &sha256[2..])]);
    assert_eq!(blobs.get(&sha256).await.unwrap(), "abc");
    blobs.delete(&sha256).await.unwrap();
    assert!(matches!(blobs.get(&sha256).await, Err(BlobError::Missing { .. })));
    tasks.shutdown().abort();
}
