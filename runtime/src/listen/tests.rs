//! Real sockets on loopback, and silence on a paused clock.

use super::*;
use crate::certs;
use crate::tls::{Clients, TlsFiles, install_provider};
use axum::routing::get;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;

const ASK: &[u8] = b"GET /wait HTTP/1.1\r\nHost: berth\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

/// A page that says when it is asked for, and answers when it is told to.
fn page() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&asked), Arc::clone(&answer));
    let handler = move || async move {
        tell.notify_one();
        wait.notified().await;
        "answered"
    };
    (Router::new().route("/wait", get(handler)), asked, answer)
}

#[tokio::test]
async fn a_call_under_way_finishes_while_the_listener_drains() {
    let (routes, asked, answer) = page();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    serve("test", listener, routes, &tasks);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(ASK).await.unwrap();
    asked.notified().await;
    tasks.shutdown().drain();
    answer.notify_one();
    let mut text = String::new();
    client.read_to_string(&mut text).await.unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200") && text.ends_with("answered"),
        "{text}"
    );
    assert!(tasks.stop(PATIENCE).await);
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
}

/// The timer that the kernel has for the accepted end of a client's connection; 2 is the one that asks after it.
#[cfg(target_os = "linux")]
fn timer(server: std::net::SocketAddr, client: std::net::SocketAddr) -> String {
    let ends = format!(":{:04X} 0100007F:{:04X} ", server.port(), client.port());
    let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let accepted = sockets.lines().find(|line| line.contains(&ends)).unwrap();
    let timer = accepted.split_whitespace().nth(5).unwrap();
    timer.split(':').next().unwrap().to_owned()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_is_served_is_asked_after() {
    // hs2#43
    let (routes, asked, answer) = page();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    serve("test", listener, routes, &tasks);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(ASK).await.unwrap();
    asked.notified().await;
    assert_eq!(timer(address, client.local_addr().unwrap()), "02");
    answer.notify_one();
    tasks.stop(PATIENCE).await;
}

#[tokio::test]
async fn tls_offers_http2_first() {
    install_provider();
    let directory = tempfile::tempdir().unwrap();
    certs::make(directory.path(), &["localhost".to_owned()]).unwrap();
    let tls = TlsFiles::of_role(directory.path(), "broker").load().unwrap();
    let (routes, _, answer) = page();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new(Shutdown::new());
    let server = tls.server(Clients::Anyone).unwrap();
    serve_tls("test", listener, &server, routes, &tasks);
    for (offered, expected) in [(vec![b"h2".to_vec()], Some(&b"h2"[..])), (vec![], None)] {
        let is_http1 = offered.is_empty();
        let mut config = rustls::ClientConfig::clone(&tls.client().unwrap());
        config.alpn_protocols = offered;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), expected);
        if is_http1 {
            answer.notify_one();
            stream.write_all(ASK).await.unwrap();
            let mut start = [0; 12];
            stream.read_exact(&mut start).await.unwrap();
            assert_eq!(&start, b"HTTP/1.1 200");
        }
    }
    tasks.stop(PATIENCE).await;
}

#[tokio::test(start_paused = true)]
async fn i8_a_silent_client_is_dropped_at_the_deadline() {
    for said in [&b""[..], b"PRI * HTTP/2", b"GET /wait HTTP/1.1\r\nHost: be"] {
        let (mut near, far) = tokio::io::duplex(1 << 10);
        near.write_all(said).await.unwrap();
        let shutdown = Shutdown::new();
        let ended =
            tokio::time::timeout(HEADER_DEADLINE * 2, speak(far, None, Router::new(), &shutdown)).await;
        assert!(
            ended.expect("dropped in time").is_err(),
            "{}",
            String::from_utf8_lossy(said)
        );
    }
}
