//! Calls of a session's driver.

use std::future::Future;

use bytes::Bytes;
use tonic::client::Grpc;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Request, Status, Streaming};

use super::backend::{Route, Upstream};
use super::codec::{HEADROOM_BYTES, MAX_MESSAGE_BYTES, Message, RawCodec};
use super::rpc::Rpc;

fn client(route: &Route) -> Grpc<Upstream> {
    // The driver may answer with a message at the client's limit, and Berth's request may be over it by what was
    // appended to it.
    Grpc::new(route.upstream.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES + HEADROOM_BYTES)
}

/// What is said of a driver that the session has left.
pub(crate) fn left() -> Status {
    Status::unavailable("the session is not on this driver any more")
}

/// A call, as long as the session is there.
async fn there<T>(route: &Route, call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::select! {
        called = call => called,
        () = route.over.cancelled() => Err(left()),
    }
}

async fn ready(client: &mut Grpc<Upstream>) -> Result<(), Status> {
    client
        .ready()
        .await
        .map_err(|error| Status::from_error(error.into()))
}

fn with_metadata<T>(message: T, metadata: &MetadataMap) -> Request<T> {
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata.clone();
    request
}

/// Calls with one message and waits for one.
///
/// # Errors
/// The driver's status, or that of a broken connection; [`super::loss::Fault::of`] tells them apart.
pub(crate) async fn unary(
    route: &Route,
    rpc: Rpc,
    message: Message,
    metadata: &MetadataMap,
) -> Result<Bytes, Status> {
    let mut client = client(route);
    there(route, ready(&mut client)).await?;
    let request = with_metadata(message, metadata);
    let response = there(route, client.unary(request, rpc.path(), RawCodec)).await?;
    Ok(response.into_inner())
}

/// Calls with a sequence of messages and waits for one.
///
/// # Errors
/// As [`unary`].
pub(crate) async fn upload(
    route: &Route,
    rpc: Rpc,
    messages: Vec<Message>,
    metadata: &MetadataMap,
) -> Result<Bytes, Status> {
    let mut client = client(route);
    there(route, ready(&mut client)).await?;
    let request = with_metadata(tokio_stream::iter(messages), metadata);
    let response = there(route, client.client_streaming(request, rpc.path(), RawCodec)).await?;
    Ok(response.into_inner())
}

/// Calls with one message and gets a stream.
///
/// # Errors
/// As [`unary`].
pub(crate) async fn stream(
    route: &Route,
    rpc: Rpc,
    message: Message,
    metadata: &MetadataMap,
) -> Result<Streaming<Bytes>, Status> {
    let mut client = client(route);
    there(route, ready(&mut client)).await?;
    let request = with_metadata(message, metadata);
    let response = there(route, client.server_streaming(request, rpc.path(), RawCodec)).await?;
    Ok(response.into_inner())
}

/// Headers of a request that concern this hop, or that only Berth may read.
const OWN: [&str; 9] = [
    "authorization",
    "te",
    "content-type",
    "user-agent",
    "host",
    "connection",
    "cookie",
    "forwarded",
    "proxy-authorization",
];
/// Prefixes of such headers.
const OWN_PREFIXES: [&str; 4] = ["grpc-", "x-forwarded-", "x-berth-", ":"];

/// The headers of a client that its driver sees: trace context and whatever an interceptor there may want.
pub(crate) fn pass_on(metadata: &MetadataMap) -> MetadataMap {
    let mut passed = MetadataMap::new();
    for entry in metadata.iter() {
        match entry {
            KeyAndValueRef::Ascii(key, value) if !is_own(key.as_str()) => {
                passed.append(key.clone(), value.clone());
            }
            KeyAndValueRef::Binary(key, value) if !is_own(key.as_str()) => {
                passed.append_bin(key.clone(), value.clone());
            }
            KeyAndValueRef::Ascii(..) | KeyAndValueRef::Binary(..) => {}
        }
    }
    passed
}

fn is_own(name: &str) -> bool {
    OWN.contains(&name) || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_token_never_reaches_a_driver() {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", "Bearer secret".parse().unwrap());
        metadata.insert("grpc-timeout", "1S".parse().unwrap());
        metadata.insert("traceparent", "00-1-2-01".parse().unwrap());
        metadata.insert("x-team", "blue".parse().unwrap());
        let passed = pass_on(&metadata);
        assert!(passed.get("authorization").is_none());
        assert!(passed.get("grpc-timeout").is_none());
        assert!(passed.get("traceparent").is_some());
        assert!(passed.get("x-team").is_some());
    }
}
