//! The node's figures, measured every second.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::ProfileName;

use super::Drivers;
use crate::driver::{Driver, Phase};
use crate::reservations::Held;

const INTERVAL: Duration = Duration::from_secs(1);
/// Weight of the latest second in the average: about ten seconds count.
const WEIGHT: f64 = 0.1;
/// Every state that a driver can be in, for the gauges.
const STATES: [&str; 4] = ["starting", "warm", "serving", "stopping"];

/// The state of a driver as the API names it.
pub(crate) fn state_of(driver: &Driver, held: &Held) -> &'static str {
    match &*driver.phase.borrow() {
        Phase::Starting(_) => "starting",
        Phase::Ended(_) => "stopping",
        Phase::Ready(_) if held.is_warm() => "warm",
        Phase::Ready(_) => "serving",
    }
}

impl Drivers {
    /// Warm drivers of a profile that a session can have at once.
    pub(crate) fn count_warm(drivers: &[(Arc<Driver>, Held)], profile: &ProfileName) -> u32 {
        let warm = drivers
            .iter()
            .filter(|(driver, held)| held.profile == *profile && state_of(driver, held) == "warm");
        u32::try_from(warm.count()).unwrap_or(u32::MAX)
    }

    pub(super) async fn measure(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        let draining = self.tasks.shutdown().clone();
        let mut before = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = draining.draining() => return,
            }
            self.publish();
            let now = read_cpu();
            if let Some(share) = before.zip(now).and_then(|(before, now)| busy_share(before, now)) {
                let average = self.cpu().map_or(share, |known| known + WEIGHT * (share - known));
                self.cpu.send_replace(Some(average));
            }
            before = now;
        }
    }

    fn publish(&self) {
        let drivers = self.all();
        let mut counts = BTreeMap::new();
        for profile in self.config.profiles.keys() {
            counts.extend(STATES.map(|state| ((profile.clone(), state), 0u32)));
        }
        for (driver, held) in &drivers {
            *counts
                .entry((held.profile.clone(), state_of(driver, held)))
                .or_insert(0) += 1;
        }
        for ((profile, state), count) in counts {
            let labels = [("profile", profile.to_string()), ("state", state.to_owned())];
            metrics::gauge!("berth_agent_drivers", &labels).set(count);
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge of bytes needs no last digit")]
        metrics::gauge!("berth_agent_memory_reserved_bytes").set(self.reserved_bytes() as f64);
    }
}

/// Clock ticks of all processors since boot: busy ones and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

fn read_cpu() -> Option<Ticks> {
    ticks(&std::fs::read_to_string("/proc/stat").ok()?)
}

fn ticks(stat: &str) -> Option<Ticks> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    let all: u64 = fields.iter().take(8).sum();
    let idle = fields.get(3)? + fields.get(4)?;
    Some(Ticks {
        busy: all - idle,
        all,
    })
}

fn busy_share(before: Ticks, now: Ticks) -> Option<f64> {
    let all = u32::try_from(now.all.checked_sub(before.all)?).ok()?;
    let busy = u32::try_from(now.busy.checked_sub(before.busy)?).ok()?;
    (all > 0).then(|| f64::from(busy) / f64::from(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_share_leaves_out_idling_and_waiting_for_disks() {
        let before = ticks("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1").unwrap();
        let now = ticks("cpu  150 0 150 850 150 0 0 0 90 0\n").unwrap();
        assert_eq!(busy_share(before, now), Some(100.0 / 300.0));
        assert_eq!(busy_share(now, now), None);
        assert_eq!(ticks("nonsense"), None);
    }
}
