//! The store of one process: in memory, durable on disk, without a server.
//!
//! `berth up` and simulations use it. One thread decides and writes ([`writer`]); readers look at the state that it
//! published last. A change is published after it is on disk, so what anybody has seen survives a crash.
//!
//! Leases belong to a run of the process: opening the store ends those of earlier runs and removes their keys.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Entry, LeaseId, Page, RawWatch, Revision, Store, StoreError, Txn, TxnOutcome};

mod check;
mod disk;
mod state;
mod watcher;
mod writer;

use state::State;
use writer::Command;

/// How many changes a watch can be behind before it must list again, and a listing before its revision is gone.
pub const DEFAULT_LOG_EVENTS: usize = 100_000;
/// Waiting commands. A full queue makes callers wait; each has at most one command waiting.
const QUEUE: usize = 1_024;
/// A disk that does not answer for this long is as good as gone.
const DEADLINE: Duration = Duration::from_secs(30);

/// The embedded store.
#[derive(Debug)]
pub struct Embedded {
    state: Arc<RwLock<State>>,
    published: watch::Receiver<Revision>,
    commands: mpsc::Sender<Command>,
}

impl Embedded {
    /// Opens or makes the store in the directory `path`.
    ///
    /// # Errors
    /// [`StoreError::Disk`] when the directory cannot be used or another process has the store open.
    pub fn open(path: &Path) -> Result<Arc<Self>, StoreError> {
        let (disk, entries, revision) = disk::Disk::open(path)?;
        Self::start(Some(disk), State::new(entries, revision, DEFAULT_LOG_EVENTS))
    }

    /// A store that is gone with its process, which remembers `log_events` changes.
    ///
    /// # Errors
    /// [`StoreError::Disk`] when no thread can be started.
    pub fn in_memory(log_events: usize) -> Result<Arc<Self>, StoreError> {
        Self::start(None, State::new(std::collections::BTreeMap::new(), 1, log_events))
    }

    fn start(disk: Option<disk::Disk>, state: State) -> Result<Arc<Self>, StoreError> {
        let (publish, published) = watch::channel(state.revision());
        let (commands, queue) = mpsc::channel(QUEUE);
        let state = Arc::new(RwLock::new(state));
        let mut writer = writer::Writer::new(Arc::clone(&state), publish, disk);
        writer.end_earlier_leases();
        std::thread::Builder::new()
            .name("berth-store".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|source| StoreError::Disk {
                path: "memory".to_owned(),
                reason: source.to_string(),
            })?;
        Ok(Arc::new(Self {
            state,
            published,
            commands,
        }))
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            let gone = |reason: &str| StoreError::Unavailable {
                reason: reason.to_owned(),
            };
            self.commands
                .send(command(reply))
                .await
                .map_err(|error| gone(&error.to_string()))?;
            answer.await.map_err(|error| StoreError::Unknown {
                reason: error.to_string(),
            })?
        };
        let late = |elapsed: tokio::time::error::Elapsed| StoreError::Unknown {
            reason: elapsed.to_string(),
        };
        tokio::time::timeout(DEADLINE, asked).await.map_err(late)?
    }
}

/// Readers hold the lock for a look-up and cannot leave it half-changed: a poisoned lock is still sound.
fn read(state: &RwLock<State>) -> std::sync::RwLockReadGuard<'_, State> {
    state.read().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(read(&self.state).get(key).cloned())
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<Page, StoreError> {
        read(&self.state).list(prefix, after, limit, revision)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.ask(|reply| Command::Txn { txn, reply }).await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.ask(|reply| Command::Grant { ttl, reply }).await
    }

    async fn renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Renew { lease, reply }).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(|reply| Command::Revoke { lease, reply }).await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<RawWatch, StoreError> {
        read(&self.state).check_log(from)?;
        Ok(watcher::watch(
            Arc::clone(&self.state),
            self.published.clone(),
            prefix.to_owned(),
            from,
        ))
    }
}
