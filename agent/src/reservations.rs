//! Who has which driver of a node: the pure part of the agent's authority.
//!
//! Two rules are kept here. The sum of reservations never exceeds the node's capacity (I6). A session's epochs only
//! rise: what was fenced or is older is refused (I1).

mod floors;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use berth_core::ids::{DriverId, Epoch, ProfileName, SessionId};
use serde::{Deserialize, Serialize};

pub use floors::Floors;

/// Why a reservation is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node's memory is reserved.
    #[error("the node has {free_bytes} bytes to reserve, the driver needs {wanted_bytes}")]
    NoMemory {
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes asked for.
        wanted_bytes: u64,
    },
    /// All driver slots are taken.
    #[error("all {slots} driver slots of the node are taken")]
    NoSlot {
        /// Slots of the node.
        slots: u32,
    },
    /// A newer epoch of the session is known here.
    #[error("epoch {asked} of the session is over, the node knows {floor}")]
    StaleEpoch {
        /// The epoch asked for.
        asked: Epoch,
        /// The lowest epoch that may still run.
        floor: Epoch,
    },
}

/// Who asks for a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Sessions with equal keys may share a driver; `None` for a driver of its own.
    pub share_key: Option<String>,
}

/// A driver's reservation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The recipe of the driver.
    pub profile: ProfileName,
    /// Bytes reserved.
    pub memory_bytes: u64,
    /// Who may join; `None` for a driver of one session, or of nobody yet.
    pub share_key: Option<String>,
    /// Whose it is; empty while it is warm.
    pub sessions: BTreeMap<SessionId, Epoch>,
    /// True for the place of a batch.
    #[serde(default)]
    pub batch: bool,
    /// True once it is decided that it ends: nobody gets it, or joins, any more.
    #[serde(skip)]
    ends: bool,
}

impl Held {
    /// A reservation for nobody yet.
    pub fn warm(profile: ProfileName, memory_bytes: u64) -> Self {
        Self {
            profile,
            memory_bytes,
            share_key: None,
            sessions: BTreeMap::new(),
            batch: false,
            ends: false,
        }
    }

    /// True while nobody has it.
    pub fn is_warm(&self) -> bool {
        self.sessions.is_empty() && self.share_key.is_none() && !self.ends
    }

    fn give(&mut self, claim: &Claim) {
        self.share_key.clone_from(&claim.share_key);
        self.sessions.insert(claim.session, claim.epoch);
    }
}

/// What a fence must end before it may be promised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outdated {
    /// Drivers that nobody else is on.
    pub drivers: Vec<DriverId>,
    /// Drivers that others share, and the epoch that must leave them.
    pub shared: Vec<(DriverId, Epoch)>,
}

/// The node's table.
#[derive(Debug, Clone)]
pub struct Reservations {
    capacity_bytes: u64,
    slots: u32,
    drivers: BTreeMap<DriverId, Held>,
    floors: Floors,
}

impl Reservations {
    /// An empty node that knows these floors.
    pub fn new(capacity_bytes: u64, slots: u32, floors: Floors) -> Self {
        Self {
            capacity_bytes,
            slots,
            drivers: BTreeMap::new(),
            floors,
        }
    }

    /// Bytes reserved.
    pub fn reserved_bytes(&self) -> u64 {
        self.drivers.values().map(|held| held.memory_bytes).sum()
    }

    /// The reservations by driver.
    pub fn drivers(&self) -> &BTreeMap<DriverId, Held> {
        &self.drivers
    }

    /// What is promised about epochs.
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// Reserves a new driver, for a claim or warm.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is reserved then.
    pub fn reserve(
        &mut self,
        driver: DriverId,
        mut held: Held,
        claim: Option<&Claim>,
    ) -> Result<(), Refusal> {
        if let Some(claim) = claim {
            self.check_epoch(claim.session, claim.epoch)?;
            held.give(claim);
        }
        // An adopted driver of a node whose capacity was lowered may leave less than nothing.
        let free_bytes = self.capacity_bytes.saturating_sub(self.reserved_bytes());
        if held.memory_bytes > free_bytes {
            return Err(Refusal::NoMemory {
                free_bytes,
                wanted_bytes: held.memory_bytes,
            });
        }
        if self.drivers.len() >= self.slots as usize {
            return Err(Refusal::NoSlot { slots: self.slots });
        }
        self.drivers.insert(driver, held);
        Ok(())
    }

    /// Takes up a reservation that an earlier run of the agent made. It is a fact: nothing is refused.
    pub fn adopt(&mut self, driver: DriverId, held: Held) {
        self.drivers.insert(driver, held);
    }

    /// Gives a driver to a claim: a warm one, or one that is shared under the claim's key by fewer than `most`
    /// sessions. False if it is neither any more.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`].
    pub fn assign(&mut self, driver: DriverId, claim: &Claim, most: usize) -> Result<bool, Refusal> {
        self.check_epoch(claim.session, claim.epoch)?;
        let Some(held) = self.drivers.get_mut(&driver) else {
            return Ok(false);
        };
        let is_shared = held.share_key.is_some() && held.share_key == claim.share_key;
        let joins = is_shared && held.sessions.len() < most && !held.ends;
        if held.is_warm() || joins {
            held.give(claim);
            return Ok(true);
        }
        Ok(false)
    }

    /// The driver of this epoch of the session.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`].
    pub fn find(&self, session: SessionId, epoch: Epoch) -> Result<Option<DriverId>, Refusal> {
        self.check_epoch(session, epoch)?;
        let has = |held: &Held| held.sessions.get(&session) == Some(&epoch);
        Ok(self.drivers.iter().find(|(_, held)| has(held)).map(|(id, _)| *id))
    }

    /// Refuses epochs of the session below `floor` from now on; tells what must end before that is a promise.
    pub fn fence(&mut self, session: SessionId, floor: Epoch) -> Outdated {
        self.floors.raise(session, floor);
        let mut outdated = Outdated::default();
        for (id, held) in &mut self.drivers {
            match held.sessions.get(&session) {
                Some(epoch) if *epoch < floor && held.sessions.len() > 1 => {
                    outdated.shared.push((*id, *epoch))
                }
                Some(epoch) if *epoch < floor => {
                    held.ends = true;
                    outdated.drivers.push(*id);
                }
                _ => {}
            }
        }
        outdated
    }

    /// Takes a session off a driver that it has left. Others stay on it; true if there is none, so that it ends.
    pub fn leave(&mut self, driver: DriverId, session: SessionId, epoch: Epoch) -> bool {
        let Some(held) = self.drivers.get_mut(&driver) else {
            return false;
        };
        if held.sessions.get(&session) == Some(&epoch) {
            held.sessions.remove(&session);
            held.ends = held.sessions.is_empty();
        }
        held.ends
    }

    /// Takes a driver that has ended off the table.
    pub fn release(&mut self, driver: DriverId) {
        self.drivers.remove(&driver);
    }

    fn check_epoch(&self, session: SessionId, asked: Epoch) -> Result<(), Refusal> {
        match self.floors.get(session) {
            Some(floor) if asked < floor => Err(Refusal::StaleEpoch { asked, floor }),
            _ => Ok(()),
        }
    }
}
