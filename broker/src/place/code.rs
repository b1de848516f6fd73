//! Rebuilds a code session: its statements without outside effects run again, in order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::lineage::LineageEntry;
use berth_proto::agent as api;
use berth_proto::agent::statement::State;
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{Made, Miss, Placer};
use crate::dialects::connect::backend::{Refusal, Route};
use crate::dialects::livy::replay::Step;
use crate::dialects::livy::statement::{End, Statement};
use crate::sessions::code::{read_statement, statement_id};

/// How long one question for a statement's end stays open at the agent.
const POLL: Duration = Duration::from_secs(20);
/// A replayed statement may take so many times as long as it took first, and at least [`LEAST`].
const SLACK: u32 = 3;
const LEAST: Duration = Duration::from_secs(60);
/// Drivers that a statement may kill before it is left out.
const MAX_KILLS: u32 = 2;
/// Names of lost things that are kept for the session's history.
const MAX_LOST: usize = 20;
/// Statements that are remembered to have killed a driver.
const MAX_POISONS: usize = 10_000;

/// Statements that killed the driver on which they were run again, and how often.
#[derive(Debug, Default)]
pub(super) struct Poison(Mutex<BTreeMap<(SessionId, u64), u32>>);

impl Poison {
    fn has_killed(&self, session: SessionId, id: u64) {
        let mut kills = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kills.len() >= MAX_POISONS {
            kills.clear();
        }
        *kills.entry((session, id)).or_default() += 1;
    }

    fn is_poison(&self, session: SessionId, id: u64) -> bool {
        let kills = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kills.get(&(session, id)).is_some_and(|kills| *kills >= MAX_KILLS)
    }
}

impl Placer {
    pub(super) async fn rebuild_code(&self, route: &Route) -> Result<Made, Miss> {
        let entries = self.ledger.entries(route.record.id).await.map_err(Miss::Never)?;
        let mut made = Made {
            server_session_id: String::new(),
            replayed: 0,
            lost: Vec::new(),
        };
        for entry in entries {
            let statement = self.statement(&entry).await.map_err(Miss::Never)?;
            match self.again(route, &statement).await? {
                None => made.replayed += 1,
                Some(why) if made.lost.len() < MAX_LOST => {
                    made.lost.push(format!("statement {}: {why}", statement.id));
                }
                Some(_) => {}
            }
        }
        Ok(made)
    }

    async fn statement(&self, entry: &LineageEntry) -> Result<Statement, Refusal> {
        read_statement(&self.ledger, entry).await
    }

    /// Runs a statement again if it may be; else, or if it does not end as it did, the reason.
    async fn again(&self, route: &Route, statement: &Statement) -> Result<Option<String>, Miss> {
        let why = match Step::of(statement) {
            Step::Replay => None,
            Step::HasEffects => Some("not run again, since it had outside effects"),
            Step::OutcomeUnknown => Some("not run again, since nobody knows whether it ran"),
            Step::Cancelled => Some("not run again, since it was cancelled"),
        };
        let session = route.record.id;
        if let Some(why) = why {
            return Ok(Some(why.to_owned()));
        }
        if self.poison.is_poison(session, statement.id) {
            return Ok(Some(format!(
                "not run again, since it killed {MAX_KILLS} drivers"
            )));
        }
        let ended = self.run(route, statement).await.map_err(|status| {
            if status.code() == Code::Aborted {
                self.poison.has_killed(session, statement.id);
            }
            Miss::Again(format!("statement {}: {}", statement.id, status.message()))
        })?;
        Ok(ended.and_then(|ended| difference(statement, &ended)))
    }

    /// `None` when it had to be stopped.
    async fn run(&self, route: &Route, statement: &Statement) -> Result<Option<api::Statement>, Status> {
        let mut agent = self.fleet.client(&route.agent);
        let (session_id, epoch) = (route.record.id.to_string(), route.epoch.get());
        let id = statement_id(statement.id);
        agent
            .start_statement(api::StartStatementRequest {
                session_id: session_id.clone(),
                epoch,
                statement_id: id.clone(),
                kind: statement.intent.kind.as_str().to_owned(),
                code: statement.intent.code.clone(),
            })
            .await?;
        let until = Instant::now() + allowance(statement);
        while Instant::now() < until {
            let request = api::GetStatementRequest {
                session_id: session_id.clone(),
                epoch,
                statement_id: id.clone(),
                wait_ms: u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX),
            };
            let now = agent.get_statement(request).await?.into_inner();
            if End::of(&now).is_some() {
                return Ok(Some(now));
            }
        }
        let request = api::CancelStatementRequest {
            session_id,
            epoch,
            statement_id: id,
        };
        agent.cancel_statement(request).await?;
        Ok(None)
    }
}

fn allowance(statement: &Statement) -> Duration {
    let took = statement
        .end
        .as_ref()
        .map_or(0, |end| end.completed - end.started);
    let took = Duration::from_millis(u64::try_from(took).unwrap_or(0));
    (took * SLACK).max(LEAST)
}

/// What differs from the first time, for a person.
fn difference(statement: &Statement, ended: &api::Statement) -> Option<String> {
    let failed_before = statement
        .end
        .as_ref()
        .is_some_and(|end| end.output["status"] == "error");
    let fails_now = ended.state() != State::Ok;
    (fails_now && !failed_before).then(|| {
        let value: String = ended.error_value.chars().take(200).collect();
        format!("failed when it was run again: {}: {value}", ended.error_name)
    })
}
