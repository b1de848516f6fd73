//! A Spark Connect server that runs nothing and answers at once.
//!
//! It speaks HTTP/2 and gRPC framing by hand on hyper: what it costs is not what is measured. It keeps no state: the
//! id of a response says which one follows. Its Arrow bytes are zeros, which Berth does not look at; a client that
//! decodes results cannot use them.

mod answer;
mod frame;
pub mod node;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use berth_runtime::tasks::Tasks;
use clap::Args;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};

use crate::codec::MAX_MESSAGE_BYTES;
use answer::Stub;
use frame::{Body, failure};

const WINDOW_BYTES: u32 = 8 << 20;

/// Parameters of the stub driver.
#[derive(Debug, Clone, Args)]
pub struct StubDriver {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The token that clients must present.
    #[arg(long, env = "BERTH_STUB_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Arrow batches in every result.
    #[arg(long, default_value_t = 1)]
    pub batches: u64,
    /// Bytes of each batch.
    #[arg(long, default_value_t = 320)]
    pub batch_bytes: usize,
    /// Rows that each batch says it has.
    #[arg(long, default_value_t = 1)]
    pub batch_rows: i64,
}

impl StubDriver {
    /// Listens, says where with `on_listening`, and serves until `tasks` drains.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn run(self, tasks: &Tasks, on_listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        on_listening(listener.local_addr()?);
        let stub = Arc::new(Stub::new(self));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tasks.shutdown().draining() => return Ok(()),
            };
            // A failed accept concerns one connection; out of descriptors, the pause lets some close.
            let Ok((socket, _)) = accepted else {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                continue;
            };
            tasks.spawn("stub-connection", serve(Arc::clone(&stub), socket));
        }
    }
}

async fn serve(stub: Arc<Stub>, socket: TcpStream) {
    socket.set_nodelay(true).ok();
    let service = service_fn(move |request| {
        let stub = Arc::clone(&stub);
        async move { Ok::<_, Infallible>(answer(&stub, request).await) }
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    // A connection that its client broke off is how benchmarks end.
    server.serve_connection(TokioIo::new(socket), service).await.ok();
}

async fn answer(stub: &Stub, request: http::Request<Incoming>) -> http::Response<Body> {
    if !stub.accepts(request.headers()) {
        return failure(tonic::Code::Unauthenticated, "Invalid authentication token");
    }
    let (head, body) = request.into_parts();
    match Limited::new(body, MAX_MESSAGE_BYTES + frame::PREFIX_BYTES)
        .collect()
        .await
    {
        Ok(body) => stub.answer(head.uri.path(), body.to_bytes()),
        Err(error) => failure(tonic::Code::ResourceExhausted, &error.to_string()),
    }
}

#[cfg(test)]
mod tests;
