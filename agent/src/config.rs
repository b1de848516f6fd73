//! The agent's part of the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use berth_core::ids::{NodeId, ProfileName};
use serde::{Deserialize, Serialize};

/// What an agent needs to know of its node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AgentConfig {
    /// The node's name, unique in the cluster and stable over restarts; the host's name if absent.
    pub node_id: NodeId,
    /// Where drivers keep their logs and scratch files; `agent` below the data directory if absent. Needs room for
    /// shuffle data. One agent uses it at a time.
    pub state_dir: PathBuf,
    /// Where brokers reach this agent, `host:port`; the listening address if absent.
    pub advertise_address: Option<String>,
    /// Bytes that drivers may reserve together; 80 % of the machine's memory if absent. Reservations never exceed
    /// it (I6). The embedded catalog needs 400 MiB beside it.
    pub memory_capacity_bytes: u64,
    /// Drivers that may run at once, warm ones included.
    pub driver_slots: u32,
    /// Seconds after which the node counts as lost when its agent is not heard of; at least 3.
    pub lease_seconds: u64,
    /// Seconds for which a driver's JVM may leave its port unanswered before it is ended. Long pauses of the garbage
    /// collector look the same.
    pub unresponsive_seconds: u64,
    /// Labels of the node that placement can ask for.
    pub labels: BTreeMap<String, String>,
    /// A Python with PySpark 4.
    pub python: PathBuf,
    /// The Java of drivers; `JAVA_HOME` of the agent, or `java` on its path, if absent.
    pub java_home: Option<PathBuf>,
    /// Where archives of Spark's classes are kept: below `state_dir` if absent. Agents of one machine and user may
    /// share the place. Whoever can write there can run code in drivers.
    pub class_archives: Option<PathBuf>,
    /// Where tables are known.
    pub catalog: Catalog,
    /// Recipes for drivers; one with the name `default` if none is given.
    pub profiles: BTreeMap<ProfileName, ProfileConfig>,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self::new(host_name(), PathBuf::new(), PathBuf::from("python3"))
    }
}

/// Where the tables of a node's drivers are known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Catalog {
    /// A Hive metastore over Derby that the agent runs, below its state directory. Tables outlive drivers and the
    /// agent, and are known on this node only.
    #[default]
    Embedded,
    /// What the confs of the profiles say; Spark's default forgets tables with their driver.
    None,
}

/// Which sessions may be on one driver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Share {
    /// Each session has a driver of its own.
    #[default]
    Session,
    /// Sessions of one user may share.
    User,
    /// Sessions of one tenant may share.
    Tenant,
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
    /// Sessions that a driver of the pool is made to go through before it is ready. With each the next becomes
    /// quicker, as the JVM compiles what runs often, and the start takes some 2 s of a processor more.
    pub warm_up_sessions: u32,
    /// Seconds after which a driver that is not ready is ended and counts as failed; at least 1.
    pub start_seconds: u64,
    /// Which sessions may be on one driver.
    pub share: Share,
    /// Sessions that may share a driver, where any may; at least 1.
    pub sessions_per_driver: u32,
    /// Static Spark confs of its drivers.
    pub confs: BTreeMap<String, String>,
    /// Runtime confs set on each new session.
    pub session_confs: BTreeMap<String, String>,
    /// Starts drivers from an archive of their classes, built once in the background: half the start.
    pub class_data_sharing: bool,
    /// Compiles with C1 only: starts faster, long queries run slower. For short interactive work.
    pub fast_jit: bool,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            master: "local[2]".to_owned(),
            heap: "1g".to_owned(),
            memory_bytes: 1536 << 20,
            warm: 1,
            warm_up_sessions: 3,
            start_seconds: 180,
            share: Share::Session,
            sessions_per_driver: 32,
            confs: BTreeMap::new(),
            session_confs: BTreeMap::new(),
            class_data_sharing: true,
            fast_jit: false,
        }
    }
}

impl AgentConfig {
    /// The defaults of a node, without profiles.
    pub fn new(node_id: NodeId, state_dir: PathBuf, python: PathBuf) -> Self {
        Self {
            node_id,
            state_dir,
            advertise_address: None,
            memory_capacity_bytes: default_memory(),
            driver_slots: default_slots(),
            lease_seconds: default_lease_seconds(),
            unresponsive_seconds: 30,
            labels: BTreeMap::new(),
            python,
            java_home: None,
            class_archives: None,
            catalog: Catalog::default(),
            profiles: BTreeMap::new(),
        }
    }

    /// The lease's time to live.
    pub fn lease_ttl(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.max(3))
    }

    /// Where archives of classes are kept.
    pub(crate) fn class_archives(&self) -> PathBuf {
        let own = || self.state_dir.join("class-archives");
        self.class_archives.clone().unwrap_or_else(own)
    }

    /// Where the tables of drivers are kept.
    pub(crate) fn warehouse(&self) -> PathBuf {
        self.state_dir.join("warehouse")
    }
}

/// The host's name, as far as it is a node id.
fn host_name() -> NodeId {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let local = || "local".parse().expect("a well-formed node id");
    name.trim().parse().unwrap_or_else(|_unusable| local())
}

fn default_slots() -> u32 {
    16
}

fn default_lease_seconds() -> u64 {
    10
}

/// 80 % of the machine's memory; the size of one driver where it cannot be read.
fn default_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = info.lines().find_map(|line| {
        let kib = line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?;
        kib.parse::<u64>().ok()
    });
    total.map_or(ProfileConfig::default().memory_bytes, |kib| kib * 1024 / 5 * 4)
}
