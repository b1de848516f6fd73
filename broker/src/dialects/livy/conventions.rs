//! Livy's conventions of HTTP, the same around every call: compressed bodies, the version in `Accept`, the header
//! against cross-site requests, the headers for browsers, and errors where no call is.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use berth_runtime::listen::OverTls;
use http::header::{
    ACCEPT, CONTENT_SECURITY_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    X_XSS_PROTECTION,
};
use http::{HeaderName, HeaderValue, Method};
use tower::util::MapRequest;
use tower_http::compression::CompressionLayer;
use tower_http::decompression::RequestDecompressionLayer;

use super::refusal::Refusal;
use super::{LivyConfig, access};

const VENDOR: &str = "application/vnd.livy.v";
const VERSION: &str = "0.1";
/// Names and values of one request's headers.
const MAX_HEADER_BYTES: usize = 128 << 10;
/// A call that only reads, or may be made again, is answered or refused within this time, whatever of the cluster is
/// failing over.
const DEADLINE: Duration = Duration::from_millis(4500);
/// What stands in for the method of a POST.
const OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
const REQUESTED_BY: HeaderName = HeaderName::from_static("x-requested-by");
const HSTS: &str = "max-age=31536000; includeSubDomains";
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
        .layer(middleware::from_fn(reads_in_time))
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
    let calls = calls
        .layer(middleware::from_fn(small_headers))
        .layer(CompressionLayer::new().gzip(true).deflate(true));
    // Around the routes, since they go by the method.
    let calls = Router::new().fallback_service(MapRequest::new(calls, with_method));
    for_browsers(calls, config.security_headers)
}

/// Puts the headers for browsers on every answer, also on one that says that nobody has logged in.
pub(crate) fn for_browsers(routes: Router, enabled: bool) -> Router {
    if enabled {
        routes.layer(middleware::from_fn(security))
    } else {
        routes
    }
}

/// A POST that stands in for another method.
fn with_method(mut request: Request) -> Request {
    let named = OVERRIDES.iter().find_map(|name| request.headers().get(*name));
    let method =
        named.and_then(|name| Method::from_bytes(name.as_bytes().to_ascii_uppercase().as_slice()).ok());
    if let Some(method) = method.filter(|_| request.method() == Method::POST) {
        *request.method_mut() = method;
    }
    request
}

/// What only reads can be given up half-way; a client that asks again loses nothing.
async fn reads_in_time(request: Request, next: Next) -> Response {
    if [Method::GET, Method::HEAD].contains(request.method()) {
        in_time(request, next).await
    } else {
        next.run(request).await
    }
}

/// Gives a call up that does not end soon: one that may be made again, and whose work does not stop half-way.
pub(super) async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(DEADLINE, next.run(request)).await;
    answer.unwrap_or_else(|_late| {
        let reason = "the store or the session's node does not answer".to_owned();
        Refusal::Unavailable(reason).into_response()
    })
}

async fn small_headers(request: Request, next: Next) -> Response {
    let headers = request.headers().iter();
    let bytes: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > MAX_HEADER_BYTES {
        return Refusal::HeadersTooLarge(MAX_HEADER_BYTES).into_response();
    }
    next.run(request).await
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
    let over_tls = request.extensions().get::<OverTls>().is_some();
    let mut response = next.run(request).await;
    if over_tls {
        let hsts = HeaderValue::from_static(HSTS);
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
    }
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
