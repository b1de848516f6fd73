//! What batches ask of the broker: a place each, and one run there.
//!
//! Nothing here depends on what this broker remembers: the record says where a batch is, and the agent there is asked.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use berth_core::ids::SessionId;
use berth_core::record::{CloseReason, SessionState};
use berth_proto::NEVER_BEGAN;
use berth_proto::agent as api;
use bytes::Bytes;
use tonic::{Code, Response, Status};

use super::Sessions;
use super::ask::ANSWER_DEADLINE;
use super::code::refusal;
use super::entries::statement_id;
use super::wanted::wanted;
use crate::dialects::connect::backend as connect;
use crate::dialects::livy::backend::Backend as Livy;
use crate::dialects::livy::batches::Uploads;
use crate::dialects::livy::batches::backend::{Fault, Place, Places, Whereabouts};
use crate::dialects::livy::batches::lines::Lines;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::fleet::Agent;
use crate::place::upload;

/// A log that has not come by then does not come now.
const LOG_DEADLINE: Duration = Duration::from_secs(20);
/// A batch has one statement.
const ONLY: u64 = 0;
/// How often a submission may lose the race for its tenant's usage.
const MAX_RACES: u32 = 100;
/// Its kind.
const KIND: &str = "batch";

impl Sessions {
    /// Reads the log of a place from its start, for as long as lines are wanted.
    async fn read_lines(&self, session: SessionId, mut wanted: Lines) -> Result<Lines, Refusal> {
        let record = connect::Backend::record(self, session).await.map_err(refusal)?;
        let placement = match record.map(|record| record.state.clone()) {
            Some(SessionState::Active { placement, .. }) => placement,
            Some(SessionState::Placing { .. } | SessionState::Closed { .. }) | None => return Ok(wanted),
        };
        let Some(node) = self.fleet.node(&placement.node).await? else {
            return Ok(wanted);
        };
        let request = api::ReadLogRequest {
            driver_id: placement.driver.to_string(),
            tail_lines: 0,
            follow: false,
        };
        let mut agent = self.fleet.client(&node.address);
        let read = tokio::time::timeout(LOG_DEADLINE, async {
            let mut chunks = agent.read_log(request).await?.into_inner();
            while !wanted.is_full() {
                let Some(chunk) = chunks.message().await? else {
                    break;
                };
                wanted.feed(&chunk.data);
            }
            Ok::<_, Status>(())
        });
        match read.await {
            Ok(Ok(())) => Ok(wanted),
            Ok(Err(status)) if status.code() == Code::NotFound => Ok(wanted),
            Ok(Err(status)) => Err(Refusal::Unavailable(format!(
                "the log cannot be read: {}",
                status.message()
            ))),
            Err(late) => Err(Refusal::Unavailable(format!("the log cannot be read: {late}"))),
        }
    }

    async fn ask_place<T, F>(
        &self,
        place: &Place,
        wait: Duration,
        call: impl FnOnce(Agent) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let asked = call(self.fleet.client(&place.agent));
        match tokio::time::timeout(wait + ANSWER_DEADLINE, asked).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(fault(&status)),
            Err(late) => Err(Fault::Away(late.to_string())),
        }
    }
}

fn fault(status: &Status) -> Fault {
    match status.code() {
        Code::NotFound => Fault::Unknown,
        Code::Aborted if status.details() == NEVER_BEGAN => Fault::NeverBegan,
        Code::Aborted => Fault::Lost,
        Code::InvalidArgument | Code::Unimplemented => Fault::Refused(status.message().to_owned()),
        // A newer epoch is known there, or the lease is not held: what is written down says more, later.
        _ => Fault::Away(status.message().to_owned()),
    }
}

#[async_trait]
impl Places for Sessions {
    fn check(&self, listed: &Listed) -> Result<(), Refusal> {
        wanted(listed, &self.config.livy.local_dirs).map(drop)
    }

