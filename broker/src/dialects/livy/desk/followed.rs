//! Statements that tasks of a desk follow to their end, and how far each of them is on its way to a driver.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_core::ids::{Epoch, SessionId};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::dialects::livy::backend::Seat;

/// What is followed, with the epoch whose driver it was given to last.
#[derive(Debug, Default)]
pub(super) struct Followed {
    epochs: Mutex<BTreeMap<(SessionId, u64), Epoch>>,
    changed: Notify,
}

impl Followed {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SessionId, u64), Epoch>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a statement of this epoch is followed. False if it is already.
    pub(super) fn insert(&self, session: SessionId, id: u64, epoch: Epoch) -> bool {
        let mut epochs = self.lock();
        let is_new = !epochs.contains_key(&(session, id));
        epochs.entry((session, id)).or_insert(epoch);
        is_new
    }

    /// Notes that a statement is with the driver of a seat.
    pub(super) fn is_with(&self, seat: Seat, id: u64) {
        if let Some(epoch) = self.lock().get_mut(&(seat.session, id)) {
            *epoch = seat.epoch;
        }
        self.changed.notify_waiters();
    }

    /// Notes that a statement has ended, or is left to others.
    pub(super) fn remove(&self, session: SessionId, id: u64) {
        self.lock().remove(&(session, id));
        self.changed.notify_waiters();
    }

    /// True if a task follows the statement.
    pub(super) fn has(&self, session: SessionId, id: u64) -> bool {
        self.lock().contains_key(&(session, id))
    }

    /// How many statements of a session are followed.
    pub(super) fn count(&self, session: SessionId) -> usize {
        self.lock().range((session, 0)..=(session, u64::MAX)).count()
    }

    /// True if every statement before this one is with the driver of the seat, or needs none any more.
    fn is_next(&self, seat: Seat, id: u64) -> bool {
        let epochs = self.lock();
        let mut before = epochs.range((seat.session, 0)..(seat.session, id));
        before.all(|(_, epoch)| *epoch >= seat.epoch)
    }

    /// Waits until every statement before this one is with the driver of the seat, or needs none any more: at the
    /// loss of a driver those that wait come to the next one in their order.
    pub(super) async fn wait_in_line(&self, seat: Seat, id: u64) {
        loop {
            let changed = self.changed.notified();
            if self.is_next(seat, id) {
                return;
            }
            changed.await;
        }
    }

    /// Ends when a statement has ended or moved since this was called.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn i4_statements_come_to_the_next_driver_in_their_order() {
        let followed = Followed::default();
        let [one, other] = [1, 2].map(|id| SessionId::new(Uuid::from_u128(id)));
        let first = Epoch::INITIAL;
        for id in 0..3 {
            assert!(followed.insert(one, id, first));
        }
        followed.insert(other, 0, first);
        assert!(!followed.insert(one, 0, first));
        assert_eq!(followed.count(one), 3);
        let next = Seat {
            session: one,
            epoch: first.next(),
        };
        let mut last = pin!(followed.wait_in_line(next, 2));
        assert!(last.as_mut().now_or_never().is_none());
        // The one that ran is lost; the next one is taken along.
        followed.remove(one, 0);
        assert!(last.as_mut().now_or_never().is_none());
        followed.is_with(next, 1);
        assert!(last.now_or_never().is_some());
        assert!(followed.has(one, 1) && !followed.has(one, 0));
    }
}
