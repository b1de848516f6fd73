//! Connections to agents and, through them, to drivers.
//!
//! Both are mutual TLS to the agent's port, told apart by ALPN. A tunnel begins with a preamble that names the
//! driver; after the agent's answer the bytes are the driver's own (`agent/src/tunnel.rs` has the other side).

mod link;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_core::ids::DriverId;
use berth_runtime::certs::AGENT_NAME;
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::dialects::connect::backend::{Upstream, UpstreamError};
use link::Link;

/// Longest answer to a preamble.
const MAX_ANSWER_BYTES: u32 = 4096;
/// Dialling takes a round trip or two; an agent that needs longer is not there.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);

/// Opens connections with this broker's certificate.
#[derive(Debug, Clone)]
pub struct Dialer {
    calls: Tls,
    tunnels: Tls,
}

/// A TLS configuration with one ALPN protocol.
#[derive(Debug, Clone)]
struct Tls(Arc<ClientConfig>);

/// Read by so many bytes: by itself rustls asks the system for each quarter of a record.
const READ_BYTES: usize = 32 << 10;

type Wire = TlsStream<BufReader<TcpStream>>;
type Stream = TokioIo<Wire>;

impl Dialer {
    /// A dialer that shows the certificate of `tls`.
    pub fn new(tls: &Arc<ClientConfig>) -> Self {
        let with_protocol = |protocol: &[u8]| {
            let mut config = ClientConfig::clone(tls);
            config.alpn_protocols = vec![protocol.to_vec()];
            Tls(Arc::new(config))
        };
        Self {
            calls: with_protocol(b"h2"),
            tunnels: with_protocol(b"berth-tunnel/1"),
        }
    }

    /// Connects to an agent's gRPC API.
    pub(crate) fn agent(&self, address: &str) -> Connector {
        Connector {
            tls: self.calls.clone(),
            address: address.into(),
            driver: None,
        }
    }

    /// The connection to a driver's Connect port, with its token on every call. It is dialled when it is used, and
    /// again after a loss.
    pub fn driver(&self, address: &str, driver: DriverId, token: &str) -> Upstream {
        let connector = Connector {
            tls: self.tunnels.clone(),
            address: address.into(),
            driver: Some(driver),
        };
        BoxCloneSyncService::new(Link::new(connector, token).map_err(UpstreamError))
    }
}

/// Makes connections of one kind to one address.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    tls: Tls,
    address: Arc<str>,
    driver: Option<DriverId>,
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = std::io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _uri: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await })
    }
}

impl Connector {
    async fn connect(&self) -> std::io::Result<Stream> {
        tokio::time::timeout(DIAL_DEADLINE, self.dial()).await?
    }

    async fn dial(&self) -> std::io::Result<Stream> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(AGENT_NAME).map_err(std::io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::clone(&self.tls.0))
            .connect(name, BufReader::with_capacity(READ_BYTES, stream))
            .await?;
        if let Some(driver) = self.driver {
            introduce(&mut stream, driver).await?;
        }
        Ok(TokioIo::new(stream))
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: String,
}

async fn introduce(stream: &mut Wire, driver: DriverId) -> std::io::Result<()> {
    let preamble = serde_json::to_vec(&serde_json::json!({ "v": 1, "driver": driver }))
        .map_err(std::io::Error::other)?;
    stream
        .write_u32(u32::try_from(preamble.len()).unwrap_or(u32::MAX))
        .await?;
    stream.write_all(&preamble).await?;
    stream.flush().await?;
    let length = stream.read_u32().await?;
    if length > MAX_ANSWER_BYTES {
        return Err(std::io::Error::other("the agent's answer is not one"));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    let answer: Answer = serde_json::from_slice(&bytes).map_err(std::io::Error::other)?;
    if answer.ok {
        Ok(())
    } else {
        Err(std::io::Error::other(answer.error))
    }
}
