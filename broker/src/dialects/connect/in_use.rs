//! Sessions that are in use although nothing passes between them and their drivers.
//!
//! A client may pause between two rows, or wait for a streaming query to end. Agents see bytes only, and the leader
//! moves or ends sessions whose drivers agents call idle. So each broker tells of those whose operations it has open.

use std::sync::Arc;
use std::time::Duration;

use super::Connect;

/// How often it is told: a few times within the quiet that a driver has before its sessions are moved.
const EVERY: Duration = Duration::from_millis(500);

impl Connect {
    /// Tells of open operations until the broker drains.
    pub(super) fn spawn_telling(self: &Arc<Self>) {
        let told = Arc::downgrade(self);
        let draining = self.tasks.shutdown().clone();
        self.tasks.spawn("connect open operations", async move {
            let mut ticks = tokio::time::interval(EVERY);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            while let Some(connect) = told.upgrade() {
                for session in connect.operations.sessions_in_use() {
                    connect.backend.touch(session);
                }
                drop(connect);
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = draining.draining() => return,
                }
            }
        });
    }
}
