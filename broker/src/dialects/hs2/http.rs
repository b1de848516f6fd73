//! The same calls over HTTP: one a request. Sessions do not end with a connection.

use std::sync::Arc;

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderValue, StatusCode};
use axum::Extension;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::response::Response;
use axum::routing::post;
use berth_runtime::auth::Identity;
use serde::Deserialize;

use super::calls::Client;
use super::{Hs2, caller, wire};
use crate::dialects::sql::Caller;

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
        .with_state(hs2)
}

async fn serve(
    State(hs2): State<Arc<Hs2>>,
    identity: Option<Extension<Identity>>,
    Query(beside): Query<Beside>,
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
    };
    let answer = hs2.answer(&mut client, &login, &call).await;
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
