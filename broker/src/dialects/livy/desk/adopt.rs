//! Statements that another broker has given to a driver: it may be lost, or just be doing so.

use std::sync::Arc;
use std::time::Duration;

use berth_core::lineage::Witness;
use berth_runtime::clock::unix_millis;

use super::Desk;
use super::follow::Started;
use crate::dialects::livy::backend::{DriverFault, Given, Phase, Seat};
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::statement::{End, Statement};

/// For so long after a session came to its present driver the broker that follows a statement of the one before may say
/// what became of it, in milliseconds: it may have heard from an agent that is not to be asked any more.
const HEARSAY_MILLIS: u64 = 10_000;

impl Desk {
    /// Goes on with what a lost broker took: gives what waits, and follows what was given.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] while the session has no driver.
    pub(crate) async fn attend(self: &Arc<Self>, client_id: &str) -> Result<(), Refusal> {
        let listed = match self.directory.find(client_id).await {
            Err(Refusal::NoSession(_)) => return Ok(()),
            found => found?,
        };
        if self.backend.unfinished(listed.session).await?.count() == 0 {
            return Ok(());
        }
        match self.backend.phase(listed.session).await? {
            Phase::Active => self.give_away(&listed),
            Phase::Closed => {}
            Phase::Absent | Phase::Placing | Phase::Recovering => {
                return Err(Refusal::Unavailable("the session has no driver yet".to_owned()));
            }
        }
        Ok(())
    }

    /// Sees to what was given to drivers, in order. True if all of it is with the agent of the seat, or over.
    pub(super) async fn see_to(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        given: &[Given],
    ) -> Result<bool, Refusal> {
        let mut are_there = true;
        for given in given {
            are_there &= if self.followed.has(listed.session, given.id) {
                self.followed.is_with(seat, given.id)
            } else {
                self.adopt(listed, seat, *given, are_there).await?
            };
        }
        Ok(are_there)
    }

    /// Follows what no task of this desk follows. With `first` all before it are with the agent, so that it may be given
    /// to it, too. True if it is with the agent, or over.
    async fn adopt(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        given: Given,
        first: bool,
    ) -> Result<bool, Refusal> {
        // Whoever has just begun or claimed it here holds the turn until it is followed.
        let turn = self.turn(listed).lock().await;
        let found = self.backend.at(listed.session, given.id).await?;
        let Some(mut statement) = found.filter(|found| found.end.is_none()) else {
            return Ok(true);
        };
        if statement.waits || self.followed.has(listed.session, given.id) {
            return Ok(false);
        }
        if statement.epoch != seat.epoch {
            drop(turn);
            self.settle_earlier(listed, seat, &mut statement).await?;
            return Ok(statement.end.is_some());
        }
        match self.backend.get(seat, given.id, Duration::ZERO).await {
            Ok(reported) => {
                match End::of(&reported) {
                    Some(end) => self.finish(seat, given.id, &end).await?,
                    None => self.take_along(listed, seat, statement),
                }
                Ok(true)
            }
            Err(DriverFault::NoStatement) if first => self.give_too(listed, seat, statement).await,
            Err(fault) => self
                .is_not_there(listed, (seat, given.id), fault)
                .await
                .map(|()| false),
        }
    }

    fn take_along(self: &Arc<Self>, listed: &Listed, seat: Seat, statement: Statement) {
        self.followed.insert(seat, statement.id);
        self.followed.arrived(seat, statement.id);
        self.follow_on(listed, seat, statement);
    }

    /// Gives a statement to the driver whose broker was lost before it did that, or is doing so: the agent runs it once.
    async fn give_too(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        statement: Statement,
    ) -> Result<bool, Refusal> {
        let id = statement.id;
        if !self.backend.hand_on(seat, id).await? {
            return Ok(false);
        }
        self.followed.insert(seat, id);
        if let Started::Follow(statement) = self.start(listed, seat, statement).await {
            self.follow_on(listed, seat, statement);
        }
        Ok(self.followed.is_with(seat, id))
    }

    /// Sees to a statement of the seat's epoch that its agent does not have.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`] if the agent does not say.
    pub(super) async fn is_not_there(
        self: &Arc<Self>,
        listed: &Listed,
        (seat, id): (Seat, u64),
        fault: DriverFault,
    ) -> Result<(), Refusal> {
        match fault {
            DriverFault::NeverBegan => self.put_back(listed, seat, id, Witness::Agent).await,
            // The session leaves that epoch first.
            DriverFault::Lost | DriverFault::NotSent => {
                self.waiting().lose(seat);
                self.give_away(listed);
            }
            DriverFault::NoStatement => self.give_away(listed),
            DriverFault::Refused(reason) | DriverFault::Silent(reason) => {
                return Err(Refusal::Unavailable(reason));
            }
        }
        Ok(())
    }

    /// Settles a statement of an epoch that is over. Nothing is said of it while its broker may know better.
    ///
    /// # Errors
    /// [`Refusal::Unavailable`].
    pub(super) async fn settle_earlier(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        statement: &mut Statement,
    ) -> Result<(), Refusal> {
        let of = Seat {
            epoch: statement.epoch,
            ..seat
        };
        match self.backend.get(of, statement.id, Duration::ZERO).await {
            Ok(reported) => {
                if let Some(end) = End::of(&reported) {
                    self.finish(of, statement.id, &end).await?;
                    statement.end = Some(end);
                }
            }
            Err(DriverFault::NeverBegan) => {
                self.put_back(listed, of, statement.id, Witness::Agent).await;
            }
            Err(DriverFault::Lost | DriverFault::NotSent | DriverFault::NoStatement) => {
                let placed_at = self.backend.placed_at(listed.session).await?;
                if placed_at.is_some_and(|at| unix_millis().saturating_sub(at) >= HEARSAY_MILLIS) {
                    self.lost(listed, of, statement).await;
                }
            }
            Err(DriverFault::Refused(reason) | DriverFault::Silent(reason)) => {
                return Err(Refusal::Unavailable(reason));
            }
        }
        Ok(())
    }
}
