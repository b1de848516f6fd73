//! Livy's conventions of HTTP, the same around every call: compressed bodies, the version in `Accept`, the header
//! against cross-site requests, the headers for browsers, and errors where no call is.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS, X_XSS_PROTECTION,
};
use http::{HeaderName, HeaderValue, Method};
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use super::refusal::Refusal;
use super::{LivyConfig, access};

const VENDOR: &str = "application/vnd.livy.v";
const VERSION: &str = "0.1";
const REQUESTED_BY: HeaderName = HeaderName::from_static("x-requested-by");
/// What Livy 0.9 adds to each answer.
const SECURITY: [(HeaderName, &str); 4] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "SAMEORIGIN"),
    (X_XSS_PROTECTION, "1; mode=block"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'self'; script-src 'self' 'unsafe-inline'; img-src 'self'; frame-src 'self';",
    ),
];

/// Puts the conventions around the calls.
pub(super) fn around(calls: Router, config: &LivyConfig) -> Router {
    // Other encodings are let through as they are: the Java client names its character set there.
    let inflate = RequestDecompressionLayer::new().pass_through_unaccepted(true);
    let calls = calls
        .fallback(nothing_here)
        .method_not_allowed_fallback(wrong_method)
        .layer(inflate)
        .layer(middleware::from_fn(version))
        .layer(middleware::from_fn_with_state(
            Arc::new(config.clone()),
            access::admit,
        ));
    let calls = if config.csrf_protection {
        calls.layer(middleware::from_fn(csrf))
    } else {
        calls
    };
    let calls = calls.layer(CompressionLayer::new().gzip(true).deflate(true));
    if config.security_headers {
        calls.layer(middleware::from_fn(security))
    } else {
        calls
    }
}

async fn nothing_here(request: Request) -> Refusal {
    Refusal::NoPath(request.uri().path().chars().take(200).collect())
}

async fn wrong_method(request: Request) -> Refusal {
    Refusal::NoMethod(request.method().to_string())
}

async fn version(request: Request, next: Next) -> Response {
    let accept = request
        .headers()
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok());
    match accept.and_then(unknown_version) {
        Some(version) => Refusal::NoVersion(version.to_owned()).into_response(),
        None => next.run(request).await,
    }
}

/// The API version that an `Accept` header insists on, if it is not the one there is.
fn unknown_version(accept: &str) -> Option<&str> {
    let wanted = accept.strip_prefix(VENDOR)?;
    let wanted = wanted.split('+').next().unwrap_or(wanted);
    (wanted != VERSION).then_some(wanted)
}

async fn csrf(request: Request, next: Next) -> Response {
    let harmless = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if harmless || request.headers().contains_key(REQUESTED_BY) {
        next.run(request).await
    } else {
        Refusal::Malformed("Missing Required Header for CSRF protection.".to_owned()).into_response()
    }
}

async fn security(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in SECURITY {
        let headers = response.headers_mut();
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_livys_own_media_type_names_a_version() {
        for accept in [
            "*/*",
            "application/json",
            "application/vnd.livy.v0.1",
            "application/vnd.livy.v0.1+json",
        ] {
            assert_eq!(unknown_version(accept), None, "{accept}");
        }
        assert_eq!(unknown_version("application/vnd.livy.v9.9"), Some("9.9"));
        assert_eq!(unknown_version("application/vnd.livy.v0.1,*/*"), Some("0.1,*/*"));
        assert_eq!(unknown_version("application/vnd.livy.v+json"), Some(""));
    }
}
