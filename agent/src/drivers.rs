//! The drivers of the node: starts, the warm pool, assignment to sessions, ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, ProfileName, SessionId};
use berth_runtime::tasks::Tasks;
use tokio::process::Child;
use tokio::sync::watch;
use uuid::Uuid;

use crate::AgentError;
use crate::config::{AgentConfig, ProfileConfig};
use crate::driver::{self, Driver, Phase, Plan};
use crate::lease::NodeLease;
use crate::reservations::{Refusal, Reservations};
use crate::{control, driver::HOST};

/// How long a profile rests after a start that failed.
const RESTART_BACKOFF: Duration = Duration::from_secs(15);
/// How long an ended driver may take to be gone.
const END_DEADLINE: Duration = Duration::from_secs(10);

/// Why a session gets no driver here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReserveError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("this node has no profile {0}; configure it under [agent.profiles.{0}]")]
    UnknownProfile(ProfileName),
    #[error(transparent)]
    Start(#[from] AgentError),
}

#[derive(Debug)]
struct Table {
    reservations: Reservations,
    drivers: BTreeMap<DriverId, Arc<Driver>>,
    /// Profiles whose last start failed, and until when they rest.
    resting: BTreeMap<ProfileName, tokio::time::Instant>,
}

/// The node's drivers.
#[derive(Debug)]
pub(crate) struct Drivers {
    config: Arc<AgentConfig>,
    lease: Arc<NodeLease>,
    tasks: Tasks,
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
}

impl Drivers {
    /// Starts the control channel and the warm pool.
    pub(crate) fn start(
        config: Arc<AgentConfig>,
        lease: Arc<NodeLease>,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, AgentError> {
        let state = |source| AgentError::State {
            path: config.state_dir.display().to_string(),
            source,
        };
        std::fs::create_dir_all(config.state_dir.join("drivers")).map_err(state)?;
        std::fs::write(config.state_dir.join("berth_driver.py"), HOST).map_err(state)?;
        let table = Table {
            reservations: Reservations::new(config.memory_capacity_bytes, config.driver_slots),
            drivers: BTreeMap::new(),
            resting: BTreeMap::new(),
        };
        let (changes, _) = watch::channel(0);
        let socket = config.state_dir.join("control.sock");
        let drivers = Arc::new(Self {
            config: Arc::clone(&config),
            lease,
            tasks: tasks.clone(),
            table: Mutex::new(table),
            changes,
        });
        control::listen(&socket, &drivers, tasks).map_err(state)?;
        let pool = Arc::clone(&drivers);
        tasks.spawn("warm pool", async move { pool.keep_warm().await });
        Ok(drivers)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> &AgentConfig {
        &self.config
    }

    pub(crate) fn held_until(&self) -> watch::Receiver<Duration> {
        self.lease.held_until()
    }

    /// Something about the node's figures changed.
    pub(crate) fn changed(&self) {
        self.changes.send_modify(|seq| *seq += 1);
    }

    /// The number of changes so far.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn get(&self, id: DriverId) -> Option<Arc<Driver>> {
        self.lock().drivers.get(&id).cloned()
    }

    /// Every driver with the session it serves, if it serves one.
    pub(crate) fn all(&self) -> Vec<(Arc<Driver>, u64, Option<(SessionId, Epoch)>)> {
        let table = self.lock();
        let row = |(id, held): (&DriverId, &crate::reservations::Held)| {
            let driver = table.drivers.get(id)?;
            Some((Arc::clone(driver), held.memory_bytes, held.session))
        };
        table.reservations.drivers().iter().filter_map(row).collect()
    }

    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.lock().reservations.reserved_bytes()
    }

