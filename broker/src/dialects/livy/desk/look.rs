//! Statements that are there: shown, settled where their broker was lost, stopped.

use std::sync::Arc;
use std::time::Duration;

use berth_proto::agent::Statement as Reported;
use serde_json::Value;

use super::Desk;
use super::run::now;
use super::waiting::PROMPT;
use crate::dialects::livy::backend::{DriverFault, Phase};
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::request::Completion;
use crate::dialects::livy::retention::{Page, evicted_by};
use crate::dialects::livy::statement::{End, Statement};

/// How often a statement may move while it is being stopped.
const MAX_MOVES: usize = 3;

impl Desk {
    /// How many statements of a session are kept for its clients, and `size` of them from index `from`, as Livy shows
    /// them.
    ///
    /// # Errors
    /// [`Refusal::Inactive`] when it has ended, [`Refusal::Unavailable`].
    pub async fn statements(
        self: &Arc<Self>,
        listed: &Listed,
        (from, size): (i64, i64),
        is_descending: bool,
    ) -> Result<(usize, Vec<Value>), Refusal> {
        if listed.failed.is_some() || self.backend.phase(listed.session).await? == Phase::Closed {
            return Err(Refusal::Inactive);
        }
        let page = Page {
            retained: self.config().retained_statements,
            from,
            size,
            is_descending,
        };
        let (total, statements) = self.backend.statements(listed.session, page).await?;
        let mut shown = Vec::new();
        for statement in statements {
            shown.push(self.live(listed, statement).await?);
        }
        Ok((total, shown))
    }

    /// Livy's object of a statement, with what its driver says if that is to be had now.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    async fn live(self: &Arc<Self>, listed: &Listed, statement: Statement) -> Result<Value, Refusal> {
        let mut statement = statement;
        let live = match &statement.end {
            Some(_) => None,
            None => match self.settle(listed, &mut statement).await {
                // An agent that is away has nothing to say now, nor one whose word finds no place in the store.
                Err(Refusal::Unavailable(_) | Refusal::Full(_)) => None,
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
        for statement in self.backend.open_statements(listed.session).await?.iter().rev() {
            self.stop_statement(listed, statement).await?;
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
        if statement.epoch != seat.epoch {
            self.settle_earlier(listed, seat, statement).await?;
            return Ok(None);
        }
        match self.backend.get(seat, statement.id, Duration::ZERO).await {
            Ok(reported) => {
                if let Some(end) = End::of(&reported) {
                    self.finish(seat, statement.id, &end).await?;
                    statement.end = Some(end);
                }
                Ok(Some(reported))
            }
            Err(fault) => {
                let of = (seat, statement.id);
                self.is_not_there(listed, of, fault).await.map(|()| None)
            }
        }
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

    /// Asks a statement or job that has not ended to stop. One that waits ends at once.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(super) async fn stop_statement(&self, listed: &Listed, statement: &Statement) -> Result<(), Refusal> {
        let mut found = Some(statement.clone());
        for _ in 0..MAX_MOVES {
            let Some(statement) = found.filter(|found| found.end.is_none()) else {
                return Ok(());
            };
            if self.withdraw(listed, &statement).await? || self.stop_given(listed, &statement).await? {
                return Ok(());
            }
            // It was given to a driver, or put back, meanwhile.
            found = self.backend.at(listed.session, statement.id).await?;
        }
        let moves = "the statement is on its way to a driver; try again";
        Err(Refusal::Unavailable(moves.to_owned()))
    }

    /// Stops what a driver was given; false if it is not with it. The turn is held: what its agent does not know by then
    /// is not on its way there.
    async fn stop_given(&self, listed: &Listed, statement: &Statement) -> Result<bool, Refusal> {
        let seat = self.seat_now(listed).await?;
        let turn = tokio::time::timeout(PROMPT, self.turn(listed).lock()).await;
        let late =
            |_| Refusal::Unavailable("the session's driver is being given statements; try again".to_owned());
        let _turn = turn.map_err(late)?;
        match self.backend.cancel(seat, statement.id).await {
            Err(DriverFault::NoStatement | DriverFault::NeverBegan) => {
                let (of, end) = ((statement.id, statement.epoch), End::cancelled(now()));
                self.backend.give_up(listed.session, of, &end).await
            }
            // It must not run a second time then.
            Err(DriverFault::Lost) if statement.intent.may_run_again() => {
                let (of, end) = ((statement.id, statement.epoch), End::cancelled(now()));
                self.backend
                    .give_up(listed.session, of, &end)
                    .await
                    .map(|_settled| true)
            }
            Ok(()) | Err(DriverFault::Lost) => Ok(true),
            Err(DriverFault::NotSent) => Ok(false),
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
