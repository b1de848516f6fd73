//! Statements: durable before their id is told, started in order, followed to their end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::clock::unix_millis;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::waiting::{MAX_GIVEN, PROMPT};
use super::{Desk, stopping};
use crate::dialects::livy::backend::{DriverFault, Numbered, Seat};
use crate::dialects::livy::idempotency::Key;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::statement::{End, Intent, Statement};
use crate::dialects::livy::task::Task;

/// How long one question for a statement's end stays open at the agent.
const POLL: Duration = Duration::from_secs(30);
/// How many drivers a statement is offered to. It is offered again only when it surely never arrived, or may run again.
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
                    let end = self.start_and_follow(seat, turn, statement, (until, tell)).await;
                    if end.is_none() {
                        // It may have been put back.
                        self.give_away(listed);
                    }
                    return;
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

    /// The session's place and its turn. `None` if they are not to be had by then, if what waits comes first, or if
    /// the driver has enough.
    async fn ready(&self, listed: &Listed, until: Instant) -> Result<Option<(Seat, Turn<'_>)>, Refusal> {
        if self.waiting().is_given(listed.session) {
            return Ok(None);
        }
        let ready = async {
            let seat = self.backend.seat(listed).await?;
            let turn = self.turn(listed).lock().await;
            let has_room = self.followed.count(listed.session) < MAX_GIVEN && self.is_clear(seat).await?;
            Ok(has_room.then_some((seat, turn)))
        };
        tokio::time::timeout_at(until, ready).await.unwrap_or(Ok(None))
    }

    async fn start_and_follow(
        &self,
        seat: Seat,
        turn: Turn<'_>,
        mut statement: Statement,
        (until, tell): (Instant, Tell),
    ) -> Option<End> {
        let id = statement.id;
        self.followed.insert(seat.session, id, seat.epoch);
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
        let (session, (seat, tell)) = (seat.session, started);
        // A client that has hung up does not hear the id; the statement is there all the same.
        if let Some(tell) = tell {
            tell.send(Ok(statement.clone())).ok();
        }
        drop(turn);
        let end = self.follow(seat, statement).await;
        self.followed.remove(session, id);
        end
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

    /// Gives a statement to the session's driver, to the next one if it surely did not begin or may run again. `None`
    /// when it is left to others.
    pub(super) async fn start(&self, mut seat: Seat, statement: &mut Statement) -> Option<Seat> {
        for _ in 0..MAX_STARTS {
            let end = match self.backend.start(seat, statement.id, &statement.intent).await {
                Ok(_) => {
                    self.followed.is_with(seat, statement.id);
                    return Some(seat);
                }
                Err(DriverFault::Lost) if !statement.intent.may_run_again() => {
                    self.end_unknown(seat, statement).await;
                    return None;
                }
                Err(DriverFault::NeverBegan | DriverFault::Lost) => {
                    seat = self.carry_on(seat, statement).await?;
                    continue;
                }
                // It may be with the agent, where whoever follows it looks.
                Err(DriverFault::Silent(_)) => return Some(seat),
                Err(fault @ (DriverFault::NoStatement | DriverFault::Refused(_))) => {
                    End::refused(&fault.to_string(), now())
                }
            };
            self.end(seat, statement, end).await;
            return None;
        }
        // It surely did not begin: it waits until a driver stays.
        if self.wait_again(seat, statement).await {
            return None;
        }
        let end = End::refused("the session lost its driver again and again", now());
        self.end(seat, statement, end).await;
        None
    }

    /// Recovers the session and takes along a statement that surely did not begin or may run again. `None` when it
    /// has an end now, or is left to whoever asks for it next.
    pub(super) async fn carry_on(&self, seat: Seat, statement: &mut Statement) -> Option<Seat> {
        let next = match self.backend.lost(seat).await {
            Ok(next) => next,
            // It waits for a driver as what is taken meanwhile does, and is the first of them.
            Err(Refusal::Unavailable(_)) if self.wait_again(seat, statement).await => return None,
            Err(refusal) => {
                let end = End::refused(&refusal.to_string(), now());
                self.end(seat, statement, end).await;
                return None;
            }
        };
        self.carry(next, statement).await
    }

    /// Puts a statement that surely did not begin, or may run again, back to those that wait. False if that is no use:
    /// whoever adds a resource waits for it.
    async fn wait_again(&self, seat: Seat, statement: &Statement) -> bool {
        let given = (statement.id, statement.epoch);
        if statement.intent.task == Task::Add {
            return false;
        }
        match self.backend.put_back(seat.session, given).await {
            // Whoever has settled it has seen to it.
            Ok(_) => {
                self.waiting().is_put_back(seat.session);
                true
            }
            Err(error) => {
                tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "statement not put back");
                false
            }
        }
    }

    /// Takes a statement along to the place where its session lives by now.
    pub(super) async fn carry(&self, next: Seat, statement: &mut Statement) -> Option<Seat> {
        match self.backend.carry(next, (statement.id, statement.epoch)).await {
            Ok(true) => {
                statement.epoch = next.epoch;
                self.followed.wait_in_line(next, statement.id).await;
                if self.would_overtake(next, statement).await && self.wait_again(next, statement).await {
                    return None;
                }
                Some(next)
            }
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(session.id = %next.session, epoch = %next.epoch, %error, "statement not carried on");
                None
            }
        }
    }

    /// True if one before it was put back to those that wait.
    async fn would_overtake(&self, seat: Seat, statement: &Statement) -> bool {
        let open = self.backend.unfinished(seat.session).await;
        open.is_ok_and(|open| open.next.is_some_and(|next| next < statement.id))
    }

    /// Waits for the end of a statement. `None` when it is left to whoever asks for it next.
    pub(super) async fn follow(&self, started: Option<Seat>, mut statement: Statement) -> Option<End> {
        let (mut started, mut runs) = (started, 1);
        while let (Some(seat), None) = (started, &statement.end) {
            match self.backend.get(seat, statement.id, POLL).await {
                Ok(reported) => {
                    if let Some(end) = End::of(&reported) {
                        self.end(seat, &mut statement, end).await;
                    }
                }
                Err(DriverFault::NeverBegan) => started = self.start_again(seat, &mut statement).await,
                Err(DriverFault::Refused(reason) | DriverFault::Silent(reason)) => {
                    // It goes on there; whoever asks for it next settles it.
                    tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %reason, "statement not followed");
                    return None;
                }
                Err(DriverFault::Lost) if runs < MAX_STARTS && statement.intent.may_run_again() => {
                    runs += 1;
                    started = self.start_again(seat, &mut statement).await;
                }
                Err(DriverFault::Lost | DriverFault::NoStatement) => {
                    self.end_unknown(seat, &mut statement).await;
                    return statement.end;
                }
            }
        }
        statement.end
    }

    /// Takes a statement to the next driver. `None` when it is left to others.
    async fn start_again(&self, seat: Seat, statement: &mut Statement) -> Option<Seat> {
        let next = self.carry_on(seat, statement).await?;
        self.start(next, statement).await
    }

    async fn end_unknown(&self, seat: Seat, statement: &mut Statement) {
        self.give_up(seat, statement).await;
        self.recover(seat).await;
    }

    /// Ends a statement that was lost with its driver, unless somebody knows better and has taken it along.
    pub(super) async fn give_up(&self, seat: Seat, statement: &mut Statement) {
        let (of, end) = ((statement.id, statement.epoch), End::unknown(now()));
        match self.backend.give_up(seat.session, of, &end).await {
            Ok(true) => statement.end = Some(end),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "statement's end not written down");
            }
        }
    }

    pub(super) async fn end(&self, seat: Seat, statement: &mut Statement, end: End) {
        self.finish(seat, statement.id, &end).await;
        statement.end = Some(end);
    }

    async fn finish(&self, seat: Seat, id: u64, end: &End) {
        if let Err(error) = self.backend.finish(seat.session, id, end).await {
            tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "statement's end not written down");
        }
    }

    /// The statement's end is written down before this: the rebuilt session must not run it again.
    pub(super) async fn recover(&self, seat: Seat) {
        if let Err(error) = self.backend.lost(seat).await {
            tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "session not recovered");
        }
    }
}
