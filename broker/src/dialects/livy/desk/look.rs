//! Statements that are there: shown, settled where their broker was lost, stopped.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::agent::Statement as Reported;
use serde_json::Value;

use super::Desk;
use super::run::now;
use super::waiting::PROMPT;
use crate::dialects::livy::backend::{DriverFault, Phase, Seat};
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::request::Completion;
use crate::dialects::livy::retention::{evicted_by, first_shown};
use crate::dialects::livy::statement::{End, Statement};

/// Where a statement is taken.
enum Carry {
    /// To the driver that is asked: the session has come to it already.
    Here,
    /// To the next one: this one is lost.
    Next,
}

impl Desk {
    /// The statements of a session that are kept for its clients, in order.
    ///
    /// # Errors
    /// [`Refusal::Inactive`] when it has ended, [`Refusal::Unavailable`].
    pub async fn statements(&self, listed: &Listed) -> Result<Vec<Statement>, Refusal> {
        if listed.failed.is_some() || self.backend.phase(listed.session).await? == Phase::Closed {
            return Err(Refusal::Inactive);
        }
        let mut all = self.backend.statements(listed.session).await?;
        let last = all.last().map_or(0, |last| last.number);
        let first = first_shown(last, self.config().retained_statements);
        all.retain(|statement| statement.number >= first);
        Ok(all)
    }

