//! The lowest epoch of each session that may still run.

use std::collections::{BTreeMap, VecDeque};

use berth_core::ids::{Epoch, SessionId};

/// Floors of sessions, the latest [`Floors::MOST`] of them.
///
/// Forgetting one is safe in the end: brokers take an epoch only by a transaction on the session's record, so an
/// outdated one is refused there as well.
#[derive(Debug, Clone, Default)]
pub struct Floors {
    floors: BTreeMap<SessionId, Epoch>,
    order: VecDeque<SessionId>,
}

impl Floors {
    /// Sessions whose floors are kept: hours of a busy node, in a few megabytes.
    pub const MOST: usize = 50_000;

    /// The floor of a session, if one was set.
    pub fn get(&self, session: SessionId) -> Option<Epoch> {
        self.floors.get(&session).copied()
    }

    /// Raises a floor; it never sinks. True if it changed.
    pub fn raise(&mut self, session: SessionId, floor: Epoch) -> bool {
        if let Some(known) = self.floors.get_mut(&session) {
            let rises = *known < floor;
            *known = floor.max(*known);
            return rises;
        }
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.floors.remove(&oldest);
        }
        self.floors.insert(session, floor);
        self.order.push_back(session);
        true
    }

    /// The floors, oldest session first.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, Epoch)> {
        let of = |session: &SessionId| Some((*session, self.get(*session)?));
        self.order.iter().filter_map(of)
    }
}
