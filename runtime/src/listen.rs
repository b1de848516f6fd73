//! Listeners: an accept loop of our own with limits, over HTTP/1 and HTTP/2, with TLS or without.

mod alive;
mod counted;
mod mixed;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tower::util::MapRequest;

use crate::tasks::{Shutdown, Tasks};
use counted::Counted;
pub use mixed::{Protocol, Stream};

/// Connections of one listener at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// A client that has not finished its handshake, or not sent its headers, by then is dropped.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// What tells HTTP/1 from HTTP/2 is within as many bytes.
const PREFACE_BYTES: u64 = 24;
/// Clients before PySpark 4.3 neither ping nor set deadlines: without this a lost connection hangs them for ever.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of one request that may be on their way.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes of one connection that may be on their way: what one client can make the process buffer.
const CONNECTION_WINDOW: u32 = 4 << 20;
const MAX_STREAMS: u32 = 1_000;
/// Livy's limit over HTTP/1, where the library's own is higher. Over HTTP/2 each header counts 32 bytes more.
const MAX_HEADER_BYTES: u32 = 160 << 10;

/// In the extensions of a request that came over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverTls;

/// In the extensions of each request: the address that its connection came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Why a connection ended before its client ended it.
type Ended = Box<dyn std::error::Error + Send + Sync>;

/// Serves `routes` on `listener` until the tasks drain, and lets open calls finish until they abort. `name` is a
/// metric label.
pub fn serve(name: &'static str, listener: TcpListener, routes: Router, tasks: &Tasks) {
    accept(name, listener, None, Served::http(routes), tasks);
}

/// As [`serve`], for a port on which `protocol` is spoken too, each connection by its first byte.
pub fn serve_mixed(
    name: &'static str,
    listener: TcpListener,
    tls: Option<&ServerConfig>,
    routes: Router,
    protocol: Arc<dyn Protocol>,
    tasks: &Tasks,
) {
    let routes = match tls {
        Some(_) => routes.layer(Extension(OverTls)),
        None => routes,
    };
    let served = Served {
        routes,
        protocol: Some(protocol),
    };
    accept(name, listener, tls.map(acceptor), served, tasks);
}

/// As [`serve`], with TLS. The configuration may follow reloads; ALPN is set here.
pub fn serve_tls(
    name: &'static str,
    listener: TcpListener,
    tls: &ServerConfig,
    routes: Router,
    tasks: &Tasks,
) {
    let served = Served::http(routes.layer(Extension(OverTls)));
    accept(name, listener, Some(acceptor(tls)), served, tasks);
}

fn acceptor(tls: &ServerConfig) -> TlsAcceptor {
    let mut tls = tls.clone();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    TlsAcceptor::from(Arc::new(tls))
}

/// What is spoken on a port.
#[derive(Clone)]
struct Served {
    routes: Router,
    protocol: Option<Arc<dyn Protocol>>,
}

impl Served {
    fn http(routes: Router) -> Self {
        Self {
            routes,
            protocol: None,
        }
    }
}

fn accept(
    name: &'static str,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    served: Served,
    tasks: &Tasks,
) {
    let (owner, room) = (tasks.clone(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    tasks.spawn(name, async move {
        let draining = owner.shutdown().clone();
        loop {
            let accepted = tokio::select! {
                accepted = next(&listener, &room) => accepted,
                () = draining.draining() => return,
            };
            match accepted {
                Ok((stream, place)) => {
                    let (tls, served, shutdown) = (tls.clone(), served.clone(), owner.shutdown().clone());
                    let open = Open::count(name, place);
                    owner.spawn("client connection", async move {
                        if let Err(error) = admit(stream, tls, served, &shutdown).await {
                            tracing::debug!(listener = name, error, "a client connection ended");
                        }
                        drop(open);
                    });
                }
                Err(error) => {
                    tracing::warn!(listener = name, %error, "the listener does not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    });
}

/// The next connection, once there is room for it.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await;
    let place = place.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

/// A connection in the count, until it is dropped on whatever path.
struct Open {
    name: &'static str,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn count(name: &'static str, place: OwnedSemaphorePermit) -> Self {
        metrics::gauge!("berth_connections", "listener" => name).increment(1);
        Self { name, _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        metrics::gauge!("berth_connections", "listener" => self.name).decrement(1);
    }
}

async fn admit(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    served: Served,
    shutdown: &Shutdown,
) -> Result<(), Ended> {
    let peer = stream.peer_addr().ok().map(|address| Peer(address.ip()));
    // A socket without this option still works, a little slower.
    let _slower = stream.set_nodelay(true);
    if let Err(error) = alive::watch(&stream) {
        tracing::debug!(%error, "a client that vanishes from this connection is not noticed");
    }
    match tls {
        None => tell_apart(stream, peer, served, shutdown).await,
        Some(tls) => {
            let stream = tokio::time::timeout(HEADER_DEADLINE, tls.accept(stream)).await??;
            tell_apart(stream, peer, served, shutdown).await
        }
    }
}

async fn tell_apart<S>(
    stream: S,
    peer: Option<Peer>,
    served: Served,
    shutdown: &Shutdown,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Some(protocol) = served.protocol else {
        return speak(stream, peer, served.routes, shutdown).await;
    };
    let peeked = tokio::select! {
        peeked = tokio::time::timeout(HEADER_DEADLINE, mixed::Peeked::new(stream)) => peeked??,
        () = shutdown.draining() => return Ok(()),
    };
    match peeked {
        None => Ok(()),
        Some((byte, stream)) if protocol.begins_with(byte) => {
            protocol.serve(Box::new(stream), shutdown.clone()).await;
            Ok(())
        }
        Some((_, stream)) => speak(stream, peer, served.routes, shutdown).await,
    }
}

async fn speak<S>(stream: S, peer: Option<Peer>, routes: Router, shutdown: &Shutdown) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, read) = Counted::new(stream);
    let builder = builder();
    let service = MapRequest::new(routes, move |mut request: Request<Incoming>| {
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        request
    });
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    // The library's header deadline begins once it knows the version; a client could stay silent before.
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = tokio::time::sleep(HEADER_DEADLINE) => {}
        () = shutdown.draining() => {}
    }
    if !shutdown.is_draining() {
        if read.bytes() < PREFACE_BYTES {
            return Err("the client did not say what it speaks in time".into());
        }
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = shutdown.draining() => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_DEADLINE)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_concurrent_streams(MAX_STREAMS);
    builder
}

#[cfg(test)]
mod tests;
