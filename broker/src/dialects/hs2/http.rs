//! The same calls over HTTP: one a request. Sessions do not end with a connection.

use std::sync::Arc;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, HeaderValue, StatusCode};
use axum::Extension;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, OriginalUri, Query, State};
use axum::response::Response;
use axum::routing::post;
use berth_runtime::auth::Identity;
use serde::Deserialize;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::decompression::RequestDecompressionLayer;

use super::calls::Client;
use super::{Hs2, caller, forward, wire};
use crate::dialects::sql::{Caller, Reach};

/// Answers below this size are sent as they are.
const MIN_COMPRESSED_BYTES: u16 = 4096;

/// What is asked beside the call.
#[derive(Debug, Default, Deserialize)]
struct Beside {
    /// The user to act for.
    #[serde(rename = "doAs")]
    do_as: Option<String>,
}

/// The routes of the dialect. A layer in front puts an [`Identity`] into the extensions of each request.
pub(crate) fn router(hs2: Arc<Hs2>) -> Router {
    let most = hs2.config.max_message_bytes;
    Router::new()
        .route("/cliservice", post(serve))
        .route("/cliservice/", post(serve))
        .layer(DefaultBodyLimit::max(most))
        // The limit is that of the bytes that come out of it.
        .layer(RequestDecompressionLayer::new())
        .layer(compression())
        .with_state(hs2)
}

/// Java's clients always ask for it: pages of rows are worth it at the lowest price, the other answers are not.
fn compression() -> CompressionLayer<SizeAbove> {
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(MIN_COMPRESSED_BYTES))
}

async fn serve(
    State(hs2): State<Arc<Hs2>>,
    identity: Option<Extension<Identity>>,
    Query(beside): Query<Beside>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let identity = identity.map(|Extension(identity)| identity).unwrap_or_default();
    let operator = identity.operator;
    let known = match caller(identity) {
        Ok(caller) => caller,
        Err(failure) => return refused(StatusCode::FORBIDDEN, &failure.text),
    };
    let call = match wire::read(&body) {
        Ok(call) => call,
        Err(fault) => {
            let text = format!("{fault}; send one call of Thrift's binary protocol");
            return refused(StatusCode::BAD_REQUEST, &text);
        }
    };
    if let Some(operation) = forward::elsewhere(&call, &headers, hs2.engine.place) {
        return match hs2.pass_on(operation, uri, &headers, body.clone()).await {
            Ok(response) => response,
            Err(failure) => answered(hs2.refuse(&call, &failure)),
        };
    }
    // Who came without a name is who the call names: nobody is asked here, or the layer in front had refused it.
    let login = move |user: &str, _: &str| {
        Some(Caller {
            user: Some(user.to_owned()).filter(|user| !user.is_empty()),
            tenant: None,
            operator,
        })
    };
    let mut client = Client {
        caller: Some(known),
        proxy_user: beside.do_as,
        opened: Vec::new(),
        reach: Reach::Any,
    };
    answered(hs2.answer(&mut client, &login, &call).await)
}

fn answered(answer: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(answer));
    let thrift = HeaderValue::from_static("application/x-thrift");
    response.headers_mut().insert(CONTENT_TYPE, thrift);
    response
}

fn refused(status: StatusCode, text: &str) -> Response {
    let mut response = Response::new(Body::from(text.to_owned()));
    *response.status_mut() = status;
    response
}
