//! Statements and jobs that wait for a driver, or for room with theirs.
//!
//! Their client has their id as soon as they are durable (I2). None of them is given to a driver before a broker has
//! claimed it in the store, so that no two drivers get it (I3); they are given in order, and before what comes later.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use uuid::Uuid;

use super::follow::Started;
use super::run::now;
use super::{Desk, MAX_OPEN};
use crate::dialects::livy::backend::Seat;
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::statement::{End, Intent, Statement};

/// How long a client waits for its session's driver before it is answered without one.
pub(super) const PROMPT: Duration = Duration::from_secs(3);
/// Statements that a driver has at once, the one that runs among them. The others wait in the store: there they are
/// safe from its loss, and nothing that is queued takes memory.
pub(super) const MAX_GIVEN: usize = 16;
/// When what could not be given to a driver is tried again, as long as the session is there.
pub(super) const GIVE_AGAIN: Duration = Duration::from_secs(5);
/// How soon it is noticed that another broker's statement has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// A pause after a driver was lost before it began what it was given.
const PAUSE: Duration = Duration::from_millis(250);

/// What a desk knows of statements that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Sessions whose statements a task of this desk gives away; true if more came meanwhile.
    given: BTreeMap<SessionId, bool>,
    /// The last epoch of each of them whose driver is lost.
    lost: BTreeMap<SessionId, Epoch>,
}

impl Waiting {
    /// True if a task gives the session's statements away.
    pub(super) fn is_given(&self, session: SessionId) -> bool {
        self.given.contains_key(&session)
    }

    /// Notes that the driver of a seat is lost. A task has to be started for what it had.
    pub(super) fn lose(&mut self, seat: Seat) {
        let lost = self.lost.entry(seat.session).or_insert(seat.epoch);
        *lost = seat.epoch.max(*lost);
    }

    fn is_lost(&self, seat: Seat) -> bool {
        self.lost
            .get(&seat.session)
            .is_some_and(|epoch| *epoch >= seat.epoch)
    }

    /// Notes that something waits; true if a task has to be started for it.
    fn note(&mut self, session: SessionId) -> bool {
        let is_new = !self.is_given(session);
        self.given.insert(session, !is_new);
        is_new
    }

    /// Notes that all was given away; false if more came meanwhile.
    fn is_done(&mut self, seat: Seat) -> bool {
        let more = self.given.insert(seat.session, false).unwrap_or(false);
        if !more {
            self.is_left(seat.session);
        }
        !more
    }

    /// Notes that no task gives the session's statements away any more.
    fn is_left(&mut self, session: SessionId) {
        self.given.remove(&session);
        self.lost.remove(&session);
    }
}

impl Desk {
    pub(super) fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a statement that waits for the session's driver.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`]: nothing will run.
    pub(super) async fn enlist(
        self: &Arc<Self>,
        listed: &Listed,
        (operation, intent): (Uuid, Intent),
    ) -> Result<Statement, Refusal> {
        let enlisted = self.backend.enlist(listed.session, operation, &intent).await?;
        self.give_away(listed);
        let Some((numbered, epoch)) = enlisted else {
            return self.first(listed, operation, &intent).await;
        };
        Ok(Statement {
            id: numbered.id,
            number: numbered.number,
            epoch,
            intent,
            waits: true,
            end: None,
        })
    }

    /// Gives what waits to the session's driver, once it has one, in the background.
    pub(super) fn give_away(self: &Arc<Self>, listed: &Listed) {
        if !self.waiting().note(listed.session) {
            return;
        }
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.tasks.spawn("livy waiting", async move {
            loop {
                match desk.give(&listed).await {
                    Ok(seat) if desk.waiting().is_done(seat) => return,
                    Ok(_) => {}
                    Err(Refusal::Unavailable(reason)) => {
                        tracing::info!(session.id = %listed.session, %reason, "statements wait on");
                        tokio::time::sleep(GIVE_AGAIN).await;
                    }
                    Err(error) => {
                        tracing::info!(session.id = %listed.session, %error, "statements that wait are left");
                        desk.waiting().is_left(listed.session);
                        return;
                    }
                }
            }
        });
    }

