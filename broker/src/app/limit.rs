//! Refuses calls beyond the broker's limit, each dialect in its own words.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::calls::{Call, Calls};
use crate::dialects::connect;
use crate::dialects::kyuubi;
use crate::dialects::livy::refusal::Refusal;

const FULL: &str = "this broker serves as many calls as it may (broker.max-calls)";

/// For Spark Connect and the native API, whose clients wait and try again by themselves.
pub(super) async fn connect(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    match calls.enter("connect") {
        None => connect::too_busy(FULL).into_http(),
        Some(call) => held(next.run(request).await, call),
    }
}

/// For Livy.
pub(super) async fn livy(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    match calls.enter("livy") {
        None => Refusal::Unavailable(FULL.to_owned()).into_response(),
        Some(call) => held(next.run(request).await, call),
    }
}

/// For Kyuubi's REST API.
pub(super) async fn kyuubi(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    match calls.enter("kyuubi") {
        None => kyuubi::refusal::Refusal::Unavailable(FULL.to_owned()).into_response(),
        Some(call) => held(next.run(request).await, call),
    }
}

/// For HiveServer2's protocol over HTTP, whose clients take a status for what it is.
pub(super) async fn hs2(State(calls): State<Calls>, request: Request, next: Next) -> Response {
    match calls.enter("hs2") {
        None => (StatusCode::SERVICE_UNAVAILABLE, FULL).into_response(),
        Some(call) => held(next.run(request).await, call),
    }
}

/// The call lasts until its answer is sent, or nobody wants it any more.
fn held(response: Response, call: Call) -> Response {
    response.map(|body| Body::new(Held { body, _call: call }))
}

/// A body that belongs to a call.
struct Held {
    body: Body,
    _call: Call,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
