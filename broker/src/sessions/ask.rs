//! Asks the agent of a code session, for as long as that agent may still answer.

use std::future::Future;
use std::time::Duration;

use berth_core::ids::SessionId;
use berth_core::record::SessionState;
use berth_proto::NEVER_BEGAN;
use tokio::time::Instant;
use tonic::{Code, Response, Status};

use super::Sessions;
use crate::dialects::connect::backend::Route;
use crate::dialects::livy::backend::{DriverFault, Seat};
use crate::fleet::Agent;

/// A pause before an agent is asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a place that is just being looked for is waited for, by calls that clients wait for.
const LOOKING: Duration = Duration::from_secs(1);
/// An agent answers within this time beyond the wait that it was asked for, or within the patience of who asks where
/// that is shorter.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// Why an agent does not do what it is asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// The session is not there any more; with `unsent` the agent has surely not done it.
    Gone {
        unsent: bool,
    },
    /// The driver was lost before it had begun the statement.
    NeverBegan,
    /// The agent does not know the statement; with `unsent` it was asked for the first time.
    NoStatement {
        unsent: bool,
    },
    Refused(String),
    /// The agent does not answer: nobody knows whether it has done it.
    Silent(String),
}

impl From<Fault> for DriverFault {
    /// Of a question: one that was not asked says nothing of the statement, which may have run all the same.
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Gone { .. } => Self::Lost,
            Fault::NeverBegan => Self::NeverBegan,
            Fault::NoStatement { .. } => Self::NoStatement,
            Fault::Refused(reason) => Self::Refused(reason),
            Fault::Silent(reason) => Self::Silent(reason),
        }
    }
}

impl Sessions {
    pub(super) fn seated(&self, seat: Seat) -> Result<Route, Fault> {
        let served = self.served(seat.session);
        let served = served.filter(|served| served.route.epoch == seat.epoch);
        // Somebody else has moved it on: what was not sent yet is not sent to the old place.
        Ok(served.ok_or(Fault::Gone { unsent: true })?.route)
    }

    /// Where a session was in a seat's epoch, or where it is if that is not known: agents know what they had in epochs
    /// that are over.
    pub(super) async fn seated_once(&self, seat: Seat) -> Result<Route, Fault> {
        self.await_place(seat.session).await;
        if let Some(there) = self.place_in(seat.session, seat.epoch) {
            return Ok(there);
        }
        let served = self.served(seat.session);
        let served = served.filter(|served| served.route.epoch >= seat.epoch);
        let nowhere = || Fault::Silent("the session is being moved".to_owned());
        Ok(served.ok_or_else(nowhere)?.route)
    }

    /// Waits, bounded, while a task of this broker looks where a session is.
    pub(super) async fn await_place(&self, session: SessionId) {
        if self.served(session).is_none() {
            let turn = self.turn(session);
            drop(tokio::time::timeout(LOOKING, turn.lock()).await);
        }
    }

    /// Asks the agent of a session's node. While the agent is away its drivers go on: it is asked again until the
    /// node is lost or the patience is at its end. What is asked must be safe to ask twice.
    pub(super) async fn ask<T, F>(
        &self,
        seat: Seat,
        (wait, patience): (Duration, Duration),
        call: impl Fn(Agent) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let route = self.seated(seat)?;
        self.ask_at(&route, (wait, patience), call).await
    }

    /// As [`Sessions::ask`], of the agent of a route.
    pub(super) async fn ask_at<T, F>(
        &self,
        route: &Route,
        (wait, patience): (Duration, Duration),
        call: impl Fn(Agent) -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let until = Instant::now() + wait + patience;
        // A node that is cut off says nothing: who polls is not kept waiting for that.
        let deadline = wait + ANSWER_DEADLINE.min(patience);
        let mut unsent = true;
        loop {
            let asked = tokio::time::timeout(deadline, call(self.fleet.client(&route.agent))).await;
            let status = match asked {
                Ok(Ok(answer)) => return Ok(answer.into_inner()),
                Ok(Err(status)) => status,
                Err(late) => Status::deadline_exceeded(late.to_string()),
            };
            match status.code() {
                Code::Aborted if status.details() == NEVER_BEGAN => return Err(Fault::NeverBegan),
                Code::Aborted => return Err(Fault::Gone { unsent: false }),
                Code::NotFound => return Err(Fault::NoStatement { unsent }),
                Code::FailedPrecondition => return Err(Fault::Gone { unsent }),
                Code::InvalidArgument | Code::ResourceExhausted | Code::Unimplemented => {
                    return Err(Fault::Refused(status.message().to_owned()));
                }
                _ => {}
            }
            unsent = false;
            if self.is_node_lost(route).await {
                return Err(Fault::Gone { unsent });
            }
            if Instant::now() >= until {
                let reason = format!("the agent does not answer: {}", status.message());
                return Err(Fault::Silent(reason));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn is_node_lost(&self, route: &Route) -> bool {
        let SessionState::Active { placement, .. } = &route.record.state else {
            return false;
        };
        match self.fleet.node(&placement.node).await {
            Ok(node) => node.is_none_or(|node| node.incarnation != placement.incarnation),
            Err(_unknown) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i3_a_question_that_was_not_asked_does_not_say_that_nothing_ran() {
        for unsent in [true, false] {
            assert_eq!(DriverFault::from(Fault::Gone { unsent }), DriverFault::Lost);
        }
        assert_eq!(DriverFault::from(Fault::NeverBegan), DriverFault::NeverBegan);
        let silent = "late".to_owned();
        assert_eq!(
            DriverFault::from(Fault::Silent(silent.clone())),
            DriverFault::Silent(silent)
        );
    }
}
