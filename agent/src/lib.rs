//! One per node: owns the Spark drivers of that node.
//!
//! The agent is the authority for its node: brokers propose, [`reservations`] decides. A driver is a Python host
//! with a JVM; it outlives a dead agent, and ends itself when the node's lease is not renewed. The protocols are in
//! `docs/reference/agent-protocol.md`.

mod archive;
pub mod config;
mod control;
mod driver;
mod drivers;
mod epochs;
mod files;
mod lease;
mod listener;
mod metastore;
mod process;
pub mod reservations;
mod service;
mod statements;
mod tunnel;
mod words;

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::admin::Probe;
use berth_runtime::tasks::{Shutdown, Tasks};
use berth_store::StoreRef;
use tokio::net::TcpListener;

pub use config::{AgentConfig, Catalog, ProfileConfig, Share};
use drivers::Drivers;
use lease::{NodeLease, Resumed};

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The state directory cannot be used.
    #[error("the agent cannot use {path}: {source}; choose a state directory that this user can write to")]
    State {
        /// The path.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Another agent uses the state directory.
    #[error("another agent uses {path}; end it, or give each agent a state-dir of its own")]
    InUse {
        /// The path.
        path: String,
    },
    /// The node's lease or record could not be written.
    #[error("the agent cannot register its node")]
    Store(#[from] berth_store::StoreError),
    /// Another agent holds this node id.
    #[error("node {node} is registered by another running agent; give each agent a node-id of its own")]
    Taken {
        /// The node.
        node: String,
    },
    /// The Python or Java of the configuration cannot run a driver.
    #[error("{0}")]
    Preflight(String),
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    tasks: Tasks,
    /// Renews the lease while the other tasks end.
    keeper: Tasks,
    drivers: Arc<Drivers>,
    lease: Arc<NodeLease>,
    /// Held for as long as the agent uses its state directory.
    _lock: File,
    /// Where brokers reach it.
    pub address: SocketAddr,
}

impl Agent {
    /// Checks the installation, takes the node's lease, registers the node and serves brokers on `listener`.
    ///
    /// If an earlier run of the agent left drivers and the node's lease still holds, they are adopted under the
    /// same incarnation; else they are ended first.
    ///
    /// The abort signal of `shutdown` is obeyed. A drain is the caller's to decide: [`Agent::stop`] or
    /// [`Agent::leave`].
    ///
    /// # Errors
    /// [`AgentError`], one line that says what to do.
    pub async fn start(
        config: AgentConfig,
        store: StoreRef,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: Shutdown,
    ) -> Result<Self, AgentError> {
        let state = |source| AgentError::State {
            path: config.state_dir.display().to_string(),
            source,
        };
        let address = listener.local_addr().map_err(state)?;
        let lock = lock_state(&config)?;
        let config = Arc::new(config);
        let (tasks, keeper) = (Tasks::new(Shutdown::new()), Tasks::new(Shutdown::new()));
        let leftovers = || drivers::end_leftovers(&config.state_dir);
        // First of all: the drivers of an earlier run have only as long as its last renewal.
        let (lease, resumed) = NodeLease::take(&config, store, address, leftovers).await?;
        let drivers = match prepare(&config, &lease, resumed, &tasks).await {
            Ok(drivers) => drivers,
            Err(error) => {
                if resumed == Resumed(false) {
                    lease.give_back().await;
                }
                return Err(error);
            }
        };
        let (kept, ended) = (Arc::clone(&lease), Arc::clone(&drivers));
        keeper.spawn("node lease", async move {
            kept.keep(|| ended.end_all("the node's lease is gone")).await;
        });
        listener::serve(listener, tls, Arc::clone(&drivers), &tasks);
        let agent = Self {
            tasks,
            keeper,
            drivers,
            lease,
            _lock: lock,
            address,
        };
        agent.obey(shutdown);
        Ok(agent)
    }

    /// Ends the tasks when the process is told to stop now.
    fn obey(&self, shutdown: Shutdown) {
        let (tasks, keeper) = (self.tasks.shutdown().clone(), self.keeper.shutdown().clone());
        self.tasks.spawn("abort", async move {
            tokio::select! {
                () = shutdown.aborting() => {
                    keeper.abort();
                    tasks.abort();
                }
                () = tasks.draining() => {}
            }
        });
    }

    /// Whether sessions can be placed here.
    pub fn readiness(&self) -> Probe {
        let (lease, shutdown) = (Arc::clone(&self.lease), self.tasks.shutdown().clone());
        Arc::new(move || {
            if shutdown.is_draining() {
                Some("the agent is stopping")
            } else if !lease.is_held() {
                Some("the store does not answer: the node's lease is not held")
            } else if lease.record().draining {
                Some("the node is draining")
            } else {
                None
            }
        })
    }

    /// Ends when the node is draining and no session is on it any more.
    pub async fn drained(&self) {
        self.drivers.drained().await;
    }

    /// Ends the agent with its drivers and its catalog, and gives the node's lease back.
    pub async fn stop(&self, patience: Duration) {
        self.drivers.close_pool();
        self.drivers.end_all("the agent stops").await;
        self.lease.give_back().await;
        self.tasks.stop(patience).await;
        self.keeper.stop(patience).await;
        self.drivers.end_catalog().await;
    }

    /// Ends the agent and leaves its drivers to the next one, which must start before the lease ends: an upgrade.
    ///
    /// Hosts hear of no renewal meanwhile, so that calls and tunnels get a tenth of the lease at most.
    pub async fn leave(&self, patience: Duration) {
        self.tasks.stop(patience.min(self.lease.ttl() / 10)).await;
        self.lease.leave();
        self.keeper.stop(patience).await;
    }
}

async fn prepare(
    config: &Arc<AgentConfig>,
    lease: &Arc<NodeLease>,
    resumed: Resumed,
    tasks: &Tasks,
) -> Result<Arc<Drivers>, AgentError> {
    let installation = driver::preflight::preflight(config).await?;
    Drivers::start(
        Arc::clone(config),
        Arc::clone(lease),
        resumed,
        &installation,
        tasks,
    )
}

/// Two agents on one state directory would kill each other's drivers.
fn lock_state(config: &AgentConfig) -> Result<File, AgentError> {
    let path = config.state_dir.display().to_string();
    let opened = files::private_directory(&config.state_dir)
        .and_then(|()| File::create(config.state_dir.join("lock")));
    let lock = opened.map_err(|source| AgentError::State {
        path: path.clone(),
        source,
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(AgentError::InUse { path }),
        Err(std::fs::TryLockError::Error(source)) => Err(AgentError::State { path, source }),
    }
}
