//! The file under the embedded store: a redb database with one table of entries and one number.
//!
//! An entry is stored as create revision, revision of the latest change (both 8 bytes, big-endian), a byte that is 1
//! for a leased key, and the value. Only bytes are stored, so that the layout is ours alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, TableDefinition};

use crate::{Entry, LeaseId, Revision, StoreError};

const ENTRIES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("entries");
const META: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("meta");
const REVISION: &[u8] = b"revision";
/// Length of what stands before the value.
const HEAD: usize = 17;

/// The open file.
#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    database: Database,
}

type Opened = (Disk, BTreeMap<String, Entry>, Revision);

impl Disk {
    pub(super) fn open(directory: &Path) -> Result<Opened, StoreError> {
        let fault = |reason: String| StoreError::Disk {
            path: directory.display().to_string(),
            reason,
        };
        std::fs::create_dir_all(directory).map_err(|error| {
            fault(format!(
                "{error}; choose a data directory that this user can write to"
            ))
        })?;
        let path = directory.join("store.redb");
        let database = Database::create(&path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => fault(
                "another berth process uses it; stop that one or choose another data directory".to_owned(),
            ),
            other => fault(other.to_string()),
        })?;
        let disk = Self { path, database };
        let (entries, revision) = disk.load().map_err(|error| disk.fault(&error))?;
        Ok((disk, entries, revision))
    }

    fn fault(&self, error: &redb::Error) -> StoreError {
        let path = self.path.display().to_string();
        StoreError::Disk {
            path,
            reason: format!("{error}; check the file system's space and health, then start berth again"),
        }
    }

    fn load(&self) -> Result<(BTreeMap<String, Entry>, Revision), redb::Error> {
        let txn = self.database.begin_write()?;
        txn.open_table(ENTRIES)?;
        txn.open_table(META)?;
        txn.commit()?;
        let txn = self.database.begin_read()?;
        let revision = txn
            .open_table(META)?
            .get(REVISION)?
            .map_or(1, |value| number(value.value()));
        let mut entries = BTreeMap::new();
        for item in txn.open_table(ENTRIES)?.iter()? {
            let (key, value) = item?;
            let key = String::from_utf8_lossy(key.value()).into_owned();
            entries.insert(key.clone(), decode(key, value.value()));
        }
        Ok((entries, revision))
    }

    /// Writes changes and the revision they lead to; on disk when it returns.
    pub(super) fn write<'a>(
        &self,
        changes: impl Iterator<Item = (&'a String, &'a Option<Entry>)>,
        revision: Revision,
    ) -> Result<(), StoreError> {
        self.try_write(changes, revision)
            .map_err(|error| match self.fault(&error) {
                StoreError::Disk { path, reason } => StoreError::Exhausted {
                    reason: format!("{path}: {reason}"),
                },
                other => other,
            })
    }

    fn try_write<'a>(
        &self,
        changes: impl Iterator<Item = (&'a String, &'a Option<Entry>)>,
        revision: Revision,
    ) -> Result<(), redb::Error> {
        let txn = self.database.begin_write()?;
        {
            let mut table = txn.open_table(ENTRIES)?;
            for (key, after) in changes {
                match after {
                    Some(entry) => table.insert(key.as_bytes(), encode(entry).as_slice())?,
                    None => table.remove(key.as_bytes())?,
                };
            }
            txn.open_table(META)?
                .insert(REVISION, revision.to_be_bytes().as_slice())?;
        }
        txn.commit()?;
        Ok(())
    }
}

fn encode(entry: &Entry) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + entry.value.len());
    bytes.extend_from_slice(&entry.create_revision.to_be_bytes());
    bytes.extend_from_slice(&entry.mod_revision.to_be_bytes());
    bytes.push(u8::from(entry.lease.is_some()));
    bytes.extend_from_slice(&entry.value);
    bytes
}

fn decode(key: String, bytes: &[u8]) -> Entry {
    let part = |from: usize| bytes.get(from..from + 8).map_or(0, number);
    Entry {
        key,
        value: Bytes::copy_from_slice(bytes.get(HEAD..).unwrap_or_default()),
        create_revision: part(0),
        mod_revision: part(8),
        // Which lease it was does not matter: all leases of earlier runs have ended.
        lease: (bytes.get(HEAD - 1) == Some(&1)).then_some(LeaseId(0)),
    }
}

fn number(bytes: &[u8]) -> Revision {
    bytes
        .first_chunk::<8>()
        .map_or(0, |bytes| Revision::from_be_bytes(*bytes))
}
