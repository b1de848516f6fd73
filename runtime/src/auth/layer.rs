//! The layer: puts an [`Identity`](super::Identity) into each request, or answers in the caller's own protocol.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::body::Body;
use futures_util::future::Either;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower::{Layer, Service};

use super::Authenticator;

/// gRPC's code UNAUTHENTICATED.
const UNAUTHENTICATED: &str = "16";
/// The same for every refusal: an error that tells what was nearly right helps whoever guesses.
const REFUSED: &str = "no valid token; send one as a bearer token";

/// Authenticates every request of the service it is put around.
#[derive(Debug, Clone)]
pub struct AuthenticateLayer {
    authenticator: Authenticator,
    listener: &'static str,
}

impl AuthenticateLayer {
    /// A layer for the listener of this name, which is a metric label.
    pub fn new(authenticator: Authenticator, listener: &'static str) -> Self {
        Self {
            authenticator,
            listener,
        }
    }
}

impl<S> Layer<S> for AuthenticateLayer {
    type Service = Authenticate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticate {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of [`AuthenticateLayer`].
#[derive(Debug, Clone)]
pub struct Authenticate<S> {
    inner: S,
    layer: AuthenticateLayer,
}

impl<S, B> Service<Request<B>> for Authenticate<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match self.layer.authenticator.identify(request.headers()) {
            Some(identity) => {
                request.extensions_mut().insert(identity);
                Either::Left(self.inner.call(request))
            }
            None => {
                metrics::counter!("berth_authentication_refusals_total", "listener" => self.layer.listener)
                    .increment(1);
                Either::Right(ready(Ok(refusal(request.headers()))))
            }
        }
    }
}

fn refusal(headers: &HeaderMap) -> Response<Body> {
    let content = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content.is_some_and(|content| content.starts_with(b"application/grpc")) {
        let mut response = Response::new(Body::empty());
        let answer = response.headers_mut();
        answer.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        answer.insert("grpc-status", HeaderValue::from_static(UNAUTHENTICATED));
        answer.insert("grpc-message", HeaderValue::from_static(REFUSED));
        return response;
    }
    let mut response = Response::new(Body::from(format!("{{\"msg\":\"{REFUSED}\"}}")));
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    let answer = response.headers_mut();
    answer.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/json;charset=utf-8"),
    );
    answer.append(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer.append(
        WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"berth\""),
    );
    response
}
