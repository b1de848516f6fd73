//! Calls about operations of other brokers: they are passed on as they came, and answered there.
//!
//! An operation's rows and its client's place in them are where it runs. Its id tells which broker that is, so a client
//! may send each call to any of them.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use berth_core::record::BrokerRecord;
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
use uuid::Uuid;

use super::Kyuubi;
use super::refusal::Refusal;
use crate::dialects::sql::place::Place;

/// Marks a call that was passed on: it is answered where it comes to, whatever that is.
pub(crate) const PASSED_ON: HeaderName = HeaderName::from_static("x-berth-passed-on");
/// How long the other broker may take to accept a connection.
const DIAL_DEADLINE: Duration = Duration::from_secs(3);

/// How other brokers are called.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    tls: Arc<ClientConfig>,
    tasks: Tasks,
}

/// Why another broker did not answer.
pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Passes a call on if its operation runs at another broker.
pub(super) async fn to_its_broker(
    State(kyuubi): State<Arc<Kyuubi>>,
    Path(operation): Path<String>,
    OriginalUri(uri): OriginalUri,
    mut request: Request,
    next: Next,
) -> Response {
    let place = Uuid::try_parse(&operation).map(Place::of_operation);
    let elsewhere = place.ok().filter(|place| *place != kyuubi.engine.place);
    match elsewhere {
        Some(place) if !request.headers().contains_key(PASSED_ON) => {
            // Here, what the routes above have taken from the path is missing.
            *request.uri_mut() = uri;
            pass_on(&kyuubi, place, &operation, request)
                .await
                .unwrap_or_else(Refusal::into_response)
        }
        Some(_) | None => next.run(request).await,
    }
}

async fn pass_on(
    kyuubi: &Kyuubi,
    place: Place,
    operation: &str,
    request: Request,
) -> Result<Response, Refusal> {
    let operation: String = operation.chars().take(100).collect();
    let gone = || {
        Refusal::NotFound(format!(
            "Invalid OperationHandle [{operation}]: the broker that ran it has gone; run the statement again"
        ))
    };
    let broker = kyuubi.directory.broker_at(place).await?.ok_or_else(gone)?;
    let unreachable = || {
        Refusal::Unavailable(format!(
            "operation {operation} runs at broker {}, which tells no address; set broker.kyuubi.peer-address there",
            broker.id
        ))
    };
    let url = broker.kyuubi_url.as_deref().ok_or_else(unreachable)?;
    let answered = kyuubi.peers.call(url, request).await;
    answered.map_err(|fault| away(&broker, &operation, &fault))
}

fn away(broker: &BrokerRecord, operation: &str, fault: &Fault) -> Refusal {
    tracing::warn!(broker.id = %broker.id, error = %fault, "a call could not be passed on to another broker");
    Refusal::Unavailable(format!(
        "operation {operation} runs at broker {}, which does not answer",
        broker.id
    ))
}

impl Peers {
    /// Calls with the certificates that brokers and agents show each other.
    pub(crate) fn new(tls: Arc<ClientConfig>, tasks: Tasks) -> Self {
        Self { tls, tasks }
    }

    /// Has a request answered by the broker at `url`.
    ///
    /// # Errors
    /// It cannot be reached, or does not answer.
    pub(crate) async fn call(&self, url: &str, request: Request) -> Result<Response, Fault> {
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
