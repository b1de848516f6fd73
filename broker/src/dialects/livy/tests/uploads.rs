//! Resources and jobs over HTTP.

use super::*;

const BOUNDARY: &str = "x0x";

/// A multipart body with one part.
fn part(name: &str, file: &str, content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    );
    [
        head.as_bytes(),
        content,
        format!("\r\n--{BOUNDARY}--\r\n").as_bytes(),
    ]
    .concat()
}

impl House {
    async fn upload(&self, call: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let request = Request::post(format!("/sessions/0/{call}"))
            .header(
                "content-type",
                format!("multipart/form-data; boundary={BOUNDARY}"),
            )
            .body(Body::from(body))
            .unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }
}

fn limited(max_upload_bytes: usize) -> House {
    house_of(LivyConfig {
        max_upload_bytes,
        local_dirs: vec!["/srv".into()],
        ..LivyConfig::default()
    })
}

/// livy#87
#[tokio::test]
async fn an_upload_is_kept_and_given_to_the_driver_under_a_safe_name() {
    let house = limited(20 << 20);
    house.session().await;
    house.backend.end_all("");
    let content = vec![7; 9 << 20];
    let uploaded = house
        .upload("upload-pyfile", part("file", "../../a/mod.py", &content))
        .await;
    assert_eq!(uploaded, (StatusCode::OK, Value::Null));
    let kept = house.backend.kept();
    assert!(kept.len() > 1, "it was in memory whole");
    assert_eq!(kept.concat(), content);
    let resources = house.backend.resources();
    let resource: Value = serde_json::from_str(&resources[0]).unwrap();
    assert_eq!(
        (&resource["what"], &resource["name"]),
        (&json!("pyfile"), &json!("mod.py"))
    );
    assert_eq!(resource["chunks"].as_array().unwrap().len(), kept.len());
    // It is no statement.
    assert_eq!(house.get("/sessions/0/statements").await.1["total_statements"], 0);
    let (_, statement) = house.post("/sessions/0/statements", json!({ "code": "1" })).await;
    assert_eq!(statement["id"], 0);
}

/// livy#87
#[tokio::test]
async fn an_upload_without_its_part_or_over_the_limit_is_refused() {
    let house = limited(1 << 20);
    house.session().await;
    let missing = |name: &str| {
        (
            StatusCode::BAD_REQUEST,
            json!({ "msg": format!("No {name} sent!") }),
        )
    };
    assert_eq!(
        house.upload("upload-jar", part("file", "a.jar", b"x")).await,
        missing("jar")
    );
    assert_eq!(
        house.upload("upload-file", part("jar", "a.txt", b"x")).await,
        missing("file")
    );
    assert_eq!(
        house.post("/sessions/0/upload-file", json!({})).await,
        missing("file")
    );
    let (status, _) = house.upload("upload-file", part("file", "..", b"x")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    for bytes in [(1 << 20) + 1, 2 << 20] {
        let (status, _) = house
            .upload("upload-file", part("file", "a", &vec![0; bytes]))
            .await;
        assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    }
    assert!(house.backend.resources().is_empty());
}

/// livy#39, livy#88
#[tokio::test]
async fn a_resource_is_named_by_a_path_that_may_be_named() {
    let house = limited(1 << 20);
    house.session().await;
    house.backend.end_all("");
    for _ in 0..2 {
        let added = house
            .post("/sessions/0/add-jar", json!({ "uri": "/srv/x/../a.jar" }))
            .await;
        assert_eq!(added, (StatusCode::OK, Value::Null));
    }
    assert_eq!(
        house.backend.resources(),
        [r#"{"what":"jar","uri":"/srv/a.jar"}"#; 2]
    );
    for body in [
        json!({ "uri": "/etc/passwd" }),
        json!({ "uri": "a.jar" }),
        json!({}),
        json!({ "url": "hdfs://n/a" }),
    ] {
        let (status, answer) = house.post("/sessions/0/add-file", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(answer["msg"].is_string());
    }
}

/// livy#83, livy#84, livy#86
#[tokio::test]
async fn a_job_from_sent_to_succeeded() {
    let house = limited(1 << 20);
    house.session().await;
    let job = json!({ "job": "eA==", "jobType": "pyspark" });
    let (status, sent) = house.post("/sessions/0/submit-job", job.clone()).await;
    let expected = json!({ "id": 1, "state": "SENT", "result": null, "error": null });
    assert_eq!((status, sent), (StatusCode::CREATED, expected));
    let (_, second) = house.post("/sessions/0/run-job", job).await;
    assert_eq!(second["id"], 2);
    house.wait_for("/sessions/0/jobs/1", "STARTED").await;
    house.backend.end_all("");
    for _ in 0..2 {
        house.wait_for("/sessions/0/jobs/1", "SUCCEEDED").await;
    }
    assert_eq!(house.get("/sessions/0/jobs/9").await.0, StatusCode::NOT_FOUND);
    assert_eq!(house.get("/sessions/0/jobs/x").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(house.get("/sessions/0/statements").await.1["total_statements"], 0);
    for body in [
        json!({}),
        json!({ "job": "" }),
        json!({ "job": "eA==", "jobType": "x" }),
    ] {
        assert_eq!(
            house.post("/sessions/0/submit-job", body).await.0,
            StatusCode::BAD_REQUEST
        );
    }
}

/// A job that was running when its driver died: nobody knows what it did, and its client is told.
#[tokio::test]
async fn i3_a_job_whose_driver_died_is_not_run_again() {
    let house = limited(1 << 20);
    house.session().await;
    let job = json!({ "job": "eA==", "jobType": "pyspark" });
    house.post("/sessions/0/submit-job", job).await;
    house.wait_for("/sessions/0/jobs/1", "STARTED").await;
    house.backend.kill_driver();
    let ended = house.wait_for("/sessions/0/jobs/1", "FAILED").await;
    assert!(
        ended["error"].as_str().unwrap().contains("may or may not"),
        "{ended}"
    );
    assert_eq!(house.backend.starts(), 1);
}
