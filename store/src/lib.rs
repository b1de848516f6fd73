//! Coordination: versioned keys with transactions, leases and watches.
//!
//! [`Store`] is the trait; [`embedded`] implements it for one process, durable on disk, for `berth up` and for
//! simulations; [`etcd`] for many. What is built on the trait works on every implementation that passes the
//! conformance suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

mod backoff;
pub mod blobs;
pub mod election;
pub mod embedded;
pub mod etcd;
pub mod lease;
mod listing;
mod traced;
pub mod watch;

pub use listing::list_all;
pub use traced::Traced;

/// A store revision: every transaction that changes something gets the next one.
pub type Revision = i64;

/// A lease as the store names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A key's value with its place in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, relative to the configured prefix.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// Revision at which the key came into being.
    pub create_revision: Revision,
    /// Revision of its latest change.
    pub mod_revision: Revision,
    /// The lease the key ends with, if any.
    pub lease: Option<LeaseId>,
}

/// A condition of a [`Txn`]. All must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key does not exist.
    Absent(String),
    /// The key exists.
    Present(String),
    /// The key's latest change has this revision.
    ModRevision(String, Revision),
    /// The key came into being at this revision: the fencing token of an elected leader.
    CreateRevision(String, Revision),
}

/// A change of a [`Txn`]. A transaction changes a key at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Sets a key, attached to a lease or to none.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Bytes,
        /// The lease to attach to. `None` detaches.
        lease: Option<LeaseId>,
    },
    /// Removes a key; nothing happens if it is absent.
    Delete(String),
    /// Removes every key with the prefix.
    DeletePrefix(String),
}

/// All conditions hold: all changes are made, at one revision. Else none is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    /// The conditions.
    pub when: Vec<Compare>,
    /// The changes.
    pub then: Vec<Op>,
}

impl Txn {
    /// A transaction without conditions or changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition.
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.when.push(compare);
        self
    }

    /// Adds a change that sets a key without a lease.
    #[must_use]
    pub fn put(self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.op(Op::Put {
            key: key.into(),
            value: value.into(),
            lease: None,
        })
    }

    /// Adds a change that sets a key which ends with `lease`.
    #[must_use]
    pub fn put_leased(self, key: impl Into<String>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        self.op(Op::Put {
            key: key.into(),
            value: value.into(),
            lease: Some(lease),
        })
    }

    /// Adds a change that removes a key.
    #[must_use]
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.op(Op::Delete(key.into()))
    }

    /// Adds a change.
    #[must_use]
    pub fn op(mut self, op: Op) -> Self {
        self.then.push(op);
        self
    }
}

/// What became of a [`Txn`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// The conditions held and the changes are durable, at this revision.
    Done(Revision),
    /// A condition did not hold at this revision; nothing was changed. Read again and decide again.
    Conflict(Revision),
}

/// One page of a listing, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The revision the listing shows. Pages of one listing that pass it on show one state.
    pub revision: Revision,
    /// True when keys follow after the last entry of this page.
    pub more: bool,
}

/// One change seen by a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A key was set.
    Put(Entry),
    /// A key was removed, by a transaction or with its lease.
    Delete {
        /// The key.
        key: String,
        /// The revision of the removal.
        revision: Revision,
    },
}

/// Changes of one revision, or several whole revisions; a revision is never split over two batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The changes in order; empty for a progress report.
    pub events: Vec<Event>,
    /// Everything up to this revision has been delivered.
    pub revision: Revision,
}

/// A running watch, from [`Store::watch`]. It ends with an error; it does not resume by itself.
pub type RawWatch = futures_util::stream::BoxStream<'static, Result<Batch, StoreError>>;

/// Why a call of the store failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or has no leader. For a transaction: it surely did not happen.
    #[error("the coordination store is not available: {reason}")]
    Unavailable {
        /// What the client library said.
        reason: String,
    },
    /// The answer to a transaction was lost: it may or may not have happened. Read by revision to find out.
    #[error("the outcome of a store transaction is unknown: {reason}")]
    Unknown {
        /// What the client library said.
        reason: String,
    },
    /// The wanted revision was compacted away: list again and watch from there.
    #[error("revision {wanted} is compacted, the oldest is {oldest}")]
    Compacted {
        /// Revision asked for.
        wanted: Revision,
        /// Oldest revision that is still there.
        oldest: Revision,
    },
    /// The lease is unknown or has ended.
    #[error("lease {0:?} has ended")]
    LeaseGone(LeaseId),
    /// The store refuses the credentials or the key range.
    #[error("the coordination store refuses access: {reason}")]
    Denied {
        /// What the store said.
        reason: String,
    },
    /// The store is out of space or the request exceeds its limits.
    #[error("the coordination store refuses the write: {reason}")]
    Exhausted {
        /// What the store said.
        reason: String,
    },
    /// Data on disk is damaged, or another process holds it.
    #[error("the embedded store at {path} cannot be used: {reason}")]
    Disk {
        /// File or directory.
        path: String,
        /// What went wrong and what to do.
        reason: String,
    },
}

impl StoreError {
    /// True when the same call may succeed later without anybody's help.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}

/// A shared store.
pub type StoreRef = Arc<dyn Store>;

/// Versioned keys with transactions, leases and watches.
///
/// All reads are linearizable. Every method has its own deadline inside; a call never waits without end. All
/// methods are cancel-safe in the sense that a dropped call leaves either nothing or the whole change behind, and
/// the caller cannot know which.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Reads one key.
    ///
    /// # Errors
    /// Any but `Unknown`, `Compacted` and `LeaseGone`.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Lists up to `limit` keys with `prefix` that come after `after`, at `revision` or now.
    ///
    /// # Errors
    /// `Compacted` when `revision` is gone; any but `Unknown` and `LeaseGone`.
    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<Page, StoreError>;

    /// Makes the changes if all conditions hold.
    ///
    /// # Errors
    /// `Unknown` when the answer was lost; `LeaseGone` when an attached lease has ended; `Exhausted`.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Makes a lease that ends `ttl` after its last renewal. Whole seconds; the store may take more.
    ///
    /// # Errors
    /// Any but `Compacted` and `LeaseGone`.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Renews a lease once, for its whole time to live from now.
    ///
    /// # Errors
    /// `LeaseGone` when it has ended.
    async fn renew(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease and removes its keys.
    ///
    /// # Errors
    /// Any but `Compacted`; `LeaseGone` is not an error here.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Watches the keys with `prefix` from `from` (inclusive). Progress comes as empty batches, at least every
    /// few seconds, so that silence means death.
    ///
    /// # Errors
    /// `Compacted` when `from` is gone, now or as an item of the stream.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<RawWatch, StoreError>;
}
