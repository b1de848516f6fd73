//! How a broker has another one answer a call.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use berth_runtime::tasks::Tasks;
use http::header::{CONNECTION, HOST};
use http::{HeaderName, HeaderValue, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::directory::Directory;
use super::place::Place;

/// Marks a call that was passed on: it is answered where it comes to, whatever that is.
pub(crate) const PASSED_ON: HeaderName = HeaderName::from_static("x-berth-passed-on");
/// How long the other broker may take to accept a connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);
/// How often it is looked whether a broker that has a call still holds its lease.
const LOOK_INTERVAL: Duration = Duration::from_secs(3);

/// How other brokers are called.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    tls: Arc<ClientConfig>,
    tasks: Tasks,
}

/// Why another broker did not answer.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

impl Peers {
    /// Calls with the certificates that brokers and agents show each other.
    pub(crate) fn new(tls: Arc<ClientConfig>, tasks: Tasks) -> Self {
        Self { tls, tasks }
    }

    /// Has a request answered by the broker of a place, which is at `url`.
    ///
    /// # Errors
    /// It cannot be reached, does not answer, or loses its lease before it does.
    pub(crate) async fn call(
        &self,
        directory: &Directory,
        place: Place,
        url: &str,
        request: Request,
    ) -> Result<Response, Fault> {
        tokio::select! {
            answered = self.dial(url, request) => answered,
            () = lost(directory, place) => Err("it has lost its lease".into()),
        }
    }

    async fn dial(&self, url: &str, request: Request) -> Result<Response, Fault> {
        let url: Uri = url.parse()?;
        let address = url.authority().ok_or("the address has no host")?.clone();
        let stream = tokio::time::timeout(DIAL_DEADLINE, TcpStream::connect(address.as_str())).await??;
        stream.set_nodelay(true)?;
        if url.scheme_str() != Some("https") {
            return self.send(stream, request).await;
        }
        let host = address.host().trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let stream = tokio::time::timeout(DIAL_DEADLINE, connector.connect(name, stream)).await??;
        self.send(stream, request).await
    }

    /// Sends a request on a connection of its own, which ends with the answer.
    async fn send<S>(&self, stream: S, mut request: Request) -> Result<Response, Fault>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        self.tasks.spawn("call to another broker", async move {
            // What is wrong with it is told to whoever waits for the answer.
            let _ended = connection.await;
        });
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
        let headers = request.headers_mut();
        headers.insert(PASSED_ON, HeaderValue::from_static("1"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        headers.entry(HOST).or_insert(HeaderValue::from_static("berth"));
        *request.version_mut() = http::Version::HTTP_11;
        let mut response = sender.send_request(request).await?;
        response.headers_mut().remove(CONNECTION);
        Ok(response.map(Body::new))
    }
}

/// Waits until a broker has lost its lease: one whose machine is gone says nothing.
async fn lost(directory: &Directory, place: Place) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        if matches!(directory.broker_at(place).await, Ok(None)) {
            return;
        }
    }
}