    /// Gives what waits, in order, as the driver gets room for it. Ends when nothing waits, and all that was given is with
    /// the driver's agent.
    async fn give(self: &Arc<Self>, listed: &Listed) -> Result<Seat, Refusal> {
        loop {
            let seat = self.present(listed).await?;
            let changed = self.followed.changed(listed.session);
            let queue = self.backend.queue(listed.session, MAX_GIVEN).await?;
            // What was given comes before what waits, whichever broker has given it.
            let are_there = self.see_to(listed, seat, &queue.given).await?;
            if are_there && queue.waits == 0 {
                return Ok(seat);
            }
            if !are_there || queue.next.is_empty() {
                // Late is an answer too: it may have ended at another broker, or that broker may be lost.
                drop(tokio::time::timeout(LOOK_AGAIN, changed).await);
            } else if !self.give_all(listed, seat, queue.next).await? {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// The session's place, the next one if this desk knows that its driver is lost.
    async fn present(&self, listed: &Listed) -> Result<Seat, Refusal> {
        let seat = self.backend.seat(listed).await?;
        if !self.waiting().is_lost(seat) {
            return Ok(seat);
        }
        let next = self.backend.lost(seat).await?;
        if next == seat {
            // Its agent has not noticed yet, or the driver is there.
            self.waiting().lost.remove(&seat.session);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(next)
    }

    /// False if what waits has to be looked at again: others give, too, and a driver may be lost.
    async fn give_all(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        next: Vec<Statement>,
    ) -> Result<bool, Refusal> {
        for statement in next {
            let _turn = self.turn(listed).lock().await;
            if !self.backend.claim(seat, statement.id).await? {
                return Ok(false);
            }
            self.followed.insert(seat, statement.id);
            let given = Statement {
                waits: false,
                epoch: seat.epoch,
                ..statement
            };
            let id = given.id;
            if let Started::Follow(given) = self.start(listed, seat, given).await {
                self.follow_on(listed, seat, given);
            }
            if !self.followed.is_with(seat, id) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a session takes one more statement. One whose driver has enough, or in which some wait, lets it wait.
    ///
    /// # Errors
    /// [`Refusal::TooManyOpen`], [`Refusal::Unavailable`].
    pub(super) async fn check_room(&self, listed: &Listed) -> Result<(), Refusal> {
        let open = self.backend.unfinished(listed.session).await?;
        match open.count() < MAX_OPEN {
            true => Ok(()),
            false => Err(Refusal::TooManyOpen(MAX_OPEN)),
        }
    }

    /// Ends a statement that waits, as cancelled. False if it was given to a driver.
    pub(super) async fn withdraw(&self, listed: &Listed, statement: &Statement) -> Result<bool, Refusal> {
        let (id, end) = (statement.id, End::cancelled(now()));
        Ok(statement.waits && self.backend.withdraw(listed.session, id, &end).await?)
    }

    /// True if the driver of a seat can be given one more statement now: nothing waits, and all that came before is with
    /// its agent, as this desk knows. Asked in the session's turn.
    pub(super) async fn is_clear(&self, seat: Seat) -> Result<bool, Refusal> {
        let queue = self.backend.queue(seat.session, 0).await?;
        let mut given = queue.given.iter();
        Ok(queue.waits == 0
            && given.len() < MAX_GIVEN
            && given.all(|given| self.followed.is_with(seat, given.id)))
    }

    /// The session's place, for a call that does nothing without it.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if it is not to be had soon, and as [`Desk::seat_soon`].
    pub(super) async fn seat_now(&self, listed: &Listed) -> Result<Seat, Refusal> {
        let none = || Refusal::Unavailable("the session has no driver yet".to_owned());
        self.seat_soon(listed).await?.ok_or_else(none)
    }

    /// The session's place; `None` if it is not to be had soon.
    ///
    /// # Errors
    /// As [`crate::dialects::livy::backend::Backend::seat`].
    pub(super) async fn seat_soon(&self, listed: &Listed) -> Result<Option<Seat>, Refusal> {
        let seat = tokio::time::timeout(PROMPT, self.backend.seat(listed)).await;
        seat.map_or(Ok(None), |seat| seat.map(Some))
    }
}
