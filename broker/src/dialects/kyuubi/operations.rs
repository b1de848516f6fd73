//! The operations that this broker runs for Kyuubi's clients, by their handles alone: the engine keeps them by session.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::dialects::sql::directory::Listed;
use crate::dialects::sql::operation::Operation;

/// Characters of a statement that are kept to be shown.
const MAX_SHOWN_CHARS: usize = 16 << 10;
/// How many entries there are before the first look for those that the engine has let go.
const FIRST_SWEEP: usize = 1024;

/// An operation with what only this dialect tells of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) operation: Arc<Operation>,
    pub(super) listed: Arc<Listed>,
    /// The statement, or the name of a question; its beginning if it is long.
    pub(super) statement: String,
    pub(super) runs_async: bool,
    log_fetches: AtomicU64,
    row_fetches: AtomicU64,
}

impl Entry {
    pub(super) fn new(
        operation: Arc<Operation>,
        listed: Arc<Listed>,
        statement: &str,
        runs_async: bool,
    ) -> Self {
        Self {
            operation,
            listed,
            statement: statement.chars().take(MAX_SHOWN_CHARS).collect(),
            runs_async,
            log_fetches: AtomicU64::new(0),
            row_fetches: AtomicU64::new(0),
        }
    }

    /// Notes that lines of its log were fetched.
    pub(super) fn on_log_fetch(&self) {
        self.log_fetches.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that rows were fetched.
    pub(super) fn on_row_fetch(&self) {
        self.row_fetches.fetch_add(1, Ordering::Relaxed);
    }

    /// How often its log and its rows were fetched.
    pub(super) fn fetches(&self) -> (u64, u64) {
        (
            self.log_fetches.load(Ordering::Relaxed),
            self.row_fetches.load(Ordering::Relaxed),
        )
    }

    /// True when nobody but this list has it: the engine has closed it.
    fn is_left(&self) -> bool {
        Arc::strong_count(&self.operation) == 1
    }
}

/// The list. It is as long as the engine's own lists, or twice that for a while.
#[derive(Debug)]
pub(super) struct Operations(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    entries: HashMap<Uuid, Arc<Entry>>,
    sweep_at: usize,
}

impl Default for Operations {
    fn default() -> Self {
        Self(Mutex::new(Inner {
            entries: HashMap::new(),
            sweep_at: FIRST_SWEEP,
        }))
    }
}

impl Operations {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an operation in.
    pub(super) fn enter(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut inner = self.lock();
        if inner.entries.len() >= inner.sweep_at {
            inner.entries.retain(|_, entry| !entry.is_left());
            inner.sweep_at = (inner.entries.len() * 2).max(FIRST_SWEEP);
        }
        inner.entries.insert(entry.operation.id, Arc::clone(&entry));
        entry
    }

    /// An operation.
    pub(super) fn find(&self, id: Uuid) -> Option<Arc<Entry>> {
        self.lock().entries.get(&id).cloned()
    }

    /// Forgets an operation.
    pub(super) fn remove(&self, id: Uuid) {
        self.lock().entries.remove(&id);
    }

    /// Forgets those of a session.
    pub(super) fn remove_session(&self, handle: Uuid) {
        self.lock()
            .entries
            .retain(|_, entry| entry.listed.handle != handle);
    }

    /// Those that `wanted` picks and that are not closed, the oldest first.
    pub(super) fn all(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let picked = |entry: &&Arc<Entry>| !entry.is_left() && wanted(entry);
        let mut all: Vec<_> = self.lock().entries.values().filter(picked).cloned().collect();
        all.sort_by_key(|entry| entry.operation.started_at);
        all
    }
}
