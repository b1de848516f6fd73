//! Changes of a session that end every driver on which they are made again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use berth_core::ids::SessionId;

/// Drivers that a change may kill before it is left out.
pub(super) const MAX_KILLS: u32 = 2;
/// Changes that are remembered to have killed a driver.
const MAX_POISONS: usize = 10_000;

/// Changes that killed the driver on which they were made again, and how often, by their place in their session.
#[derive(Debug, Default)]
pub(super) struct Poison(Mutex<BTreeMap<(SessionId, u64), u32>>);

impl Poison {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(SessionId, u64), u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has_killed(&self, session: SessionId, id: u64) {
        let mut kills = self.lock();
        if kills.len() >= MAX_POISONS {
            kills.clear();
        }
        *kills.entry((session, id)).or_default() += 1;
    }

    /// Forgets what was made again and did no harm.
    pub(super) fn forgive(&self, session: SessionId, ids: impl Iterator<Item = u64>) {
        let mut kills = self.lock();
        for id in ids {
            kills.remove(&(session, id));
        }
    }

    pub(super) fn is_poison(&self, session: SessionId, id: u64) -> bool {
        self.lock()
            .get(&(session, id))
            .is_some_and(|kills| *kills >= MAX_KILLS)
    }
}
