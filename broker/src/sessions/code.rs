//! What the Livy dialect asks of the broker: code sessions and their statements.
//!
//! Statements are lineage entries, see [`super::entries`]. They run at the agent of the session's node, which runs each
//! of them once.

use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::{Epoch, SessionId};
use berth_core::lineage::Witness;
use berth_core::record::{Application, Cause, CloseReason, SessionState, UnixMillis};
use berth_proto::agent as api;
use bytes::Bytes;
use futures_util::future::{OptionFuture, try_join_all};
use tonic::Status;
use uuid::Uuid;

use super::Sessions;
use super::ask::Fault;
use super::entries::{concluded, count, given_of, is_open, read_statement, read_statements, statement_id};
use super::wanted::wanted;
use crate::dialects::connect::backend as connect;
use crate::dialects::connect::backend::{Backend as _, Refusal as Refused, Route};
use crate::dialects::livy::backend::{Backend, DriverFault, Numbered, Open, Phase, Queue, Seat};
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::recovery::Happened;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::resource::Resource;
use crate::dialects::livy::retention::Page;
use crate::dialects::livy::statement::{End, Intent, Statement};
use crate::dialects::livy::task::Task;

/// Lines of a driver's log that are shown.
const LOG_LINES: u32 = 200;
/// How long an agent that is away is waited for by a client that does not wait itself.
const SHORT: Duration = Duration::from_secs(2);

pub(super) fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::Closed => Refusal::NotReady("dead"),
        Refused::Quota { reason } => Refusal::Full(reason),
        Refused::Denied { reason } | Refused::LineageFull { reason } => Refusal::Rejected(reason),
        Refused::NoCapacity { .. } | Refused::Unavailable { .. } | Refused::Duplicate { .. } => {
            Refusal::Unavailable(refused.to_string())
        }
    }
}

fn seat(route: &Route) -> Seat {
    Seat {
        session: route.record.id,
        epoch: route.epoch,
    }
}

impl Sessions {
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.config.hold_seconds)
    }

    fn count_code(&self, session: SessionId, end: &End) {
        let Some(served) = self.served(session) else {
            return;
        };
        let tenant = served.route.record.tenant.to_string();
        let outcome = if end.output["status"] == "error" {
            "error"
        } else {
            "ok"
        };
        metrics::counter!("berth_statements_total", "tenant" => tenant, "class" => "code", "outcome" => outcome)
            .increment(1);
    }
}

#[async_trait]
impl Backend for Sessions {
    fn check(&self, listed: &Listed) -> Result<(), Refusal> {
        wanted(listed, &self.config.livy.local_dirs).map(drop)
    }

    async fn seat(&self, listed: &Listed) -> Result<Seat, Refusal> {
        let route = self
            .open(wanted(listed, &self.config.livy.local_dirs)?)
            .await
            .map_err(refusal)?;
        Ok(seat(&route))
    }

    fn touch(&self, session: SessionId, used: bool) {
        self.touches.note(session, used);
    }

    async fn phase(&self, session: SessionId) -> Result<Phase, Refusal> {
        let record = connect::Backend::record(self, session).await.map_err(refusal)?;
        Ok(match record.map(|record| record.state.clone()) {
            None => Phase::Absent,
            Some(SessionState::Placing { from: None, .. }) => Phase::Placing,
            Some(SessionState::Placing { from: Some(_), .. }) => Phase::Recovering,
            Some(SessionState::Active { .. }) => Phase::Active,
            Some(SessionState::Closed { .. }) => Phase::Closed,
        })
    }

    async fn application(&self, session: SessionId) -> Result<Option<Application>, Refusal> {
        let record = connect::Backend::record(self, session).await.map_err(refusal)?;
        Ok(match record.map(|record| record.state.clone()) {
            Some(SessionState::Active { placement, .. }) => placement.application,
            Some(SessionState::Placing { .. } | SessionState::Closed { .. }) | None => None,
        })
    }

