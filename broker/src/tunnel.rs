//! Connections to agents and, through them, to drivers.
//!
//! Both are mutual TLS to the agent's port, told apart by ALPN. A tunnel begins with a preamble that names the
//! driver; after the agent's answer the bytes are the driver's own (`agent/src/tunnel.rs` has the other side).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use berth_core::ids::DriverId;
use berth_runtime::certs::AGENT_NAME;
use http::{HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::dialects::connect::backend::{Upstream, UpstreamError};

/// Longest answer to a preamble.
const MAX_ANSWER_BYTES: u32 = 4096;
/// Dialling takes a round trip or two; an agent that needs longer is not there.
const DIAL_DEADLINE: Duration = Duration::from_secs(5);
/// Bytes of one answer stream that may be on their way from a driver.
const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes of one connection that may be on their way.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Opens connections with this broker's certificate.
#[derive(Debug, Clone)]
pub struct Dialer {
    calls: Tls,
    tunnels: Tls,
}

/// A TLS configuration with one ALPN protocol.
#[derive(Debug, Clone)]
struct Tls(Arc<ClientConfig>);

type Stream = TokioIo<TlsStream<TcpStream>>;

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
        let endpoint = Endpoint::from_static("http://driver.berth")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let bearer = HeaderValue::try_from(format!("Bearer {token}"));
        // Tokens are hexadecimal; one that is not a header value is refused by the driver.
        let bearer = bearer.unwrap_or_else(|_invalid| HeaderValue::from_static(""));
        let authorized = Authorized {
            channel: endpoint.connect_with_connector_lazy(connector),
            bearer,
        };
        BoxCloneSyncService::new(
            authorized.map_err(|error: tonic::transport::Error| UpstreamError(error.into())),
        )
    }
}

/// Puts the driver's token on each call.
#[derive(Debug, Clone)]
struct Authorized {
    channel: Channel,
    bearer: HeaderValue,
}

impl Service<http::Request<tonic::body::Body>> for Authorized {
    type Response = http::Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = <Channel as Service<http::Request<tonic::body::Body>>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.channel, cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        request
            .headers_mut()
            .insert(http::header::AUTHORIZATION, self.bearer.clone());
        self.channel.call(request)
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
        Box::pin(async move { tokio::time::timeout(DIAL_DEADLINE, connector.dial()).await? })
    }
}

impl Connector {
    async fn dial(&self) -> std::io::Result<Stream> {
        let stream = TcpStream::connect(&*self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(AGENT_NAME).map_err(std::io::Error::other)?;
        let mut stream = TlsConnector::from(Arc::clone(&self.tls.0))
            .connect(name, stream)
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

async fn introduce(stream: &mut TlsStream<TcpStream>, driver: DriverId) -> std::io::Result<()> {
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
