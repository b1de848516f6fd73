//! The agent's port: mutual TLS, then gRPC or a tunnel, told apart by ALPN.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::agent::agent_server::AgentServer;
use berth_runtime::tasks::Tasks;
use berth_runtime::telemetry::trace;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tonic::service::Routes;
use tracing::Instrument as _;

use crate::drivers::Drivers;
use crate::service::AgentService;
use crate::tunnel;

/// Connections at once: a broker has one for calls and one for each driver.
const MAX_CONNECTIONS: usize = 4096;
/// A peer that has not finished its handshake by then is dropped.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// A broker that vanished without a word is noticed by its silence.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_DEADLINE: Duration = Duration::from_secs(10);
/// Longest request: a statement's code with room to spare.
const MAX_REQUEST_BYTES: usize = 4 << 20;
/// Longest answer: a statement's result.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// Serves brokers: new connections until the tasks drain, open ones until they abort.
pub(crate) fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    drivers: Arc<Drivers>,
    tasks: &Tasks,
) {
    let mut tls = rustls::ServerConfig::clone(&tls);
    tls.alpn_protocols = vec![b"h2".to_vec(), tunnel::ALPN.to_vec()];
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(tls)),
        routes: Routes::new(agent_server(&drivers)),
        drivers,
    });
    let (owner, room) = (tasks.clone(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    tasks.spawn("agent listener", async move {
        let draining = owner.shutdown().clone();
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = draining.draining() => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let door = Arc::clone(&door);
                    owner.spawn("broker connection", async move {
                        if let Err(error) = door.admit(stream).await {
                            tracing::debug!(%peer, error, "a broker connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "the agent's port does not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
}

fn agent_server(drivers: &Arc<Drivers>) -> AgentServer<AgentService> {
    AgentServer::new(AgentService::new(Arc::clone(drivers)))
        .max_decoding_message_size(MAX_REQUEST_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES)
}

struct Door {
    acceptor: TlsAcceptor,
    routes: Routes,
    drivers: Arc<Drivers>,
}

impl Door {
    async fn admit(&self, stream: TcpStream) -> Result<(), String> {
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let handshake = tokio::time::timeout(HANDSHAKE_DEADLINE, self.acceptor.accept(stream)).await;
        let stream = handshake
            .map_err(|late| late.to_string())?
            .map_err(|error| error.to_string())?;
        if stream.get_ref().1.alpn_protocol() == Some(tunnel::ALPN) {
            return tunnel::serve(stream, Arc::clone(&self.drivers))
                .await
                .map_err(|error| error.to_string());
        }
        let routes = TowerToHyperService::new(self.routes.clone().prepare());
        let service = service_fn(move |request: http::Request<Incoming>| {
            let span = span(&request);
            routes.call(request).instrument(span)
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_DEADLINE)
            .max_concurrent_streams(1024)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            ended = connection.as_mut() => return ended.map_err(|error| error.to_string()),
            () = self.drivers.shutdown().draining() => connection.as_mut().graceful_shutdown(),
        }
        connection.await.map_err(|error| error.to_string())
    }
}

/// A broker's call as a part of the trace that it names; without one it is part of none.
fn span(request: &http::Request<Incoming>) -> tracing::Span {
    if !request.headers().contains_key("traceparent") {
        return tracing::Span::none();
    }
    let rpc = request.uri().path().rsplit('/').next().unwrap_or_default();
    let span = tracing::info_span!("agent", rpc, otel.kind = "server");
    trace::adopt(request.headers(), &span);
    span
}
