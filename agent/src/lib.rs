//! One per node: owns the Spark drivers of that node.
//!
//! The agent is the authority for its node: brokers propose, [`reservations`] decides. A driver is a Python host
//! with a JVM ([`driver`]); it outlives a dead agent, and ends itself when the node's lease is not renewed.

pub mod config;
mod control;
mod driver;
mod drivers;
mod lease;
mod listener;
pub mod reservations;
mod service;
mod tunnel;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use berth_runtime::tasks::{Shutdown, Tasks};
use berth_store::StoreRef;
use tokio::net::TcpListener;

pub use config::{AgentConfig, ProfileConfig};
use drivers::Drivers;

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
    /// The node's lease or record could not be written.
    #[error("the agent cannot register its node")]
    Store(#[from] berth_store::StoreError),
    /// Another agent holds this node id.
    #[error("node {node} is registered by another running agent; give each agent a node-id of its own")]
    Taken {
        /// The node.
        node: String,
    },
    /// The Python of the configuration cannot run a driver.
    #[error("{0}")]
    Preflight(String),
}

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    tasks: Tasks,
    drivers: Arc<Drivers>,
    lease: Arc<lease::NodeLease>,
    /// Where brokers reach it.
    pub address: SocketAddr,
}

impl Agent {
    /// Checks the installation, takes the node's lease, registers the node and serves brokers on `listener`.
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
        let tasks = Tasks::new(shutdown);
        let state = |source| AgentError::State {
            path: config.state_dir.display().to_string(),
            source,
        };
        let address = listener.local_addr().map_err(state)?;
        let config = Arc::new(config);
        driver::preflight(&config).await?;
        let lease = lease::NodeLease::take(&config, store, address, &tasks).await?;
        let drivers = Drivers::start(Arc::clone(&config), Arc::clone(&lease), &tasks)?;
        listener::serve(listener, tls, Arc::clone(&drivers), Arc::clone(&lease), &tasks);
        Ok(Self {
            tasks,
            drivers,
            lease,
            address,
        })
    }

    /// Ends the agent and its drivers, and gives the node's lease back.
    pub async fn stop(&self, patience: Duration) {
        self.drivers.end_all("the agent stops");
        self.lease.give_back().await;
        self.tasks.stop(patience).await;
    }
}