    /// Livy's object of a statement, with what its driver says if that is to be had now.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn live(self: &Arc<Self>, listed: &Listed, statement: Statement) -> Result<Value, Refusal> {
        let mut statement = statement;
        let live = match &statement.end {
            Some(_) => None,
            None => match self.settle(listed, &mut statement).await {
                // An agent that is away has nothing to say now.
                Err(Refusal::Unavailable(_)) => None,
                live => live?,
            },
        };
        Ok(statement.show(live.as_ref()))
    }

    /// Asks every statement that has not ended to stop.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn interrupt(&self, listed: &Listed) -> Result<(), Refusal> {
        // The last one first: with the one that runs, the next would begin.
        for statement in self.backend.statements(listed.session).await?.into_iter().rev() {
            if statement.end.is_none() {
                self.stop_statement(listed, &statement).await?;
            }
        }
        Ok(())
    }

    /// One statement, and what its driver says of it if it has not ended. Settles what a lost broker left open.
    ///
    /// # Errors
    /// [`Refusal::NoStatement`], [`Refusal::Unavailable`].
    pub async fn statement(
        self: &Arc<Self>,
        listed: &Listed,
        id: i64,
    ) -> Result<(Statement, Option<Reported>), Refusal> {
        let mut statement = self.one(listed, id).await?.ok_or(Refusal::NoStatement)?;
        if statement.end.is_some() {
            return Ok((statement, None));
        }
        let live = self.settle(listed, &mut statement).await?;
        Ok((statement, live))
    }

    /// Never waits for a driver: while there is none, there is nothing to say.
    pub(super) async fn settle(
        self: &Arc<Self>,
        listed: &Listed,
        statement: &mut Statement,
    ) -> Result<Option<Reported>, Refusal> {
        if self.followed.has(listed.session, statement.id) {
            return self.look(listed, statement.id).await;
        }
        let is_active = self.backend.phase(listed.session).await? == Phase::Active;
        if !is_active {
            self.place(listed);
        }
        if statement.waits {
            self.give_away(listed);
            return Ok(Some(Reported::default()));
        }
        if !is_active {
            return Ok(None);
        }
        let Some(seat) = self.seat_soon(listed).await? else {
            return Ok(None);
        };
        let asked = match self.backend.get(seat, statement.id, Duration::ZERO).await {
            Err(DriverFault::NoStatement) if statement.epoch < seat.epoch => {
                if statement.intent.may_run_again() {
                    self.follow_on(listed, seat, statement.clone(), Carry::Here);
                    return Ok(None);
                }
                // Asked for on a driver that is gone, and never given to this one.
                let end = End::unknown(now());
                let given_up = self
                    .backend
                    .give_up(listed.session, (statement.id, statement.epoch), &end);
                if given_up.await? {
                    statement.end = Some(end);
                }
                return Ok(None);
            }
            // The broker that took it was lost before it gave it on, or is doing so; the agent runs it once.
            Err(DriverFault::NoStatement) => self.backend.start(seat, statement.id, &statement.intent).await,
            asked => asked,
        };
        match asked {
            Ok(reported) => {
                if let Some(end) = End::of(&reported) {
                    self.end(seat, statement, end).await;
                }
                Ok(Some(reported))
            }
            Err(DriverFault::NeverBegan) => {
                self.follow_on(listed, seat, statement.clone(), Carry::Next);
                Ok(None)
            }
            Err(DriverFault::Lost) if statement.intent.may_run_again() => {
                self.follow_on(listed, seat, statement.clone(), Carry::Next);
                Ok(None)
            }
            Err(DriverFault::Lost) => {
                self.give_up(seat, statement).await;
                let desk = Arc::clone(self);
                self.tasks
                    .spawn("livy recovery", async move { desk.recover(seat).await });
                Ok(None)
            }
            Err(fault @ (DriverFault::NoStatement | DriverFault::Refused(_) | DriverFault::Silent(_))) => {
                Err(Refusal::Unavailable(fault.to_string()))
            }
        }
    }

    /// Takes a statement that surely did not begin, or may run again, to another driver, in the background.
    fn follow_on(self: &Arc<Self>, listed: &Listed, seat: Seat, mut statement: Statement, to: Carry) {
        let id = statement.id;
        if !self.followed.insert(seat.session, id, statement.epoch) {
            return;
        }
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.tasks.spawn("livy statement", async move {
            let next = match to {
                Carry::Here => desk.carry(seat, &mut statement).await,
                Carry::Next => desk.carry_on(seat, &mut statement).await,
            };
            let started = match next {
                Some(next) => desk.start(next, &mut statement).await,
                None => None,
            };
            let end = desk.follow(started, statement).await;
            desk.followed.remove(seat.session, id);
            if end.is_none() {
                // It may have been put back.
                desk.give_away(&listed);
            }
        });
    }

    /// What the driver says of a statement that is followed here; nothing while the session is being recovered.
    async fn look(&self, listed: &Listed, id: u64) -> Result<Option<Reported>, Refusal> {
        if self.backend.phase(listed.session).await? != Phase::Active {
            return Ok(None);
        }
        let Some(seat) = self.seat_soon(listed).await? else {
            return Ok(None);
        };
        Ok(self.backend.get(seat, id, Duration::ZERO).await.ok())
    }

    async fn one(&self, listed: &Listed, id: i64) -> Result<Option<Statement>, Refusal> {
        let Ok(id) = u64::try_from(id) else {
            return Ok(None);
        };
        // Of several brokers none has to know of the others' statements for this.
        let evicts = evicted_by(id, self.config().retained_statements);
        if self.backend.has_had(listed.session, evicts).await? {
            return Ok(None);
        }
        self.backend.statement(listed.session, id).await
    }

    /// Asks a statement to stop. What is unknown or over is left alone, as Livy does.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub async fn cancel(&self, listed: &Listed, id: i64) -> Result<(), Refusal> {
        match self.one(listed, id).await? {
            Some(statement) if statement.end.is_none() => self.stop_statement(listed, &statement).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn stop_statement(&self, listed: &Listed, statement: &Statement) -> Result<(), Refusal> {
        if self.withdraw(listed, statement).await? {
            return Ok(());
        }
        self.stop_given(listed, statement).await
    }

    /// Stops what a driver was given. The turn is held: what its agent does not know by then is not on its way there,
    /// and finds its end before it starts.
    pub(super) async fn stop_given(&self, listed: &Listed, statement: &Statement) -> Result<(), Refusal> {
        let seat = self.seat_now(listed).await?;
        let turn = tokio::time::timeout(PROMPT, self.turn(listed).lock()).await;
        let late =
            |_| Refusal::Unavailable("the session's driver is being given statements; try again".to_owned());
        let _turn = turn.map_err(late)?;
        match self.backend.cancel(seat, statement.id).await {
            Err(DriverFault::NoStatement) => {
                let (of, end) = ((statement.id, statement.epoch), End::cancelled(now()));
                self.backend.give_up(listed.session, of, &end).await.map(drop)
            }
            Ok(()) | Err(DriverFault::Lost | DriverFault::NeverBegan) => Ok(()),
            Err(DriverFault::Refused(reason) | DriverFault::Silent(reason)) => {
                Err(Refusal::Unavailable(reason))
            }
        }
    }

    /// Candidates to complete code with.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`], or [`Refusal::Malformed`] for a wrong kind.
    pub async fn complete(&self, listed: &Listed, asked: Completion) -> Result<Vec<String>, Refusal> {
        let own = asked.kind.as_deref().map(str::parse::<Kind>).transpose()?;
        let kind = listed.kind.of_statement(own)?;
        let seat = self.seat_now(listed).await?;
        let completed = self
            .backend
            .complete(seat, kind, &asked.code, asked.cursor.unwrap_or(0))
            .await;
        completed.map_err(|fault| Refusal::Unavailable(fault.to_string()))
    }
}
