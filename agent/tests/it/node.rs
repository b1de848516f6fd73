//! A node under test: its state, its store, its certificates and its agents.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_agent::{Agent, AgentConfig, Catalog, ProfileConfig};
use berth_runtime::tasks::Shutdown;
use berth_runtime::tls::{TlsFiles, install_provider};
use berth_store::StoreRef;
use berth_store::embedded::Embedded;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, MutexGuard};

use crate::broker::Broker;

/// One at a time: a driver start takes both cores of a small machine.
static TURN: Mutex<()> = Mutex::const_new(());

/// A node whose agent can be started again and again.
pub(crate) struct Node {
    pub(crate) config: AgentConfig,
    directory: TempDir,
    store: StoreRef,
    _turn: MutexGuard<'static, ()>,
}

fn python() -> PathBuf {
    let python = std::env::var_os("BERTH_PYTHON").expect("BERTH_PYTHON is not set: run 'make deps'");
    python.into()
}

impl Node {
    /// A node with one profile, no catalog and a lease of three seconds.
    pub(crate) async fn new(profile: ProfileConfig) -> Self {
        install_provider();
        let turn = TURN.lock().await;
        // The blank is meant: the path of the archive of classes goes into options of JVMs.
        let directory = tempfile::Builder::new().prefix("a node ").tempdir().unwrap();
        let hosts = ["127.0.0.1".to_owned()];
        berth_runtime::certs::make(&directory.path().join("certs"), &hosts).unwrap();
        let state = directory.path().join("agent");
        let mut config = AgentConfig::new("node".parse().unwrap(), state, python());
        config.lease_seconds = 3;
        config.memory_capacity_bytes = 4 << 30;
        config.catalog = Catalog::None;
        config.profiles = [("default".parse().unwrap(), profile)].into();
        Self {
            config,
            store: Embedded::open(&directory.path().join("store")).unwrap(),
            directory,
            _turn: turn,
        }
    }

    /// Starts an agent and a broker's connection to it.
    pub(crate) async fn start(&self) -> (Agent, Broker) {
        let certs = self.directory.path().join("certs");
        let tls = TlsFiles::of_role(&certs, "agent").server().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = Arc::clone(&self.store);
        let agent = Agent::start(self.config.clone(), store, listener, tls, Shutdown::new()).await;
        let agent = agent.unwrap();
        let tls = TlsFiles::of_role(&certs, "broker").client().unwrap();
        let broker = Broker::new(agent.address, &tls);
        (agent, broker)
    }
}

/// A profile whose drivers start as they are asked for.
pub(crate) fn cold() -> ProfileConfig {
    ProfileConfig {
        warm: 0,
        class_data_sharing: false,
        heap: "768m".to_owned(),
        fast_jit: true,
        ..ProfileConfig::default()
    }
}

/// Waits for a state, as long as a slow machine may need.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, limit: Duration, state: impl Fn() -> F) {
    let reached = async {
        while !state().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(limit, reached).await;
    reached.unwrap_or_else(|_| panic!("not within {limit:?}: {what}"));
}

/// True while the process runs.
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// `kill -9`.
pub(crate) fn kill(pid: u32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}
