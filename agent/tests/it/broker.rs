//! What a broker does with an agent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_proto::agent as api;
use berth_proto::agent::agent_client::AgentClient;
use berth_proto::agent::reserve_reply::Is;
use berth_proto::agent::reserve_reply::refused::Reason;
use berth_runtime::certs::AGENT_NAME;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Longest start of a driver.
const START: Duration = Duration::from_secs(120);

/// A broker's connections to one agent.
pub(crate) struct Broker {
    pub(crate) agent: AgentClient<Channel>,
    address: SocketAddr,
    tls: Arc<ClientConfig>,
}

async fn connect(
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    alpn: &'static [u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut tls = ClientConfig::clone(&tls);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(AGENT_NAME).unwrap();
    TlsConnector::from(Arc::new(tls)).connect(name, stream).await
}

impl Broker {
    pub(crate) fn new(address: SocketAddr, tls: &Arc<ClientConfig>) -> Self {
        let (tls, dialled) = (Arc::clone(tls), Arc::clone(tls));
        let dial = tower::service_fn(move |_| {
            let tls = Arc::clone(&dialled);
            async move { connect(address, tls, b"h2").await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://agent.berth").connect_with_connector_lazy(dial);
        Self {
            agent: AgentClient::new(channel),
            address,
            tls,
        }
    }

    /// Reserves and waits for the end of the stream.
    pub(crate) async fn reserve(
        &self,
        session: SessionId,
        epoch: u64,
        key: &str,
    ) -> Result<api::Endpoint, (Reason, String)> {
        self.reserve_in("default", session, epoch, key).await
    }

    pub(crate) async fn reserve_in(
        &self,
        profile: &str,
        session: SessionId,
        epoch: u64,
        key: &str,
    ) -> Result<api::Endpoint, (Reason, String)> {
        let request = api::ReserveRequest {
            session_id: session.to_string(),
            epoch,
            profile: profile.to_owned(),
            tenant: "t".to_owned(),
            share_key: key.to_owned(),
            ..Default::default()
        };
        let reserved = async {
            let mut replies = self.agent.clone().reserve(request).await.unwrap().into_inner();
            loop {
                match replies.message().await.unwrap().and_then(|reply| reply.is) {
                    Some(Is::Ready(endpoint)) => return Ok(endpoint),
                    Some(Is::Refused(refused)) => return Err((refused.reason(), refused.message)),
                    Some(Is::Starting(_)) => {}
                    None => panic!("the stream ended early"),
                }
            }
        };
        tokio::time::timeout(START, reserved).await.unwrap()
    }

    pub(crate) async fn locate(&self, session: SessionId, epoch: u64) -> Result<api::Endpoint, Status> {
        let session_id = session.to_string();
        let located = self
            .agent
            .clone()
            .locate(api::LocateRequest { session_id, epoch })
            .await;
        located.map(tonic::Response::into_inner)
    }

    pub(crate) async fn fence(&self, session: SessionId, below_epoch: u64, forget: bool) {
        let request = api::FenceRequest {
            session_id: session.to_string(),
            below_epoch,
            forget,
        };
        self.agent.clone().fence(request).await.unwrap();
    }

    pub(crate) async fn drivers(&self) -> Vec<api::Driver> {
        let listed = self.agent.clone().list_drivers(api::ListDriversRequest {}).await;
        listed.unwrap().into_inner().drivers
    }

    /// Opens a tunnel and greets the driver in HTTP/2; gives the type of the first frame that it answers.
    pub(crate) async fn greet_through_tunnel(&self, driver: &str) -> Result<u8, String> {
        let (mut tunnel, answer) = self.tunnel(driver).await;
        if answer["ok"] != true {
            return Err(answer["error"].as_str().unwrap().to_owned());
        }
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        tunnel
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        tunnel.write_all(&settings).await.unwrap();
        tunnel.flush().await.unwrap();
        let mut frame = [0; 9];
        tunnel.read_exact(&mut frame).await.unwrap();
        Ok(frame[3])
    }

    pub(crate) async fn tunnel(&self, driver: &str) -> (TlsStream<TcpStream>, serde_json::Value) {
        let mut tunnel = connect(self.address, Arc::clone(&self.tls), b"berth-tunnel/1")
            .await
            .unwrap();
        let preamble = serde_json::json!({ "v": 1, "driver": driver }).to_string();
        tunnel
            .write_u32(preamble.len().try_into().unwrap())
            .await
            .unwrap();
        tunnel.write_all(preamble.as_bytes()).await.unwrap();
        tunnel.flush().await.unwrap();
        let length = tunnel.read_u32().await.unwrap();
        let mut answer = vec![0; length as usize];
        tunnel.read_exact(&mut answer).await.unwrap();
        (tunnel, serde_json::from_slice(&answer).unwrap())
    }

    /// Starts a statement in epoch 1.
    pub(crate) async fn start(
        &self,
        session: SessionId,
        id: &str,
        kind: &str,
        code: &str,
    ) -> Result<api::Statement, Status> {
        let request = api::StartStatementRequest {
            session_id: session.to_string(),
            epoch: 1,
            statement_id: id.to_owned(),
            kind: kind.to_owned(),
            code: code.to_owned(),
        };
        let started = self.agent.clone().start_statement(request).await;
        started.map(tonic::Response::into_inner)
    }

    pub(crate) async fn get(
        &self,
        session: SessionId,
        id: &str,
        wait_ms: u32,
    ) -> Result<api::Statement, Status> {
        let request = api::GetStatementRequest {
            session_id: session.to_string(),
            epoch: 1,
            statement_id: id.to_owned(),
            wait_ms,
        };
        let got = self.agent.clone().get_statement(request).await;
        got.map(tonic::Response::into_inner)
    }

    /// Runs a statement in epoch 1 to its end.
    pub(crate) async fn run(&self, session: SessionId, id: &str, kind: &str, code: &str) -> api::Statement {
        self.start(session, id, kind, code).await.unwrap();
        self.get(session, id, 60_000).await.unwrap()
    }
}

pub(crate) fn session(n: u128) -> SessionId {
    SessionId::new(uuid::Uuid::from_u128(n))
}

/// The value of one MIME type of an output.
pub(crate) fn output(statement: &api::Statement, mime: &str) -> serde_json::Value {
    let outputs: serde_json::Value = serde_json::from_str(&statement.output_json).unwrap();
    outputs[mime].clone()
}
