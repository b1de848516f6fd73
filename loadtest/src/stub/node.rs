//! A node without drivers: it takes every session at once and has every statement's result, so that a broker can be
//! measured with far more sessions than this machine could run.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use berth_core::ids::{NodeId, NodeIncarnation};
use berth_core::keys;
use berth_core::record::{FORMAT, NodeRecord, Record};
use berth_proto::agent as api;
use berth_runtime::clock::unix_millis;
use berth_runtime::tasks::Tasks;
use berth_runtime::tls::{TlsFiles, install_provider};
use berth_store::etcd::{Etcd, EtcdConfig};
use berth_store::lease::Keeper;
use berth_store::{StoreRef, Txn, TxnOutcome};
use bytes::Bytes;
use clap::Args;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tonic::Code;
use uuid::Uuid;

use super::frame::{Body, failure, first_message, message, messages};

const LEASE: Duration = Duration::from_secs(10);
/// How often it sends its figures, as an agent of a quiet node does.
const FIGURES: Duration = Duration::from_secs(1);
const DRIVER_BYTES: u64 = 1 << 30;
const SLOTS: u32 = 1 << 20;

/// Parameters of the stub node.
#[derive(Debug, Clone, Args)]
pub struct StubNode {
    /// Members of etcd: http://host:port.
    #[arg(long, required = true, value_delimiter = ',')]
    etcd: Vec<String>,
    /// The directory that `berth certs` made.
    #[arg(long)]
    certs: PathBuf,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// What the node says of itself.
#[derive(Debug)]
struct Node {
    id: NodeId,
    incarnation: NodeIncarnation,
    /// Sessions with their epochs and drivers.
    sessions: Mutex<BTreeMap<String, (u64, String)>>,
}

impl StubNode {
    /// Registers as a node and serves brokers until `tasks` drains; says where with `on_listening`.
    ///
    /// # Errors
    /// When the address cannot be bound, etcd cannot be reached or another node has the name.
    pub async fn run(self, tasks: &Tasks, on_listening: impl FnOnce(SocketAddr)) -> anyhow::Result<()> {
        install_provider();
        let mut tls = rustls::ServerConfig::clone(&*TlsFiles::of_role(&self.certs, "agent").server()?);
        tls.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind(self.listen).await?;
        let address = listener.local_addr()?;
        let node = Arc::new(Node {
            id: "stub".parse()?,
            incarnation: NodeIncarnation::new(Uuid::new_v4()),
            sessions: Mutex::default(),
        });
        let store: StoreRef = Etcd::connect(EtcdConfig::new(self.etcd.clone())).await?;
        let _lease = node.register(&store, address).await?;
        on_listening(address);
        loop {
            let (socket, _) = tokio::select! {
                accepted = listener.accept() => accepted?,
                () = tasks.shutdown().draining() => return Ok(()),
            };
            let (node, acceptor) = (Arc::clone(&node), acceptor.clone());
            tasks.spawn("stub-broker", async move {
                // A connection that its broker broke off is how benchmarks end.
                node.serve(acceptor, socket).await.ok();
            });
        }
    }
}

impl Node {
    async fn register(&self, store: &StoreRef, address: SocketAddr) -> anyhow::Result<Keeper> {
        let keeper = Keeper::start(Arc::clone(store), LEASE).await?;
        let record = NodeRecord {
            format: FORMAT,
            id: self.id.clone(),
            incarnation: self.incarnation,
            address: address.to_string(),
            labels: BTreeMap::new(),
            draining: false,
            started_at: unix_millis(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let key = keys::node(&self.id);
        let put = Txn::new().put_leased(&key, record.encode(), keeper.held().await);
        let outcome = store.txn(put).await.context("registering the node")?;
        ensure!(matches!(outcome, TxnOutcome::Done(_)), "{key} was not written");
        Ok(keeper)
    }

    async fn serve(self: Arc<Self>, acceptor: TlsAcceptor, socket: TcpStream) -> anyhow::Result<()> {
        socket.set_nodelay(true)?;
        let stream = acceptor.accept(socket).await?;
        let service = service_fn(move |request: http::Request<Incoming>| {
            let node = Arc::clone(&self);
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.map(http_body_util::Collected::to_bytes);
                let answer = match body.ok().and_then(first_message) {
                    Some(request) => node.answer(head.uri.path(), request),
                    None => Ok(failure(Code::Internal, "the request is no gRPC message")),
                };
                Ok::<_, Infallible>(
                    answer.unwrap_or_else(|error| failure(Code::InvalidArgument, &error.to_string())),
                )
            }
        });
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_concurrent_streams(4096)
            .serve_connection(TokioIo::new(stream), service)
            .await?;
        Ok(())
    }

    fn answer(
        self: &Arc<Self>,
        path: &str,
        request: Bytes,
    ) -> Result<http::Response<Body>, prost::DecodeError> {
        Ok(match path.rsplit('/').next().unwrap_or_default() {
            "WatchLoad" => messages(self.figures()),
            "Reserve" => message(self.reserve(api::ReserveRequest::decode(request)?)),
            "Locate" => {
                let asked = api::LocateRequest::decode(request)?;
                let driver = self.sessions().get(&asked.session_id).cloned();
                match driver {
                    Some((_, driver)) => message(self.endpoint(driver)),
                    None => failure(Code::NotFound, "the session has no driver here"),
                }
            }
            "Fence" => {
                let fence = api::FenceRequest::decode(request)?;
                let mut sessions = self.sessions();
                sessions.retain(|session, (epoch, _)| {
                    *session != fence.session_id || *epoch >= fence.below_epoch
                });
                message(api::FenceReply {})
            }
            "ListDrivers" => message(self.drivers()),
            "ReadLog" => messages(stream::empty::<api::LogChunk>()),
            "StartStatement" => message(ended(api::StartStatementRequest::decode(request)?.statement_id)),
            "GetStatement" => message(ended(api::GetStatementRequest::decode(request)?.statement_id)),
            other => failure(Code::Unimplemented, &format!("the stub node has no {other}")),
        })
    }

    fn reserve(&self, asked: api::ReserveRequest) -> api::ReserveReply {
        let driver = Uuid::new_v4().to_string();
        self.sessions()
            .insert(asked.session_id, (asked.epoch, driver.clone()));
        api::ReserveReply {
            is: Some(api::reserve_reply::Is::Ready(self.endpoint(driver))),
        }
    }

    fn endpoint(&self, driver_id: String) -> api::Endpoint {
        api::Endpoint {
            driver_id,
            connect_token: "stub".to_owned(),
            spark_version: "4.3.0".to_owned(),
            application_id: String::new(),
            ui_url: String::new(),
            pid: 1,
            incarnation: self.incarnation.to_string(),
        }
    }

    fn drivers(&self) -> api::ListDriversReply {
        let sessions = self.sessions();
        let drivers = sessions.iter().map(|(session, (epoch, driver))| api::Driver {
            driver_id: driver.clone(),
            profile: "default".to_owned(),
            state: "serving".to_owned(),
            memory_bytes: DRIVER_BYTES,
            sessions: vec![api::SessionEpoch {
                session_id: session.clone(),
                epoch: *epoch,
            }],
            ..api::Driver::default()
        });
        api::ListDriversReply {
            drivers: drivers.collect(),
        }
    }

    fn figures(self: &Arc<Self>) -> impl stream::Stream<Item = api::Load> + Send + use<> {
        stream::unfold((Arc::clone(self), 0), |(node, seq)| async move {
            if seq > 0 {
                tokio::time::sleep(FIGURES).await;
            }
            Some((node.load(seq + 1), (node, seq + 1)))
        })
    }

    fn load(&self, seq: u64) -> api::Load {
        let drivers = u32::try_from(self.sessions().len()).unwrap_or(u32::MAX);
        api::Load {
            node_id: self.id.to_string(),
            incarnation: self.incarnation.to_string(),
            seq,
            memory_capacity_bytes: u64::from(SLOTS) * DRIVER_BYTES,
            memory_reserved_bytes: u64::from(drivers) * DRIVER_BYTES,
            driver_slots: SLOTS,
            drivers,
            profiles: vec![api::ProfileLoad {
                name: "default".to_owned(),
                memory_bytes: DRIVER_BYTES,
                warm: 1,
                share: api::ShareLevel::Session.into(),
                ..api::ProfileLoad::default()
            }],
            sessions: drivers,
            ..api::Load::default()
        }
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<String, (u64, String)>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ended(statement_id: String) -> api::Statement {
    let now = i64::try_from(unix_millis()).unwrap_or(i64::MAX);
    api::Statement {
        statement_id,
        state: api::statement::State::Ok.into(),
        progress: 1.0,
        output_json: r#"{"text/plain":"2"}"#.to_owned(),
        started_at_unix_ms: now,
        finished_at_unix_ms: now,
        ..api::Statement::default()
    }
}
