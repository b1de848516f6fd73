//! Results that nobody asks for any more: of sessions that have left this node.
//!
//! Whoever closes a session has its last node forget it. The nodes that it left before keep what ran there, since a
//! broker may not have read the end of it yet; it is removed here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, SessionId};
use tokio::time::Instant;

use super::{Statements, disk};
use crate::drivers::Drivers;

/// How often is looked.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How long results stay after their driver: brokers that were all away for so long find them.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Since when epochs have no driver here, as far as this run of the agent knows.
#[derive(Debug, Default)]
pub(crate) struct Leftovers(BTreeMap<(SessionId, Epoch), Instant>);

impl Leftovers {
    /// Takes what has no driver `now`, and tells what had none for [`KEPT`].
    fn due(&mut self, without: BTreeSet<(SessionId, Epoch)>, now: Instant) -> Vec<(SessionId, Epoch)> {
        self.0.retain(|epoch, _| without.contains(epoch));
        for epoch in without {
            self.0.entry(epoch).or_insert(now);
        }
        let due = self.0.iter().filter(|(_, since)| now - **since >= KEPT);
        due.map(|(epoch, _)| *epoch).collect()
    }
}

impl Statements {
    /// Removes what ran in epochs that have had none of the `live` drivers for a day.
    pub(crate) async fn clear(&self, leftovers: &mut Leftovers, live: &BTreeSet<DriverId>) {
        // No directory goes while one is being made in it.
        let _one = self.starting.lock().await;
        let due = leftovers.due(self.without_driver(live), Instant::now());
        for (session, epoch) in due {
            self.lock()
                .entries
                .retain(|key, _| (key.session, key.epoch) != (session, epoch));
            if let Err(error) = disk::forget_epoch(&self.root, session, epoch).await {
                tracing::warn!(session.id = %session, %epoch, %error, "results of a session that has left stay on disk");
            }
        }
    }

    fn without_driver(&self, live: &BTreeSet<DriverId>) -> BTreeSet<(SessionId, Epoch)> {
        let book = self.lock();
        let whose = |is_live: bool| -> BTreeSet<_> {
            let entries = book.entries.iter();
            let own = entries.filter(|(_, entry)| live.contains(&entry.driver) == is_live);
            own.map(|(key, _)| (key.session, key.epoch)).collect()
        };
        &whose(false) - &whose(true)
    }
}

/// Looks now and then, until the agent stops.
pub(crate) async fn clear_now_and_then(drivers: &Drivers) {
    let mut leftovers = Leftovers::default();
    let mut ticks = tokio::time::interval(EVERY);
    let leaving = drivers.shutdown().clone();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = leaving.draining() => return,
        }
        let live = drivers.all().into_iter().map(|(driver, _)| driver.id).collect();
        drivers.statements().clear(&mut leftovers, &live).await;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::statements::Key;

    fn id(n: u128) -> DriverId {
        DriverId::new(Uuid::from_u128(n))
    }

    #[tokio::test]
    async fn i8_results_go_a_day_after_their_driver_and_not_while_it_lives() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("sessions");
        let statements = Statements::open(root.clone(), false).unwrap();
        let session = SessionId::new(Uuid::from_u128(7));
        let key = |epoch: Epoch| Key {
            session,
            epoch,
            id: "0".parse().unwrap(),
        };
        let (old, new) = (key(Epoch::INITIAL), key(Epoch::INITIAL.next()));
        for (key, driver) in [(&old, id(1)), (&new, id(2))] {
            statements.start(key, driver, "pyspark", "1").await.unwrap();
        }
        let mut leftovers = Leftovers::default();
        statements
            .clear(&mut leftovers, &BTreeSet::from([id(1), id(2)]))
            .await;
        let live = BTreeSet::from([id(2)]);
        statements.clear(&mut leftovers, &live).await;
        assert!(statements.knows(&old), "it has just left");
        tokio::time::pause();
        tokio::time::advance(KEPT).await;
        tokio::time::resume();
        statements.clear(&mut leftovers, &live).await;
        assert!(!statements.knows(&old) && statements.knows(&new));
        let session = root.join(session.to_string());
        let left: Vec<_> = std::fs::read_dir(&session).unwrap().flatten().collect();
        assert_eq!(left.len(), 1);
        statements.clear(&mut leftovers, &BTreeSet::new()).await;
        tokio::time::pause();
        tokio::time::advance(KEPT).await;
        tokio::time::resume();
        statements.clear(&mut leftovers, &BTreeSet::new()).await;
        assert!(!session.exists(), "nothing of the session is left");
    }
}
