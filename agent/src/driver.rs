//! One driver process: its start, what is known of it, and its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_core::ids::{DriverId, ProfileName};
use berth_runtime::clock::unix_millis;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::AgentError;
use crate::config::{AgentConfig, ProfileConfig};

/// The driver host, written beside the drivers when the agent starts.
pub(crate) const HOST: &str = include_str!("../driver/berth_driver.py");

/// Where a driver is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// On its way, busy with this.
    Starting(String),
    /// Serving.
    Ready(Ready),
    /// Gone, for this reason.
    Ended(String),
}

/// What a driver said when it was ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Loopback port of Spark Connect.
    pub(crate) port: u16,
    pub(crate) jvm_pid: u32,
    pub(crate) spark_version: String,
}

/// A driver of this node.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) id: DriverId,
    pub(crate) profile: ProfileName,
    /// The host's process, leader of a process group of its own.
    pub(crate) host_pid: u32,
    /// What brokers show to the driver.
    pub(crate) connect_token: String,
    /// What the host shows to the agent.
    pub(crate) secret: String,
    pub(crate) started_at: u64,
    pub(crate) directory: PathBuf,
    pub(crate) phase: watch::Sender<Phase>,
}

impl Driver {
    /// Starts the host. The caller waits for the child.
    pub(crate) fn launch(config: &AgentConfig, plan: &Plan<'_>) -> Result<(Self, Child), AgentError> {
        let directory = config.state_dir.join("drivers").join(plan.id.to_string());
        let (connect_token, secret) = (random_token(), random_token());
        let state = |source| AgentError::State {
            path: directory.display().to_string(),
            source,
        };
        std::fs::create_dir_all(directory.join("local")).map_err(state)?;
        let settings = plan.settings(config, &directory, &connect_token, &secret);
        write_private(&directory.join("settings.json"), settings.to_string().as_bytes()).map_err(state)?;
        let log = std::fs::File::create(directory.join("driver.log")).map_err(state)?;
        let errors = log.try_clone().map_err(state)?;
        let child = Command::new(&config.python)
            .arg("-u")
            .arg(config.state_dir.join("berth_driver.py"))
            .arg(directory.join("settings.json"))
            .current_dir(&directory)
            .env("PYSPARK_PYTHON", &config.python)
            .env_remove("SPARK_HOME")
            .env_remove("SPARK_CONNECT_AUTHENTICATE_TOKEN")
            .stdin(std::process::Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(state)?;
        let (phase, _) = watch::channel(Phase::Starting("process".to_owned()));
        let driver = Self {
            id: plan.id,
            profile: plan.name.clone(),
            host_pid: child.id().unwrap_or_default(),
            connect_token,
            secret,
            started_at: unix_millis(),
            directory,
            phase,
        };
        Ok((driver, child))
    }

    /// What the driver said when it was ready, while it is.
    pub(crate) fn ready(&self) -> Option<Ready> {
        match &*self.phase.borrow() {
            Phase::Ready(ready) => Some(ready.clone()),
            Phase::Starting(_) | Phase::Ended(_) => None,
        }
    }

    pub(crate) fn log_path(&self) -> PathBuf {
        self.directory.join("driver.log")
    }

    /// Kills the host, its JVM and whatever else is in their process group.
    pub(crate) fn kill(&self) {
        let host = Pid::from_raw(i32::try_from(self.host_pid).unwrap_or(i32::MAX));
        // ESRCH: it has ended by itself.
        let _ended = killpg(host, Signal::SIGKILL);
        if let Some(ready) = self.ready() {
            let jvm = Pid::from_raw(i32::try_from(ready.jvm_pid).unwrap_or(i32::MAX));
            let _ended = kill(jvm, Signal::SIGKILL);
        }
    }

    /// The end of the log, for the message about a start that failed.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(self.log_path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&log[log.len().saturating_sub(2000)..]).into_owned();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// Removes scratch files; the log stays until the agent's next start.
    pub(crate) fn clean_up(&self) {
        if let Err(error) = std::fs::remove_dir_all(self.directory.join("local")) {
            tracing::debug!(driver.id = %self.id, %error, "scratch files stay");
        }
    }
}

/// What to start.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) id: DriverId,
    pub(crate) name: &'a ProfileName,
    pub(crate) profile: &'a ProfileConfig,
    /// Confs of the session on top of the profile's.
    pub(crate) static_confs: &'a BTreeMap<String, String>,
    /// Boot-clock instant until which the node's lease surely holds.
    pub(crate) fence: Duration,
    /// Further confs of all drivers of the node, such as the catalog's address.
    pub(crate) node_confs: &'a BTreeMap<String, String>,
}

