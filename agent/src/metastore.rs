//! The embedded catalog: one Hive metastore over Derby per agent, supervised like a driver, on a loopback port.
//!
//! Its port stays the same over restarts, because running drivers know it. Drivers may start before it listens:
//! their client asks for it again.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use berth_core::ids::DriverId;
use berth_runtime::tasks::Tasks;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use crate::config::{AgentConfig, Catalog};
use crate::driver::launch::{command, keep_temporary};
use crate::driver::scratch::Scratch;
use crate::files::{Durable, private_directory, replace};
use crate::process::{self, MARK, Process};
use crate::words::word;

/// How often the process is looked at.
const POLL: Duration = Duration::from_millis(500);
/// Pauses between starts, doubled up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// A process that ran for so long had started well.
const SOUND: Duration = Duration::from_secs(60);

/// The metastore's process on disk.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Saved {
    process: Process,
    /// Marks its processes, as a driver's.
    mark: DriverId,
}

/// The embedded catalog.
#[derive(Debug)]
pub(crate) struct Metastore {
    config: AgentConfig,
    host: PathBuf,
    directory: PathBuf,
    scratch: Scratch,
    port: u16,
    running: Mutex<Option<Saved>>,
}

impl Metastore {
    /// Adopts or starts the metastore and keeps it running; `None` where the node has no embedded catalog.
    pub(crate) fn start(
        config: &AgentConfig,
        host: &Path,
        tasks: &Tasks,
    ) -> std::io::Result<Option<Arc<Self>>> {
        if config.catalog == Catalog::None {
            return Ok(None);
        }
        let directory = config.state_dir.join("metastore");
        private_directory(&directory)?;
        let running = read(&directory.join("process.json"));
        let metastore = Arc::new(Self {
            config: config.clone(),
            host: host.to_owned(),
            port: choose_port(&directory.join("port"), running.is_some())?,
            running: Mutex::new(running),
            scratch: Scratch::of(&config.state_dir, &directory, "metastore"),
            directory,
        });
        let kept = Arc::clone(&metastore);
        let draining = tasks.shutdown().clone();
        tasks.spawn("metastore", async move {
            tokio::select! {
                () = kept.keep() => {}
                () = draining.draining() => {}
            }
        });
        Ok(Some(metastore))
    }