    async fn placed_at(&self, session: SessionId) -> Result<Option<UnixMillis>, Refusal> {
        let record = connect::Backend::record(self, session).await.map_err(refusal)?;
        let active = record.filter(|record| matches!(record.state, SessionState::Active { .. }));
        Ok(active.and_then(|record| record.history.last().map(|event| event.at)))
    }

    async fn lost(&self, seat: Seat) -> Result<Seat, Refusal> {
        let route = self.left(seat.session, seat.epoch, Cause::DriverLost).await;
        route.map(|route| self::seat(&route)).map_err(refusal)
    }

    async fn close(&self, session: SessionId) -> Result<(), Refusal> {
        let closed = connect::Backend::close(self, session, CloseReason::Client, false).await;
        closed.map_err(refusal)
    }

    async fn begin(&self, seat: Seat, operation: Uuid, intent: &Intent) -> Result<Option<Numbered>, Refusal> {
        let moved = |fault: Fault| Refusal::Unavailable(DriverFault::from(fault).to_string());
        let route = self.seated(seat).map_err(moved)?;
        let begun = self.append(seat.session, operation, intent, |asked| {
            connect::Backend::begin(self, &route, asked)
        });
        match begun.await {
            Ok(begun) => Ok(Some(begun)),
            Err(Refused::Duplicate { .. }) => Ok(None),
            Err(refused) => Err(refusal(refused)),
        }
    }

    async fn recall(&self, session: SessionId, operation: Uuid) -> Result<Option<Statement>, Refusal> {
        let recalled = self.ledger.recall(session, &operation.to_string()).await;
        let Some(entry) = recalled.map_err(refusal)? else {
            return Ok(None);
        };
        let statement = read_statement(&self.ledger, &entry).await;
        statement.map(Some).map_err(refusal)
    }

    async fn has_had(&self, session: SessionId, number: u64) -> Result<bool, Refusal> {
        let had = self.has_number(session, Task::Statement, number).await;
        had.map_err(refusal)
    }

    async fn history(&self, session: SessionId) -> Result<Vec<Happened>, Refusal> {
        let record = connect::Backend::record(self, session).await.map_err(refusal)?;
        let history = record.map(|record| record.history.clone()).unwrap_or_default();
        let happened = history.into_iter().map(|event| Happened {
            at: event.at,
            epoch: event.epoch.get(),
            what: event.what,
        });
        Ok(happened.collect())
    }

    async fn enlist(
        &self,
        session: SessionId,
        operation: Uuid,
        intent: &Intent,
    ) -> Result<Option<(Numbered, Epoch)>, Refusal> {
        match self.enlisted(session, operation, intent).await {
            Ok(enlisted) => Ok(Some(enlisted)),
            Err(Refused::Duplicate { .. }) => Ok(None),
            Err(refused) => Err(refusal(refused)),
        }
    }

    async fn queue(&self, session: SessionId, most: usize) -> Result<Queue, Refusal> {
        let entries = self.ledger.open_entries(session).await.map_err(refusal)?;
        let open = entries.iter().filter(|entry| is_open(entry));
        let (waits, given): (Vec<_>, Vec<_>) = open.partition(|entry| entry.waits);
        let next = waits.iter().take(most.saturating_sub(given.len()));
        let next = next.map(|entry| read_statement(&self.ledger, entry));
        Ok(Queue {
            next: try_join_all(next).await.map_err(refusal)?,
            waits: waits.len(),
            given: given.into_iter().map(given_of).collect(),
        })
    }

    async fn claim(&self, seat: Seat, id: u64) -> Result<bool, Refusal> {
        let claimed = self.ledger.claim(seat.session, id + 1, seat.epoch).await;
        claimed.map_err(refusal)
    }

