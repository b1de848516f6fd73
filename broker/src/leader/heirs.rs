//! Statements that a lost broker's clients left with it. Whoever asks for their session goes on with them; some clients
//! do not ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use berth_core::duties::At;
use berth_core::ids::{BrokerId, SessionId};
use berth_core::record::{Dialect, Work};

use super::{Leader, lock};
use crate::dialects::connect::backend::Backend as _;
use crate::dialects::connect::backend::Refusal;
use crate::ledger::unavailable;

/// The brokers of the last look; `None` for a leader that has not looked yet: the one before it may be lost.
#[derive(Debug, Default)]
pub(super) struct Heard(Option<BTreeSet<BrokerId>>);

impl Heard {
    /// Takes in a look. True if a broker may be gone since the last one.
    fn look(&mut self, brokers: &BTreeSet<BrokerId>) -> bool {
        let before = self.0.replace(brokers.clone());
        before.is_none_or(|before| !before.is_subset(brokers))
    }
}

impl Leader {
    /// Goes on with the statements of brokers that are gone, in a task of its own: the sessions may be many.
    pub(super) fn inherit(self: &Arc<Self>, brokers: &BTreeSet<BrokerId>) {
        if !lock(&self.heard).look(brokers) {
            return;
        }
        let leader = Arc::clone(self);
        self.tasks.spawn("statements of lost brokers", async move {
            for id in leader.livy_sessions() {
                if let Err(error) = leader.attend_statements(id).await {
                    tracing::warn!(session.id = %id, %error, "statements wait until somebody asks for the session");
                }
            }
        });
    }

    fn livy_sessions(&self) -> Vec<SessionId> {
        self.sessions.table().pick(|row| {
            let is_open = !matches!(row.brief.at, At::Closed { .. });
            let is_livy = row.brief.dialect == Dialect::Livy && row.brief.work == Work::Session;
            (is_open && is_livy).then_some(row.brief.id)
        })
    }

    async fn attend_statements(&self, id: SessionId) -> Result<(), Refusal> {
        match self.sessions.record(id).await? {
            Some(record) => self.desk.attend(&record.client_id).await.map_err(unavailable),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_leader_looks_and_so_does_one_that_misses_a_broker() {
        let mut heard = Heard::default();
        let mut look = |names: &[&str]| heard.look(&names.iter().map(|name| name.parse().unwrap()).collect());
        assert!(look(&["a"]));
        assert!(!look(&["a"]) && !look(&["a", "b"]));
        assert!(look(&["b"]) && !look(&["b"]));
        assert!(look(&["c"]), "one came as another went");
    }
}
