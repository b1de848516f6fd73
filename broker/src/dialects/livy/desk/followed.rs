//! Statements that tasks of a desk follow to their end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use berth_core::ids::{Epoch, SessionId};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use crate::dialects::livy::backend::Seat;

/// How far a statement that is followed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    /// The epoch whose driver it is given to.
    epoch: Epoch,
    /// True once that driver's agent has it.
    arrived: bool,
}

#[derive(Debug, Default)]
struct OfSession {
    statements: BTreeMap<u64, Way>,
    changed: Arc<Notify>,
}

/// What is followed, by session.
#[derive(Debug, Default)]
pub(super) struct Followed(Mutex<BTreeMap<SessionId, OfSession>>);

impl Followed {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SessionId, OfSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a statement is followed, and given to the driver of a seat. False if it is followed already.
    pub(super) fn insert(&self, seat: Seat, id: u64) -> bool {
        let way = Way {
            epoch: seat.epoch,
            arrived: false,
        };
        let mut sessions = self.lock();
        let statements = &mut sessions.entry(seat.session).or_default().statements;
        let is_new = !statements.contains_key(&id);
        statements.entry(id).or_insert(way);
        is_new
    }

    /// Notes that the agent of a seat has a statement.
    pub(super) fn arrived(&self, seat: Seat, id: u64) {
        if let Some(session) = self.lock().get_mut(&seat.session) {
            let way = session.statements.get_mut(&id);
            if let Some(way) = way.filter(|way| way.epoch == seat.epoch && !way.arrived) {
                way.arrived = true;
                session.changed.notify_waiters();
            }
        }
    }

    /// Notes that a statement has ended, or is left to others.
    pub(super) fn remove(&self, session: SessionId, id: u64) {
        let mut sessions = self.lock();
        if let Some(of) = sessions.get_mut(&session) {
            of.statements.remove(&id);
            of.changed.notify_waiters();
            if of.statements.is_empty() {
                sessions.remove(&session);
            }
        }
    }

    /// True if a task follows the statement.
    pub(super) fn has(&self, session: SessionId, id: u64) -> bool {
        let sessions = self.lock();
        sessions
            .get(&session)
            .is_some_and(|of| of.statements.contains_key(&id))
    }

    /// True if a statement is followed and the agent of the seat has it.
    pub(super) fn is_with(&self, seat: Seat, id: u64) -> bool {
        let sessions = self.lock();
        let way = sessions
            .get(&seat.session)
            .and_then(|of| of.statements.get(&id).copied());
        way.is_some_and(|way| way.arrived && way.epoch == seat.epoch)
    }

    /// Ends when a statement of the session has arrived or ended since this was called, unless nothing was followed.
    pub(super) fn changed(&self, session: SessionId) -> OwnedNotified {
        let changed = self.lock().get(&session).map(|of| Arc::clone(&of.changed));
        changed.unwrap_or_default().notified_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_is_followed_is_told_apart_by_epoch_and_session() {
        let followed = Followed::default();
        let [one, other] = [1, 2].map(|id| Seat {
            session: SessionId::new(Uuid::from_u128(id)),
            epoch: Epoch::INITIAL,
        });
        let next = Seat {
            epoch: one.epoch.next(),
            ..one
        };
        assert!(followed.insert(one, 0) && !followed.insert(one, 0));
        assert!(followed.has(one.session, 0) && !followed.has(other.session, 0));
        assert!(!followed.is_with(one, 0));
        let mut changed = pin!(followed.changed(one.session));
        followed.arrived(next, 0);
        assert!(!followed.is_with(one, 0) && !followed.is_with(next, 0));
        assert!(changed.as_mut().now_or_never().is_none());
        followed.arrived(one, 0);
        assert!(followed.is_with(one, 0) && !followed.is_with(next, 0));
        assert!(changed.now_or_never().is_some());
        let ended = pin!(followed.changed(one.session));
        followed.remove(one.session, 0);
        assert!(ended.now_or_never().is_some());
        assert!(!followed.has(one.session, 0) && followed.insert(one, 0));
    }
}
