//! The agent's gRPC API over [`Drivers`]; the contract is in `berth/agent/v1/agent.proto`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, ProfileName, SessionId};
use berth_proto::agent as api;
use berth_proto::agent::reserve_reply::refused::Reason;
use berth_proto::agent::reserve_reply::{Is, Refused, Starting};
use futures_util::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use crate::driver::{Driver, Phase};
use crate::drivers::{Drivers, ReserveError, Wanted, state_of, warm};
use crate::lease::NodeLease;
use crate::reservations::Refusal;

/// How often a quiet node sends its figures.
const LOAD_INTERVAL: Duration = Duration::from_secs(1);
/// At most one message of figures in this time.
const LOAD_PAUSE: Duration = Duration::from_millis(100);
/// Most of a log that one call reads.
const MAX_LOG_BYTES: usize = 1 << 20;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct AgentService {
    drivers: Arc<Drivers>,
    lease: Arc<NodeLease>,
}

impl AgentService {
    pub(crate) fn new(drivers: Arc<Drivers>, lease: Arc<NodeLease>) -> Self {
        Self { drivers, lease }
    }

    /// Nothing is acknowledged for a node whose lease may be gone (I1).
    fn check_lease(&self) -> Result<(), Status> {
        if self.lease.is_held() {
            return Ok(());
        }
        Err(Status::unavailable(
            "this node does not surely hold its lease; ask again or choose another node",
        ))
    }

    fn load(&self, seq: u64) -> api::Load {
        let record = self.lease.record();
        let drivers = self.drivers.all();
        let config = self.drivers.config();
        let profiles = config.profiles.iter().map(|(name, profile)| api::ProfileLoad {
            name: name.to_string(),
            memory_bytes: profile.memory_bytes,
            warm: warm(&drivers, name),
            share: api::ShareLevel::Session.into(),
            session_confs: profile.session_confs.clone().into_iter().collect(),
        });
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        api::Load {
            node_id: record.id.to_string(),
            incarnation: record.incarnation.to_string(),
            seq,
            memory_capacity_bytes: config.memory_capacity_bytes,
            memory_reserved_bytes: self.drivers.reserved_bytes(),
            driver_slots: config.driver_slots,
            drivers: count(drivers.len()),
            cpu: None,
            draining: record.draining,
            profiles: profiles.collect(),
            shared: Vec::new(),
            sessions: count(drivers.iter().filter(|(_, _, session)| session.is_some()).count()),
            lost_drivers: Vec::new(),
        }
    }

    fn endpoint(&self, driver: &Driver) -> Option<api::Endpoint> {
        let ready = driver.ready()?;
        Some(api::Endpoint {
            driver_id: driver.id.to_string(),
            connect_token: driver.connect_token.clone(),
            spark_version: ready.spark_version,
            pid: ready.jvm_pid,
            incarnation: self.lease.record().incarnation.to_string(),
        })
    }

    fn refused(&self, error: &ReserveError) -> api::ReserveReply {
        let reason = match error {
            ReserveError::Refused(Refusal::NoMemory { .. }) => Reason::NoMemory,
            ReserveError::Refused(Refusal::NoSlot { .. }) => Reason::NoSlot,
            ReserveError::Refused(Refusal::StaleEpoch { .. }) => Reason::StaleEpoch,
            ReserveError::UnknownProfile(_) => Reason::UnknownProfile,
            ReserveError::Start(_) => Reason::StartFailed,
        };
        self.refusal(reason, error.to_string())
    }

    fn refusal(&self, reason: Reason, message: String) -> api::ReserveReply {
        let load = Some(self.load(0));
        api::ReserveReply {
            is: Some(Is::Refused(Refused {
                reason: reason.into(),
                message,
                load,
            })),
        }
    }

    /// What a reservation says next, and whether that is all.
    fn reply(&self, driver: &Driver, phase: &Phase) -> (api::ReserveReply, bool) {
        match phase {
            Phase::Starting(phase) => (
                api::ReserveReply {
                    is: Some(Is::Starting(Starting { phase: phase.clone() })),
                },
                false,
            ),
            Phase::Ready(_) => (
                api::ReserveReply {
                    is: self.endpoint(driver).map(Is::Ready),
                },
                true,
            ),
            Phase::Ended(reason) => (
                self.refusal(Reason::StartFailed, Drivers::explain_end(driver, reason)),
                true,
            ),
        }
    }

