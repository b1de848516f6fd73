//! Statements: durable before their id is told, started in order, followed to their end.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_proto::agent::Statement as Reported;
use berth_runtime::clock::unix_millis;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::Desk;
use super::waiting::PROMPT;
use crate::dialects::livy::backend::{DriverFault, Numbered, Phase, Seat};
use crate::dialects::livy::directory::Listed;
use crate::dialects::livy::idempotency::Key;
use crate::dialects::livy::kind::Kind;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::request::Completion;
use crate::dialects::livy::retention::first_shown;
use crate::dialects::livy::statement::{End, Intent, Statement};

/// How long one question for a statement's end stays open at the agent.
const POLL: Duration = Duration::from_secs(30);
/// How many drivers a statement is offered to. It is offered again only when it surely never arrived.
const MAX_STARTS: u32 = 2;

/// Tells a client of its statement.
type Tell = oneshot::Sender<Result<Statement, Refusal>>;
type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

/// A statement that is written down.
pub(super) enum Begun {
    /// By this request.
    New(Statement),
    /// By an earlier one with the same key.
    Before(Statement),
}

pub(super) fn now() -> i64 {
    i64::try_from(unix_millis()).unwrap_or(i64::MAX)
}

impl Desk {
    /// Takes a statement: answers when it is durable and was given to the driver, or soon if there is none to be had.
    /// One that is repeated with its key is not run again.
    ///
    /// # Errors
    /// Nothing ran, and nothing will.
    pub async fn submit(
        self: &Arc<Self>,
        listed: &Listed,
        intent: Intent,
        key: Option<&Key>,
    ) -> Result<Statement, Refusal> {
        if intent.code.len() > self.config().max_code_bytes {
            return Err(Refusal::TooLarge(self.config().max_code_bytes));
        }
        let operation = key.map_or_else(Uuid::now_v7, |key| key.id(&listed.session.to_string()));
        if key.is_some()
            && let Some(first) = self.backend.recall(listed.session, operation).await?
        {
            return first.unless_other(&intent);
        }
        let state = self.state(listed).await?;
        if matches!(state, "starting" | "dead") {
            return Err(Refusal::NotReady(state));
        }
        self.take(listed, (operation, intent), PROMPT).await
    }

    /// Takes a statement or job of a session that has a record: answers when it is durable, and was given to the
    /// driver if that is to be had within `patience`.
    pub(super) async fn take(
        self: &Arc<Self>,
        listed: &Listed,
        asked: (Uuid, Intent),
        patience: Duration,
    ) -> Result<Statement, Refusal> {
        let until = Instant::now() + patience;
        // The work outlives a client that hangs up: what was begun is started and followed.
        let (tell, told) = oneshot::channel();
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.tasks.spawn("livy statement", async move {
            desk.run(&listed, asked, (until, tell)).await
        });
        told.await
            .unwrap_or_else(|_closed| Err(Refusal::Unavailable("the broker is shutting down".to_owned())))
    }

    async fn run(self: &Arc<Self>, listed: &Listed, asked: (Uuid, Intent), (until, tell): (Instant, Tell)) {
        let begun = match self.ready(listed, until).await {
            Ok(Some((seat, turn))) => match self.begin(listed, seat, asked.clone()).await {
                Ok(Begun::New(statement)) => {
                    return self.start_and_follow(seat, turn, statement, (until, tell)).await;
                }
                Ok(Begun::Before(first)) => Ok(first),
                // It has left its place just now.
                Err(Refusal::Unavailable(_)) => self.enlist(listed, asked).await,
                Err(refusal) => Err(refusal),
            },
            Ok(None) | Err(Refusal::Unavailable(_)) => self.enlist(listed, asked).await,
            Err(refusal) => Err(refusal),
        };
        tell.send(begun).ok();
    }

    /// The session's place and its turn. `None` if they are not to be had by then, or what waits comes first.
    async fn ready(&self, listed: &Listed, until: Instant) -> Result<Option<(Seat, Turn<'_>)>, Refusal> {
        if self.waiting().is_given(listed.session) {
            return Ok(None);
        }
        let ready = async {
            let seat = self.backend.seat(listed).await?;
            let turn = self.turn(listed).lock().await;
            Ok(self.is_clear(seat).await?.then_some((seat, turn)))
        };
        tokio::time::timeout_at(until, ready).await.unwrap_or(Ok(None))
    }

