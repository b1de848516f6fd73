//! Who has which driver of a node: the pure part of the agent's authority.
//!
//! Two rules are kept here. The sum of reservations never exceeds the node's capacity (I6). A session's epochs only
//! rise: what was fenced or is older is refused (I1).

use std::collections::BTreeMap;

use berth_core::ids::{DriverId, Epoch, SessionId};

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

/// A driver's reservation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Bytes reserved.
    pub memory_bytes: u64,
    /// Whose it is; `None` while it is warm.
    pub session: Option<(SessionId, Epoch)>,
}

/// The node's table.
#[derive(Debug, Clone)]
pub struct Reservations {
    capacity_bytes: u64,
    slots: u32,
    drivers: BTreeMap<DriverId, Held>,
    /// The lowest epoch of each session that may run here.
    floors: BTreeMap<SessionId, Epoch>,
}

impl Reservations {
    /// An empty node.
    pub fn new(capacity_bytes: u64, slots: u32) -> Self {
        Self {
            capacity_bytes,
            slots,
            drivers: BTreeMap::new(),
            floors: BTreeMap::new(),
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

    /// Reserves a new driver, warm or for a session.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is reserved then.
    pub fn reserve(
        &mut self,
        driver: DriverId,
        memory_bytes: u64,
        session: Option<(SessionId, Epoch)>,
    ) -> Result<(), Refusal> {
        if let Some((session, epoch)) = session {
            self.check_epoch(session, epoch)?;
        }
        let free_bytes = self.capacity_bytes - self.reserved_bytes();
        if memory_bytes > free_bytes {
            return Err(Refusal::NoMemory {
                free_bytes,
                wanted_bytes: memory_bytes,
            });
        }
        if self.drivers.len() >= self.slots as usize {
            return Err(Refusal::NoSlot { slots: self.slots });
        }
        self.drivers.insert(
            driver,
            Held {
                memory_bytes,
                session,
            },
        );
        Ok(())
    }

    /// Gives a warm driver to a session. False if it is not warm any more.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`].
    pub fn assign(&mut self, driver: DriverId, session: SessionId, epoch: Epoch) -> Result<bool, Refusal> {
        self.check_epoch(session, epoch)?;
        match self.drivers.get_mut(&driver) {
            Some(held) if held.session.is_none() => {
                held.session = Some((session, epoch));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The driver of this epoch of the session.
    ///
    /// # Errors
    /// [`Refusal::StaleEpoch`].
    pub fn find(&self, session: SessionId, epoch: Epoch) -> Result<Option<DriverId>, Refusal> {
        self.check_epoch(session, epoch)?;
        let wanted = Some((session, epoch));
        Ok(self
            .drivers
            .iter()
            .find(|(_, held)| held.session == wanted)
            .map(|(id, _)| *id))
    }

    /// Promises that no epoch below `floor` runs here from now on; gives the drivers that must end for it.
    pub fn fence(&mut self, session: SessionId, floor: Epoch) -> Vec<DriverId> {
        let known = self.floors.entry(session).or_insert(floor);
        *known = (*known).max(floor);
        let outdated = |held: &Held| {
            held.session
                .is_some_and(|(id, epoch)| id == session && epoch < floor)
        };
        self.drivers
            .iter()
            .filter(|(_, held)| outdated(held))
            .map(|(id, _)| *id)
            .collect()
    }

    /// Takes a driver that has ended off the table.
    pub fn release(&mut self, driver: DriverId) {
        self.drivers.remove(&driver);
    }

    fn check_epoch(&self, session: SessionId, asked: Epoch) -> Result<(), Refusal> {
        match self.floors.get(&session) {
            Some(floor) if asked < *floor => Err(Refusal::StaleEpoch { asked, floor: *floor }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    #[derive(Debug, Clone)]
    enum Step {
        Reserve {
            driver: u8,
            memory: u64,
            session: Option<(u8, u64)>,
        },
        Assign {
            driver: u8,
            session: u8,
            epoch: u64,
        },
        Fence {
            session: u8,
            floor: u64,
        },
        Release {
            driver: u8,
        },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let session = || (0u8..4, 1u64..6);
        let step = prop_oneof![
            (0u8..12, 0u64..60, proptest::option::of(session())).prop_map(|(driver, memory, session)| {
                Step::Reserve {
                    driver,
                    memory,
                    session,
                }
            }),
            (0u8..12, session()).prop_map(|(driver, (session, epoch))| Step::Assign {
                driver,
                session,
                epoch
            }),
            session().prop_map(|(session, floor)| Step::Fence { session, floor }),
            (0u8..12).prop_map(|driver| Step::Release { driver }),
        ];
        proptest::collection::vec(step, 0..80)
    }

    fn session(n: u8) -> SessionId {
        SessionId::new(Uuid::from_u128(u128::from(n)))
    }

    fn driver(n: u8) -> DriverId {
        DriverId::new(Uuid::from_u128(1000 + u128::from(n)))
    }

    fn epoch(n: u64) -> Epoch {
        Epoch::from_wire(n).unwrap()
    }

    proptest! {
        #[test]
        fn i1_i6_no_overcommit_and_no_outdated_epoch_after_any_steps(steps in steps()) {
            let mut node = Reservations::new(100, 5);
            let mut floors = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Reserve { driver: d, memory, session: s } if !node.drivers.contains_key(&driver(d)) => {
                        let _ = node.reserve(driver(d), memory, s.map(|(s, e)| (session(s), epoch(e))));
                    }
                    Step::Reserve { .. } => {}
                    Step::Assign { driver: d, session: s, epoch: e } => {
                        let _ = node.assign(driver(d), session(s), epoch(e));
                    }
                    Step::Fence { session: s, floor } => {
                        for ended in node.fence(session(s), epoch(floor)) {
                            node.release(ended);
                        }
                        let known = floors.entry(s).or_insert(floor);
                        *known = floor.max(*known);
                    }
                    Step::Release { driver: d } => node.release(driver(d)),
                }
                prop_assert!(node.reserved_bytes() <= 100);
                prop_assert!(node.drivers.len() <= 5);
                for (id, at) in node.drivers.values().filter_map(|held| held.session) {
                    for (s, floor) in &floors {
                        prop_assert!(id != session(*s) || at >= epoch(*floor));
                    }
                }
            }
        }
    }

    #[test]
    fn i1_a_fenced_epoch_is_refused_and_its_driver_named() {
        let mut node = Reservations::new(100, 5);
        node.reserve(driver(1), 10, Some((session(1), epoch(1)))).unwrap();
        assert_eq!(node.fence(session(1), epoch(2)), [driver(1)]);
        let stale = Refusal::StaleEpoch {
            asked: epoch(1),
            floor: epoch(2),
        };
        assert_eq!(node.find(session(1), epoch(1)), Err(stale));
        assert_eq!(
            node.reserve(driver(2), 10, Some((session(1), epoch(1)))),
            Err(stale)
        );
        node.release(driver(1));
        node.reserve(driver(2), 10, Some((session(1), epoch(2)))).unwrap();
        assert_eq!(node.find(session(1), epoch(2)), Ok(Some(driver(2))));
    }

    #[test]
    fn a_warm_driver_is_given_away_once() {
        let mut node = Reservations::new(100, 5);
        node.reserve(driver(1), 10, None).unwrap();
        assert_eq!(node.assign(driver(1), session(1), epoch(1)), Ok(true));
        assert_eq!(node.assign(driver(1), session(2), epoch(1)), Ok(false));
    }
}