    /// The confs by which drivers find it.
    pub(crate) fn confs(&self) -> BTreeMap<String, String> {
        let uri = format!("thrift://127.0.0.1:{}", self.port);
        let confs = [
            ("spark.sql.catalogImplementation", "hive"),
            ("spark.hadoop.hive.metastore.uris", uri.as_str()),
            // One that is starting again is worth a wait.
            ("spark.hadoop.hive.metastore.connect.retries", "30"),
            ("spark.hadoop.hive.metastore.failure.retries", "10"),
        ];
        confs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    /// Ends it; the next agent starts it again.
    pub(crate) async fn end(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(saved) = running {
            kill(saved).await;
        }
        self.scratch.remove();
        // Absent if it never ran.
        let _absent = std::fs::remove_file(self.directory.join("process.json"));
    }

    async fn keep(&self) {
        let mut pause = PAUSES.0;
        loop {
            let running = *self.running.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(saved) = running {
                let since = tokio::time::Instant::now();
                while saved.process.is_alive() {
                    tokio::time::sleep(POLL).await;
                }
                kill(saved).await;
                pause = if since.elapsed() > SOUND {
                    PAUSES.0
                } else {
                    (2 * pause).min(PAUSES.1)
                };
                tracing::warn!(log = %self.log().display(), ?pause, "the embedded catalog ended; it starts again");
                tokio::time::sleep(pause).await;
            }
            let started = self.launch();
            if let Err(error) = &started {
                tracing::error!(%error, "the embedded catalog could not be started");
                tokio::time::sleep(PAUSES.1).await;
            }
            *self.running.lock().unwrap_or_else(PoisonError::into_inner) = started.ok();
        }
    }

    fn log(&self) -> PathBuf {
        self.directory.join("metastore.log")
    }

    fn launch(&self) -> std::io::Result<Saved> {
        let settings = self.directory.join("settings.json");
        replace(
            &settings,
            self.settings().to_string().as_bytes(),
            Durable::Process,
        )?;
        // One log a start: its end is what explains a failure.
        match std::fs::remove_file(self.log()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mark = DriverId::new(Uuid::new_v4());
        // Those of the run before, which nothing of is left.
        self.scratch.remove();
        self.scratch.make()?;
        let temporary = &self.scratch.temporary;
        let child = command(&self.config, &self.host, &settings, &self.log(), temporary)?
            .arg("metastore")
            .current_dir(&self.directory)
            .env(MARK, mark.to_string())
            .spawn()?;
        let process = child.id().and_then(Process::of);
        let process = process.ok_or_else(|| std::io::Error::other("the catalog's process ended at once"))?;
        let saved = Saved { process, mark };
        replace(
            &self.directory.join("process.json"),
            &serde_json::to_vec(&saved)?,
            Durable::Process,
        )?;
        tracing::info!(port = self.port, pid = process.pid, "embedded catalog starting");
        Ok(saved)
    }

    fn settings(&self) -> serde_json::Value {
        let directory = self.directory.display();
        let home = word(&format!("-Dderby.system.home={directory}"));
        let log = word(&format!("-Dderby.stream.error.file={directory}/derby.log"));
        let temporary = keep_temporary(&self.scratch.temporary);
        json!({
            "port": self.port,
            "port_file": self.directory.join("listening"),
            "confs": {
                "spark.driver.memory": "384m",
                "spark.driver.extraJavaOptions": format!("{temporary} {home} {log}"),
            },
            "hive": {
                "javax.jdo.option.ConnectionURL": format!("jdbc:derby:;databaseName={directory}/db;create=true"),
                "hive.metastore.warehouse.dir": self.config.warehouse(),
                "hive.metastore.uris": "",
                "hive.metastore.schema.verification": "false",
                "datanucleus.schema.autoCreateAll": "true",
                // The disruptor that asynchronous logging needs is not among PySpark's jars.
                "hive.async.log.enabled": "false",
            },
        })
    }
}

async fn kill(saved: Saved) {
    let killed = tokio::task::spawn_blocking(move || {
        saved.process.kill_group();
        process::sweep(saved.mark);
    });
    if let Err(error) = killed.await {
        tracing::warn!(%error, "the embedded catalog could not be killed");
    }
}

fn read(path: &Path) -> Option<Saved> {
    let saved: Saved = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    saved.process.is_alive().then_some(saved)
}

/// The port of earlier runs, unless somebody else has taken it while nothing of ours ran; else one that is free now.
fn choose_port(path: &Path, runs: bool) -> std::io::Result<u16> {
    let saved = std::fs::read_to_string(path).ok();
    if let Some(port) = saved.and_then(|text| text.trim().parse().ok()) {
        if runs || TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
        tracing::warn!(
            port,
            "the embedded catalog's port is taken and it moves to another; drivers of earlier runs do not find it there"
        );
    }
    let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
    replace(path, port.to_string().as_bytes(), Durable::Process)?;
    Ok(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_stays_unless_somebody_else_has_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("port");
        let port = choose_port(&path, false).unwrap();
        assert_eq!(choose_port(&path, false).unwrap(), port);

        let _stranger = TcpListener::bind(("127.0.0.1", port)).unwrap();
        assert_eq!(
            choose_port(&path, true).unwrap(),
            port,
            "ours is the one that listens"
        );
        let other = choose_port(&path, false).unwrap();
        assert_ne!(other, port);
        assert_eq!(choose_port(&path, false).unwrap(), other);
    }
}