    async fn withdraw(&self, session: SessionId, id: u64, end: &End) -> Result<bool, Refusal> {
        let (ticket, ended) = concluded(session, id, end)?;
        self.ledger.withdraw(&ticket, ended).await.map_err(refusal)
    }

    async fn keep(&self, piece: Bytes) -> Result<String, Refusal> {
        self.ledger.keep_blob(piece).await.map_err(refusal)
    }

    async fn finish(&self, session: SessionId, id: u64, end: &End) -> Result<(), Refusal> {
        let (ticket, ended) = concluded(session, id, end)?;
        self.ledger.finish(&ticket, ended).await.map_err(refusal)?;
        self.count_code(session, end);
        Ok(())
    }

    async fn give_up(
        &self,
        session: SessionId,
        (id, epoch): (u64, Epoch),
        end: &End,
    ) -> Result<bool, Refusal> {
        let (ticket, ended) = concluded(session, id, end)?;
        let given_up = self
            .ledger
            .give_up(&ticket, epoch, ended)
            .await
            .map_err(refusal)?;
        if given_up {
            self.count_code(session, end);
        }
        Ok(given_up)
    }

    async fn put_back(
        &self,
        session: SessionId,
        (id, from): (u64, Epoch),
        witness: Witness,
    ) -> Result<bool, Refusal> {
        let put_back = self.ledger.put_back(session, id + 1, from, witness).await;
        put_back.map_err(refusal)
    }

    async fn run_again(&self, session: SessionId, (id, from): (u64, Epoch)) -> Result<bool, Refusal> {
        let again = self.ledger.run_again(session, id + 1, from).await;
        again.map_err(refusal)
    }

    async fn hand_on(&self, seat: Seat, id: u64) -> Result<bool, Refusal> {
        let handed_on = self.ledger.hand_on(seat.session, id + 1, seat.epoch).await;
        handed_on.map_err(refusal)
    }

    async fn unfinished(&self, session: SessionId) -> Result<Open, Refusal> {
        let entries = self.ledger.open_entries(session).await;
        entries.map(|entries| count(&entries)).map_err(refusal)
    }

    async fn statement(&self, session: SessionId, number: u64) -> Result<Option<Statement>, Refusal> {
        let found = self.numbered(session, Task::Statement, number).await;
        found.map_err(refusal)
    }

    async fn at(&self, session: SessionId, id: u64) -> Result<Option<Statement>, Refusal> {
        let entry = self.ledger.entry(session, id + 1).await.map_err(refusal)?;
        let read = OptionFuture::from(entry.as_ref().map(|entry| read_statement(&self.ledger, entry)));
        read.await.transpose().map_err(refusal)
    }

    async fn job(&self, session: SessionId, number: u64) -> Result<Option<Statement>, Refusal> {
        let found = self.numbered(session, Task::Job, number).await;
        found.map_err(refusal)
    }

    async fn statements(&self, session: SessionId, page: Page) -> Result<(usize, Vec<Statement>), Refusal> {
        let entries = self.ledger.entries(session).await.map_err(refusal)?;
        let own = entries.into_iter().filter_map(|entry| {
            let (task, number) = Task::of(&entry);
            task.is_statement().then_some((number, entry))
        });
        let (total, entries) = page.of(own.collect());
        let read = read_statements(&self.ledger, &entries).await;
        read.map(|read| (total, read)).map_err(refusal)
    }

    async fn open_statements(&self, session: SessionId) -> Result<Vec<Statement>, Refusal> {
        let mut entries = self.ledger.open_entries(session).await.map_err(refusal)?;
        entries.retain(|entry| Task::of(entry).0.is_statement());
        read_statements(&self.ledger, &entries).await.map_err(refusal)
    }

