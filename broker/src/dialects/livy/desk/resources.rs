//! Resources and jobs: they go the way of statements, but are counted, and answered, on their own.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::agent::Statement as Reported;
use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::follow::POLL;
use super::run::{Begun, now};
use super::waiting::PROMPT;
use super::{Desk, stopping};
use crate::dialects::livy::backend::{DriverFault, Phase, Seat};
use crate::dialects::livy::idempotency::Key;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::resource::Resource;
use crate::dialects::livy::statement::{End, Intent, Statement};

/// A session that was entered just now gets its record within this time.
const RECORD_DEADLINE: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(100);
/// How many drivers of a session are asked to take a resource.
const MAX_DRIVERS: u32 = 2;

impl Desk {
    /// Keeps a piece of an uploaded file, and tells its name.
    pub(in crate::dialects::livy) async fn keep(&self, piece: Bytes) -> Result<String, Refusal> {
        self.backend.keep(piece).await
    }

    /// Adds a resource, to this driver and to those that the session may get later. Waits until the driver has it.
    ///
    /// # Errors
    /// [`Refusal::Inactive`], [`Refusal::Rejected`] with what Spark says, [`Refusal::Unavailable`].
    pub async fn add(self: &Arc<Self>, listed: &Listed, resource: &Resource) -> Result<(), Refusal> {
        self.check_active(listed).await?;
        let (tell, told) = oneshot::channel();
        let (desk, listed, intent) = (Arc::clone(self), listed.clone(), resource.intent());
        // A client that hangs up does not stop what was begun.
        self.tasks.spawn("livy resource", async move {
            tell.send(desk.added(&listed, intent).await).ok();
        });
        told.await.unwrap_or_else(|closed| Err(stopping(closed)))
    }

    async fn added(&self, listed: &Listed, intent: Intent) -> Result<(), Refusal> {
        let seat = self.backend.seat(listed).await?;
        // With an operation of its own there is none before it.
        let begun = self.begin(listed, seat, (Uuid::now_v7(), intent)).await?;
        let Begun::New(statement) = begun else {
            return Ok(());
        };
        let end = self.brought(seat, &statement).await?;
        self.finish(seat, statement.id, &end).await?;
        if end.output["status"] == "ok" {
            return Ok(());
        }
        let text = |key: &str| end.output[key].as_str().unwrap_or_default().to_owned();
        Err(Refusal::Rejected(format!(
            "{}: {}",
            text("ename"),
            text("evalue")
        )))
    }

    /// How a resource was taken by a driver. A rebuild gives it to the next one, which is asked for it then.
    async fn brought(&self, mut seat: Seat, resource: &Statement) -> Result<End, Refusal> {
        for _ in 0..MAX_DRIVERS {
            match self.brought_to(seat, resource).await {
                Ok(end) => return Ok(end),
                Err(DriverFault::Refused(reason)) => return Ok(End::refused(&reason, now())),
                Err(DriverFault::Silent(reason)) => return Err(kept(&reason)),
                Err(_gone) => seat = self.backend.lost(seat).await?,
            }
        }
        Err(kept("the session is being moved"))
    }

    async fn brought_to(&self, seat: Seat, resource: &Statement) -> Result<End, DriverFault> {
        let mut reported = self.backend.start(seat, resource.id, &resource.intent).await?;
        loop {
            if let Some(end) = End::of(&reported) {
                return Ok(end);
            }
            reported = self.backend.get(seat, resource.id, POLL).await?;
        }
    }

    async fn check_active(self: &Arc<Self>, listed: &Listed) -> Result<(), Refusal> {
        match self.state_without_driver(listed).await? {
            Some("dead") => Err(Refusal::Inactive),
            Some(_) | None => Ok(()),
        }
    }

    /// Takes a job: answers when it is durable. A session that is starting runs it once it has its driver. One that
    /// is repeated with its key is not run again.
    ///
    /// # Errors
    /// Nothing ran, and nothing will.
    pub async fn submit_job(
        self: &Arc<Self>,
        listed: &Listed,
        intent: Intent,
        key: Option<&Key>,
    ) -> Result<Statement, Refusal> {
        if intent.code.len() > self.config().max_code_bytes {
            return Err(Refusal::TooLarge(self.config().max_code_bytes));
        }
        let operation = match self.made_before(listed, &intent, key).await? {
            Ok(first) => return Ok(first),
            Err(operation) => operation,
        };
        self.check_active(listed).await?;
        self.check_room(listed).await?;
        let patience = match self.entered(listed).await? {
            Phase::Active => PROMPT,
            Phase::Absent | Phase::Placing | Phase::Recovering | Phase::Closed => Duration::ZERO,
        };
        self.take(listed, (operation, intent), patience).await
    }

    /// How far a session is, once it has its record.
    async fn entered(&self, listed: &Listed) -> Result<Phase, Refusal> {
        let until = tokio::time::Instant::now() + RECORD_DEADLINE;
        loop {
            match self.backend.phase(listed.session).await? {
                Phase::Absent if tokio::time::Instant::now() > until => {
                    return Err(Refusal::Unavailable(
                        "the session cannot be placed yet".to_owned(),
                    ));
                }
                Phase::Absent => tokio::time::sleep(PAUSE).await,
                phase => return Ok(phase),
            }
        }
    }

    /// One job, and what its driver says of it if it has not ended. Answers at once while there is no driver.
    ///
    /// # Errors
    /// [`Refusal::NoJob`], [`Refusal::Inactive`], [`Refusal::Unavailable`].
    pub async fn job(
        self: &Arc<Self>,
        listed: &Listed,
        number: i64,
    ) -> Result<(Statement, Option<Reported>), Refusal> {
        self.check_active(listed).await?;
        let mut job = self.job_of(listed, number).await?;
        let placed = self.backend.phase(listed.session).await? == Phase::Active;
        if job.end.is_some() || !placed {
            let waits = job.end.is_none().then(Reported::default);
            return Ok((job, waits));
        }
        let live = self.settle(listed, &mut job).await?;
        Ok((job, live))
    }

    async fn job_of(&self, listed: &Listed, number: i64) -> Result<Statement, Refusal> {
        let found = match u64::try_from(number) {
            Ok(number) => self.backend.job(listed.session, number).await?,
            Err(_negative) => None,
        };
        found.ok_or(Refusal::NoJob(number))
    }

    /// Stops a job. One that has ended stays as it is.
    ///
    /// # Errors
    /// [`Refusal::NoJob`], [`Refusal::Inactive`], [`Refusal::Unavailable`].
    pub async fn cancel_job(self: &Arc<Self>, listed: &Listed, number: i64) -> Result<(), Refusal> {
        self.check_active(listed).await?;
        let mut job = self.job_of(listed, number).await?;
        if job.end.is_some() || self.withdraw(listed, &job).await? {
            return Ok(());
        }
        if self.backend.phase(listed.session).await? != Phase::Active {
            // It did not begin, or is lost: there is nothing to stop.
            let (of, end) = ((job.id, job.epoch), End::cancelled(now()));
            if self.backend.give_up(listed.session, of, &end).await? {
                return Ok(());
            }
            let found = self.backend.at(listed.session, job.id).await?;
            job = found.ok_or(Refusal::NoJob(number))?;
        }
        self.stop_statement(listed, &job).await
    }
}

/// What its client is told of a resource that no driver has confirmed: it is part of the session all the same.
fn kept(why: &str) -> Refusal {
    Refusal::Unavailable(format!(
        "{why}; the resource is kept, and the session's next driver gets it without another call"
    ))
}