    async fn start_and_follow(
        &self,
        seat: Seat,
        turn: Turn<'_>,
        mut statement: Statement,
        (until, tell): (Instant, Tell),
    ) {
        let id = statement.id;
        self.follows(seat.session, id);
        let asked = statement.clone();
        let started = {
            let mut starting = pin!(self.start(seat, &mut statement));
            match tokio::time::timeout_at(until, &mut starting).await {
                Ok(now) => (now, Some(tell)),
                Err(_late) => {
                    // It is durable; to start it goes on.
                    tell.send(Ok(asked)).ok();
                    (starting.await, None)
                }
            }
        };
        let (seat, tell) = started;
        // A client that has hung up does not hear the id; the statement is there all the same.
        if let Some(tell) = tell {
            tell.send(Ok(statement.clone())).ok();
        }
        drop(turn);
        self.follow(seat, statement).await;
        self.followed().remove(&(seat.session, id));
    }

    pub(super) fn followed(&self) -> MutexGuard<'_, BTreeSet<(SessionId, u64)>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn follows(&self, session: SessionId, id: u64) {
        self.followed().insert((session, id));
    }

    pub(super) fn turn(&self, listed: &Listed) -> &tokio::sync::Mutex<()> {
        &self.turns[listed.number as usize % self.turns.len()]
    }

    /// Makes a statement durable. It is to be started in the same turn.
    pub(super) async fn begin(
        &self,
        listed: &Listed,
        seat: Seat,
        (operation, intent): (Uuid, Intent),
    ) -> Result<Begun, Refusal> {
        let Some(Numbered { id, number }) = self.backend.begin(seat, operation, &intent).await? else {
            let first = self.first(listed, operation, &intent).await;
            return first.map(Begun::Before);
        };
        Ok(Begun::New(Statement {
            id,
            number,
            epoch: seat.epoch,
            intent,
            waits: false,
            end: None,
        }))
    }

    /// What an earlier request with the same key made.
    pub(super) async fn first(
        &self,
        listed: &Listed,
        operation: Uuid,
        intent: &Intent,
    ) -> Result<Statement, Refusal> {
        let first = self.backend.recall(listed.session, operation).await?;
        first.ok_or(Refusal::NoStatement)?.unless_other(intent)
    }

    /// Gives a statement to the session's driver, to the next one if it surely did not begin.
    pub(super) async fn start(&self, mut seat: Seat, statement: &mut Statement) -> Seat {
        for _ in 0..MAX_STARTS {
            let end = match self.backend.start(seat, statement.id, &statement.intent).await {
                Ok(_) => return seat,
                Err(DriverFault::NeverBegan) => match self.carry_on(seat, statement).await {
                    Some(next) => {
                        seat = next;
                        continue;
                    }
                    None => return seat,
                },
                Err(DriverFault::Lost) => {
                    self.end_unknown(seat, statement).await;
                    return seat;
                }
                Err(fault @ (DriverFault::NoStatement | DriverFault::Refused(_))) => {
                    End::refused(&fault.to_string(), now())
                }
            };
            self.end(seat, statement, end).await;
            return seat;
        }
        let end = End::refused("the session lost its driver again and again", now());
        self.end(seat, statement, end).await;
        seat
    }

    /// Recovers the session and takes a statement along that surely did not begin. `None` when it has an end now,
    /// or is left to whoever asks for it next.
    async fn carry_on(&self, seat: Seat, statement: &mut Statement) -> Option<Seat> {
        let next = match self.backend.lost(seat).await {
            Ok(next) => next,
            Err(refusal) => {
                let end = End::refused(&refusal.to_string(), now());
                self.end(seat, statement, end).await;
                return None;
            }
        };
        match self.backend.carry(next, (statement.id, statement.epoch)).await {
            Ok(true) => {
                statement.epoch = next.epoch;
                Some(next)
            }
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(session.id = %seat.session, epoch = %next.epoch, %error, "statement not carried on");
                None
            }
        }
    }

    /// Waits for the end of a statement. `None` when it is left to whoever asks for it next.
    pub(super) async fn follow(&self, mut seat: Seat, mut statement: Statement) -> Option<End> {
        while statement.end.is_none() {
            match self.backend.get(seat, statement.id, POLL).await {
                Ok(reported) => {
                    if let Some(end) = End::of(&reported) {
                        self.end(seat, &mut statement, end).await;
                    }
                }
                Err(DriverFault::NeverBegan) => match self.carry_on(seat, &mut statement).await {
                    Some(next) => seat = self.start(next, &mut statement).await,
                    None => return statement.end,
                },
                Err(DriverFault::Refused(reason)) => {
                    // It goes on there; whoever asks for it next settles it.
                    tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %reason, "statement not followed");
                    return None;
                }
                Err(DriverFault::Lost | DriverFault::NoStatement) => {
                    self.end_unknown(seat, &mut statement).await;
                }
            }
        }
        statement.end
    }

    async fn end_unknown(&self, seat: Seat, statement: &mut Statement) {
        self.end(seat, statement, End::unknown(now())).await;
        self.recover(seat).await;
    }

    async fn end(&self, seat: Seat, statement: &mut Statement, end: End) {
        self.finish(seat, statement.id, &end).await;
        statement.end = Some(end);
    }

    async fn finish(&self, seat: Seat, id: u64, end: &End) {
        if let Err(error) = self.backend.finish(seat.session, id, end).await {
            tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "statement's end not written down");
        }
    }

    /// The statement's end is written down before this: the rebuilt session must not run it again.
    async fn recover(&self, seat: Seat) {
        if let Err(error) = self.backend.lost(seat).await {
            tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "session not recovered");
        }
    }

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
        for statement in self.backend.statements(listed.session).await? {
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
        if self.followed().contains(&(listed.session, statement.id)) {
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
        let seat = self.seat_soon(listed).await?;
        let asked = match self.backend.get(seat, statement.id, Duration::ZERO).await {
            Err(DriverFault::NoStatement) if statement.epoch < seat.epoch => {
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
                self.follow_on(seat, statement.clone());
                Ok(None)
            }
            Err(DriverFault::Lost) => {
                self.end(seat, statement, End::unknown(now())).await;
                let desk = Arc::clone(self);
                self.tasks
                    .spawn("livy recovery", async move { desk.recover(seat).await });
                Ok(None)
            }
            Err(fault @ (DriverFault::NoStatement | DriverFault::Refused(_))) => {
                Err(Refusal::Unavailable(fault.to_string()))
            }
        }
    }

    /// Takes a statement that surely did not begin to the session's next driver, in the background.
    fn follow_on(self: &Arc<Self>, seat: Seat, mut statement: Statement) {
        let id = statement.id;
        if !self.followed().insert((seat.session, id)) {
            return;
        }
        let desk = Arc::clone(self);
        self.tasks.spawn("livy statement", async move {
            if let Some(next) = desk.carry_on(seat, &mut statement).await {
                let seat = desk.start(next, &mut statement).await;
                desk.follow(seat, statement).await;
            }
            desk.followed().remove(&(seat.session, id));
        });
    }

    /// What the driver says of a statement that is followed here; nothing while the session is being recovered.
    async fn look(&self, listed: &Listed, id: u64) -> Result<Option<Reported>, Refusal> {
        if self.backend.phase(listed.session).await? != Phase::Active {
            return Ok(None);
        }
        let seat = self.seat_soon(listed).await?;
        Ok(self.backend.get(seat, id, Duration::ZERO).await.ok())
    }

    async fn one(&self, listed: &Listed, id: i64) -> Result<Option<Statement>, Refusal> {
        let Ok(id) = u64::try_from(id) else {
            return Ok(None);
        };
        let last = self.backend.last(listed.session).await?;
        if id < first_shown(last, self.config().retained_statements) {
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
        let seat = self.seat_soon(listed).await?;
        match self.backend.cancel(seat, statement.id).await {
            Ok(()) | Err(DriverFault::NoStatement | DriverFault::Lost | DriverFault::NeverBegan) => Ok(()),
            Err(DriverFault::Refused(reason)) => Err(Refusal::Unavailable(reason)),
        }
    }

    /// Candidates to complete code with.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`], or [`Refusal::Malformed`] for a wrong kind.
    pub async fn complete(&self, listed: &Listed, asked: Completion) -> Result<Vec<String>, Refusal> {
        let own = asked.kind.as_deref().map(str::parse::<Kind>).transpose()?;
        let kind = listed.kind.of_statement(own)?;
        let seat = self.seat_soon(listed).await?;
        let completed = self
            .backend
            .complete(seat, kind, &asked.code, asked.cursor.unwrap_or(0))
            .await;
        completed.map_err(|fault| Refusal::Unavailable(fault.to_string()))
    }
}