    async fn start(&self, seat: Seat, id: u64, intent: &Intent) -> Result<api::Statement, DriverFault> {
        let request = api::StartStatementRequest {
            session_id: seat.session.to_string(),
            epoch: seat.epoch.get(),
            statement_id: statement_id(id),
            kind: intent.agent_kind().to_owned(),
            code: intent.agent_code().into_owned(),
        };
        if let Some(file) = Resource::of(intent).and_then(Resource::upload) {
            self.put(seat, &file).await?;
        }
        self.await_place(seat.session).await;
        let started = self.ask(seat, (Duration::ZERO, self.patience()), |mut agent| {
            let request = request.clone();
            async move { agent.start_statement(request).await }
        });
        match started.await {
            // Of a start these say that it reached nobody.
            Err(Fault::NoStatement { unsent: true } | Fault::Gone { unsent: true }) => {
                Err(DriverFault::NotSent)
            }
            Err(Fault::NoStatement { unsent: false }) => Err(DriverFault::Lost),
            other => other.map_err(Into::into),
        }
    }

    async fn get(&self, seat: Seat, id: u64, wait: Duration) -> Result<api::Statement, DriverFault> {
        let request = api::GetStatementRequest {
            session_id: seat.session.to_string(),
            epoch: seat.epoch.get(),
            statement_id: statement_id(id),
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        };
        let patience = if wait.is_zero() { SHORT } else { self.patience() };
        let route = self.seated_once(seat).await?;
        self.ask_at(&route, (wait, patience), |mut agent| {
            let request = request.clone();
            async move { agent.get_statement(request).await }
        })
        .await
        .map_err(Into::into)
    }

    async fn cancel(&self, seat: Seat, id: u64) -> Result<(), DriverFault> {
        let request = api::CancelStatementRequest {
            session_id: seat.session.to_string(),
            epoch: seat.epoch.get(),
            statement_id: statement_id(id),
        };
        self.await_place(seat.session).await;
        let asked = self.ask(seat, (Duration::ZERO, SHORT), |mut agent| {
            let request = request.clone();
            async move { agent.cancel_statement(request).await }
        });
        match asked.await {
            Err(Fault::Gone { unsent: true }) => Err(DriverFault::NotSent),
            other => other.map(drop).map_err(Into::into),
        }
    }

    async fn complete(
        &self,
        seat: Seat,
        kind: Kind,
        code: &str,
        cursor: u32,
    ) -> Result<Vec<String>, DriverFault> {
        let request = api::CompleteRequest {
            session_id: seat.session.to_string(),
            epoch: seat.epoch.get(),
            kind: kind.as_str().to_owned(),
            code: code.to_owned(),
            cursor,
        };
        let completed = self.ask(seat, (Duration::ZERO, SHORT), |mut agent| {
            let request = request.clone();
            async move { agent.complete(request).await }
        });
        Ok(completed.await.map_err(DriverFault::from)?.candidates)
    }

    async fn log(&self, session: SessionId) -> Result<Vec<String>, Refusal> {
        let record = connect::Backend::record(self, session).await.map_err(refusal)?;
        let Some(SessionState::Active { placement, .. }) = record.map(|record| record.state.clone()) else {
            return Ok(Vec::new());
        };
        let Some(node) = self.fleet.node(&placement.node).await? else {
            return Ok(Vec::new());
        };
        let request = api::ReadLogRequest {
            driver_id: placement.driver.to_string(),
            tail_lines: LOG_LINES,
            follow: false,
        };
        let mut agent = self.fleet.client(&node.address);
        let read = tokio::time::timeout(SHORT, async {
            let mut chunks = agent.read_log(request).await?.into_inner();
            let mut log = Vec::new();
            while let Some(chunk) = chunks.message().await? {
                log.extend_from_slice(&chunk.data);
            }
            Ok::<_, Status>(log)
        });
        match read.await {
            Ok(Ok(log)) => Ok(String::from_utf8_lossy(&log).lines().map(str::to_owned).collect()),
            // A driver that is gone has taken its log along; an agent that is away has none to show now.
            Ok(Err(_)) | Err(_) => Ok(Vec::new()),
        }
    }
}
