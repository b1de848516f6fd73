//! The drivers of the node: who has which, and the lock around that.
//!
//! What happens to them is in the modules below: [`reserve`], [`fence`], [`supervise`], [`pool`] and [`adopt`].

mod adopt;
mod fence;
mod figures;
mod pool;
mod reserve;
mod supervise;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use berth_core::ids::{DriverId, Epoch, ProfileName, SessionId};
use berth_runtime::tasks::Tasks;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::AgentError;
use crate::archive::Archive;
use crate::config::AgentConfig;
use crate::control;
use crate::driver::launch::Node;
use crate::driver::preflight::Installation;
use crate::driver::{Driver, saved};
use crate::epochs::Journal;
use crate::lease::{NodeLease, Resumed};
use crate::metastore::Metastore;
use crate::reservations::{Held, Refusal, Reservations};
use crate::statements::Statements;
use crate::statements::leftover::clear_now_and_then;
pub(crate) use adopt::end_leftovers;
pub(crate) use figures::state_of;
pub(crate) use reserve::{ReserveError, Wanted};

/// How long an ended driver may take to be gone.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// Losses that a slow reader of the load stream can still be told.
const MAX_LOST: usize = 256;

#[derive(Debug)]
struct Table {
    reservations: Reservations,
    drivers: BTreeMap<DriverId, Arc<Driver>>,
    resting: BTreeMap<ProfileName, pool::Rest>,
    /// When a warm driver was last given to a session.
    handed_out: Option<Instant>,
    lost: VecDeque<(u64, DriverId)>,
    losses: u64,
}

/// The node's drivers.
#[derive(Debug)]
pub(crate) struct Drivers {
    config: Arc<AgentConfig>,
    lease: Arc<NodeLease>,
    tasks: Tasks,
    statements: Statements,
    journal: Arc<Journal>,
    node: Node,
    archive: Archive,
    metastore: Option<Arc<Metastore>>,
    table: Mutex<Table>,
    /// Held from the look at the table until a driver that was started for it is in it.
    starting: tokio::sync::Mutex<()>,
    /// True once the agent stops: no driver is started for nobody any more.
    closing: AtomicBool,
    changes: watch::Sender<u64>,
    cpu: watch::Sender<Option<f64>>,
}

