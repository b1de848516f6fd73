//! What an agent writes down of a running driver, so that its next run can adopt it.

use std::path::Path;
use std::sync::Mutex;

use berth_core::ids::DriverId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::scratch::Scratch;
use super::{Driver, Phase, Ready, Wire};
use crate::files::{Durable, replace};
use crate::process::Process;
use crate::reservations::Held;

const FORMAT: u16 = 1;
const FILE: &str = "driver.json";

/// A driver on disk. Readable by the agent's user only: it holds tokens.
#[derive(Debug, Serialize, Deserialize)]
struct Saved {
    format: u16,
    id: DriverId,
    host: Process,
    connect_token: String,
    secret: String,
    started_at: u64,
    ready: Option<Ready>,
    held: Held,
}

/// Writes down a driver with its reservation. Only matters while the machine is up, so it is not synced.
pub(crate) fn save(driver: &Driver, held: &Held) -> std::io::Result<()> {
    let saved = Saved {
        format: FORMAT,
        id: driver.id,
        host: driver.host,
        connect_token: driver.connect_token.clone(),
        secret: driver.secret.clone(),
        started_at: driver.started_at,
        ready: driver.ready(),
        held: held.clone(),
    };
    let data = serde_json::to_vec(&saved).map_err(std::io::Error::other)?;
    replace(&driver.directory.join(FILE), &data, Durable::Process)
}

/// Reads back a driver that still runs; `state` is the agent's.
pub(crate) fn load(state: &Path, directory: &Path) -> Option<(Driver, Held)> {
    let data = std::fs::read(directory.join(FILE)).ok()?;
    let saved: Saved = serde_json::from_slice(&data)
        .inspect_err(
            |error| tracing::warn!(path = %directory.display(), %error, "a driver cannot be adopted"),
        )
        .ok()?;
    if saved.format != FORMAT || !saved.host.is_alive() {
        return None;
    }
    let phase = match saved.ready {
        Some(ready) => Phase::Ready(ready),
        None => Phase::Starting("process".to_owned()),
    };
    let driver = Driver {
        id: saved.id,
        profile: saved.held.profile.clone(),
        host: saved.host,
        connect_token: saved.connect_token,
        secret: saved.secret,
        started_at: saved.started_at,
        directory: directory.to_owned(),
        scratch: Scratch::of(state, directory, saved.id),
        phase: watch::channel(phase).0,
        used_at: super::used_now(),
        called_at: super::used_now(),
        wire: Mutex::new(Wire::new()),
    };
    Some((driver, saved.held))
}

/// Removes what was written down.
pub(crate) fn forget(directory: &Path) {
    // Absent when the driver ended before it was written down.
    let _absent = std::fs::remove_file(directory.join(FILE));
}
