//! The agent's part of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_core::ids::{NodeId, ProfileName};
use serde::{Deserialize, Serialize};

/// What an agent needs to know of its node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AgentConfig {
    /// The node's name, unique in the cluster and stable over restarts.
    pub node_id: NodeId,
    /// Where drivers keep their logs and scratch files. Needs room for shuffle data.
    pub state_dir: PathBuf,
    /// Where brokers reach this agent, `host:port`; the listening address if absent.
    #[serde(default)]
    pub advertise_address: Option<String>,
    /// Bytes that drivers may reserve together. Reservations never exceed it (I6).
    pub memory_capacity_bytes: u64,
    /// Drivers that may run at once, warm ones included.
    #[serde(default = "default_slots")]
    pub driver_slots: u32,
    /// Seconds after which the node counts as lost when its agent is not heard of; at least 3.
    #[serde(default = "default_lease_seconds")]
    pub lease_seconds: u64,
    /// A Python with PySpark 4.
    pub python: PathBuf,
    /// Recipes for drivers.
    pub profiles: BTreeMap<ProfileName, ProfileConfig>,
}

/// A recipe for drivers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// Spark master of its drivers.
    pub master: String,
    /// Heap of the driver's JVM, as Spark writes it.
    pub heap: String,
    /// What a driver reserves on its node: heap, JVM overhead and Python together.
    pub memory_bytes: u64,
    /// Started drivers to keep ready.
    pub warm: u32,
    /// Static Spark confs of its drivers.
    pub confs: BTreeMap<String, String>,
    /// Runtime confs set on each new session.
    pub session_confs: BTreeMap<String, String>,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            master: "local[2]".to_owned(),
            heap: "1g".to_owned(),
            memory_bytes: 1536 << 20,
            warm: 1,
            confs: BTreeMap::new(),
            session_confs: BTreeMap::new(),
        }
    }
}

impl AgentConfig {
    /// The lease's time to live.
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.max(3))
    }
}

fn default_slots() -> u32 {
    16
}

fn default_lease_seconds() -> u64 {
    10
}
