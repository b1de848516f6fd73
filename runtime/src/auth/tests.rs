//! What is shown, and what comes of it.

use axum::body::Body;
use base64::Engine as _;
use http::{Request, Response, StatusCode};
use tower::{Layer as _, ServiceExt as _};

use super::*;

const TOKEN: &str = "a-token-of-some-length";

fn basic(text: &str) -> String {
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(text))
}

fn headers(authorization: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in authorization {
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    headers
}

fn tokens(text: &str) -> (tempfile::NamedTempFile, Result<Authenticator, TokensError>) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let authenticator = Authenticator::new(Some(file.path().to_owned()));
    (file, authenticator)
}

type Case<'a> = (&'a str, &'a [&'a str], Option<&'a str>, Option<&'a str>);

#[test]
fn i7_only_a_known_token_names_a_user() {
    let (_file, checking) = tokens(&format!(
        "# users\n\n{TOKEN} ann science\nanother-token-0123 bob arts\n"
    ));
    let checking = checking.unwrap();
    let (bearer, named) = (format!("bearer  {TOKEN}"), basic(&format!("ann:{TOKEN}")));
    let (other_user, no_user) = (basic(&format!("bob:{TOKEN}")), basic(&format!(":{TOKEN}")));
    let no_colon = basic("ann");
    let (longer, shorter) = (format!("Bearer {TOKEN}x"), format!("Bearer {}", &TOKEN[1..]));
    // What is shown, then whom it names where it is checked and where it is believed.
    let cases: [Case<'_>; 12] = [
        ("bearer", &[&bearer], Some("ann"), None),
        ("basic", &[&named], Some("ann"), Some("ann")),
        ("nothing", &[], None, None),
        ("an empty token", &["Bearer "], None, None),
        ("a longer token", &[&longer], None, None),
        ("a shorter token", &[&shorter], None, None),
        ("another's token", &[&other_user], None, Some("bob")),
        ("no user", &[&no_user], None, None),
        ("no colon", &[&no_colon], None, Some("ann")),
        ("not base64", &["Basic ###"], None, None),
        ("another scheme", &["Negotiate abc"], None, None),
        ("two credentials", &[&bearer, &bearer], None, None),
    ];
    for (case, shown, checked, trusted) in cases {
        let headers = headers(shown);
        let user = |authenticator: &Authenticator| authenticator.identify(&headers).map(|who| who.user);
        assert_eq!(
            user(&checking),
            checked.map(|user| Some(user.to_owned())),
            "{case}"
        );
        assert_eq!(
            user(&Authenticator::Trust),
            Some(trusted.map(str::to_owned)),
            "{case}, trusted"
        );
    }
}

#[test]
fn a_faulty_line_is_named_and_not_shown() {
    for (text, expected) in [
        ("a-token-of-some-length ann\n", "line 1"),
        ("# fine\nshort ann science\n", "line 2"),
    ] {
        let error = tokens(text).1.unwrap_err().to_string();
        assert!(
            error.contains(expected) && !error.contains("ann "),
            "{text:?}: {error}"
        );
    }
}

#[test]
fn a_replaced_file_takes_effect_and_a_faulty_one_does_not() {
    let (file, authenticator) = tokens(&format!("{TOKEN} ann science\n"));
    let Ok(Authenticator::Tokens(tokens)) = authenticator else {
        panic!("tokens")
    };
    assert!(!tokens.reload().unwrap());
    std::fs::write(file.path(), "oops").unwrap();
    assert!(tokens.reload().is_err());
    assert!(tokens.find(TOKEN).is_some());
    std::fs::write(file.path(), "another-token-0123 bob arts").unwrap();
    assert!(tokens.reload().unwrap());
    assert!(tokens.find(TOKEN).is_none());
}

async fn ask(authenticator: Authenticator, content: &str, shown: &[&str]) -> (StatusCode, HeaderMap, bool) {
    let reached = tower::service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(
            request
                .extensions()
                .get::<Identity>()
                .cloned()
                .unwrap_or_default(),
        );
        Ok::<_, std::convert::Infallible>(response)
    });
    let mut request = Request::new(Body::empty());
    *request.headers_mut() = headers(shown);
    request
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, content.parse().unwrap());
    let service = AuthenticateLayer::new(authenticator, "test").layer(reached);
    let response = service.oneshot(request).await.unwrap();
    let is_reached = response.extensions().get::<Identity>().is_some();
    (response.status(), response.headers().clone(), is_reached)
}

#[tokio::test]
async fn refusals_are_in_the_callers_protocol() {
    let (_file, checking) = tokens(&format!("{TOKEN} ann science\n"));
    let checking = checking.unwrap();
    let (status, headers, reached) = ask(checking.clone(), "application/grpc+proto", &[]).await;
    assert_eq!(
        (status, headers["grpc-status"].as_bytes(), reached),
        (StatusCode::OK, &b"16"[..], false)
    );
    let (status, headers, reached) = ask(checking.clone(), "application/json", &[]).await;
    assert_eq!((status, reached), (StatusCode::UNAUTHORIZED, false));
    assert!(headers.contains_key("www-authenticate"));
    let (status, _, reached) = ask(checking, "application/json", &[&format!("Bearer {TOKEN}")]).await;
    assert_eq!((status, reached), (StatusCode::OK, true));
}
