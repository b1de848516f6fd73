//! How a driver is started: its confs, its settings file and its process.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Result;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use berth_core::ids::{DriverId, ProfileName};
use berth_runtime::clock::unix_millis;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::scratch::Scratch;
use super::{Driver, Phase, Wire, batch};
use crate::config::{AgentConfig, ProfileConfig};
use crate::files::{Durable, replace};
use crate::process::{MARK, Process};
use crate::words::word;

/// What all drivers of the node have in common.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// The host's entry point.
    pub(crate) host: PathBuf,
    /// Confs of the node, such as its catalog's address.
    pub(crate) confs: BTreeMap<String, String>,
    /// The archive of classes, once there is one.
    pub(crate) archive: Option<PathBuf>,
}

/// How long what a driver runs for one broker alone goes on once that broker's call is gone. The calls of a broker that
/// lives come back with the agent, which may take as long as its lease.
fn unread(lease: Duration) -> Duration {
    (lease * 2).max(Duration::from_secs(20))
}

/// What a driver is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To wait for a session.
    Pool,
    /// A client waits for it.
    Session,
    /// To run one application.
    Batch,
}

impl Purpose {
    /// How many sessions it is made to go through before it is ready; a client that waits warms up its driver itself.
    const fn warm_up_sessions(self, profile: &ProfileConfig) -> u32 {
        match self {
            Self::Pool => profile.warm_up_sessions,
            Self::Session | Self::Batch => 0,
        }
    }

    /// What the supervisor's child is.
    const fn role(self) -> &'static str {
        match self {
            Self::Pool | Self::Session => "runner",
            Self::Batch => "batch",
        }
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) id: DriverId,
    pub(crate) purpose: Purpose,
    pub(crate) name: &'a ProfileName,
    pub(crate) profile: &'a ProfileConfig,
    /// Confs of the session on top of the profile's.
    pub(crate) static_confs: &'a BTreeMap<String, String>,
    /// Boot-clock instant until which the node's lease surely holds.
    pub(crate) fence: Duration,
    pub(crate) node: &'a Node,
}

impl Plan<'_> {
    /// Starts the host. The caller waits for the child.
    pub(crate) fn launch(&self, config: &AgentConfig) -> Result<(Driver, Child)> {
        let directory = config.state_dir.join("drivers").join(self.id.to_string());
        let scratch = Scratch::of(&config.state_dir, &directory, self.id);
        scratch.make()?;
        let (token, secret) = (random_token(), random_token());
        let settings = json!({
            "driver": self.id,
            "secret": secret,
            "token": token,
            "socket": config.state_dir.join("control.sock"),
            "fence_deadline_millis": u64::try_from(self.fence.as_millis()).unwrap_or(u64::MAX),
            "unread_seconds": unread(config.lease_ttl()).as_secs(),
            "warm_up": self.purpose.warm_up_sessions(self.profile),
            "scratch": scratch.local,
            "temporary": scratch.temporary,
            "role": self.purpose.role(),
            "log": directory.join("driver.log"),
            "confs": self.confs(config, &scratch, &token),
        });
        let path = directory.join("settings.json");
        replace(&path, settings.to_string().as_bytes(), Durable::Process)?;
        let log = directory.join("driver.log");
        let child = command(config, &self.node.host, &path, &log, &scratch.temporary)?
            .current_dir(&directory)
            .env(MARK, self.id.to_string())
            .spawn()?;
        let host = child.id().and_then(Process::of);
        let host = host.ok_or_else(|| std::io::Error::other("the driver's host ended at once"))?;
        let (phase, _) = watch::channel(Phase::Starting("process".to_owned()));
        let driver = Driver {
            id: self.id,
            profile: self.name.clone(),
            host,
            connect_token: token,
            secret,
            started_at: unix_millis(),
            directory,
            scratch,
            phase,
            used_at: super::used_now(),
            called_at: super::used_now(),
            wire: Mutex::new(Wire::new()),
        };
        Ok((driver, child))
    }

    fn confs(&self, config: &AgentConfig, scratch: &Scratch, token: &str) -> BTreeMap<String, String> {
        let (profile, given) = (self.profile, self.static_confs);
        let confs = confs(config, profile, given, self.node, scratch, token, self.id);
        match self.purpose {
            Purpose::Pool | Purpose::Session => confs,
            Purpose::Batch => batch::confs(confs, profile),
        }
    }
}

