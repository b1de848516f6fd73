//! Fences: nothing of an outdated epoch runs here once they are promised (I1).

use std::sync::Arc;

use berth_core::ids::{Epoch, SessionId};

use super::{Drivers, END_DEADLINE};
use crate::control::frames::ToHost;
use crate::driver::Driver;

/// Why a fence is not promised yet. Asking again helps.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FenceError {
    #[error("a fenced driver has not ended yet")]
    StillThere,
    #[error("the fence cannot be written down: {0}")]
    Disk(#[from] std::io::Error),
}

impl Drivers {
    /// Ends everything that runs for epochs of the session below `floor`, and waits until it is gone.
    pub(crate) async fn fence(&self, session: SessionId, floor: Epoch) -> Result<(), FenceError> {
        let (ends, leaves) = {
            // A driver that is being started is in the table when this is done, or refused its claim.
            let _none_starts = self.starting.lock().await;
            let mut table = self.lock();
            let outdated = table.reservations.fence(session, floor);
            let ends: Vec<_> = outdated
                .drivers
                .iter()
                .filter_map(|id| table.drivers.get(id).cloned())
                .collect();
            let leaves = outdated.shared.iter();
            let leaves: Vec<_> = leaves
                .filter_map(|(id, epoch)| Some((table.drivers.get(id).cloned()?, *epoch)))
                .collect();
            (ends, leaves)
        };
        let journal = Arc::clone(&self.journal);
        let written = tokio::task::spawn_blocking(move || journal.raise(session, floor)).await;
        written.map_err(std::io::Error::other)??;
        for (driver, epoch) in leaves {
            self.leave(&driver, session, epoch).await?;
        }
        for driver in ends {
            end(&driver, "its session's epoch is over").await?;
        }
        Ok(())
    }

    /// Ends a session on a driver that it shares; where that cannot be made sure, the driver ends.
    async fn leave(&self, driver: &Driver, session: SessionId, epoch: Epoch) -> Result<(), FenceError> {
        let upstream = session.upstream(epoch).to_string();
        let released = driver
            .call(|call| ToHost::Release {
                call,
                session: upstream,
            })
            .await;
        if let Err(error) = released {
            tracing::warn!(driver.id = %driver.id, %error, "a session could not leave its shared driver, which ends");
            return end(driver, "a session that was over could not leave it").await;
        }
        let ends = {
            let mut table = self.lock();
            let ends = table.reservations.leave(driver.id, session, epoch);
            // One that ends is written down with its last session: whoever adopts it has somebody to ask about.
            if !ends {
                table.save(driver.id);
            }
            ends
        };
        self.changed();
        // The others have left at the same time.
        if ends {
            return end(driver, "its sessions are over").await;
        }
        Ok(())
    }

    /// Ends what runs here whenever the lease is not surely held. Driver hosts do so by themselves; this is for one
    /// that cannot.
    pub(super) async fn end_without_lease(self: Arc<Self>) {
        let draining = self.tasks.shutdown().clone();
        loop {
            tokio::select! {
                () = self.lease.lost() => self.end_all("the node's lease is not surely held").await,
                () = draining.draining() => return,
            }
            let mut until = self.held_until();
            let lease = Arc::clone(&self.lease);
            tokio::select! {
                held = until.wait_for(|_| lease.is_held()) => if held.is_err() { return },
                () = draining.draining() => return,
            }
        }
    }
}

async fn end(driver: &Driver, reason: &'static str) -> Result<(), FenceError> {
    driver.end(reason).await;
    if driver.ended(END_DEADLINE).await {
        Ok(())
    } else {
        Err(FenceError::StillThere)
    }
}
