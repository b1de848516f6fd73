//! Small files, written all at once.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// How sure a write must be when it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durable {
    /// Survives the process. Enough for what only matters while its drivers run.
    Process,
    /// Survives the machine.
    Machine,
}

/// Makes a directory with its parents that only this user can enter.
pub(crate) fn private_directory(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Replaces a file that only this user can read. A reader finds the old content or the new.
pub(crate) fn replace(path: &Path, data: &[u8], durable: Durable) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&partial)?;
    file.write_all(data)?;
    if durable == Durable::Machine {
        file.sync_all()?;
    }
    std::fs::rename(&partial, path)?;
    match (durable, path.parent()) {
        (Durable::Machine, Some(parent)) => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}
