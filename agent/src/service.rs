//! The agent's gRPC API over [`Drivers`]; the contract is in `berth/agent/v1/agent.proto`.

mod files;
mod load;
mod logs;
mod reserve;
mod statements;
mod touch;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, SessionId};
use berth_proto::agent as api;
use futures_util::Stream;
use tonic::{Request, Response, Status};

use crate::driver::Driver;
use crate::drivers::{Drivers, state_of};
use crate::reservations::Held;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct AgentService {
    drivers: Arc<Drivers>,
}

impl AgentService {
    pub(crate) fn new(drivers: Arc<Drivers>) -> Self {
        Self { drivers }
    }

    /// Nothing is acknowledged for a node whose lease may be gone (I1).
    fn check_lease(&self) -> Result<(), Status> {
        if self.drivers.lease().is_held() {
            return Ok(());
        }
        Err(Status::unavailable(
            "this node does not surely hold its lease; ask again or choose another node",
        ))
    }

    fn endpoint(&self, driver: &Driver) -> Option<api::Endpoint> {
        let ready = driver.ready()?;
        Some(api::Endpoint {
            driver_id: driver.id.to_string(),
            connect_token: driver.connect_token.clone(),
            spark_version: ready.spark_version,
            application_id: ready.app_id,
            ui_url: ready.ui_url,
            pid: ready.jvm_pid,
            incarnation: self.drivers.lease().record().incarnation.to_string(),
        })
    }

    fn driver(&self, id: &str) -> Result<Arc<Driver>, Status> {
        let id: DriverId = id.parse().map_err(|error| invalid(&error))?;
        let driver = self.drivers.get(id);
        driver.ok_or_else(|| Status::not_found(format!("no driver {id} on this node")))
    }

    /// The driver of a session's epoch, with who else is on it.
    fn located(&self, session: SessionId, epoch: Epoch) -> Result<(Arc<Driver>, Held), Status> {
        self.check_lease()?;
        let found = self.drivers.find(session, epoch);
        let found = found.map_err(|stale| Status::failed_precondition(stale.to_string()))?;
        found.ok_or_else(|| Status::not_found("the session has no driver here"))
    }
}

