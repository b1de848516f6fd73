//! Statements on disk: `<root>/<session>/<epoch>/<id>.json`.

use std::io::Result;
use std::path::{Path, PathBuf};

use berth_core::ids::{Epoch, SessionId};

use super::{Key, Statement};
use crate::files::{Durable, private_directory, replace};

fn path(root: &Path, key: &Key) -> PathBuf {
    let epoch = root
        .join(key.session.to_string())
        .join(key.epoch.get().to_string());
    epoch.join(format!("{}.json", key.id))
}

/// Writes a statement; it survives the machine.
pub(super) async fn write(root: &Path, key: &Key, statement: &Statement) -> Result<()> {
    let (path, data) = (path(root, key), serde_json::to_vec(statement)?);
    blocking(move || {
        if let Some(parent) = path.parent() {
            private_directory(parent)?;
        }
        replace(&path, &data, Durable::Machine)
    })
    .await
}

/// Reads a statement.
pub(super) async fn read(root: &Path, key: &Key) -> Result<Statement> {
    let data = tokio::fs::read(path(root, key)).await?;
    Ok(serde_json::from_slice(&data)?)
}

/// Removes everything of a session.
pub(super) async fn forget(root: &Path, session: SessionId) -> Result<()> {
    let path = root.join(session.to_string());
    blocking(move || remove(&path)).await
}

/// Removes what ran in one epoch of a session, and the session's directory if that was all.
pub(super) async fn forget_epoch(root: &Path, session: SessionId, epoch: Epoch) -> Result<()> {
    let path = root.join(session.to_string());
    blocking(move || {
        remove(&path.join(epoch.get().to_string()))?;
        match std::fs::remove_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    })
    .await
}

/// Removes a directory that may not be there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Every statement that can be read.
pub(super) fn read_all(root: &Path) -> Vec<(Key, Statement)> {
    let mut found = Vec::new();
    for (session, path) in children::<SessionId>(root) {
        for (epoch, path) in children::<u64>(&path) {
            let Some(epoch) = Epoch::from_wire(epoch) else {
                continue;
            };
            for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
                found.extend(read_one(&entry.path(), session, epoch));
            }
        }
    }
    found
}

fn read_one(path: &Path, session: SessionId, epoch: Epoch) -> Option<(Key, Statement)> {
    if path.extension()? != "json" {
        return None;
    }
    let statement: Statement = serde_json::from_slice(&std::fs::read(path).ok()?)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "a statement cannot be read"))
        .ok()?;
    let id = statement.id.parse().ok()?;
    let key = Key { session, epoch, id };
    statement.is_readable().then_some((key, statement))
}

fn children<T: std::str::FromStr>(path: &Path) -> Vec<(T, PathBuf)> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let named = |entry: std::fs::DirEntry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()));
    entries.filter_map(named).collect()
}

async fn blocking(work: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(std::io::Error::other)?
}