impl Plan<'_> {
    fn settings(
        &self,
        config: &AgentConfig,
        directory: &Path,
        token: &str,
        secret: &str,
    ) -> serde_json::Value {
        json!({
            "driver": self.id.to_string(),
            "secret": secret,
            "token": token,
            "socket": config.state_dir.join("control.sock"),
            "fence_deadline_millis": u64::try_from(self.fence.as_millis()).unwrap_or(u64::MAX),
            "warm_up": true,
            "confs": self.confs(config, directory, token),
        })
    }

    fn confs(&self, config: &AgentConfig, directory: &Path, token: &str) -> BTreeMap<String, String> {
        let warehouse = config.state_dir.join("warehouse");
        let mut confs: BTreeMap<String, String> = self.profile.confs.clone();
        confs.extend(self.node_confs.clone());
        confs.extend(self.static_confs.clone());
        let own = [
            ("spark.master", self.profile.master.clone()),
            ("spark.app.name", format!("berth-{}", self.id)),
            ("spark.driver.memory", self.profile.heap.clone()),
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
            ("spark.driver.host", "127.0.0.1".to_owned()),
            ("spark.driver.bindAddress", "127.0.0.1".to_owned()),
            ("spark.ui.enabled", "false".to_owned()),
            ("spark.local.dir", directory.join("local").display().to_string()),
            ("spark.sql.warehouse.dir", warehouse.display().to_string()),
        ];
        confs.extend(own.map(|(key, value)| (key.to_owned(), value)));
        confs
    }
}

fn random_token() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}

/// Writes a file that only this user can read: it holds tokens.
fn write_private(path: &Path, data: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(data)
}

/// Checks that the configured Python and the Java it finds can run a driver.
///
/// # Errors
/// [`AgentError::Preflight`], one line that says what to install or configure.
pub(crate) async fn preflight(config: &AgentConfig) -> Result<(), AgentError> {
    let python = config.python.display();
    let version =
        run(Command::new(&config.python).args(["-c", "import pyspark; print(pyspark.__version__)"])).await;
    let version = version.map_err(|error| {
        AgentError::Preflight(format!(
            "{python} cannot import pyspark ({error}): install it with '{python} -m pip install \
             \"pyspark[connect]==4.3.0\"' or name another Python with --python"
        ))
    })?;
    if !version.starts_with("4.") {
        let found = format!(
            "{python} has PySpark {version}, drivers need 4.x: install pyspark[connect]==4.3.0 there"
        );
        return Err(AgentError::Preflight(found));
    }
    let java = std::env::var_os("JAVA_HOME").map_or_else(
        || PathBuf::from("java"),
        |home| PathBuf::from(home).join("bin/java"),
    );
    let said = run(Command::new(&java).arg("-version")).await.map_err(|error| {
        AgentError::Preflight(format!(
            "no usable Java ({error}): install OpenJDK 17 (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
        ))
    })?;
    match java_major(&said) {
        Some(17..) => Ok(()),
        _ => Err(AgentError::Preflight(format!(
            "Spark 4 needs Java 17 or newer, found: {said}; set JAVA_HOME"
        ))),
    }
}

fn java_major(said: &str) -> Option<u32> {
    let version = said.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

/// Runs a short command and gives the first line that it printed.
async fn run(command: &mut Command) -> Result<String, String> {
    let limit = Duration::from_secs(60);
    let output = tokio::time::timeout(limit, command.kill_on_drop(true).output());
    let output = output
        .await
        .map_err(|elapsed| elapsed.to_string())?
        .map_err(|error| error.to_string())?;
    let text = if output.stdout.is_empty() {
        &output.stderr
    } else {
        &output.stdout
    };
    let text = String::from_utf8_lossy(text);
    if output.status.success() {
        return Ok(text.lines().next().unwrap_or_default().to_owned());
    }
    Err(text.lines().last().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::java_major;

    #[test]
    fn java_versions_are_read() {
        assert_eq!(java_major("openjdk version \"17.0.15\" 2025-04-15"), Some(17));
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_402\""), Some(1));
        assert_eq!(java_major("no java"), None);
    }
}
