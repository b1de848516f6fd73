//! Calls over HTTP about operations of other brokers: they are passed on as they came, and answered there.

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, SET_COOKIE};
use http::{HeaderMap, Method, Uri};
use uuid::Uuid;

use super::wire::Message;
use super::{Hs2, handle};
use crate::dialects::sql::failure::Failure;
use crate::dialects::sql::peers::PASSED_ON;
use crate::dialects::sql::place::Place;

/// The calls about an operation.
const ABOUT_OPERATIONS: [&str; 6] = [
    "GetOperationStatus",
    "GetResultSetMetadata",
    "FetchResults",
    "CancelOperation",
    "CloseOperation",
    "GetQueryId",
];
/// What goes along with a call: who asks, and in what form.
const HEADERS: [http::HeaderName; 5] = [
    AUTHORIZATION,
    CONTENT_TYPE,
    HOST,
    http::HeaderName::from_static("traceparent"),
    http::HeaderName::from_static("tracestate"),
];

/// The operation that a call is about, if it runs at another broker than `here` and the call was not passed on yet.
pub(super) fn elsewhere(call: &Message<'_>, headers: &HeaderMap, here: Place) -> Option<Uuid> {
    if !ABOUT_OPERATIONS.contains(&call.name) || headers.contains_key(PASSED_ON) {
        return None;
    }
    let asked = handle::operation(call.arguments.fields(1)?).ok()?;
    (Place::of_operation(asked.id) != here).then_some(asked.id)
}

impl Hs2 {
    /// Has a call answered by the broker that runs its operation.
    ///
    /// # Errors
    /// That broker has gone, or does not answer.
    pub(super) async fn pass_on(
        &self,
        operation: Uuid,
        uri: Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Response, Failure> {
        let place = Place::of_operation(operation);
        let broker = self.directory.broker_at(place).await?;
        let broker = broker.ok_or_else(|| gone(operation))?;
        let url = broker.kyuubi_url.as_deref().ok_or_else(|| {
            Failure::passing(format!(
                "operation {operation} runs at broker {}, which tells no address; set \
                 broker.kyuubi.peer-address there",
                broker.id
            ))
        })?;
        let answered = self
            .peers
            .call(&self.directory, place, url, request(uri, headers, body))
            .await;
        let answered = answered.map(|mut response| {
            // There, a cookie is as good as a login. It is not to be had with a cookie alone.
            response.headers_mut().remove(SET_COOKIE);
            response
        });
        answered.map_err(|fault| {
            tracing::warn!(broker.id = %broker.id, error = %fault, "a call could not be passed on to another broker");
            Failure::passing(format!(
                "operation {operation} runs at broker {}, which does not answer; try again, rows from the start of \
                 the result",
                broker.id
            ))
        })
    }
}

fn gone(operation: Uuid) -> Failure {
    Failure::invalid(format!(
        "Invalid OperationHandle [{operation}]: the broker that ran it has gone; run the statement again, and look \
         first at what it has done if it writes"
    ))
}

fn request(uri: Uri, headers: &HeaderMap, body: Bytes) -> Request {
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    for name in HEADERS {
        if let Some(value) = headers.get(&name) {
            request.headers_mut().insert(name, value.clone());
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_goes_along_and_what_is_of_the_connection_does_not() {
        // hs2#64
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, "Basic x".parse().unwrap());
        headers.insert("content-encoding", "gzip".parse().unwrap());
        headers.insert("transfer-encoding", "chunked".parse().unwrap());
        let passed = request("/cliservice?doAs=bob".parse().unwrap(), &headers, Bytes::new());
        assert_eq!(passed.uri(), "/cliservice?doAs=bob");
        assert_eq!(passed.headers().len(), 1);
        assert_eq!(passed.headers()[AUTHORIZATION], "Basic x");
    }
}
