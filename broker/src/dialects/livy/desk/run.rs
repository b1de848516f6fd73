//! Statements as they come: durable before their id is told, started in order.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::clock::unix_millis;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::follow::Started;
use super::waiting::PROMPT;
use super::{Desk, stopping};
use crate::dialects::livy::backend::{Numbered, Seat};
use crate::dialects::livy::idempotency::Key;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::statement::{Intent, Statement};

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
        let operation = match self.made_before(listed, &intent, key).await? {
            Ok(first) => return Ok(first),
            Err(operation) => operation,
        };
        if let Some(state @ ("starting" | "dead")) = self.state_without_driver(listed).await? {
            return Err(Refusal::NotReady(state));
        }
        self.check_room(listed).await?;
        self.take(listed, (operation, intent), PROMPT).await
    }

    /// What an earlier request with the same key made; else the operation that this one is.
    pub(super) async fn made_before(
        &self,
        listed: &Listed,
        intent: &Intent,
        key: Option<&Key>,
    ) -> Result<Result<Statement, Uuid>, Refusal> {
        let Some(key) = key else {
            return Ok(Err(Uuid::now_v7()));
        };
        let operation = key.id(&listed.session.to_string());
        match self.backend.recall(listed.session, operation).await? {
            Some(first) => first.unless_other(intent).map(Ok),
            None => Ok(Err(operation)),
        }
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
        told.await.unwrap_or_else(|closed| Err(stopping(closed)))
    }

    async fn run(self: &Arc<Self>, listed: &Listed, asked: (Uuid, Intent), (until, tell): (Instant, Tell)) {
        let begun = match self.ready(listed, until).await {
            Ok(Some((seat, turn))) => match self.begin(listed, seat, asked.clone()).await {
                Ok(Begun::New(statement)) => {
                    let place = (seat, turn);
                    return self
                        .start_and_follow(listed, place, statement, (until, tell))
                        .await;
                }
                Ok(Begun::Before(first)) => {
                    // Its own commit may have been taken although it was told otherwise.
                    self.give_away(listed);
                    Ok(first)
                }
                // It has left its place just now.
                Err(Refusal::Unavailable(_)) => self.enlist(listed, asked).await,
                Err(refusal) => Err(refusal),
            },
            Ok(None) | Err(Refusal::Unavailable(_)) => self.enlist(listed, asked).await,
            Err(refusal) => Err(refusal),
        };
        tell.send(begun).ok();
    }

    /// The session's place and its turn. `None` if they are not to be had by then, if anything comes first, or if the
    /// driver has enough.
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
        self: &Arc<Self>,
        listed: &Listed,
        (seat, turn): (Seat, Turn<'_>),
        statement: Statement,
        (until, tell): (Instant, Tell),
    ) {
        self.followed.insert(seat, statement.id);
        let (started, tell) = {
            let mut starting = pin!(self.start(listed, seat, statement.clone()));
            match tokio::time::timeout_at(until, &mut starting).await {
                Ok(now) => (now, Some(tell)),
                Err(_late) => {
                    // It is durable; to start it goes on.
                    tell.send(Ok(statement.clone())).ok();
                    (starting.await, None)
                }
            }
        };
        // A client that has hung up does not hear the id; the statement is there all the same.
        if let Some(tell) = tell {
            let shown = match &started {
                Started::Follow(statement) | Started::Over(statement) => statement.clone(),
                Started::Waits => Statement {
                    waits: true,
                    ..statement
                },
            };
            tell.send(Ok(shown)).ok();
        }
        drop(turn);
        if let Started::Follow(statement) = started {
            self.follow(listed, seat, statement).await;
        }
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
}
