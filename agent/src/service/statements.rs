//! Code statements.

use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use berth_proto::{NEVER_BEGAN, agent as api};
use tonic::{Code, Status};

use super::{AgentService, invalid, session_epoch};
use crate::control::frames::ToHost;
use crate::driver::CallError;
use crate::statements::{Key, MAX_CODE_BYTES, StatementError};

/// Longest wait of one call.
const MAX_WAIT_MS: u32 = 60_000;
/// What the driver host runs. `query` is SQL with a limit of its own, `restore` gives variables back what a snapshot has.
const KINDS: [&str; 8] = [
    "pyspark", "spark", "sql", "query", "sparkr", "restore", "add", "job",
];
/// What the place of a batch runs.
const BATCH: &str = "batch";

impl AgentService {
    pub(super) async fn start(&self, request: api::StartStatementRequest) -> Result<api::Statement, Status> {
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let key = key(session, epoch, &request.statement_id)?;
        if request.kind != BATCH && !KINDS.contains(&request.kind.as_str()) {
            let kinds = KINDS.join(", ");
            return Err(Status::invalid_argument(format!("the kinds of code are {kinds}")));
        }
        let found = self.located(session, epoch);
        if found.is_err() && self.drivers.statements().knows(&key) {
            // It was taken before, whatever has become of its driver since.
            return self.told(&key, Duration::ZERO).await;
        }
        let (driver, held) = found?;
        if held.batch != (request.kind == BATCH) {
            return Err(Status::invalid_argument(
                "a batch runs on a place that was reserved for one, and nothing else does",
            ));
        }
        if held.share_key.is_some() {
            return Err(Status::failed_precondition(
                "code needs a driver of its own; open the session in a profile that does not share drivers",
            ));
        }
        let statements = self.drivers.statements();
        let run = statements
            .start(&key, driver.id, &request.kind, &request.code)
            .await;
        if let Some(run) = run.map_err(|error| status(&error))? {
            // A host that is not connected now gets it when it is.
            driver.tell(run);
        }
        // The driver may have ended after it was found: then nobody will run this.
        if driver.has_ended() {
            statements.driver_ended(driver.id);
        }
        self.told(&key, Duration::ZERO).await
    }

    pub(super) async fn get(&self, request: api::GetStatementRequest) -> Result<api::Statement, Status> {
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let key = key(session, epoch, &request.statement_id)?;
        let wait = Duration::from_millis(request.wait_ms.min(MAX_WAIT_MS).into());
        self.told(&key, wait).await
    }

    pub(super) async fn cancel(
        &self,
        request: api::CancelStatementRequest,
    ) -> Result<api::Statement, Status> {
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let key = key(session, epoch, &request.statement_id)?;
        let (driver, cancel) = self
            .drivers
            .statements()
            .cancel(&key)
            .map_err(|error| status(&error))?;
        if let Some(driver) = self.drivers.get(driver) {
            // A host that is not connected now is told when it is.
            driver.tell(cancel);
        }
        self.told(&key, Duration::ZERO).await
    }

    async fn told(&self, key: &Key, wait: Duration) -> Result<api::Statement, Status> {
        let found = self.drivers.statements().get(key, wait).await;
        found.map(Into::into).map_err(|error| status(&error))
    }

    pub(super) async fn candidates(
        &self,
        request: api::CompleteRequest,
    ) -> Result<api::CompleteReply, Status> {
        let (session, epoch) = session_epoch(&request.session_id, request.epoch)?;
        let (driver, _) = self.located(session, epoch)?;
        if request.kind == "sql" {
            return Ok(api::CompleteReply::default());
        }
        if request.code.len() > MAX_CODE_BYTES {
            return Err(status(&StatementError::Invalid));
        }
        let ask = |call| ToHost::Complete {
            call,
            kind: request.kind,
            code: request.code,
            cursor: request.cursor,
        };
        let answer = driver.call(ask).await.map_err(|error| match error {
            CallError::NotConnected | CallError::Busy | CallError::Late => {
                Status::unavailable(error.to_string())
            }
            CallError::Failed(_) => Status::internal(error.to_string()),
        })?;
        Ok(api::CompleteReply {
            candidates: answer.candidates,
        })
    }
}

fn key(session: SessionId, epoch: Epoch, id: &str) -> Result<Key, Status> {
    let id = id.parse().map_err(|error: StatementError| invalid(&error))?;
    Ok(Key { session, epoch, id })
}

fn status(error: &StatementError) -> Status {
    if matches!(error, StatementError::NeverBegan) {
        return Status::with_details(Code::Aborted, error.to_string(), NEVER_BEGAN.into());
    }
    let code = match error {
        StatementError::Invalid => Code::InvalidArgument,
        StatementError::TooManyUnfinished | StatementError::TooMany => Code::ResourceExhausted,
        StatementError::Unknown => Code::NotFound,
        // The session is no more where it was: its place has to be found again.
        StatementError::DriverLost | StatementError::NeverBegan => Code::Aborted,
        StatementError::Disk(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}
