//! Statements on their way to a driver, and to their end.
//!
//! What did not begin goes back to those that wait in the store, and only a claim gives it to a driver again: so their
//! order is the store's, whichever brokers are at work.

use std::sync::Arc;
use std::time::Duration;

use berth_core::lineage::Witness;

use super::Desk;
use super::run::now;
use super::waiting::GIVE_AGAIN;
use crate::dialects::livy::backend::{DriverFault, Seat};
use crate::dialects::livy::listed::Listed;
use crate::dialects::livy::refusal::Refusal;
use crate::dialects::livy::statement::{End, Statement};

/// How long one question for a statement's end stays open at the agent.
pub(super) const POLL: Duration = Duration::from_secs(30);

/// What became of a start.
#[derive(Debug)]
pub(super) enum Started {
    /// It is to be followed: the agent has it, or may have it.
    Follow(Statement),
    /// It waits for a driver again, or others have settled it.
    Waits,
    /// It has its end.
    Over(Statement),
}

impl Desk {
    /// Gives a statement to the driver of the epoch that it was claimed or begun for. Whoever calls this has noted that
    /// it is followed; that is over unless it is to be followed.
    pub(super) async fn start(
        self: &Arc<Self>,
        listed: &Listed,
        seat: Seat,
        mut statement: Statement,
    ) -> Started {
        let fault = match self.backend.start(seat, statement.id, &statement.intent).await {
            Ok(_) => {
                self.followed.arrived(seat, statement.id);
                return Started::Follow(statement);
            }
            // It may be with the agent, which runs it once however often it is given to it.
            Err(DriverFault::Silent(_)) => return Started::Follow(statement),
            Err(fault) => fault,
        };
        match fault {
            DriverFault::NeverBegan => self.put_back(listed, seat, statement.id, Witness::Agent).await,
            DriverFault::NotSent => self.put_back(listed, seat, statement.id, Witness::Claimant).await,
            DriverFault::Lost => self.lost(listed, seat, &mut statement).await,
            fault @ (DriverFault::NoStatement | DriverFault::Refused(_) | DriverFault::Silent(_)) => {
                let end = End::refused(&fault.to_string(), now());
                self.give_up(seat, &mut statement, end).await;
                self.followed.remove(seat.session, statement.id);
            }
        }
        match &statement.end {
            Some(_) => Started::Over(statement),
            None => Started::Waits,
        }
    }

    /// Waits for the end of a statement that is noted as followed, or until it is left to others.
    pub(super) async fn follow(self: &Arc<Self>, listed: &Listed, seat: Seat, mut statement: Statement) {
        let id = statement.id;
        loop {
            match self.backend.get(seat, id, POLL).await {
                Ok(reported) => {
                    self.followed.arrived(seat, id);
                    if let Some(end) = End::of(&reported) {
                        if self.finish(seat, id, &end).await.is_ok() {
                            return self.followed.remove(seat.session, id);
                        }
                        // The store is full, or away: its agent keeps it meanwhile.
                        tokio::time::sleep(GIVE_AGAIN).await;
                    }
                }
                Err(DriverFault::NoStatement) if !self.followed.is_with(seat, id) => {
                    if !self.bring(listed, seat, &mut statement).await {
                        return;
                    }
                }
                Err(DriverFault::NeverBegan) => {
                    return self.put_back(listed, seat, id, Witness::Agent).await;
                }
                Err(DriverFault::Lost | DriverFault::NotSent | DriverFault::NoStatement) => {
                    return self.lost(listed, seat, &mut statement).await;
                }
                Err(DriverFault::Refused(reason) | DriverFault::Silent(reason)) => {
                    tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %reason, "statement not followed");
                    self.followed.remove(seat.session, id);
                    // It goes on there: the agent is asked again as that is possible.
                    return self.give_away(listed);
                }
            }
        }
    }

    /// Brings a statement to an agent that did not answer before. False if it is left to others: then nobody knows
    /// whether the start that was not answered arrived, but the agent.
    async fn bring(self: &Arc<Self>, listed: &Listed, seat: Seat, statement: &mut Statement) -> bool {
        match self.backend.start(seat, statement.id, &statement.intent).await {
            Ok(_) => {
                self.followed.arrived(seat, statement.id);
                return true;
            }
            Err(DriverFault::NeverBegan) => {
                self.put_back(listed, seat, statement.id, Witness::Agent).await;
            }
            Err(DriverFault::Lost | DriverFault::NotSent) => self.lost(listed, seat, statement).await,
            Err(fault @ (DriverFault::NoStatement | DriverFault::Refused(_) | DriverFault::Silent(_))) => {
                tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %fault, "statement not started");
                self.followed.remove(seat.session, statement.id);
                self.give_away(listed);
            }
        }
        false
    }

    /// Follows a statement in the background.
    pub(super) fn follow_on(self: &Arc<Self>, listed: &Listed, seat: Seat, statement: Statement) {
        let (desk, listed) = (Arc::clone(self), listed.clone());
        self.tasks.spawn("livy statement", async move {
            desk.follow(&listed, seat, statement).await;
        });
    }

    /// Lets a statement that did not begin wait for a driver again, before those behind it. If the witness cannot
    /// know, its agent is asked in its turn.
    pub(super) async fn put_back(self: &Arc<Self>, listed: &Listed, seat: Seat, id: u64, witness: Witness) {
        let put_back = self
            .backend
            .put_back(seat.session, (id, seat.epoch), witness)
            .await;
        warn(seat, put_back);
        self.leave(listed, seat, id);
    }

    /// Sees to a statement whose driver was lost while it may have run: it runs again if it may, and else its outcome is
    /// unknown.
    pub(super) async fn lost(self: &Arc<Self>, listed: &Listed, seat: Seat, statement: &mut Statement) {
        let of = (statement.id, seat.epoch);
        let again = match statement.intent.may_run_again() {
            true => self.backend.run_again(seat.session, of).await,
            false => Ok(false),
        };
        if let Ok(false) = again {
            self.give_up(seat, statement, End::unknown(now())).await;
        }
        warn(seat, again);
        self.leave(listed, seat, statement.id);
    }

    /// Ends a statement of an epoch, unless somebody has settled it.
    pub(super) async fn give_up(&self, seat: Seat, statement: &mut Statement, end: End) {
        let of = (statement.id, seat.epoch);
        let given_up = self.backend.give_up(seat.session, of, &end).await;
        if let Ok(true) = given_up {
            statement.end = Some(end);
        }
        warn(seat, given_up);
    }

    /// What a lost driver had is not followed any more. The session is recovered, and what waits is given on.
    fn leave(self: &Arc<Self>, listed: &Listed, seat: Seat, id: u64) {
        self.waiting().lose(seat);
        self.followed.remove(seat.session, id);
        self.give_away(listed);
    }

    /// Writes down how a statement ended: before that no client may hear of it (I2).
    pub(super) async fn finish(&self, seat: Seat, id: u64, end: &End) -> Result<(), Refusal> {
        let written = self.backend.finish(seat.session, id, end).await;
        written.inspect_err(|error| {
            tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "statement's end not written down");
        })
    }
}

fn warn<T>(seat: Seat, written: Result<T, Refusal>) {
    if let Err(error) = written {
        tracing::warn!(session.id = %seat.session, epoch = %seat.epoch, %error, "what became of a statement is not written down");
    }
}
