//! One HTTP/2 connection to a driver, shared by all calls.
//!
//! Tonic's channel would do the same, but each call would wait for one more task, in front of the connection's: some
//! 0.02 ms of the 0.2 that Berth adds to a short call (`make bench PARTS=stub`).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::Mutex;
use tonic::body::Body;
use tower::{BoxError, Service};

use super::{Connector, Stream};

/// Bytes of one answer stream that may be on their way from a driver.
const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes of one connection that may be on their way.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes of one frame that drivers may send. HTTP/2's least, which is its default, would cut a message of rows into
/// dozens.
const MAX_FRAME_BYTES: u32 = 1 << 20;
/// What drivers are told that they are called.
const AUTHORITY: &str = "driver.berth";

/// A connection that is dialled when it is used, and again after a loss. It ends with the last clone and its calls.
#[derive(Debug, Clone)]
pub(super) struct Link {
    connector: Connector,
    /// The driver's token, on each call.
    bearer: HeaderValue,
    sender: Arc<Mutex<Option<SendRequest<Body>>>>,
}

impl Link {
    pub(super) fn new(connector: Connector, token: &str) -> Self {
        let bearer = HeaderValue::try_from(format!("Bearer {token}"));
        Self {
            connector,
            // Tokens are hexadecimal; one that is not a header value is refused by the driver.
            bearer: bearer.unwrap_or_else(|_invalid| HeaderValue::from_static("")),
            sender: Arc::default(),
        }
    }

    /// Sends a call on the connection. Those who find none wait for one of them to dial.
    async fn sender(&self) -> Result<SendRequest<Body>, BoxError> {
        let mut known = self.sender.lock().await;
        if let Some(sender) = known.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = self.connector.connect().await?;
        let shaken = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME_BYTES)
            .handshake(stream);
        let (sender, connection) = shaken.await?;
        drive(connection);
        Ok(known.insert(sender).clone())
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Body>, BoxError> {
        address(request.uri_mut())?;
        request.headers_mut().insert(AUTHORIZATION, self.bearer.clone());
        let response = self.sender().await?.send_request(request).await?;
        Ok(response.map(Body::new::<Incoming>))
    }
}

/// Moves the bytes of a connection for as long as anybody has its sender or a call on it.
#[expect(
    clippy::disallowed_methods,
    reason = "it is owned by the senders, as that of tonic's channel is"
)]
fn drive(connection: Connection<Stream, Body, TokioExecutor>) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to a driver ended");
        }
    });
}

/// HTTP/2 wants the whole address of a path.
fn address(uri: &mut Uri) -> Result<(), http::uri::InvalidUriParts> {
    let mut parts = std::mem::take(uri).into_parts();
    (parts.scheme, parts.authority) = (Some(Scheme::HTTP), Some(Authority::from_static(AUTHORITY)));
    *uri = Uri::from_parts(parts)?;
    Ok(())
}

impl Service<Request<Body>> for Link {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