    async fn open(&self, listed: &Listed) -> Result<(), Refusal> {
        let wanted = wanted(listed, &self.config.livy.local_dirs)?;
        for _ in 0..MAX_RACES {
            self.create(&wanted).await.map_err(refusal)?;
            // A race for the tenant's usage that was lost is no error.
            if self.read(listed.session).await.map_err(refusal)?.is_some() {
                return Ok(());
            }
        }
        Err(Refusal::Unavailable(
            "too many sessions are being opened at once".to_owned(),
        ))
    }

    async fn look(&self, session: SessionId) -> Result<Whereabouts, Refusal> {
        let Some(read) = self.read(session).await.map_err(refusal)? else {
            return Ok(Whereabouts::Absent);
        };
        let epoch = read.record.epoch;
        let placement = match &read.record.state {
            SessionState::Placing { .. } => return Ok(Whereabouts::Placing(epoch)),
            SessionState::Closed { .. } => return Ok(Whereabouts::Closed),
            SessionState::Active { placement, .. } => placement,
        };
        let node = self.fleet.node(&placement.node).await?;
        Ok(
            match node.filter(|node| node.incarnation == placement.incarnation) {
                None => Whereabouts::Lost(epoch),
                Some(node) => Whereabouts::On(Place {
                    session,
                    epoch,
                    agent: node.address.as_str().into(),
                    driver: placement.driver.to_string(),
                }),
            },
        )
    }

    async fn place(&self, session: SessionId) -> Result<(), Refusal> {
        self.follow_on(session).await.map(drop).map_err(refusal)
    }

    async fn start(&self, place: &Place, what: &str, uploads: &Uploads) -> Result<(), Fault> {
        for file in uploads.all() {
            let mut agent = self.fleet.client(&place.agent);
            let at = (place.session, place.epoch);
            let put = upload::put(&mut agent, &self.ledger, at, file).await;
            match put.map_err(|status| fault(&status)) {
                Ok(()) => {}
                // Another broker may have started the batch there, and its host may have ended since: what became of
                // it is the answer to its start.
                Err(Fault::Unknown) => break,
                Err(other) => return Err(other),
            }
        }
        let request = api::StartStatementRequest {
            session_id: place.session.to_string(),
            epoch: place.epoch.get(),
            statement_id: statement_id(ONLY),
            kind: KIND.to_owned(),
            code: what.to_owned(),
        };
        let started = self.ask_place(place, Duration::ZERO, |mut agent| async move {
            agent.start_statement(request).await
        });
        started.await.map(drop)
    }

    async fn get(&self, place: &Place, wait: Duration) -> Result<api::Statement, Fault> {
        let request = api::GetStatementRequest {
            session_id: place.session.to_string(),
            epoch: place.epoch.get(),
            statement_id: statement_id(ONLY),
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
        };
        self.ask_place(place, wait, |mut agent| async move {
            agent.get_statement(request).await
        })
        .await
    }

    async fn cancel(&self, place: &Place) -> Result<(), Fault> {
        let request = api::CancelStatementRequest {
            session_id: place.session.to_string(),
            epoch: place.epoch.get(),
            statement_id: statement_id(ONLY),
        };
        let cancelled = self.ask_place(place, Duration::ZERO, |mut agent| async move {
            agent.cancel_statement(request).await
        });
        cancelled.await.map(drop)
    }

    async fn close(&self, session: SessionId) -> Result<(), Refusal> {
        let closed = connect::Backend::close(self, session, CloseReason::Client, false);
        closed.await.map_err(refusal)
    }

    async fn log(&self, session: SessionId) -> Result<Vec<String>, Refusal> {
        Livy::log(self, session).await
    }

    async fn lines(&self, session: SessionId, wanted: Lines) -> Result<Lines, Refusal> {
        self.read_lines(session, wanted).await
    }

    async fn keep(&self, piece: Bytes) -> Result<String, Refusal> {
        self.ledger.keep_blob(piece).await.map_err(refusal)
    }

    async fn kept(&self, name: &str) -> Result<Bytes, Refusal> {
        self.ledger.blob(name).await.map_err(refusal)
    }
}