    /// Gives the session a driver: the one it has, a warm one, one that is being started, or a new one.
    ///
    /// # Errors
    /// [`ReserveError`]; nothing is reserved then.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        session: SessionId,
        epoch: Epoch,
        wanted: &Wanted,
    ) -> Result<Arc<Driver>, ReserveError> {
        let profile = self.profile(&wanted.profile)?;
        let mut table = self.lock();
        if let Some(id) = table.reservations.find(session, epoch)?
            && let Some(driver) = table.drivers.get(&id)
        {
            return Ok(Arc::clone(driver));
        }
        if wanted.static_confs.is_empty()
            && let Some(driver) = table.take_unassigned(&wanted.profile, session, epoch)?
        {
            drop(table);
            self.changed();
            return Ok(driver);
        }
        let memory = wanted.memory_bytes.unwrap_or(profile.memory_bytes);
        let id = DriverId::new(Uuid::new_v4());
        table.reservations.reserve(id, memory, Some((session, epoch)))?;
        drop(table);
        Ok(self.launch(id, &wanted.profile, profile, &wanted.static_confs)?)
    }

    fn profile(&self, name: &ProfileName) -> Result<&ProfileConfig, ReserveError> {
        self.config
            .profiles
            .get(name)
            .ok_or_else(|| ReserveError::UnknownProfile(name.clone()))
    }

    /// The driver of this epoch of the session.
    pub(crate) fn find(&self, session: SessionId, epoch: Epoch) -> Result<Option<Arc<Driver>>, Refusal> {
        let table = self.lock();
        let id = table.reservations.find(session, epoch)?;
        Ok(id.and_then(|id| table.drivers.get(&id).cloned()))
    }

    /// Ends everything that runs for epochs of the session below `floor`, and waits until it is gone.
    pub(crate) async fn fence(
        &self,
        session: SessionId,
        floor: Epoch,
    ) -> Result<(), tokio::time::error::Elapsed> {
        let outdated: Vec<_> = {
            let mut table = self.lock();
            let ids = table.reservations.fence(session, floor);
            ids.iter()
                .filter_map(|id| table.drivers.get(id).cloned())
                .collect()
        };
        for driver in outdated {
            driver.kill();
            let mut phase = driver.phase.subscribe();
            let ended = phase.wait_for(|phase| matches!(phase, Phase::Ended(_)));
            tokio::time::timeout(END_DEADLINE, ended).await?.ok();
        }
        Ok(())
    }

    /// Kills every driver.
    pub(crate) fn end_all(&self, reason: &str) {
        let table = self.lock();
        tracing::info!(drivers = table.drivers.len(), reason, "ending the node's drivers");
        table.drivers.values().for_each(|driver| driver.kill());
    }

    fn launch(
        self: &Arc<Self>,
        id: DriverId,
        name: &ProfileName,
        profile: &ProfileConfig,
        static_confs: &BTreeMap<String, String>,
    ) -> Result<Arc<Driver>, AgentError> {
        let fence = *self.lease.held_until().borrow();
        let plan = Plan {
            id,
            name,
            profile,
            static_confs,
            fence,
            node_confs: &BTreeMap::new(),
        };
        let launched = Driver::launch(&self.config, &plan);
        let (driver, child) = launched.inspect_err(|_| self.lock().reservations.release(id))?;
        let driver = Arc::new(driver);
        tracing::info!(driver.id = %id, profile = %name, pid = driver.host_pid, "driver starting");
        self.lock().drivers.insert(id, Arc::clone(&driver));
        let (drivers, watched) = (Arc::clone(self), Arc::clone(&driver));
        self.tasks
            .spawn("driver", async move { drivers.supervise(watched, child).await });
        self.changed();
        Ok(driver)
    }

    async fn supervise(&self, driver: Arc<Driver>, mut child: Child) {
        let status = child.wait().await;
        let was_ready = driver.ready().is_some();
        driver.kill();
        let reason = match status {
            Ok(status) => format!("the driver ended with {status}"),
            Err(error) => format!("the driver cannot be waited for: {error}"),
        };
        {
            let mut table = self.lock();
            table.reservations.release(driver.id);
            table.drivers.remove(&driver.id);
            if !was_ready {
                table.resting.insert(
                    driver.profile.clone(),
                    tokio::time::Instant::now() + RESTART_BACKOFF,
                );
            }
        }
        let outcome = if was_ready { "served" } else { "failed" };
        let profile = driver.profile.to_string();
        metrics::counter!("berth_driver_ends_total", "profile" => profile, "outcome" => outcome).increment(1);
        tracing::info!(driver.id = %driver.id, reason, "driver ended");
        driver.clean_up();
        driver.phase.send_replace(Phase::Ended(reason));
        self.changed();
    }

    async fn keep_warm(self: Arc<Self>) {
        let mut changes = self.changes();
        let draining = self.tasks.shutdown().clone();
        loop {
            changes.borrow_and_update();
            for (name, profile) in &self.config.profiles {
                self.fill(name, profile);
            }
            tokio::select! {
                _ = tokio::time::timeout(RESTART_BACKOFF, changes.changed()) => {}
                () = draining.draining() => return,
            }
        }
    }

    /// Starts one driver of the profile when its pool is short and the node has room.
    fn fill(self: &Arc<Self>, name: &ProfileName, profile: &ProfileConfig) {
        let id = DriverId::new(Uuid::new_v4());
        {
            let mut table = self.lock();
            let resting = table
                .resting
                .get(name)
                .is_some_and(|until| *until > tokio::time::Instant::now());
            let short = table.unassigned(name).count() < profile.warm as usize;
            let serves = self.lease.is_held() && !self.lease.record().draining;
            if resting
                || !short
                || !serves
                || table
                    .reservations
                    .reserve(id, profile.memory_bytes, None)
                    .is_err()
            {
                return;
            }
        }
        if let Err(error) = self.launch(id, name, profile, &BTreeMap::new()) {
            tracing::warn!(%error, profile = %name, "a warm driver could not be started");
        }
    }

    /// The end of a failed driver's log, for its client.
    pub(crate) fn explain_end(driver: &Driver, reason: &str) -> String {
        format!(
            "{reason}; its log {} ends with: {}",
            driver.log_path().display(),
            driver.last_words()
        )
    }
}