    /// Follows a driver's start to its end.
    fn follow(&self, driver: Arc<Driver>) -> Replies<api::ReserveReply> {
        let (service, phase) = (self.clone(), driver.phase.subscribe());
        let next = move |(mut phase, first, ended): (tokio::sync::watch::Receiver<Phase>, bool, bool)| {
            let (service, driver) = (service.clone(), Arc::clone(&driver));
            async move {
                if ended || (!first && phase.changed().await.is_err()) {
                    return None;
                }
                let now = phase.borrow_and_update().clone();
                let (reply, last) = service.reply(&driver, &now);
                Some((Ok(reply), (phase, false, last)))
            }
        };
        futures_util::stream::unfold((phase, true, false), next).boxed()
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

#[tonic::async_trait]
impl api::agent_server::Agent for AgentService {
    type WatchLoadStream = Replies<api::Load>;
    type ReserveStream = Replies<api::ReserveReply>;
    type ReadLogStream = Replies<api::LogChunk>;

    async fn watch_load(
        &self,
        _request: Request<api::WatchLoadRequest>,
    ) -> Result<Response<Self::WatchLoadStream>, Status> {
        let (service, changes) = (self.clone(), self.drivers.changes());
        let next = move |(mut changes, seq): (tokio::sync::watch::Receiver<u64>, u64)| {
            let service = service.clone();
            async move {
                if seq > 0 {
                    tokio::time::sleep(LOAD_PAUSE).await;
                    // A quiet second is a reason to speak as good as a change.
                    let _quiet = tokio::time::timeout(LOAD_INTERVAL, changes.changed()).await;
                }
                changes.borrow_and_update();
                Some((Ok(service.load(seq + 1)), (changes, seq + 1)))
            }
        };
        Ok(Response::new(
            futures_util::stream::unfold((changes, 0), next).boxed(),
        ))
    }

    async fn reserve(
        &self,
        request: Request<api::ReserveRequest>,
    ) -> Result<Response<Self::ReserveStream>, Status> {
        let request = request.into_inner();
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let profile: ProfileName = request.profile.parse().map_err(|error| invalid(&error))?;
        let one = |reply| Ok(Response::new(futures_util::stream::iter([Ok(reply)]).boxed()));
        if !self.lease.is_held() {
            return one(self.refusal(
                Reason::NotHoldingLease,
                "the node does not surely hold its lease".to_owned(),
            ));
        }
        if self.lease.record().draining {
            return one(self.refusal(Reason::Draining, "the node is being drained".to_owned()));
        }
        let memory_bytes = (request.memory_bytes > 0).then_some(request.memory_bytes);
        let static_confs = request.static_confs.into_iter().collect();
        match self.drivers.reserve(
            session,
            epoch,
            &Wanted {
                profile,
                memory_bytes,
                static_confs,
            },
        ) {
            Ok(driver) => Ok(Response::new(self.follow(driver))),
            Err(error) => one(self.refused(&error)),
        }
    }

    async fn locate(&self, request: Request<api::LocateRequest>) -> Result<Response<api::Endpoint>, Status> {
        let request = request.into_inner();
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        self.check_lease()?;
        let driver = self
            .drivers
            .find(session, epoch)
            .map_err(|stale| Status::failed_precondition(stale.to_string()))?;
        let endpoint = driver.and_then(|driver| self.endpoint(&driver));
        endpoint
            .map(Response::new)
            .ok_or_else(|| Status::not_found("the session has no driver here"))
    }

    async fn fence(&self, request: Request<api::FenceRequest>) -> Result<Response<api::FenceReply>, Status> {
        let request = request.into_inner();
        let (session, floor) = session_epoch(&request.session_id, request.below_epoch)?;
        let fenced = self.drivers.fence(session, floor).await;
        fenced.map_err(|late| Status::unavailable(format!("a fenced driver has not ended yet: {late}")))?;
        Ok(Response::new(api::FenceReply {}))
    }

    async fn list_drivers(
        &self,
        _request: Request<api::ListDriversRequest>,
    ) -> Result<Response<api::ListDriversReply>, Status> {
        let describe = |(driver, memory_bytes, session): (Arc<Driver>, u64, Option<(SessionId, Epoch)>)| {
            let ready = driver.ready();
            api::Driver {
                driver_id: driver.id.to_string(),
                profile: driver.profile.to_string(),
                state: state_of(&driver, session).to_owned(),
                pid: driver.host_pid,
                jvm_pid: ready.as_ref().map_or(0, |ready| ready.jvm_pid),
                memory_bytes,
                started_at_unix_ms: i64::try_from(driver.started_at).unwrap_or(i64::MAX),
                sessions: session
                    .map(|(id, epoch)| api::SessionEpoch {
                        session_id: id.to_string(),
                        epoch: epoch.get(),
                    })
                    .into_iter()
                    .collect(),
                log_path: driver.log_path().display().to_string(),
                spark_version: ready.map(|ready| ready.spark_version).unwrap_or_default(),
            }
        };
        Ok(Response::new(api::ListDriversReply {
            drivers: self.drivers.all().into_iter().map(describe).collect(),
        }))
    }

    async fn kill_driver(
        &self,
        request: Request<api::KillDriverRequest>,
    ) -> Result<Response<api::KillDriverReply>, Status> {
        let id: DriverId = request
            .into_inner()
            .driver_id
            .parse()
            .map_err(|error| invalid(&error))?;
        let driver = self
            .drivers
            .get(id)
            .ok_or_else(|| Status::not_found(format!("no driver {id} on this node")))?;
        driver.kill();
        Ok(Response::new(api::KillDriverReply {}))
    }

    async fn set_draining(
        &self,
        request: Request<api::SetDrainingRequest>,
    ) -> Result<Response<api::SetDrainingReply>, Status> {
        let written = self.lease.set_draining(request.into_inner().draining).await;
        written.map_err(|error| Status::unavailable(error.to_string()))?;
        self.drivers.changed();
        Ok(Response::new(api::SetDrainingReply {}))
    }

    async fn read_log(
        &self,
        request: Request<api::ReadLogRequest>,
    ) -> Result<Response<Self::ReadLogStream>, Status> {
        let request = request.into_inner();
        if request.follow {
            return Err(Status::unimplemented(
                "following a log is not built yet; read it again instead",
            ));
        }
        let id: DriverId = request.driver_id.parse().map_err(|error| invalid(&error))?;
        let driver = self
            .drivers
            .get(id)
            .ok_or_else(|| Status::not_found(format!("no driver {id} on this node")))?;
        let log = tokio::fs::read(driver.log_path())
            .await
            .map_err(|error| Status::internal(error.to_string()))?;
        let log = &log[log.len().saturating_sub(MAX_LOG_BYTES)..];
        let data = match request.tail_lines {
            0 => log.to_vec(),
            lines => tail(log, lines as usize).to_vec(),
        };
        Ok(Response::new(
            futures_util::stream::iter([Ok(api::LogChunk { data })]).boxed(),
        ))
    }

    async fn start_statement(
        &self,
        _request: Request<api::StartStatementRequest>,
    ) -> Result<Response<api::Statement>, Status> {
        Err(no_statements())
    }

    async fn get_statement(
        &self,
        _request: Request<api::GetStatementRequest>,
    ) -> Result<Response<api::Statement>, Status> {
        Err(no_statements())
    }

    async fn cancel_statement(
        &self,
        _request: Request<api::CancelStatementRequest>,
    ) -> Result<Response<api::Statement>, Status> {
        Err(no_statements())
    }

    async fn complete(
        &self,
        _request: Request<api::CompleteRequest>,
    ) -> Result<Response<api::CompleteReply>, Status> {
        Err(no_statements())
    }
}

fn no_statements() -> Status {
    Status::unimplemented("this agent does not run code statements yet; use Spark Connect")
}

/// The last lines of a log.
fn tail(log: &[u8], lines: usize) -> &[u8] {
    let ends = log
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .map(|(at, _)| at);
    let body_end = usize::from(log.ends_with(b"\n"));
    ends.skip(body_end)
        .nth(lines.saturating_sub(1))
        .map_or(log, |at| &log[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::tail;

    #[test]
    fn the_tail_of_a_log_has_so_many_lines() {
        assert_eq!(tail(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(tail(b"a\nb\nc", 1), b"c");
        assert_eq!(tail(b"a\nb\n", 5), b"a\nb\n");
        assert_eq!(tail(b"", 1), b"");
    }
}
