//! The warm pool: started drivers that wait for sessions; and the upkeep of what drivers leave behind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, ProfileName};
use tokio::time::Instant;
use uuid::Uuid;

use super::reserve::ReserveError;
use super::{Drivers, Table};
use crate::config::ProfileConfig;
use crate::driver::launch::Purpose;
use crate::reservations::Held;

/// A profile rests so long after a first start that failed, twice as long after each further one.
const FIRST_REST: Duration = Duration::from_secs(5);
/// It rests at most so long.
const LONGEST_REST: Duration = Duration::from_secs(300);
/// How often the pool is looked at when nothing changes.
const ROUND: Duration = Duration::from_secs(5);
/// A driver takes its place in the pool only so long after a session got one: its start would take the processors
/// from the session's first statement, for which a client waits.
const SETTLING: Duration = Duration::from_secs(1);
/// Logs of ended drivers that are kept.
const KEPT_LOGS: usize = 50;
/// A log that is longer is cut to its end; code can print without limit.
const MAX_LOG_BYTES: u64 = 64 << 20;

/// A profile whose last start failed.
#[derive(Debug, Clone)]
pub(super) struct Rest {
    failures: u32,
    until: Instant,
    reason: String,
}

impl Rest {
    /// The rest after one more failure.
    pub(super) fn after(before: Option<Self>, reason: String) -> Self {
        let failures = before.map_or(0, |rest| rest.failures).saturating_add(1);
        let pause = FIRST_REST.saturating_mul(1 << failures.min(10).saturating_sub(1));
        Self {
            failures,
            until: Instant::now() + pause.min(LONGEST_REST),
            reason,
        }
    }
}

impl Table {
    /// How long the pool leaves the node's processors to a session that has just got a driver.
    fn settling(&self) -> Duration {
        let since = self.handed_out.map(|at| at.elapsed());
        since.map_or(Duration::ZERO, |since| SETTLING.saturating_sub(since))
    }

    fn resting(&self, profile: &ProfileName) -> Option<&Rest> {
        self.resting
            .get(profile)
            .filter(|rest| rest.until > Instant::now())
    }

    /// A start that has just failed is not tried again for every client that asks.
    pub(super) fn check_rest(&self, profile: &ProfileName) -> Result<(), ReserveError> {
        match self.resting(profile) {
            Some(rest) => Err(ReserveError::Resting {
                profile: profile.clone(),
                reason: rest.reason.clone(),
            }),
            None => Ok(()),
        }
    }
}

impl Drivers {
    pub(super) async fn keep_warm(self: Arc<Self>) {
        let mut changes = self.changes();
        let draining = self.tasks.shutdown().clone();
        loop {
            changes.borrow_and_update();
            for (name, profile) in &self.config.profiles {
                self.fill(name, profile).await;
            }
            let directory = self.directory();
            let running = self.all().into_iter().map(|(driver, _)| driver.id).collect();
            if let Err(error) = tokio::task::spawn_blocking(move || tidy(&directory, &running)).await {
                tracing::warn!(%error, "old logs could not be removed");
            }
            tokio::select! {
                _ = tokio::time::timeout(self.pause(), changes.changed()) => {}
                () = draining.draining() => return,
            }
        }
    }

    fn pause(&self) -> Duration {
        match self.lock().settling() {
            Duration::ZERO => ROUND,
            settling => settling,
        }
    }

    /// Starts one driver of the profile when its pool is short and the node has room.
    async fn fill(self: &Arc<Self>, name: &ProfileName, profile: &ProfileConfig) {
        let id = DriverId::new(Uuid::new_v4());
        let _one = self.starting.lock().await;
        let serves = self.lease.is_held() && !self.lease.record().draining && !self.is_closing();
        {
            let mut table = self.lock();
            let warm = |held: &&Held| held.is_warm() && held.profile == *name;
            let there = table.reservations.drivers().values().filter(warm).count();
            let waits = table.resting(name).is_some() || !table.settling().is_zero();
            if !serves || there >= profile.warm as usize || waits {
                return;
            }
            let held = Held::warm(name.clone(), profile.memory_bytes);
            if table.reservations.reserve(id, held, None).is_err() {
                return;
            }
        }
        if let Err(error) = self.launch(id, Purpose::Pool, name, profile, &BTreeMap::new()) {
            tracing::warn!(%error, profile = %name, "a warm driver could not be started");
            let mut table = self.lock();
            let rest = Rest::after(table.resting.remove(name), error.to_string());
            table.resting.insert(name.clone(), rest);
        }
    }
}

/// Cuts long logs and removes the directories of drivers that ended longest ago.
fn tidy(directory: &Path, running: &std::collections::BTreeSet<DriverId>) {
    let mut ended = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let Some(id) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<DriverId>().ok())
        else {
            continue;
        };
        if running.contains(&id) {
            cut(&entry.path().join("driver.log"));
        } else if let Ok(modified) = entry.metadata().and_then(|meta| meta.modified()) {
            ended.push((modified, entry.path()));
        }
    }
    ended.sort();
    let surplus = ended.len().saturating_sub(KEPT_LOGS);
    let remove = |(_, path): &(_, PathBuf)| {
        if let Err(error) = std::fs::remove_dir_all(path) {
            tracing::debug!(path = %path.display(), %error, "an old log stays");
        }
    };
    ended.iter().take(surplus).for_each(remove);
}

/// The writer appends, so it goes on at the new end.
fn cut(log: &Path) {
    let long = std::fs::metadata(log).is_ok_and(|meta| meta.len() > MAX_LOG_BYTES);
    let emptied = || std::fs::OpenOptions::new().write(true).truncate(true).open(log);
    if long && let Err(error) = emptied() {
        tracing::warn!(path = %log.display(), %error, "a long log could not be cut");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_profile_that_fails_rests_longer_each_time_up_to_a_limit() {
        let mut rest = None;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            let next = Rest::after(rest.take(), "why".to_owned());
            pauses.push((next.until - Instant::now()).as_secs());
            rest = Some(next);
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn logs_of_the_latest_drivers_are_kept() {
        let state = tempfile::tempdir().unwrap();
        let ids: Vec<_> = (0..KEPT_LOGS + 3)
            .map(|_| DriverId::new(Uuid::new_v4()))
            .collect();
        for id in &ids {
            std::fs::create_dir(state.path().join(id.to_string())).unwrap();
        }
        tidy(state.path(), &[ids[0]].into());
        let left = std::fs::read_dir(state.path()).unwrap().count();
        assert_eq!(left, KEPT_LOGS + 1);
        assert!(state.path().join(ids[0].to_string()).exists());
    }
}