/// What a session asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) profile: ProfileName,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) static_confs: BTreeMap<String, String>,
}

impl Table {
    fn unassigned<'a>(&'a self, profile: &'a ProfileName) -> impl Iterator<Item = &'a Arc<Driver>> {
        let free = self
            .reservations
            .drivers()
            .iter()
            .filter(|(_, held)| held.session.is_none());
        free.filter_map(|(id, _)| self.drivers.get(id))
            .filter(move |driver| driver.profile == *profile)
    }

    /// Assigns a driver that nobody has, one that is ready before one that starts.
    fn take_unassigned(
        &mut self,
        profile: &ProfileName,
        session: SessionId,
        epoch: Epoch,
    ) -> Result<Option<Arc<Driver>>, Refusal> {
        let alive = |driver: &&Arc<Driver>| !matches!(*driver.phase.borrow(), Phase::Ended(_));
        let best = self
            .unassigned(profile)
            .filter(alive)
            .min_by_key(|driver| driver.ready().is_none())
            .cloned();
        let Some(driver) = best else { return Ok(None) };
        let assigned = self.reservations.assign(driver.id, session, epoch)?;
        Ok(assigned.then_some(driver))
    }
}

/// Counts for the load stream.
pub(crate) fn warm(drivers: &[(Arc<Driver>, u64, Option<(SessionId, Epoch)>)], profile: &ProfileName) -> u32 {
    let is_warm = |(driver, _, session): &&(Arc<Driver>, u64, Option<(SessionId, Epoch)>)| {
        session.is_none() && driver.profile == *profile && driver.ready().is_some()
    };
    u32::try_from(drivers.iter().filter(is_warm).count()).unwrap_or(u32::MAX)
}

/// The state of a driver as the API names it.
pub(crate) fn state_of(driver: &driver::Driver, session: Option<(SessionId, Epoch)>) -> &'static str {
    match (&*driver.phase.borrow(), session) {
        (Phase::Starting(_), _) => "starting",
        (Phase::Ready(_), None) => "warm",
        (Phase::Ready(_), Some(_)) => "serving",
        (Phase::Ended(_), _) => "stopping",
    }
}
