//! Statements and jobs that wait for a driver, or for room with theirs.
//!
//! Their client has their id as soon as they are durable (I2). None of them is given to a driver before a broker has
//! claimed it in the store, so that no two drivers get it (I3); they are given in order, and before what comes later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{Epoch, SessionId};
use uuid::Uuid;

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
const GIVE_AGAIN: Duration = Duration::from_secs(5);
/// How soon it is noticed that another broker's statement has ended.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Sessions of which it is remembered that nothing waits; beyond, it is read again.
const MAX_CLEAR: usize = 100_000;

/// What a desk knows of statements that wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Sessions whose statements a task of this desk gives away; true if more came meanwhile.
    given: BTreeMap<SessionId, bool>,
    /// Those of them in which a statement was put back since it was read what waits.
    put_back: BTreeSet<SessionId>,
    /// The epoch of each session in which nothing waits.
    clear: BTreeMap<SessionId, Epoch>,
}

impl Waiting {
    /// True if a task gives the session's statements away.
    pub(super) fn is_given(&self, session: SessionId) -> bool {
        self.given.contains_key(&session)
    }

    fn is_clear(&self, seat: Seat) -> bool {
        self.clear.get(&seat.session) == Some(&seat.epoch)
    }

    /// Notes that nothing waits; false if a task is not done with the session.
    fn note_clear(&mut self, seat: Seat) -> bool {
        if self.clear.len() >= MAX_CLEAR {
            self.clear.clear();
        }
        self.clear.insert(seat.session, seat.epoch);
        !self.is_given(seat.session)
    }

    /// Notes that something may wait at another broker.
    fn is_crowded(&mut self, session: SessionId) {
        self.clear.remove(&session);
    }

    /// Notes that a statement waits again that comes before others.
    pub(super) fn is_put_back(&mut self, session: SessionId) {
        self.clear.remove(&session);
        if self.is_given(session) {
            self.put_back.insert(session);
        }
    }

    /// True if what was read of a session still tells what is next.
    fn is_in_order(&self, session: SessionId) -> bool {
        !self.put_back.contains(&session)
    }

    /// Notes that what waits is read now.
    fn is_read(&mut self, session: SessionId) {
        self.put_back.remove(&session);
    }

    /// Notes that no task gives the session's statements away any more.
    fn is_left(&mut self, session: SessionId) {
        self.given.remove(&session);
        self.put_back.remove(&session);
    }

    /// Notes that something waits; true if a task has to be started for it.
    fn note(&mut self, session: SessionId) -> bool {
        self.clear.remove(&session);
        let is_new = !self.is_given(session);
        self.given.insert(session, !is_new);
        is_new
    }

    /// Notes that all was given away; false if more came meanwhile.
    fn is_done(&mut self, seat: Seat) -> bool {
        match self.given.insert(seat.session, false) {
            Some(true) => false,
            Some(false) | None => {
                self.is_left(seat.session);
                self.note_clear(seat)
            }
        }
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
        let Some((numbered, epoch)) = enlisted else {
            return self.first(listed, operation, &intent).await;
        };
        self.give_away(listed);
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

    /// Gives what waits, in order, as the driver gets room for it. Ends when nothing waits.
    async fn give(self: &Arc<Self>, listed: &Listed) -> Result<Seat, Refusal> {
        loop {
            let seat = self.backend.seat(listed).await?;
            let changed = self.followed.changed();
            self.waiting().is_read(listed.session);
            let queue = self.backend.waiting(listed.session, MAX_GIVEN).await?;
            if queue.open.waits == 0 {
                return Ok(seat);
            }
            if queue.next.is_empty() {
                // Late is an answer too: it may have ended at another broker, or that broker may be lost.
                drop(tokio::time::timeout(LOOK_AGAIN, changed).await);
                self.settle_for_others(listed, queue.oldest).await?;
                continue;
            }
            // What another broker has claimed must be with the driver before what comes after it.
            self.settle_for_others(listed, queue.newest).await?;
            for statement in queue.next {
                if !self.give_one(listed, seat, statement).await? {
                    break;
                }
            }
        }
    }

    /// Goes on with what a lost broker took: gives what waits, and settles what has ended since.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`], [`Refusal::NoSession`].
    pub(crate) async fn attend(self: &Arc<Self>, client_id: &str) -> Result<(), Refusal> {
        let listed = self.directory.find(client_id).await?;
        let mut before = None;
        loop {
            let queue = self.backend.waiting(listed.session, 0).await?;
            if queue.open.waits > 0 {
                self.give_away(&listed);
            }
            let Some(oldest) = queue.oldest.filter(|oldest| before != Some(oldest.id)) else {
                return Ok(());
            };
            before = Some(oldest.id);
            self.settle_for_others(&listed, Some(oldest)).await?;
        }
    }

    /// Settles what another broker follows, or has left open.
    async fn settle_for_others(
        self: &Arc<Self>,
        listed: &Listed,
        given: Option<Statement>,
    ) -> Result<(), Refusal> {
        match given {
            Some(mut given) if !self.followed.has(listed.session, given.id) => {
                self.settle(listed, &mut given).await.map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// False if what waits has to be looked at again: others give, too, and a driver may be lost.
    async fn give_one(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        mut statement: Statement,
    ) -> Result<bool, Refusal> {
        self.followed.wait_in_line(seat, statement.id).await;
        let _turn = self.turn(listed).lock().await;
        if !self.waiting().is_in_order(seat.session) || !self.backend.claim(seat, statement.id).await? {
            return Ok(false);
        }
        statement.waits = false;
        statement.epoch = seat.epoch;
        let id = statement.id;
        self.followed.insert(seat.session, id, seat.epoch);
        let started = self.start(seat, &mut statement).await;
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.tasks.spawn("livy statement", async move {
            let end = desk.follow(started, statement).await;
            desk.followed.remove(seat.session, id);
            if end.is_none() {
                // It may have been put back.
                desk.give_away(&listed);
            }
        });
        Ok(started == Some(seat))
    }

    /// Whether a session takes one more statement. One whose driver has enough, or in which some wait, lets it wait.
    ///
    /// # Errors
    /// [`Refusal::TooManyOpen`], [`Refusal::Unavailable`].
    pub(super) async fn check_room(&self, listed: &Listed) -> Result<(), Refusal> {
        let open = self.backend.unfinished(listed.session).await?;
        if open.count() >= MAX_OPEN {
            return Err(Refusal::TooManyOpen(MAX_OPEN));
        }
        if open.waits > 0 || open.given >= MAX_GIVEN {
            self.waiting().is_crowded(listed.session);
        }
        Ok(())
    }

    /// Ends a statement that waits, as cancelled. False if it was given to a driver.
    pub(super) async fn withdraw(&self, listed: &Listed, statement: &Statement) -> Result<bool, Refusal> {
        let (id, end) = (statement.id, End::cancelled(now()));
        Ok(statement.waits && self.backend.withdraw(listed.session, id, &end).await?)
    }

    /// True if nothing waits that has to be given to the driver first, and the driver has room.
    pub(super) async fn is_clear(&self, seat: Seat) -> Result<bool, Refusal> {
        if self.waiting().is_clear(seat) {
            return Ok(true);
        }
        let open = self.backend.unfinished(seat.session).await?;
        let clear = open.waits == 0 && open.given < MAX_GIVEN;
        Ok(clear && self.waiting().note_clear(seat))
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
