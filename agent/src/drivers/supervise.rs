//! Watches one driver to its end.

use std::sync::Arc;
use std::time::Duration;

use berth_runtime::clock::unix_millis;
use tokio::process::Child;
use tokio::time::Instant;

use super::pool::Rest;
use super::{Drivers, MAX_LOST};
use crate::config::ProfileConfig;
use crate::driver::probe::answers;
use crate::driver::{Driver, Phase};
use crate::process::Process;

/// How often an adopted process is looked at; a child's end is told by the kernel.
const POLL: Duration = Duration::from_millis(100);
/// How often a driver's health is looked at.
const HEALTH: Duration = Duration::from_secs(1);
/// Why a driver is ended that takes too long to start.
const LATE: &str = "it was not ready within the start-seconds of its profile";
/// How often a driver's JVM is spoken to, and how long its answer may take.
const PROBE: Duration = Duration::from_secs(2);
/// A host beats every two seconds; one that is silent for so long cannot keep its fence.
const SILENCE: Duration = Duration::from_secs(20);

/// How the end of a driver is noticed.
#[derive(Debug)]
pub(super) enum Watched {
    Child(Child),
    Adopted(Process),
}

impl Watched {
    /// Ends with the process; tells how it ended. Cancel-safe.
    async fn gone(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => format!("the driver ended with {status}"),
                Err(error) => format!("the driver cannot be waited for: {error}"),
            },
            Self::Adopted(process) => {
                while process.is_alive() {
                    tokio::time::sleep(POLL).await;
                }
                "the driver ended".to_owned()
            }
        }
    }
}

impl Drivers {
    /// Watches a driver. What a session's own confs do to it says nothing about its profile.
    pub(super) fn supervise(self: &Arc<Self>, driver: &Arc<Driver>, mut watched: Watched, own_confs: bool) {
        self.probe(driver);
        let (drivers, driver) = (Arc::clone(self), Arc::clone(driver));
        self.tasks.spawn("driver", async move {
            let mut health = tokio::time::interval(HEALTH);
            let leaving = drivers.tasks.shutdown().clone();
            let reason = loop {
                tokio::select! {
                    reason = watched.gone() => break reason,
                    _ = health.tick() => drivers.check(&driver).await,
                    // The next agent adopts it.
                    () = leaving.draining() => return,
                }
            };
            drivers.bury(&driver, reason, own_confs).await;
        });
    }

    /// Ends a driver whose JVM does not answer any more.
    fn probe(self: &Arc<Self>, driver: &Arc<Driver>) {
        let limit = Duration::from_secs(self.config.unresponsive_seconds.max(1));
        let (driver, leaving) = (Arc::clone(driver), self.tasks.shutdown().clone());
        let probed = async move {
            let mut phase = driver.phase.subscribe();
            let begun = phase.wait_for(|phase| matches!(phase, Phase::Ready(_) | Phase::Ended(_)));
            let Some(Phase::Ready(ready)) = begun.await.ok().map(|phase| phase.clone()) else {
                return;
            };
            if ready.port == 0 {
                // The place of a batch: its application need not answer anybody.
                return;
            }
            let mut answered = Instant::now();
            while !driver.has_ended() {
                if answers(ready.port, PROBE).await {
                    answered = Instant::now();
                } else if answered.elapsed() >= limit {
                    return driver.end("its JVM does not answer").await;
                }
                tokio::time::sleep(PROBE).await;
            }
        };
        self.tasks.spawn("driver probe", async move {
            tokio::select! {
                () = probed => {}
                () = leaving.draining() => {}
            }
        });
    }

    async fn check(&self, driver: &Driver) {
        let age = Duration::from_millis(unix_millis().saturating_sub(driver.started_at));
        if driver.ready().is_none() && age > self.start_limit(driver) {
            driver.end(LATE).await;
        }
        if driver.silence() > SILENCE {
            driver.end("its host is silent").await;
        }
    }

    /// A driver that was adopted may be of a profile that is not there any more.
    fn start_limit(&self, driver: &Driver) -> Duration {
        let profile = self.config.profiles.get(&driver.profile);
        let seconds = profile.map_or_else(
            || ProfileConfig::default().start_seconds,
            |profile| profile.start_seconds,
        );
        Duration::from_secs(seconds.max(1))
    }

    /// Makes sure that nothing of the driver is left, and only then says that it has ended.
    async fn bury(&self, driver: &Arc<Driver>, how: String, own_confs: bool) {
        driver.kill().await;
        let was_ready = driver.ready().is_some();
        let reason = driver
            .ending()
            .map_or(how, |why| format!("the agent ended the driver: {why}"));
        let failed = !was_ready && driver.ending().is_none_or(|why| why == LATE);
        {
            let mut table = self.lock();
            table.reservations.release(driver.id);
            table.drivers.remove(&driver.id);
            table.losses += 1;
            let number = table.losses;
            table.lost.push_back((number, driver.id));
            if table.lost.len() > MAX_LOST {
                table.lost.pop_front();
            }
            if failed && !own_confs {
                let before = table.resting.remove(&driver.profile);
                let rest = Rest::after(before, explain(driver, &reason));
                table.resting.insert(driver.profile.clone(), rest);
            }
        }
        self.statements.driver_ended(driver.id);
        tracing::info!(driver.id = %driver.id, profile = %driver.profile, reason, "driver ended");
        let message = if failed { explain(driver, &reason) } else { reason };
        let profile = driver.profile.to_string();
        if failed {
            metrics::counter!("berth_driver_starts_total", "profile" => profile, "outcome" => "failed")
                .increment(1);
        }
        driver.phase.send_replace(Phase::Ended(message));
        // Once more, for what was taken since: whoever takes a statement later sees that the driver has ended.
        self.statements.driver_ended(driver.id);
        self.changed();
        let buried = Arc::clone(driver);
        if let Err(error) = tokio::task::spawn_blocking(move || buried.clean_up()).await {
            tracing::warn!(%error, "a driver's scratch files stay");
        }
    }

    /// A driver has said that it is ready.
    pub(crate) fn became_ready(&self, driver: &Driver) {
        let took = Duration::from_millis(unix_millis().saturating_sub(driver.started_at));
        tracing::info!(driver.id = %driver.id, profile = %driver.profile, ?took, "driver ready");
        let profile = driver.profile.to_string();
        metrics::counter!("berth_driver_starts_total", "profile" => profile.clone(), "outcome" => "ready")
            .increment(1);
        metrics::histogram!("berth_driver_start_seconds", "profile" => profile).record(took.as_secs_f64());
        let mut table = self.lock();
        table.resting.remove(&driver.profile);
        table.save(driver.id);
        drop(table);
        self.changed();
    }
}

/// What a client needs to know of a start that failed.
fn explain(driver: &Driver, reason: &str) -> String {
    format!(
        "{reason}; its log {} ends with: {}",
        driver.log_path().display(),
        driver.last_words()
    )
}