/// A process of the host: no shell, a group of its own, its output in `log`, its temporary files below `temporary`.
pub(crate) fn command(
    config: &AgentConfig,
    host: &Path,
    settings: &Path,
    log: &Path,
    temporary: &Path,
) -> Result<Command> {
    let log = open_log(log)?;
    let errors = log.try_clone()?;
    let mut command = Command::new(&config.python);
    command
        .arg("-u")
        .arg(host)
        .arg(settings)
        .env("PYSPARK_PYTHON", &config.python)
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("TMPDIR", temporary)
        // Of the short-lived JVM that puts the driver's command together.
        .env("SPARK_LAUNCHER_OPTS", NO_SHARED_FIGURES)
        .stdin(std::process::Stdio::null())
        .stdout(log)
        .stderr(errors)
        .process_group(0);
    // Settings of the agent's surroundings that would change which Spark a driver is, and what it trusts.
    for variable in [
        "SPARK_HOME",
        "SPARK_CONF_DIR",
        "SPARK_REMOTE",
        "SPARK_CONNECT_MODE_ENABLED",
        "SPARK_CONNECT_AUTHENTICATE_TOKEN",
        "PYSPARK_SUBMIT_ARGS",
        "PYTHONPATH",
    ] {
        command.env_remove(variable);
    }
    if let Some(home) = &config.java_home {
        command.env("JAVA_HOME", home);
    }
    Ok(command)
}

/// Opened for appending, so that it can be cut while it is written.
fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}

/// A JVM writes figures for monitors of the machine into `/tmp`, wherever its temporary files are.
pub(super) const NO_SHARED_FIGURES: &str = "-XX:+PerfDisableSharedMem";

/// Where tables are that do not say where.
const WAREHOUSE: &str = "spark.sql.warehouse.dir";

/// Whether the driver has web pages.
const UI: &str = "spark.ui.enabled";

/// The confs of a driver; what Berth relies on comes last and wins.
pub(crate) fn confs(
    config: &AgentConfig,
    profile: &ProfileConfig,
    of_session: &BTreeMap<String, String>,
    node: &Node,
    scratch: &Scratch,
    token: &str,
    id: DriverId,
) -> BTreeMap<String, String> {
    let mut confs = node.confs.clone();
    confs.extend(profile.confs.clone());
    confs.extend(of_session.clone());
    // What `ADD JAR` has added is found by `CREATE FUNCTION .. AS` then. Code over Livy has its own class loaders, and
    // its session says otherwise.
    confs
        .entry("spark.sql.artifact.isolation.alwaysApplyClassloader".to_owned())
        .or_insert_with(|| "true".to_owned());
    let options = confs
        .entry("spark.driver.extraJavaOptions".to_owned())
        .or_default();
    *options = java_options(options, profile, node.archive.as_deref(), &scratch.temporary);
    if !of_session.contains_key("spark.driver.memory") {
        confs.insert("spark.driver.memory".to_owned(), profile.heap.clone());
    }
    let own = [
        ("spark.master", profile.master.clone()),
        ("spark.app.name", format!("berth-{id}")),
        (
            "spark.plugins",
            "org.apache.spark.sql.connect.SparkConnectPlugin".to_owned(),
        ),
        ("spark.connect.grpc.binding.address", "127.0.0.1".to_owned()),
        ("spark.connect.grpc.binding.port", "0".to_owned()),
        ("spark.connect.authenticate.token", token.to_owned()),
        // Berth expires sessions itself: a driver's own limit must never fire first.
        (
            "spark.connect.session.manager.defaultSessionTimeout",
            "-1".to_owned(),
        ),
        // What is in the buffers between driver and client must still be there for another broker when one is lost:
        // its own 4 MiB, the client's HTTP/2 window and those of the sockets. Spark's default is 10 MiB.
        (
            "spark.connect.execute.reattachable.observerRetryBufferSize",
            "64m".to_owned(),
        ),
        ("spark.driver.host", "127.0.0.1".to_owned()),
        ("spark.driver.bindAddress", "127.0.0.1".to_owned()),
        ("spark.local.dir", scratch.local.display().to_string()),
    ];
    confs.extend(own.map(|(key, value)| (key.to_owned(), value)));
    // Its pages are for whoever reaches the port: the profile decides, not the session.
    let ui = profile.confs.get(UI).cloned();
    confs.insert(UI.to_owned(), ui.unwrap_or_else(|| "false".to_owned()));
    // A session cannot move it; a profile may, where several nodes share their tables.
    let warehouse = profile.confs.get(WAREHOUSE).cloned();
    let warehouse = warehouse.unwrap_or_else(|| config.warehouse().display().to_string());
    confs.insert(WAREHOUSE.to_owned(), warehouse);
    confs
}

