//! Statements that a lost broker's clients left with it. Whoever asks for their session goes on with them; some clients
//! do not ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_core::duties::At;
use berth_core::ids::{BrokerId, SessionId};
use berth_core::record::{Dialect, Work};
use futures_util::{StreamExt as _, stream};

use super::{AT_ONCE, Leader, lock};
use crate::dialects::connect::backend::{Backend as _, Refusal};
use crate::ledger::unavailable;

/// What a lost broker may have left.
#[derive(Debug, Default)]
pub(super) struct Estate {
    /// The brokers of the last look; `None` for a leader that has not looked yet: the one before it may be lost.
    brokers: Option<BTreeSet<BrokerId>>,
    /// Sessions that were not attended to yet.
    sessions: BTreeSet<SessionId>,
    /// True while a task attends to some.
    attended: bool,
}

impl Estate {
    /// Takes in which brokers there are; `all` sessions may have been with one that is not there any more. Gives those
    /// that a task is to be started for.
    fn look(
        &mut self,
        brokers: &BTreeSet<BrokerId>,
        all: impl FnOnce() -> BTreeSet<SessionId>,
    ) -> BTreeSet<SessionId> {
        let before = self.brokers.replace(brokers.clone());
        if before.is_none_or(|before| !before.is_subset(brokers)) {
            self.sessions = all();
        }
        if self.attended || self.sessions.is_empty() {
            return BTreeSet::new();
        }
        self.attended = true;
        std::mem::take(&mut self.sessions)
    }

    /// Takes in which sessions could not be attended to: they are in the next look again.
    fn leave(&mut self, left: impl IntoIterator<Item = SessionId>) {
        self.attended = false;
        self.sessions.extend(left);
    }
}

impl Leader {
    /// Goes on with the statements of brokers that are gone, in a task of its own: the sessions may be many.
    pub(super) fn inherit(self: &Arc<Self>, brokers: &BTreeSet<BrokerId>) {
        let sessions = lock(&self.estate).look(brokers, || self.livy_sessions());
        if sessions.is_empty() {
            return;
        }
        let leader = Arc::clone(self);
        self.tasks.spawn("statements of lost brokers", async move {
            let attended = stream::iter(sessions).map(|id| leader.attend_statements(id));
            let left: Vec<_> = attended.buffer_unordered(AT_ONCE).collect().await;
            lock(&leader.estate).leave(left.into_iter().flatten());
        });
    }

    fn livy_sessions(&self) -> BTreeSet<SessionId> {
        let open = self.sessions.table().pick(|row| {
            let is_open = !matches!(row.brief.at, At::Closed { .. });
            let is_livy = row.brief.dialect == Dialect::Livy && row.brief.work == Work::Session;
            (is_open && is_livy).then_some(row.brief.id)
        });
        open.into_iter().collect()
    }

    /// Gives back a session that is to be attended to later: it is being recovered, or the store is away.
    async fn attend_statements(&self, id: SessionId) -> Option<SessionId> {
        let attended = async {
            match self.sessions.record(id).await? {
                Some(record) => self.desk.attend(&record.client_id).await.map_err(unavailable),
                None => Ok(()),
            }
        };
        match attended.await {
            Ok(()) | Err(Refusal::Closed) => None,
            Err(error) => {
                tracing::debug!(session.id = %id, %error, "statements that a lost broker took wait on");
                Some(id)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn ids(numbers: &[u128]) -> BTreeSet<SessionId> {
        numbers
            .iter()
            .map(|number| SessionId::new(Uuid::from_u128(*number)))
            .collect()
    }

    fn names(names: &[&str]) -> BTreeSet<BrokerId> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn a_new_leader_attends_to_all_and_so_does_one_that_misses_a_broker() {
        let mut estate = Estate::default();
        let mut look = |brokers: &[&str]| {
            let found = estate.look(&names(brokers), || ids(&[1, 2]));
            estate.leave([]);
            found
        };
        assert_eq!(look(&["a"]), ids(&[1, 2]));
        assert_eq!((look(&["a"]), look(&["a", "b"])), (ids(&[]), ids(&[])));
        assert_eq!((look(&["b"]), look(&["b"])), (ids(&[1, 2]), ids(&[])));
        assert_eq!(look(&["c"]), ids(&[1, 2]), "one came as another went");
    }

    #[test]
    fn what_could_not_be_attended_to_is_there_again_and_one_task_is_at_it() {
        let mut estate = Estate::default();
        assert_eq!(estate.look(&names(&["a"]), || ids(&[1, 2])), ids(&[1, 2]));
        assert_eq!(estate.look(&names(&["b"]), || ids(&[2, 3])), ids(&[]));
        estate.leave(ids(&[1]));
        assert_eq!(estate.look(&names(&["b"]), || ids(&[])), ids(&[1, 2, 3]));
    }
}