impl Drivers {
    /// Adopts the drivers of the agent's earlier run if it goes on with its lease; starts the control channel, the
    /// catalog and the warm pool.
    pub(crate) fn start(
        config: Arc<AgentConfig>,
        lease: Arc<NodeLease>,
        resumed: Resumed,
        installation: &Installation,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, AgentError> {
        let state_dir = config.state_dir.clone();
        let started = Self::assemble(config, lease, resumed, installation, tasks);
        started.map_err(|source| AgentError::State {
            path: state_dir.display().to_string(),
            source,
        })
    }

    fn assemble(
        config: Arc<AgentConfig>,
        lease: Arc<NodeLease>,
        Resumed(adopt): Resumed,
        installation: &Installation,
        tasks: &Tasks,
    ) -> std::io::Result<Arc<Self>> {
        let state = &config.state_dir;
        let host = crate::driver::host::install(state)?;
        let (journal, floors) = Journal::open(&state.join("epochs"))?;
        let metastore = Metastore::start(&config, &host, tasks)?;
        let confs = metastore.as_ref().map(|metastore| metastore.confs());
        let table = Table {
            reservations: Reservations::new(config.memory_capacity_bytes, config.driver_slots, floors),
            drivers: BTreeMap::new(),
            resting: BTreeMap::new(),
            handed_out: None,
            lost: VecDeque::new(),
            losses: 0,
        };
        let socket = state.join("control.sock");
        let drivers = Arc::new(Self {
            lease,
            tasks: tasks.clone(),
            statements: Statements::open(state.join("sessions"), adopt)?,
            journal: Arc::new(journal),
            node: Node {
                host,
                confs: confs.unwrap_or_default(),
                archive: None,
            },
            archive: Archive::of(&config, installation)?,
            metastore,
            table: Mutex::new(table),
            closing: AtomicBool::new(false),
            starting: tokio::sync::Mutex::new(()),
            changes: watch::channel(0).0,
            cpu: watch::channel(None).0,
            config,
        });
        if adopt {
            drivers.adopt();
        }
        control::listen(&socket, &drivers, tasks)?;
        drivers.start_tasks();
        Ok(drivers)
    }

    fn start_tasks(self: &Arc<Self>) {
        let pool = Arc::clone(self);
        self.tasks
            .spawn("warm pool", async move { pool.keep_warm().await });
        let fence = Arc::clone(self);
        self.tasks
            .spawn("node fence", async move { fence.end_without_lease().await });
        let figures = Arc::clone(self);
        self.tasks
            .spawn("node figures", async move { figures.measure().await });
        let results = Arc::clone(self);
        self.tasks.spawn("leftover results", async move {
            clear_now_and_then(&results).await;
        });
        let trainer = Arc::clone(self);
        self.tasks.spawn(
            "class archive",
            async move { crate::archive::build(trainer).await },
        );
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn config(&self) -> &AgentConfig {
        &self.config
    }

    pub(crate) fn lease(&self) -> &NodeLease {
        &self.lease
    }

    pub(crate) fn statements(&self) -> &Statements {
        &self.statements
    }

    pub(crate) fn archive(&self) -> &Archive {
        &self.archive
    }

    pub(crate) fn node(&self) -> Node {
        Node {
            archive: self.archive.built(),
            ..self.node.clone()
        }
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

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Starts no warm drivers from now on.
    pub(crate) fn close_pool(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Ends with the process.
    pub(crate) fn shutdown(&self) -> &berth_runtime::tasks::Shutdown {
        self.tasks.shutdown()
    }

    /// Share of the node's CPU in use, once measured.
    pub(crate) fn cpu(&self) -> Option<f64> {
        *self.cpu.borrow()
    }

    pub(crate) fn get(&self, id: DriverId) -> Option<Arc<Driver>> {
        self.lock().drivers.get(&id).cloned()
    }

    /// Every driver with its reservation.
    pub(crate) fn all(&self) -> Vec<(Arc<Driver>, Held)> {
        let table = self.lock();
        let row = |(id, held): (&DriverId, &Held)| Some((Arc::clone(table.drivers.get(id)?), held.clone()));
        table.reservations.drivers().iter().filter_map(row).collect()
    }

    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.lock().reservations.reserved_bytes()
    }

    /// Drivers lost after the loss with this number, and the number of the last one.
    pub(crate) fn lost_since(&self, seen: u64) -> (Vec<DriverId>, u64) {
        let table = self.lock();
        let new = table.lost.iter().filter(|(number, _)| *number > seen);
        (new.map(|(_, id)| *id).collect(), table.losses)
    }

    /// The driver of this epoch of the session.
    pub(crate) fn find(
        &self,
        session: SessionId,
        epoch: Epoch,
    ) -> Result<Option<(Arc<Driver>, Held)>, Refusal> {
        let table = self.lock();
        let Some(id) = table.reservations.find(session, epoch)? else {
            return Ok(None);
        };
        let held = table.reservations.drivers().get(&id).cloned();
        Ok(table.drivers.get(&id).cloned().zip(held))
    }

    /// Kills every driver and waits until all are gone.
    pub(crate) async fn end_all(&self, reason: &'static str) {
        let drivers: Vec<_> = self.lock().drivers.values().cloned().collect();
        if drivers.is_empty() {
            return;
        }
        tracing::info!(drivers = drivers.len(), reason, "ending the node's drivers");
        for driver in &drivers {
            driver.end(reason).await;
        }
        // They are dead by now; this waits until that has been taken note of, if anybody still does.
        let noted = async {
            for driver in &drivers {
                if !driver.ended(END_DEADLINE).await {
                    tracing::error!(driver.id = %driver.id, "a driver that was killed is still there");
                }
            }
        };
        tokio::select! {
            () = noted => {}
            () = self.tasks.shutdown().aborting() => {}
        }
    }

    /// Ends the embedded catalog. Drivers should have ended before.
    pub(crate) async fn end_catalog(&self) {
        if let Some(metastore) = &self.metastore {
            metastore.end().await;
        }
    }

    /// Ends when the node is draining and no session is on it.
    pub(crate) async fn drained(&self) {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let empty = self.all().iter().all(|(_, held)| held.sessions.is_empty());
            if empty && self.lease.record().draining {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Logs and scratch files of drivers.
    fn directory(&self) -> PathBuf {
        self.config.state_dir.join("drivers")
    }
}

impl Table {
    /// Writes down a driver with its reservation, so that the next run of the agent can adopt it. The file is small
    /// and not synced; writing it under the lock keeps its versions in order.
    fn save(&self, id: DriverId) {
        let (Some(driver), Some(held)) = (self.drivers.get(&id), self.reservations.drivers().get(&id)) else {
            return;
        };
        if let Err(error) = saved::save(driver, held) {
            tracing::warn!(driver.id = %id, %error, "a driver could not be written down; a restarted agent ends it");
        }
    }
}