/// Options that keep a JVM's temporary files, which a kill leaves behind, below `directory`.
pub(crate) fn keep_temporary(directory: &Path) -> String {
    let directory = word(&format!("-Djava.io.tmpdir={}", directory.display()));
    format!("{NO_SHARED_FIGURES} {directory}")
}

fn java_options(given: &str, profile: &ProfileConfig, archive: Option<&Path>, temporary: &Path) -> String {
    // A JVM that is out of memory loses threads of Spark's and hangs: results never come. Gone, it is replaced.
    let mut options = vec![
        "-XX:+ExitOnOutOfMemoryError".to_owned(),
        keep_temporary(temporary),
    ];
    // After them, since of two the last one counts: a profile may want another place.
    options.push(given.to_owned());
    if let Some(archive) = archive.filter(|_| profile.class_data_sharing) {
        // Another JVM than the one that wrote it starts without it and says nothing.
        options.push(word(&format!("-XX:SharedArchiveFile={}", archive.display())));
        options.push("-Xshare:auto -Xlog:cds=off -Xlog:cds+dynamic=off".to_owned());
    }
    if profile.fast_jit {
        options.push("-XX:TieredStopAtLevel=1".to_owned());
    }
    options.retain(|option| !option.is_empty());
    options.join(" ")
}

/// 244 random bits, from the system's generator.
pub(crate) fn random_token() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn confs_of_a_session_never_replace_what_berth_relies_on() {
        let config = AgentConfig::new("n".parse().unwrap(), "/s".into(), "/p".into());
        let profile = ProfileConfig {
            confs: BTreeMap::from([("spark.driver.extraJavaOptions".to_owned(), "-Da=b".to_owned())]),
            fast_jit: true,
            ..ProfileConfig::default()
        };
        let node = Node {
            host: "/h".into(),
            confs: BTreeMap::new(),
            archive: Some("/a.jsa".into()),
        };
        let asked = [(UI, "true"), ("spark.driver.memory", "2g"), ("spark.x", "y")];
        let asked = asked
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let id = DriverId::new(uuid::Uuid::new_v4());
        let scratch = Scratch::of(Path::new("/s t"), Path::new("/d"), "own");
        let confs = confs(&config, &profile, &asked, &node, &scratch, "secret", id);
        assert_eq!(confs[UI], "false");
        assert_eq!(confs["spark.driver.memory"], "2g");
        assert_eq!(confs["spark.x"], "y");
        assert_eq!(
            confs["spark.sql.artifact.isolation.alwaysApplyClassloader"],
            "true"
        );
        let options = &confs["spark.driver.extraJavaOptions"];
        assert!(
            options.starts_with("-XX:+ExitOnOutOfMemoryError -XX:+PerfDisableSharedMem"),
            "{options}"
        );
        assert!(
            options.contains("\"-Djava.io.tmpdir=/s t/tmp/own\" -Da=b -XX:SharedArchiveFile=/a.jsa"),
            "{options}"
        );
        assert!(options.ends_with("-XX:TieredStopAtLevel=1"), "{options}");
        let open = ProfileConfig {
            confs: BTreeMap::from([(UI.to_owned(), "true".to_owned())]),
            ..ProfileConfig::default()
        };
        let confs = super::confs(&config, &open, &BTreeMap::new(), &node, &scratch, "secret", id);
        assert_eq!(confs[UI], "true", "a profile may open Spark's pages");
    }
}
