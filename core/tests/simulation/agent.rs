//! An agent with its drivers, and what can happen to its node.

use std::collections::BTreeMap;

use berth_core::ids::{DriverId, Epoch, NodeId, NodeIncarnation, SessionId};

/// A lease as the store counts it.
pub(crate) const LEASE: u64 = 3_000;
/// As the node counts it: it stops before the store lets go.
const SURELY: u64 = 2_250;

#[derive(Debug, Clone)]
pub(crate) struct Driver {
    pub(crate) id: DriverId,
    pub(crate) epoch: Epoch,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) node: NodeId,
    pub(crate) incarnation: NodeIncarnation,
    pub(crate) capacity: u64,
    /// False while the agent's process is gone; its drivers go on.
    pub(crate) is_running: bool,
    pub(crate) is_frozen: bool,
    pub(crate) is_cut: bool,
    /// Until when the node surely holds its lease.
    pub(crate) held_until: u64,
    pub(crate) drivers: BTreeMap<SessionId, Driver>,
    pub(crate) floors: BTreeMap<SessionId, Epoch>,
}

impl Agent {
    pub(crate) fn new(node: NodeId, incarnation: NodeIncarnation, capacity: u64) -> Self {
        Self {
            node,
            incarnation,
            capacity,
            is_running: true,
            is_frozen: false,
            is_cut: false,
            held_until: 0,
            drivers: BTreeMap::new(),
            floors: BTreeMap::new(),
        }
    }

    pub(crate) fn is_reachable(&self) -> bool {
        self.is_running && !self.is_frozen && !self.is_cut
    }

    /// The deadline of every driver, looked at before anything else happens on the node.
    pub(crate) fn fence_itself(&mut self, now: u64) {
        if !self.is_frozen && now >= self.held_until {
            self.drivers.clear();
        }
    }

    /// A renewal that the store took.
    pub(crate) fn renewed(&mut self, now: u64) {
        self.held_until = now + SURELY;
    }

    /// Gives a session's epoch a driver, or refuses. What is left of earlier epochs ends first.
    pub(crate) fn reserve(&mut self, session: SessionId, driver: Driver, now: u64) -> bool {
        let floor = self.floors.get(&session).copied();
        if now >= self.held_until || floor.is_some_and(|floor| driver.epoch < floor) {
            return false;
        }
        if let Some(there) = self.drivers.get(&session) {
            if there.epoch >= driver.epoch {
                return there.epoch == driver.epoch;
            }
            self.drivers.remove(&session);
        }
        let reserved: u64 = self.drivers.values().map(|driver| driver.bytes).sum();
        if reserved + driver.bytes > self.capacity {
            return false;
        }
        self.drivers.insert(session, driver);
        true
    }

    /// Promises that nothing of the session below this epoch runs here, now and ever after.
    pub(crate) fn fence(&mut self, session: SessionId, below: Epoch) {
        let floor = self.floors.entry(session).or_insert(below);
        *floor = below.max(*floor);
        if self
            .drivers
            .get(&session)
            .is_some_and(|driver| driver.epoch < below)
        {
            self.drivers.remove(&session);
        }
    }
}
