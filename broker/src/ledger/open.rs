//! What has no outcome yet: found without reading the whole lineage again.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use berth_core::ids::SessionId;
use berth_core::keys;
use berth_core::lineage::{LineageEntry, Outcome};

use super::Ledger;
use crate::dialects::connect::backend::Refusal;

/// Sessions of which it is remembered where to look; beyond, their lineages are read whole again.
const MAX_KNOWN: usize = 100_000;

/// By session of code: the place before which every entry has its outcome. An outcome stands, what code sessions record
/// is never compacted, and each place is taken once: so this holds for ever, whichever broker writes.
#[derive(Debug, Default)]
pub(super) struct Settled(Mutex<BTreeMap<SessionId, u64>>);

impl Settled {
    fn before(&self, session: SessionId) -> u64 {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&session).copied().unwrap_or_default()
    }

    /// Learns from entries that were read in order.
    fn learn(&self, session: SessionId, read: &[LineageEntry]) {
        let open = read.iter().find(|entry| entry.outcome == Outcome::Unknown);
        let Some(entry) = open.or(read.last()) else {
            return;
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        let before = known.entry(session).or_default();
        *before = entry.seq.max(*before);
    }

    pub(super) fn forget(&self, session: SessionId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&session);
    }
}

impl Ledger {
    /// The entries of a session of code that have no outcome, in order.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn open_entries(&self, session: SessionId) -> Result<Vec<LineageEntry>, Refusal> {
        let before = self.settled.before(session);
        let after = before.checked_sub(1).map(|seq| keys::lineage(session, seq));
        let mut read = self.entries_after(session, after).await?;
        self.settled.learn(session, &read);
        read.retain(|entry| entry.outcome == Outcome::Unknown);
        Ok(read)
    }
}
