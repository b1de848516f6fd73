//! The archive of Spark's classes: built once for an installation, in the background, and used by every driver that
//! starts after that. With it a start takes half the time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use berth_core::ids::{DriverId, ProfileName};
use serde_json::json;
use uuid::Uuid;

use crate::config::{AgentConfig, ProfileConfig};
use crate::driver::launch::{command, confs, random_token};
use crate::driver::preflight::Installation;
use crate::driver::scratch::Scratch;
use crate::drivers::Drivers;
use crate::files::{Durable, private_directory, replace};
use crate::process::{self, MARK};
use crate::words::word;

/// Sessions come first: how long after the first ready driver the training begins.
const CALM: Duration = Duration::from_secs(5);
/// A training that takes longer hangs; it runs at the lowest priority.
const DEADLINE: Duration = Duration::from_secs(600);
/// How often to look for room.
const ROUND: Duration = Duration::from_secs(30);

/// Where the archive of this installation is, or will be.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    path: PathBuf,
    profile: Option<ProfileName>,
}

impl Archive {
    /// The archive's place, by what it is valid for.
    pub(crate) fn of(config: &AgentConfig, installation: &Installation) -> std::io::Result<Self> {
        let wants = |profile: &ProfileConfig| profile.class_data_sharing;
        let profile = config.profiles.iter().find(|(_, profile)| wants(profile));
        let name = format!("{}.jsa", installation.fingerprint()?);
        Ok(Self {
            path: std::path::absolute(config.class_archives().join(name))?,
            profile: profile.map(|(name, _)| name.clone()),
        })
    }

    /// The archive, once it is there.
    pub(crate) fn built(&self) -> Option<PathBuf> {
        self.path.exists().then(|| self.path.clone())
    }
}

/// Builds the archive if a profile wants it and it is not there.
pub(crate) async fn build(drivers: Arc<Drivers>) {
    let archive = drivers.archive().clone();
    let Some(name) = archive.profile.filter(|_| !archive.path.exists()) else {
        return;
    };
    let draining = drivers.shutdown().clone();
    tokio::select! {
        () = calm(&drivers) => {}
        () = draining.draining() => return,
    }
    let id = DriverId::new(Uuid::new_v4());
    loop {
        if drivers.reserve_aside(id, &name) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(ROUND) => {}
            () = draining.draining() => return,
        }
    }
    let trained = tokio::select! {
        trained = tokio::time::timeout(DEADLINE, train(&drivers, &name, id)) => trained,
        () = draining.draining() => Ok(Ok(false)),
    };
    process::sweep(id);
    scratch_of(drivers.config(), id).remove();
    drivers.release_aside(id);
    match trained {
        Ok(Ok(true)) => {
            tracing::info!(path = %archive.path.display(), "drivers start from a class archive from now on")
        }
        Ok(Ok(false)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "the class archive could not be built; drivers start without it")
        }
        Err(late) => tracing::warn!(%late, "the class archive took too long; drivers start without it"),
    }
}

/// Waits until some driver is ready and a little longer.
async fn calm(drivers: &Drivers) {
    let mut changes = drivers.changes();
    while drivers.all().iter().all(|(driver, _)| driver.ready().is_none()) {
        if changes.changed().await.is_err() {
            return;
        }
    }
    tokio::time::sleep(CALM).await;
}

fn training_directory(config: &AgentConfig) -> PathBuf {
    config.state_dir.join("class-training")
}

fn scratch_of(config: &AgentConfig, id: DriverId) -> Scratch {
    Scratch::of(&config.state_dir, &training_directory(config), id)
}

/// Runs a short-lived driver whose JVM writes the archive when it exits.
async fn train(drivers: &Drivers, name: &ProfileName, id: DriverId) -> std::io::Result<bool> {
    let config = drivers.config();
    let Some(profile) = config.profiles.get(name) else {
        return Ok(false);
    };
    let archive = drivers.archive().path.clone();
    let directory = training_directory(config);
    let scratch = scratch_of(config, id);
    scratch.make()?;
    private_directory(&config.class_archives())?;
    // Other agents may train for the same place.
    let partial = archive.with_extension(format!("{id}.partial"));
    let (token, node) = (random_token(), drivers.node());
    let mut confs = confs(config, profile, &Default::default(), &node, &scratch, &token, id);
    let options = confs
        .entry("spark.driver.extraJavaOptions".to_owned())
        .or_default();
    options.push(' ');
    options.push_str(&word(&format!("-XX:ArchiveClassesAtExit={}", partial.display())));
    let settings = directory.join("settings.json");
    let content = json!({ "token": token, "confs": confs });
    replace(&settings, content.to_string().as_bytes(), Durable::Process)?;
    let log = directory.join("training.log");
    let status = command(config, &node.host, &settings, &log, &scratch.temporary)?
        .arg("training")
        .current_dir(&directory)
        .env(MARK, id.to_string())
        .kill_on_drop(true)
        .status()
        .await?;
    if !status.success() || !partial.exists() {
        // Absent if the JVM never wrote it.
        let _absent = std::fs::remove_file(&partial);
        return Err(std::io::Error::other(format!(
            "the training driver ended with {status}, see {}",
            log.display()
        )));
    }
    std::fs::rename(&partial, &archive)?;
    std::fs::remove_dir_all(&directory)?;
    Ok(true)
}
