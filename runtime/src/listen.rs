//! Listeners: an accept loop of our own with limits, over HTTP/1 and HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::tasks::Tasks;

/// Connections of one listener at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// A client that has not sent its headers by then is dropped.
const HEADER_DEADLINE: Duration = Duration::from_secs(10);
/// Clients before PySpark 4.3 neither ping nor set deadlines: without this a lost connection hangs them for ever.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_DEADLINE: Duration = Duration::from_secs(20);
/// Bytes of one request that may be on their way.
const STREAM_WINDOW: u32 = 1 << 20;
/// Bytes of one connection that may be on their way: what one client can make the process buffer.
const CONNECTION_WINDOW: u32 = 4 << 20;
const MAX_STREAMS: u32 = 1_000;

/// Serves `routes` on `listener` until the tasks drain, and lets open calls finish until they abort. `name` is a
/// metric label.
pub fn serve(name: &'static str, listener: TcpListener, routes: Router, tasks: &Tasks) {
    let (owner, room) = (tasks.clone(), Arc::new(Semaphore::new(MAX_CONNECTIONS)));
    let graceful = GracefulShutdown::new();
    tasks.spawn(name, async move {
        let draining = owner.shutdown().clone();
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = draining.draining() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = connection(stream, routes.clone());
                    let watched = graceful.watch(connection);
                    owner.spawn("client connection", async move {
                        metrics::gauge!("berth_connections", "listener" => name).increment(1);
                        if let Err(error) = watched.await {
                            tracing::debug!(listener = name, %error, "a client connection ended");
                        }
                        metrics::gauge!("berth_connections", "listener" => name).decrement(1);
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(listener = name, %error, "the listener does not accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        graceful.shutdown().await;
    });
}

type Connection = hyper_util::server::conn::auto::Connection<
    'static,
    TokioIo<TcpStream>,
    TowerToHyperService<Router>,
    TokioExecutor,
>;

fn connection(stream: TcpStream, routes: Router) -> Connection {
    // A socket without this option still works, a little slower.
    let _slower = stream.set_nodelay(true);
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
        .max_concurrent_streams(MAX_STREAMS);
    builder
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .into_owned()
}
