//! The pages for people.

use super::*;

impl House {
    async fn page(&self, path: &str) -> (StatusCode, http::HeaderMap, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (
            parts.status,
            parts.headers,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }
}

/// livy#36
#[tokio::test]
async fn the_root_leads_to_the_pages() {
    let house = house(1 << 20);
    for path in ["/", "/ui"] {
        let (status, headers, _) = house.page(path).await;
        assert_eq!(
            (status, headers["location"].to_str().unwrap()),
            (StatusCode::FOUND, "/ui/"),
            "{path}"
        );
    }
    let (status, headers, page) = house.page("/ui/").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/html;charset=utf-8");
    assert!(page.contains("There are no sessions"));
    let (_, headers, style) = house.page("/ui/style.css").await;
    assert_eq!(headers["content-type"], "text/css;charset=utf-8");
    assert!(style.contains(".badge"));
}

#[tokio::test]
async fn i7_pages_show_a_session_and_run_nothing_of_it() {
    let house = house(1 << 20);
    let hostile = "<script>alert(1)</script>";
    house
        .post(
            "/sessions",
            json!({ "kind": "pyspark", "name": hostile.replace('/', "") }),
        )
        .await;
    house.wait_for("/sessions/0/state", "idle").await;
    house
        .post("/sessions/0/statements", json!({ "code": hostile }))
        .await;
    house.backend.end_all("<b>2</b>");
    house.wait_for("/sessions/0/statements/0", "available").await;
    for (path, texts) in [
        (
            "/ui/",
            vec!["&lt;script&gt;alert(1)&lt;script&gt;", "idle", "session/0"],
        ),
        (
            "/ui/session/0",
            vec![
                "&lt;script&gt;alert(1)&lt;/script&gt;",
                "&lt;b&gt;2&lt;/b&gt;",
                "placed on a",
            ],
        ),
        ("/ui/session/0/log", vec!["a line"]),
    ] {
        let (status, headers, page) = house.page(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("script-src"),
            "{policy}"
        );
        assert!(!page.contains("<script") && !page.contains("<b>2"), "{page}");
        for text in texts {
            assert!(page.contains(text), "{path} {text}: {page}");
        }
    }
}

#[tokio::test]
async fn i7_pages_are_for_who_may_see_the_session() {
    let house = house(1 << 20);
    house
        .call_as("alice", Method::POST, "/sessions", &json!({ "name": "hers" }))
        .await;
    assert!(!house.page("/ui/").await.2.contains("hers"));
    for (path, wanted) in [
        ("/ui/session/0", StatusCode::FORBIDDEN),
        ("/ui/session/0/log", StatusCode::FORBIDDEN),
        ("/ui/session/7", StatusCode::NOT_FOUND),
    ] {
        let (status, headers, page) = house.page(path).await;
        assert_eq!(
            (status, headers["content-type"].to_str().unwrap()),
            (wanted, "text/html;charset=utf-8"),
            "{path}"
        );
        assert!(page.contains(wanted.as_str()), "{page}");
    }
}

#[tokio::test]
async fn pages_can_be_switched_off() {
    let house = house_of(LivyConfig {
        ui: false,
        ..LivyConfig::default()
    });
    for path in ["/", "/ui/"] {
        assert_eq!(house.page(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
}
