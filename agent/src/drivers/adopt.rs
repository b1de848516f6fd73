//! Drivers of the agent's earlier run: adopted when the node still has its lease, ended when it does not.

use std::path::Path;
use std::sync::Arc;

use berth_core::ids::DriverId;

use super::Drivers;
use super::supervise::Watched;
use crate::driver::saved;
use crate::driver::scratch::Scratch;
use crate::process;

impl Drivers {
    /// Takes up every driver that still runs, with its reservation.
    pub(super) fn adopt(self: &Arc<Self>) {
        for (id, path) in directories(&self.directory()) {
            let state = &self.config.state_dir;
            let Some((driver, held)) = saved::load(state, &path) else {
                // What is left of a driver whose host is gone.
                process::sweep(id);
                saved::forget(&path);
                Scratch::of(state, &path, id).remove();
                continue;
            };
            let driver = Arc::new(driver);
            tracing::info!(driver.id = %id, profile = %driver.profile, pid = driver.host.pid, "driver adopted");
            {
                let mut table = self.lock();
                table.reservations.adopt(id, held);
                table.drivers.insert(id, Arc::clone(&driver));
            }
            self.supervise(&driver, Watched::Adopted(driver.host), false);
        }
        for id in self.statements.awaited() {
            if self.get(id).is_none() {
                self.statements.driver_ended(id);
            }
        }
    }
}

/// Kills whatever drivers an earlier run of the agent left below `state`. Waits until they are gone.
pub(crate) async fn end_leftovers(state: &Path) {
    let state = state.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        for (id, path) in directories(&state.join("drivers")) {
            if let Some((driver, _)) = saved::load(&state, &path) {
                tracing::info!(driver.id = %id, "ending a driver of an earlier incarnation");
                driver.host.kill_group();
            }
            process::sweep(id);
            saved::forget(&path);
            Scratch::of(&state, &path, id).remove();
        }
    });
    if let Err(error) = ended.await {
        tracing::error!(%error, "drivers of an earlier incarnation could not be ended");
    }
}

fn directories(drivers: &Path) -> Vec<(DriverId, std::path::PathBuf)> {
    let entries = std::fs::read_dir(drivers).into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
    entries.filter_map(named).collect()
}