fn invalid(error: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

fn session_epoch(session: &str, epoch: u64) -> Result<(SessionId, Epoch), Status> {
    let session = session.parse().map_err(|error| invalid(&error))?;
    let epoch = Epoch::from_wire(epoch).ok_or_else(|| Status::invalid_argument("epochs begin at 1"))?;
    Ok((session, epoch))
}

fn describe((driver, held): (Arc<Driver>, Held), busy: &BTreeSet<DriverId>) -> api::Driver {
    let ready = driver.ready();
    let sessions = held.sessions.iter().map(|(session, epoch)| api::SessionEpoch {
        session_id: session.to_string(),
        epoch: epoch.get(),
    });
    api::Driver {
        driver_id: driver.id.to_string(),
        profile: driver.profile.to_string(),
        state: state_of(&driver, &held).to_owned(),
        pid: driver.host.pid,
        jvm_pid: ready.as_ref().map_or(0, |ready| ready.jvm_pid),
        memory_bytes: held.memory_bytes,
        started_at_unix_ms: i64::try_from(driver.started_at).unwrap_or(i64::MAX),
        sessions: sessions.collect(),
        log_path: driver.log_path().display().to_string(),
        spark_version: ready.map(|ready| ready.spark_version).unwrap_or_default(),
        idle_ms: match busy.contains(&driver.id) {
            true => 0,
            false => millis(driver.idle()),
        },
        uncalled_ms: millis(driver.uncalled()),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[tonic::async_trait]
impl api::agent_server::Agent for AgentService {
    type WatchLoadStream = Replies<api::Load>;
    type ReserveStream = Replies<api::ReserveReply>;
    type ReadLogStream = Replies<api::LogChunk>;

    async fn watch_load(
        &self,
        _request: Request<api::WatchLoadRequest>,
    ) -> Result<Response<Self::WatchLoadStream>, Status> {
        Ok(Response::new(self.loads()))
    }

    async fn reserve(
        &self,
        request: Request<api::ReserveRequest>,
    ) -> Result<Response<Self::ReserveStream>, Status> {
        self.reserved(request.into_inner()).await.map(Response::new)
    }

    async fn locate(&self, request: Request<api::LocateRequest>) -> Result<Response<api::Endpoint>, Status> {
        let request = request.into_inner();
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let (driver, _) = self.located(session, epoch)?;
        let endpoint = self.endpoint(&driver).map(Response::new);
        endpoint.ok_or_else(|| Status::not_found("the session's driver does not serve"))
    }

    async fn fence(&self, request: Request<api::FenceRequest>) -> Result<Response<api::FenceReply>, Status> {
        let request = request.into_inner();
        let (session, floor) = session_epoch(&request.session_id, request.below_epoch)?;
        let fenced = self.drivers.fence(session, floor).await;
        fenced.map_err(|error| Status::unavailable(error.to_string()))?;
        if request.forget
            && let Err(error) = self.drivers.statements().forget(session).await
        {
            tracing::warn!(session.id = %session, %error, "results of a session that is over stay on disk");
        }
        Ok(Response::new(api::FenceReply {}))
    }

    async fn list_drivers(
        &self,
        _request: Request<api::ListDriversRequest>,
    ) -> Result<Response<api::ListDriversReply>, Status> {
        let busy = self.drivers.statements().awaited().into_iter().collect();
        let drivers = self.drivers.all().into_iter();
        let drivers = drivers.map(|driver| describe(driver, &busy)).collect();
        Ok(Response::new(api::ListDriversReply { drivers }))
    }

    async fn touch(&self, request: Request<api::TouchRequest>) -> Result<Response<api::TouchReply>, Status> {
        self.touched(request.into_inner()).map(Response::new)
    }

    async fn kill_driver(
        &self,
        request: Request<api::KillDriverRequest>,
    ) -> Result<Response<api::KillDriverReply>, Status> {
        self.driver(&request.into_inner().driver_id)?
            .end("an operator asked for it")
            .await;
        Ok(Response::new(api::KillDriverReply {}))
    }

    async fn set_draining(
        &self,
        request: Request<api::SetDrainingRequest>,
    ) -> Result<Response<api::SetDrainingReply>, Status> {
        let draining = request.into_inner().draining;
        let written = self.drivers.lease().set_draining(draining).await;
        written.map_err(|error| Status::unavailable(error.to_string()))?;
        tracing::info!(draining, "the node's draining was set");
        self.drivers.changed();
        Ok(Response::new(api::SetDrainingReply {}))
    }

    async fn read_log(
        &self,
        request: Request<api::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let request = request.into_inner();
        let driver = self.driver(&request.driver_id)?;
        logs::read(driver, request.tail_lines, request.follow)
            .await
            .map(Response::new)
    }

    async fn start_statement(
        &self,
        request: Request<api::StartStatementRequest>,
    ) -> Result<Response<api::Statement>, Status> {
        self.start(request.into_inner()).await.map(Response::new)
    }

    async fn get_statement(
        &self,
        request: Request<api::GetStatementRequest>,
    ) -> Result<Response<api::Statement>, Status> {
        self.get(request.into_inner()).await.map(Response::new)
    }

    async fn cancel_statement(
        &self,
        request: Request<api::CancelStatementRequest>,
    ) -> Result<Response<api::Statement>, Status> {
        self.cancel(request.into_inner()).await.map(Response::new)
    }

    async fn put_file(
        &self,
        request: Request<tonic::Streaming<api::PutFileRequest>>,
    ) -> Result<Response<api::PutFileReply>, Status> {
        self.put(request.into_inner()).await.map(Response::new)
    }

    async fn complete(
        &self,
        request: Request<api::CompleteRequest>,
    ) -> Result<Response<api::CompleteReply>, Status> {
        self.candidates(request.into_inner()).await.map(Response::new)
    }
}
